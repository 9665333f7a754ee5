//! The directory of the state, opened once through the leg's root; every file is reached beneath it.

use super::{Error, Result};
use crate::fail;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Its name at a leg's root. The mount hides it.
pub const NAME: &str = ".hostfs-mirror";

/// The state directory of one leg, or a directory in it.
#[derive(Debug)]
pub struct StateDir {
    fd: OwnedFd,
}

const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl StateDir {
    /// Opens the state of the leg with this root.
    ///
    /// # Errors
    /// [`Error::NoLeg`] where there is none; the host's errors.
    pub fn open(root: impl AsFd) -> Result<Self> {
        match fs::openat(root, NAME, DIR_FLAGS, Mode::empty()) {
            Ok(fd) => Ok(Self { fd }),
            Err(Errno::NOENT) => Err(Error::NoLeg),
            Err(e) => Err(Error::io("opening", "")(e)),
        }
    }

    /// Makes it, readable by its owner alone, or opens the one that is there.
    ///
    /// # Errors
    /// The host's errors.
    pub fn create(root: impl AsFd) -> Result<Self> {
        let made = make_dir(root.as_fd(), NAME)?;
        let dir = Self::open(&root)?;
        if made {
            let root = fs::openat(root, ".", DIR_FLAGS, Mode::empty()).map_err(Error::io("opening", ".."))?;
            fs::fsync(root).map_err(Error::io("syncing", ".."))?;
        }
        Ok(dir)
    }

    /// Removes the state of a leg: it is a plain directory then.
    ///
    /// # Errors
    /// The host's errors.
    pub fn destroy(root: impl AsFd) -> Result<()> {
        let dir = match Self::open(&root) {
            Ok(dir) => dir,
            Err(Error::NoLeg) => return Ok(()),
            Err(e) => return Err(e),
        };
        // What makes it a leg goes first: killed here, it is none.
        dir.remove("leg.state")?;
        dir.empty()?;
        fs::unlinkat(root, NAME, AtFlags::REMOVEDIR).map_err(Error::io("removing", ""))
    }

    fn empty(&self) -> Result<()> {
        for name in self.names()? {
            match fs::unlinkat(&self.fd, &name, AtFlags::empty()) {
                Err(Errno::ISDIR | Errno::PERM) => {
                    self.subdir(&name)?.empty()?;
                    fs::unlinkat(&self.fd, &name, AtFlags::REMOVEDIR)
                        .map_err(Error::io("removing", &name))?;
                }
                done => done.map_err(Error::io("removing", &name))?,
            }
        }
        Ok(())
    }

    /// A directory in it, made where it is missing.
    ///
    /// # Errors
    /// The host's errors.
    pub fn subdir(&self, name: &str) -> Result<Self> {
        if make_dir(self.fd.as_fd(), name)? {
            self.sync()?;
        }
        let fd = fs::openat(&self.fd, name, DIR_FLAGS, Mode::empty()).map_err(Error::io("opening", name))?;
        Ok(Self { fd })
    }

    /// Opens a regular file; `None` where there is none.
    ///
    /// # Errors
    /// The host's errors; [`Error::Bad`] where the name is something else than a file.
    pub fn file(&self, name: &str, flags: OFlags) -> Result<Option<File>> {
        point("state-open", name)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::io("opening", name)(e)),
        };
        let stat = fs::fstat(&fd).map_err(Error::io("looking at", name))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::bad(name, "not a regular file"));
        }
        Ok(Some(File::from(fd)))
    }

    /// All bytes of a file; `None` where there is none.
    ///
    /// # Errors
    /// The host's errors; [`Error::Bad`] for one of more than `limit` bytes.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.file(name, OFlags::RDONLY)? else { return Ok(None) };
        let len = fs::fstat(&file).map_err(Error::io("looking at", name))?.st_size as u64;
        if len > limit {
            return Err(Error::bad(name, format!("{len} bytes long, more than it can be")));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0).map_err(|e| Error::io("reading", name)(errno(&e)))?;
        Ok(Some(bytes))
    }

    /// Makes a file hold these bytes, whole or not at all, durably.
    ///
    /// # Errors
    /// The host's errors; the file is as it was.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let new = format!("{name}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let Some(file) = self.file(&new, flags)? else {
            return Err(Error::io("creating", &new)(Errno::NOENT));
        };
        write(&file, name, bytes, 0)?;
        sync_data(&file, name)?;
        self.rename(&new, name)?;
        self.sync()
    }

    /// Gives a file of this directory another name.
    ///
    /// # Errors
    /// The host's errors.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        point("state-rename", to)?;
        fs::renameat(&self.fd, from, &self.fd, to).map_err(Error::io("renaming to", to))
    }

    /// Removes a file. That there is none is no error.
    ///
    /// # Errors
    /// The host's errors.
    pub fn remove(&self, name: &str) -> Result<()> {
        point("state-unlink", name)?;
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io("removing", name)(e)),
        }
    }

    /// The names in it, in order.
    ///
    /// # Errors
    /// The host's errors.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd).map_err(Error::io("reading", ""))? {
            let entry = entry.map_err(Error::io("reading", ""))?;
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Makes the names durable.
    ///
    /// # Errors
    /// The host's errors.
    pub fn sync(&self) -> Result<()> {
        point("state-sync-dir", "")?;
        fs::fsync(&self.fd).map_err(Error::io("syncing", ""))
    }
}

/// Whether it was made now.
fn make_dir(at: BorrowedFd<'_>, name: &str) -> Result<bool> {
    match fs::mkdirat(at, name, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(Error::io("making", name)(e)),
    }
}

fn point(name: &'static str, file: &str) -> Result<()> {
    fail::point(name).map_err(Error::io("using", file))
}

/// Writes bytes at an offset of a file of the state.
pub(super) fn write(file: &File, name: &str, bytes: &[u8], offset: u64) -> Result<()> {
    point("state-write", name)?;
    file.write_all_at(bytes, offset).map_err(|e| Error::io("writing", name)(errno(&e)))
}

/// Makes a file's bytes durable.
pub(super) fn sync_data(file: &File, name: &str) -> Result<()> {
    point("state-sync", name)?;
    fs::fdatasync(file).map_err(Error::io("syncing", name))
}

pub(super) fn errno(e: &std::io::Error) -> Errno {
    Errno::from_io_error(e).unwrap_or(Errno::IO)
}
