//! What the guest's VFS asks of a node.

use super::content::Content;
use super::node::Node;
use super::owner::{Meta, Owners, proc_path};
use crate::base::{Errno, Result, Timespec};
use crate::fs::{
    Anchor, Attr, DirEntry, FileOps, FileSystem, Inode, NewNode, OpenFlags, RENAME_EXCHANGE, RENAME_WHITEOUT,
    SetAttr, kind,
};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Timestamps, XattrFlags};
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The host's last position of a directory, behind which nothing comes.
const END: u64 = i64::MAX as u64;
/// `.`, `..` and the first entry have the positions before those of the host.
const BEFORE: u64 = 3;

impl Node {
    /// Makes a file on the host that has its mode and owner from the start, where the host can: a shadow's entries are nothing else before.
    fn create_file(&self, name: &[u8], new: &NewNode<'_>, content: &[u8]) -> Result<Arc<Node>> {
        let dir = self.directory()?;
        let unnamed = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let meta = Meta { mode: new.mode, uid: new.uid, gid: new.gid, rdev: new.rdev };
        if self.fs.access.owners == Owners::Shadow
            && let Ok(fd) = rustix::fs::openat(&*dir, ".", unnamed, Mode::from_raw_mode(0o600))
        {
            rustix::io::pwrite(&fd, content, 0)?;
            let fd = Arc::new(fd);
            let node = Node::unnamed(&self.fs, &fd)?;
            node.force(&fd, meta)?;
            let path = proc_path(fd.as_fd());
            rustix::fs::linkat(rustix::fs::CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)?;
            drop(node);
            return self.child(name);
        }
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        let fd = rustix::fs::openat(dir, name, create, Mode::from_raw_mode(0o600))?;
        let node = self.child(name)?;
        if rustix::io::pwrite(&fd, content, 0)? < content.len() {
            return Err(Errno::ENOSPC);
        }
        node.force(&fd, meta)?;
        Ok(node)
    }

    /// Gives what was just made under a name its owner and mode; ESTALE if something else has that name by now.
    fn settle(&self, name: &[u8], made: FileType, new: &NewNode<'_>) -> Result<Arc<Node>> {
        let node = self.child(name)?;
        let fd = node.handle()?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != made {
            return Err(Errno::ESTALE);
        }
        node.force(&fd, Meta { mode: new.mode, uid: new.uid, gid: new.gid, rdev: new.rdev })?;
        Ok(node)
    }

    /// What becomes of a new owner or new permissions, by how owners are kept.
    fn set_owner(&self, fd: &OwnedFd, change: &SetAttr) -> Result<()> {
        let now = self.attributes()?;
        let mode = change.mode.map_or(now.mode, |m| now.mode & kind::MASK | m & 0o7777);
        let (uid, gid) = (change.uid.unwrap_or(now.uid), change.gid.unwrap_or(now.gid));
        let owned = (uid, gid) != (now.uid, now.gid);
        match self.fs.access.owners {
            Owners::Shadow if self.host_kind() == kind::LNK => return Err(Errno::EPERM),
            Owners::Shadow | Owners::Recorded => {
                self.force(fd, Meta { mode, uid, gid, rdev: now.rdev })?;
                // That it was asked for is a change, whatever was asked.
                let same = rustix::fs::fstat(fd)?.st_mode & 0o7777;
                let _ = rustix::fs::chmod(proc_path(fd.as_fd()), Mode::from_raw_mode(same));
                return Ok(());
            }
            Owners::Mapped { .. } if owned => return Err(Errno::EPERM),
            Owners::Mapped { .. } | Owners::AsIs => {}
        }
        if mode & kind::MASK == kind::REG && mode & 0o6000 & !now.mode != 0 {
            return Err(Errno::EPERM);
        }
        if self.fs.access.owners == Owners::AsIs && (change.uid.is_some() || change.gid.is_some()) {
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
        if change.mode.is_some() {
            rustix::fs::chmod(proc_path(fd.as_fd()), Mode::from_raw_mode(mode & 0o7777))?;
        }
        Ok(())
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr> {
        self.attributes()
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.writable()?;
        let fd = self.handle()?;
        if let Some(size) = change.size {
            self.may_shrink()?;
            let file = self.reopen(&fd, OFlags::WRONLY)?;
            rustix::fs::ftruncate(&file, size)?;
            self.lose_capabilities(&fd);
            self.written();
        }
        self.changed();
        if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() {
            self.set_owner(&fd, change)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            const OMIT: i64 = libc::UTIME_OMIT;
            let spec = |t: Option<Timespec>| {
                let t = t.unwrap_or(Timespec { sec: 0, nsec: OMIT });
                rustix::fs::Timespec { tv_sec: t.sec, tv_nsec: t.nsec }
            };
            let times = Timestamps { last_access: spec(change.atime), last_modification: spec(change.mtime) };
            rustix::fs::utimensat(&fd, "", &times, AtFlags::EMPTY_PATH)?;
        }
        self.changed();
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.child(name).map(|n| n as Arc<dyn Inode>)
    }

    fn create(&self, name: &[u8], new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        self.writable()?;
        let dir = self.directory()?;
        let owners = self.fs.access.owners;
        let made = new.mode & kind::MASK;
        let set_id = made == kind::REG && new.mode & 0o6000 != 0;
        // No set-id program and no device of the guest's is one of the host's.
        let device = matches!(made, kind::BLK | kind::CHR) && new.rdev != 0;
        if (set_id || device) && !owners.in_attributes() {
            return Err(Errno::EPERM);
        }
        let file_type = FileType::from_raw_mode(made);
        let node = match (made, owners) {
            (kind::DIR, _) => {
                rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700))?;
                self.settle(name, file_type, new)?
            }
            (kind::REG, _) => self.create_file(name, new, b"")?,
            (kind::LNK, Owners::Shadow) => self.create_file(name, new, new.target)?,
            (kind::LNK, _) => {
                rustix::fs::symlinkat(new.target, dir, name)?;
                self.settle(name, file_type, new)?
            }
            (_, Owners::Shadow) => self.create_file(name, new, b"")?,
            _ if device => self.create_file(name, new, b"")?,
            _ => match rustix::fs::mknodat(dir, name, file_type, Mode::from_raw_mode(0o600), 0) {
                Ok(()) => self.settle(name, file_type, new)?,
                // A stand-in, that the attribute says the truth of.
                Err(rustix::io::Errno::PERM) if owners.in_attributes() => self.create_file(name, new, b"")?,
                Err(e) => return Err(e.into()),
            },
        };
        self.changed();
        Ok(node)
    }

    fn create_unnamed(&self, new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        self.writable()?;
        if new.mode & 0o6000 != 0 && !self.fs.access.owners.in_attributes() {
            return Err(Errno::EPERM);
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = Arc::new(rustix::fs::openat(self.directory()?, ".", flags, Mode::from_raw_mode(0o600))?);
        let node = Node::unnamed(&self.fs, &fd)?;
        node.force(&fd, Meta { mode: new.mode, uid: new.uid, gid: new.gid, rdev: 0 })?;
        Ok(node)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.writable()?;
        let target = self.own(target)?;
        let fd = target.handle()?;
        let path = proc_path(fd.as_fd());
        rustix::fs::linkat(rustix::fs::CWD, path, self.directory()?, name, AtFlags::SYMLINK_FOLLOW)?;
        target.found_at(self, name);
        target.changed();
        self.changed();
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.writable()?;
        self.may_shrink()?;
        if let Ok(child) = self.child(name) {
            child.pin();
        }
        rustix::fs::unlinkat(self.directory()?, name, AtFlags::empty())?;
        self.changed();
        Ok(())
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.writable()?;
        self.may_shrink()?;
        if let Ok(child) = self.child(name) {
            child.pin();
        }
        rustix::fs::unlinkat(self.directory()?, name, AtFlags::REMOVEDIR)?;
        self.changed();
        Ok(())
    }

    fn rename(&self, name: &[u8], to: &Arc<dyn Inode>, to_name: &[u8], flags: u32) -> Result<()> {
        self.writable()?;
        self.may_shrink()?;
        let to = self.own(to)?;
        let moved = self.child(name)?;
        let other = to.child(to_name).ok();
        let exchange = flags & RENAME_EXCHANGE != 0;
        if let Some(replaced) = other.as_ref().filter(|_| !exchange) {
            replaced.pin();
        }
        // A whiteout is a device: where those are none of the host's, it is put in the place that is free.
        let whiteout = flags & RENAME_WHITEOUT != 0;
        let host_flags = RenameFlags::from_bits_retain(flags & !RENAME_WHITEOUT);
        rustix::fs::renameat_with(self.directory()?, name, to.directory()?, to_name, host_flags)?;
        moved.found_at(to, to_name);
        moved.changed();
        if let Some(other) = other.filter(|_| exchange) {
            other.found_at(self, name);
            other.changed();
        }
        self.changed();
        to.changed();
        if whiteout {
            self.create(name, &NewNode { mode: kind::CHR, rdev: 0, uid: 0, gid: 0, target: b"" })?;
        }
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        let fd = self.handle()?;
        if self.host_kind() == kind::LNK {
            return Ok(rustix::fs::readlinkat(&fd, "", Vec::new())?.into_bytes());
        }
        // A shadow's, which is a file on the host.
        let mut target = vec![0; crate::mm::PATH_MAX];
        let n = rustix::io::pread(self.reopen(&fd, OFlags::RDONLY)?, &mut target, 0)?;
        target.truncate(n);
        Ok(target)
    }

    fn entries(&self, from: u64, emit: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        if from == END {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.directory()?, ".", flags, Mode::empty())?;
        let mut dir = Dir::new(fd)?;
        if from >= BEFORE {
            dir.seek((from - BEFORE) as i64)?;
        }
        while let Some(entry) = dir.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let real = entry.file_type().as_raw_mode();
            // Of a file on the host its attribute says what it is.
            let kind = match real == kind::REG && self.fs.access.owners.in_attributes() {
                true => self.child(name).and_then(|n| n.attributes()).map_or(0, |a| a.kind()),
                false => real,
            };
            let entry = DirEntry {
                name: name.to_vec(),
                ino: entry.ino(),
                kind,
                next: (entry.offset() as u64).saturating_add(BEFORE).min(END),
            };
            if !emit(entry) {
                break;
            }
        }
        Ok(())
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        if self.attributes()?.kind() != kind::REG {
            return Err(Errno::ENXIO);
        }
        if flags.writes() {
            self.writable()?;
        }
        Ok(Arc::new(Content::open(self, flags)?))
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        let name = self.fs.access.owners.xattr(name, false)?;
        let fd = self.handle()?;
        let mut value = vec![0; 65536];
        let n = rustix::fs::getxattr(proc_path(fd.as_fd()), name, &mut value)?;
        value.truncate(n);
        Ok(value)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.writable()?;
        let name = self.fs.access.owners.xattr(name, true)?;
        let fd = self.handle()?;
        let flags = XattrFlags::from_bits_retain(flags);
        rustix::fs::setxattr(proc_path(fd.as_fd()), name, value, flags)?;
        self.changed();
        Ok(())
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        self.writable()?;
        let name = self.fs.access.owners.xattr(name, true)?;
        let fd = self.handle()?;
        rustix::fs::removexattr(proc_path(fd.as_fd()), name)?;
        self.changed();
        Ok(())
    }

    fn xattrs(&self) -> Result<Vec<Vec<u8>>> {
        let fd = self.handle()?;
        let mut list = vec![0; 65536];
        let n = rustix::fs::listxattr(proc_path(fd.as_fd()), &mut list)?;
        let names = list[..n].split(|b| *b == 0).filter(|n| !n.is_empty());
        Ok(names.filter_map(|n| self.fs.access.owners.xattr_seen(n)).collect())
    }

    fn anchor(&self) -> Option<&Anchor> {
        Some(&self.anchor)
    }
}
