//! A leg as those see it who make legs equal: its tree, and its manifest.

use crate::leg::Leg;
use crate::state::manifest::{BLOCK, Entry, Key, xattr_digest};
use crate::state::{self, Manifest, Uuid};
use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The result of work on several legs.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What ends work on several legs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A leg failed.
    #[error("leg {}: {}: {errno}", leg.display(), shown(path))]
    Leg {
        /// The leg.
        leg: PathBuf,
        /// Of what in it.
        path: PathBuf,
        /// How.
        errno: Errno,
    },
    /// A leg's state cannot be read or written.
    #[error("leg {}: {source}", leg.display())]
    State {
        /// The leg.
        leg: PathBuf,
        /// Why.
        source: state::Error,
    },
    /// No copy is known to be right.
    #[error("{}: {why}", shown(path))]
    Undecided {
        /// Of what.
        path: PathBuf,
        /// What is known.
        why: String,
    },
    /// Somebody wanted it to stop. What was done stays done; it goes on from there.
    #[error("stopped; run it again to go on from here")]
    Cancelled,
}

impl Error {
    /// The errno that a leg is fenced by.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Leg { errno, .. } => *errno,
            Self::State { source, .. } => source.errno(),
            Self::Undecided { .. } => Errno::BADMSG,
            Self::Cancelled => Errno::CANCELED,
        }
    }

    /// Whether only this path cannot be dealt with, and the work may go on.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided { .. })
    }
}

/// A path as people read it: the root has a name.
pub(crate) fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { "/".to_owned() } else { path.display().to_string() }
}

/// One leg.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// Its tree.
    pub leg: &'a dyn Leg,
    /// Which.
    pub uuid: Uuid,
    /// What its files should be.
    pub manifest: &'a Mutex<Manifest>,
}

/// Something at a path of a leg.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) fd: OwnedFd,
    pub(crate) stat: Stat,
}

impl Object {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    pub(crate) fn size(&self) -> u64 {
        self.stat.st_size as u64
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.size().div_ceil(BLOCK as u64)
    }

    pub(crate) fn mtime(&self) -> i64 {
        self.stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(self.stat.st_mtime_nsec as i64)
    }
}

impl Side<'_> {
    /// How people call it.
    pub fn name(&self) -> String {
        self.leg.name().display().to_string()
    }

    pub(crate) fn failed(&self, path: &Path) -> impl FnOnce(Errno) -> Error + use<> {
        let (leg, path) = (self.leg.name().to_owned(), path.to_owned());
        move |errno| Error::Leg { leg, path, errno }
    }

    pub(crate) fn state_failed(&self, source: state::Error) -> Error {
        Error::State { leg: self.leg.name().to_owned(), source }
    }

    /// What is at a path.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<Object>> {
        let found = self.leg.resolve(path).and_then(|fd| Ok(Object { stat: self.leg.stat(fd.as_fd())?, fd }));
        match found {
            Ok(object) => Ok(Some(object)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(self.failed(path)(e)),
        }
    }

    /// The names in a directory, in order, without the set's own.
    pub(crate) fn names(&self, path: &Path, directory: &Object) -> Result<Vec<OsString>> {
        let entries = self.leg.list(directory.fd.as_fd()).map_err(self.failed(path))?;
        let hidden = |name: &OsStr| path.as_os_str().is_empty() && name == state::NAME;
        let mut names: Vec<_> = entries.into_iter().map(|e| e.name).filter(|n| !hidden(n)).collect();
        names.sort();
        Ok(names)
    }

    pub(crate) fn key(&self, path: &Path, object: &Object) -> Result<Key> {
        let btime = self.leg.birth(object.fd.as_fd()).map_err(self.failed(path))?;
        Ok(Key { ino: object.stat.st_ino, btime })
    }

    /// What a file should be, if that is known and speaks of the file as it is.
    pub(crate) fn known(&self, path: &Path, object: &Object) -> Result<Option<Entry>> {
        let key = self.key(path, object)?;
        let entry = self.manifest.lock().get(key);
        Ok(entry.filter(|e| e.matches(object.size(), object.mtime())))
    }

    /// Writes down what a file is now.
    pub(crate) fn learn(&self, path: &Path, generation: u64, sums: Vec<u32>) -> Result<()> {
        let Some(object) = self.find(path)? else { return Ok(()) };
        let entry = Entry {
            generation,
            size: object.size(),
            mtime: object.mtime(),
            mode: object.stat.st_mode,
            uid: object.stat.st_uid,
            gid: object.stat.st_gid,
            xattrs: digest(&self.xattrs(path, object.fd.as_fd())?),
            sums,
        };
        let key = self.key(path, &object)?;
        self.manifest.lock().put(&[(key, entry)]).map_err(|e| self.state_failed(e))
    }

    /// The extended attributes that are of the tree, in the order of their names. Where a file system has none, there are none.
    pub(crate) fn xattrs(&self, path: &Path, object: BorrowedFd<'_>) -> Result<Vec<(OsString, Vec<u8>)>> {
        let names = match self.leg.xattrs(object) {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP | Errno::NOENT | Errno::LOOP) => return Ok(Vec::new()),
            Err(e) => return Err(self.failed(path)(e)),
        };
        let mut found = Vec::new();
        for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
            // The host's own label of the file, which differs by where the leg lies.
            if name == b"security.selinux" {
                continue;
            }
            match self.leg.xattr(object, OsStr::from_bytes(name)) {
                Ok(value) => found.push((OsStr::from_bytes(name).to_owned(), value)),
                Err(Errno::NODATA) => {}
                Err(e) => return Err(self.failed(path)(e)),
            }
        }
        found.sort();
        Ok(found)
    }
}

pub(crate) fn digest(xattrs: &[(OsString, Vec<u8>)]) -> u64 {
    xattr_digest(xattrs.iter().map(|(n, v)| (n.as_bytes(), v.as_slice())))
}
