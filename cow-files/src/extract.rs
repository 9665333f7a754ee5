//! Taking files out, into a directory of the host's. What an image says of names and links is a stranger's: every name is made new in a directory
//! that was opened before, and no link that is there is followed.

use crate::data::each_piece;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::paths::{split, text, tidy};
use crate::walk::{Node, Step, walk};
use block_device::Observer;
use ext::{Inode, InodeNumber, Time};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use serde::Serialize;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How files are taken out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extract {
    /// Owners as they are in the image, and set-user-ID bits; for root. Otherwise all belongs to the caller.
    pub owners: bool,
    /// A file that is there already is replaced.
    pub replace: bool,
}

/// What was taken out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Extracted {
    /// Names, of whatever type.
    pub names: u64,
    /// Bytes of data.
    pub bytes: u64,
    /// What could not be had, a line each.
    pub warnings: Vec<String>,
}

/// A directory that is being filled; it gets its attributes when it is full.
struct Open {
    fd: OwnedFd,
    node: Node,
    place: PathBuf,
}

struct Work<'a> {
    image: &'a Image,
    how: Extract,
    /// The directory that all goes into, and its path for messages.
    root: OwnedFd,
    into: &'a Path,
    open: Vec<Open>,
    /// Where the first name of an inode with several is.
    linked: HashMap<InodeNumber, PathBuf>,
    done: Extracted,
}

/// Takes paths out into a directory, which is made if it is not there: each under its last name, with all that is below it.
///
/// # Errors
/// Those of reading and writing; [`Error::Cancelled`]. What was taken out before stays.
pub fn extract(
    image: &Image,
    paths: &[Vec<u8>],
    into: &Path,
    how: Extract,
    observer: &dyn Observer,
) -> Result<Extracted> {
    std::fs::create_dir_all(into).map_err(Error::io("making the directory", into))?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::open(into, flags, Mode::empty()).map_err(|e| Error::io("opening", into)(e.into()))?;
    let (open, linked, done) = (Vec::new(), HashMap::new(), Extracted::default());
    let mut work = Work { image, how, root, into, open, linked, done };
    for path in paths {
        let path = tidy(path);
        walk(image, &path, observer, &mut |node| {
            work.close_down_to(node.depth)?;
            work.take(node)?;
            Ok(Step::Into)
        })?;
        work.close_down_to(0)?;
    }
    Ok(work.done)
}

impl Work<'_> {
    /// The directories that a walk has left get their attributes.
    fn close_down_to(&mut self, depth: usize) -> Result<()> {
        while self.open.len() > depth {
            let Some(Open { fd, node, place }) = self.open.pop() else { break };
            self.attributes(fd.as_fd(), &node, &place)?;
        }
        Ok(())
    }

    fn host(&self, place: &Path) -> PathBuf {
        self.into.join(place)
    }

    fn take(&mut self, node: &Node) -> Result<()> {
        // The root of the image is the directory itself.
        let name = split(&node.path).map_or(&b"."[..], |(_, name)| name);
        let name = Path::new(OsStr::from_bytes(name));
        let place = self.open.last().map_or_else(|| name.to_owned(), |o| o.place.join(name));
        let shown = self.host(&place);
        let failed = |action| {
            let path = shown.clone();
            move |e: Errno| Error::Io { action, path, source: e.into() }
        };
        self.done.names += 1;
        let dir = self.open.last().map_or(self.root.as_fd(), |o| o.fd.as_fd());
        if node.inode.is_directory() {
            match fs::mkdirat(dir, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(failed("making the directory")(e)),
            }
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = fs::openat(dir, name, flags, Mode::empty()).map_err(failed("opening"))?;
            self.open.push(Open { fd, node: node.clone(), place });
            return Ok(());
        }
        if self.how.replace {
            match fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(failed("replacing")(e)),
            }
        }
        if node.inode.links > 1 {
            if let Some(first) = self.linked.get(&node.inode.number) {
                return fs::linkat(&self.root, first, dir, name, AtFlags::empty()).map_err(failed("linking"));
            }
            self.linked.insert(node.inode.number, place.clone());
        }
        match node.inode.kind() {
            0x8000 => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("making"))?;
                self.fill(&fd, node, &place)?;
                self.attributes(fd.as_fd(), node, &place)
            }
            0xa000 => {
                let target = self.image.ext.read_link(&node.inode).map_err(self.image.at(&node.path))?;
                fs::symlinkat(OsStr::from_bytes(&target), dir, name).map_err(failed("making the link"))?;
                self.attributes_at(dir, name, node).map_err(failed("setting attributes of"))
            }
            _ => match self.node(dir, name, &node.inode) {
                Ok(()) => self.attributes_at(dir, name, node).map_err(failed("setting attributes of")),
                Err(Errno::PERM) => {
                    self.warn(&node.path, "a device is made by root only: left out");
                    self.linked.remove(&node.inode.number);
                    Ok(())
                }
                Err(e) => Err(failed("making")(e)),
            },
        }
    }

    fn node(&self, dir: BorrowedFd<'_>, name: &Path, inode: &Inode) -> rustix::io::Result<()> {
        let (major, minor) = inode.device().unwrap_or_default();
        let kind = FileType::from_raw_mode(inode.kind().into());
        fs::mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, fs::makedev(major, minor))
    }

    fn fill(&mut self, fd: &OwnedFd, node: &Node, place: &Path) -> Result<()> {
        let path = self.host(place);
        let failed = |e: Errno| Error::Io { action: "writing", path: path.clone(), source: e.into() };
        let mut bytes = 0;
        each_piece(self.image, &node.path, &node.inode, &mut |offset, piece| {
            let mut done = 0;
            while done < piece.len() {
                let at = offset + done as u64;
                done += rustix::io::pwrite(fd, &piece[done..], at).map_err(failed)?;
            }
            bytes += piece.len() as u64;
            Ok(())
        })?;
        self.done.bytes += bytes;
        fs::ftruncate(fd, node.inode.size).map_err(failed)
    }

    /// The owner first: who changes it loses set-user-ID bits.
    fn attributes(&mut self, fd: BorrowedFd<'_>, node: &Node, place: &Path) -> Result<()> {
        let inode = &node.inode;
        let failed = |e: Errno| Error::Io {
            action: "setting attributes of",
            path: self.into.join(place),
            source: e.into(),
        };
        if self.how.owners {
            let (uid, gid) = (Uid::from_raw(inode.uid), Gid::from_raw(inode.gid));
            fs::fchown(fd, Some(uid), Some(gid)).map_err(failed)?;
        }
        fs::fchmod(fd, self.mode(inode)).map_err(failed)?;
        let mut refused = Vec::new();
        for x in self.image.ext.xattrs(inode).map_err(self.image.at(&node.path))? {
            if fs::fsetxattr(fd, OsStr::from_bytes(&x.name), &x.value, XattrFlags::empty()).is_err() {
                refused.push(text(&x.name));
            }
        }
        fs::futimens(fd, &times(inode)).map_err(failed)?;
        for name in refused {
            self.warn(&node.path, &format!("the host does not take the attribute {name}"));
        }
        Ok(())
    }

    /// The same, for what is not opened.
    fn attributes_at(&self, dir: BorrowedFd<'_>, name: &Path, node: &Node) -> rustix::io::Result<()> {
        let inode = &node.inode;
        if self.how.owners {
            let (uid, gid) = (Uid::from_raw(inode.uid), Gid::from_raw(inode.gid));
            fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if !inode.is_link() {
            fs::chmodat(dir, name, self.mode(inode), AtFlags::empty())?;
        }
        fs::utimensat(dir, name, &times(inode), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Bits that give rights of an owner's who is not the owner are no use, and a danger.
    fn mode(&self, inode: &Inode) -> Mode {
        let keep = if self.how.owners { 0o7777 } else { 0o1777 };
        Mode::from_raw_mode((inode.mode & keep).into())
    }

    fn warn(&mut self, path: &[u8], what: &str) {
        self.done.warnings.push(format!("{}: {what}", text(path)));
    }
}

fn times(inode: &Inode) -> Timestamps {
    let time = |t: Time| Timespec { tv_sec: t.sec, tv_nsec: t.nsec.into() };
    Timestamps { last_access: time(inode.atime), last_modification: time(inode.mtime) }
}

/// Whether the caller can give files away.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
