//! The inodes of a host directory.

use super::HostFs;
use super::content::Content;
use super::owner::{self, Meta};
use crate::base::time::{self, Instant};
use crate::base::{Errno, Mutex, Rank, Result, Timespec};
use crate::fs::{Anchor, Attr, DirEntry, FileOps, FileSystem, Inode, NewNode, OpenFlags, SetAttr, kind};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Statx, StatxFlags, Timestamps, XattrFlags,
};
use std::any::Any;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// How long attributes are believed.
const VALID: Instant = 1_000_000_000;

/// An inode.
#[derive(Debug)]
pub(super) struct Node {
    fs: Arc<HostFs>,
    me: Weak<Node>,
    /// Where it was found: the directory, and its name there. It may have moved since; then the descriptor counts.
    place: Mutex<Option<(Arc<Node>, Vec<u8>)>>,
    /// A path descriptor of its own: a directory's once it is searched, a file's once it is opened.
    fd: Mutex<Option<Arc<OwnedFd>>>,
    /// It has no other way back to what it is: the root, and what has lost its name.
    pinned: AtomicBool,
    host: (u64, u64),
    cached: Mutex<Option<(Attr, Instant)>>,
    /// The descriptor of those who have it open for reading alone.
    reading: Mutex<Weak<OwnedFd>>,
    anchor: Anchor,
}

fn timespec(t: rustix::fs::StatxTimestamp) -> Timespec {
    Timespec { sec: t.tv_sec, nsec: t.tv_nsec.into() }
}

impl Node {
    /// The root, of which the descriptor is open.
    pub(super) fn root(fs: &Arc<HostFs>, fd: OwnedFd) -> Arc<Node> {
        let host = rustix::fs::fstat(&fd).map_or((0, 0), |s| (s.st_dev, s.st_ino));
        let node = Node::make(fs, None, host, None);
        *node.fd.lock() = Some(Arc::new(fd));
        node.pinned.store(true, Ordering::Relaxed);
        node
    }

    fn make(
        fs: &Arc<HostFs>,
        place: Option<(Arc<Node>, Vec<u8>)>,
        host: (u64, u64),
        attr: Option<Attr>,
    ) -> Arc<Node> {
        Arc::new_cyclic(|me| Node {
            fs: fs.clone(),
            me: me.clone(),
            place: Mutex::new(Rank::Leaf, place),
            fd: Mutex::new(Rank::Leaf, None),
            pinned: AtomicBool::new(false),
            host,
            cached: Mutex::new(Rank::Leaf, attr.map(|a| (a, time::now()))),
            reading: Mutex::new(Rank::Leaf, Weak::new()),
            anchor: Anchor::default(),
        })
    }

    fn convert(&self, s: &Statx, fd: Option<BorrowedFd<'_>>) -> (Attr, (u64, u64)) {
        let dev = rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor);
        let mut attr = Attr {
            dev: self.fs.dev_of(dev),
            ino: s.stx_ino,
            mode: s.stx_mode.into(),
            nlink: s.stx_nlink,
            uid: s.stx_uid,
            gid: s.stx_gid,
            rdev: rustix::fs::makedev(s.stx_rdev_major, s.stx_rdev_minor),
            size: s.stx_size,
            blocks: s.stx_blocks,
            blksize: s.stx_blksize,
            atime: timespec(s.stx_atime),
            mtime: timespec(s.stx_mtime),
            ctime: timespec(s.stx_ctime),
            btime: timespec(s.stx_btime),
        };
        if self.fs.writable {
            let own = fd.map_or_else(|| self.open_path(&[]).ok(), |f| f.try_clone_to_owned().ok());
            if let Some(meta) = own.and_then(|f| owner::read(f.as_fd())) {
                meta.over(&mut attr);
            }
        }
        (attr, (dev, s.stx_ino))
    }

    /// A path descriptor of this node (`name` empty) or of a name in it. Links are not followed.
    fn open_path(&self, name: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if !name.is_empty() {
            return Ok(rustix::fs::openat(self.directory()?, name, flags, Mode::empty())?);
        }
        if let Some(fd) = self.open_fd() {
            return Ok(fd.try_clone()?);
        }
        let (parent, name) = self.place.lock().clone().ok_or(Errno::ESTALE)?;
        let fd = rustix::fs::openat(parent.directory()?, &name[..], flags, Mode::empty())?;
        let s = rustix::fs::fstat(&fd)?;
        if (s.st_dev, s.st_ino) != self.host { Err(Errno::ESTALE) } else { Ok(fd) }
    }

    /// The descriptor of a directory.
    pub(super) fn directory(&self) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = self.open_fd() {
            return Ok(fd);
        }
        let fd = Arc::new(self.open_path(&[])?);
        *self.fd.lock() = Some(fd.clone());
        if let Some(oldest) = self.fs.opened(&self.me) {
            oldest.close();
        }
        Ok(fd)
    }

    fn open_fd(&self) -> Option<Arc<OwnedFd>> {
        self.fd.lock().clone()
    }

    /// Gives its descriptor up, unless there is no way to another.
    fn close(&self) {
        if !self.pinned.load(Ordering::Relaxed) {
            let fd = self.fd.lock().take();
            drop(fd);
        }
    }

    /// Keeps a descriptor of what is about to lose its name: open files and their attributes outlive it.
    fn pin(&self) {
        self.pinned.store(true, Ordering::Relaxed);
        let _ = self.directory();
        self.changed();
    }

    fn found_at(&self, dir: &Node, name: &[u8]) {
        let place = dir.me.upgrade().map(|dir| (dir, name.to_vec()));
        // The old place may be the last to hold its directory, whose end takes locks.
        let old = std::mem::replace(&mut *self.place.lock(), place);
        drop(old);
    }

    /// Its attributes may have changed.
    pub(super) fn changed(&self) {
        *self.cached.lock() = None;
    }

    fn writable(&self) -> Result<()> {
        if self.fs.writable { Ok(()) } else { Err(Errno::EROFS) }
    }

    fn stat(&self) -> Result<Attr> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        if let Some(fd) = self.open_fd() {
            let s = rustix::fs::statx(&fd, "", flags, mask)?;
            return Ok(self.convert(&s, Some(fd.as_fd())).0);
        }
        let (parent, name) = self.place.lock().clone().ok_or(Errno::ESTALE)?;
        let s = rustix::fs::statx(parent.directory()?, &name[..], AtFlags::SYMLINK_NOFOLLOW, mask)?;
        Ok(self.convert(&s, None).0)
    }

    /// The node of a name in this directory.
    fn child(&self, name: &[u8]) -> Result<Arc<Node>> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let s = rustix::fs::statx(self.directory()?, name, AtFlags::SYMLINK_NOFOLLOW, mask)?;
        let host = (rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor), s.stx_ino);
        let known = self.fs.inodes.lock().get(&host).and_then(Weak::upgrade);
        if let Some(node) = known {
            *node.cached.lock() = None;
            node.found_at(self, name);
            return Ok(node);
        }
        let place = self.me.upgrade().map(|me| (me, name.to_vec()));
        let node = Node::make(&self.fs, place, host, None);
        let (attr, _) = node.convert(&s, None);
        *node.cached.lock() = Some((attr, time::now()));
        let mut inodes = self.fs.inodes.lock();
        if inodes.len() > 4096 && inodes.len().is_power_of_two() {
            inodes.retain(|_, w| w.strong_count() > 0);
        }
        inodes.insert(host, Arc::downgrade(&node));
        Ok(node)
    }

    fn own<'a>(&self, inode: &'a Arc<dyn Inode>) -> Result<&'a Node> {
        inode.as_any().downcast_ref::<Node>().filter(|n| Arc::ptr_eq(&n.fs, &self.fs)).ok_or(Errno::EXDEV)
    }

    fn proc_path(&self) -> Result<(OwnedFd, String)> {
        let fd = self.open_path(&[])?;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        Ok((fd, path))
    }

    /// Gives a new node its owner and mode; what the host refuses is written down.
    fn settle(&self, name: &[u8], new: &NewNode<'_>) -> Result<Arc<Node>> {
        let node = self.child(name)?;
        let meta = Meta { mode: new.mode, uid: new.uid, gid: new.gid, rdev: new.rdev };
        node.force(meta)?;
        self.changed();
        Ok(node)
    }

    /// Makes owner, mode and number so, on the host or by the attribute.
    fn force(&self, meta: Meta) -> Result<()> {
        let (fd, path) = self.proc_path()?;
        let s = rustix::fs::fstat(&fd)?;
        let link = FileType::from_raw_mode(s.st_mode) == FileType::Symlink;
        let mut kept = true;
        if (s.st_uid, s.st_gid) != (meta.uid, meta.gid) {
            let (uid, gid) = (rustix::fs::Uid::from_raw(meta.uid), rustix::fs::Gid::from_raw(meta.gid));
            kept &= rustix::fs::chownat(&fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).is_ok();
        }
        if !link {
            kept &= rustix::fs::chmod(&path, Mode::from_raw_mode(meta.mode & 0o7777)).is_ok();
            kept &= rustix::fs::fstat(&fd)?.st_mode == meta.mode;
            if !kept {
                owner::write(fd.as_fd(), meta)?;
            }
        }
        self.changed();
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut inodes = self.fs.inodes.lock();
        if inodes.get(&self.host).is_some_and(|w| w.strong_count() == 0) {
            inodes.remove(&self.host);
        }
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr> {
        if let Some((attr, when)) = *self.cached.lock()
            && time::now() < when + VALID
        {
            return Ok(attr);
        }
        let attr = self.stat()?;
        *self.cached.lock() = Some((attr, time::now()));
        Ok(attr)
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.writable()?;
        let (fd, path) = self.proc_path()?;
        if let Some(size) = change.size {
            let file = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::fs::ftruncate(&file, size)?;
        }
        self.changed();
        if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() {
            let now = self.attr()?;
            self.force(Meta {
                mode: change.mode.map_or(now.mode, |m| now.mode & kind::MASK | m & 0o7777),
                uid: change.uid.unwrap_or(now.uid),
                gid: change.gid.unwrap_or(now.gid),
                rdev: now.rdev,
            })?;
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
        let dir = &*dir;
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        match new.mode & kind::MASK {
            kind::DIR => rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700))?,
            kind::LNK => rustix::fs::symlinkat(new.target, dir, name)?,
            kind::REG => drop(rustix::fs::openat(dir, name, create, Mode::from_raw_mode(0o600))?),
            special => {
                let file_type = FileType::from_raw_mode(special);
                let made = rustix::fs::mknodat(dir, name, file_type, Mode::from_raw_mode(0o600), new.rdev);
                if let Err(e) = made {
                    if e != rustix::io::Errno::PERM {
                        return Err(e.into());
                    }
                    // A stand-in, that the attribute says the truth of.
                    drop(rustix::fs::openat(dir, name, create, Mode::from_raw_mode(0o600))?);
                }
            }
        }
        self.settle(name, new).map(|n| n as Arc<dyn Inode>)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.writable()?;
        let target = self.own(target)?;
        let (_fd, path) = target.proc_path()?;
        rustix::fs::linkat(rustix::fs::CWD, path, self.directory()?, name, AtFlags::SYMLINK_FOLLOW)?;
        target.changed();
        self.changed();
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.writable()?;
        if let Ok(child) = self.child(name) {
            child.pin();
        }
        rustix::fs::unlinkat(self.directory()?, name, AtFlags::empty())?;
        self.changed();
        Ok(())
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.writable()?;
        rustix::fs::unlinkat(self.directory()?, name, AtFlags::REMOVEDIR)?;
        self.changed();
        Ok(())
    }

    fn rename(&self, name: &[u8], to: &Arc<dyn Inode>, to_name: &[u8], flags: u32) -> Result<()> {
        self.writable()?;
        let to = self.own(to)?;
        let moved = self.child(name)?;
        if let Ok(replaced) = to.child(to_name) {
            replaced.pin();
        }
        let flags = RenameFlags::from_bits_retain(flags);
        rustix::fs::renameat_with(self.directory()?, name, to.directory()?, to_name, flags)?;
        moved.found_at(to, to_name);
        moved.changed();
        self.changed();
        to.changed();
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        let fd = self.open_path(&[])?;
        Ok(rustix::fs::readlinkat(&fd, "", Vec::new())?.into_bytes())
    }

    fn entries(&self, from: u64, emit: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.directory()?, ".", flags, Mode::empty())?;
        let mut dir = Dir::new(fd)?;
        if from > 2 {
            dir.seek((from - 3) as i64)?;
        }
        while let Some(entry) = dir.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let next = entry.offset() as u64 + 3;
            let entry = DirEntry {
                name: name.to_vec(),
                ino: entry.ino(),
                kind: entry.file_type().as_raw_mode(),
                next,
            };
            if !emit(entry) {
                break;
            }
        }
        Ok(())
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let attr = self.attr()?;
        if attr.kind() != kind::REG {
            return Err(Errno::ENXIO);
        }
        // Who only reads shares a descriptor: nothing goes by its position.
        let shared = if flags.writes() { None } else { self.reading.lock().upgrade() };
        if let Some(fd) = shared {
            return Ok(Arc::new(Content { fd, node: self }));
        }
        let mut how = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        how |= if flags.writes() { OFlags::RDWR } else { OFlags::RDONLY };
        if flags.writes() {
            self.writable()?;
        }
        // By way of the path descriptor, which is of the regular file that was looked at, whatever is in its place now.
        let fd = self.open_path(&[])?;
        let s = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(s.st_mode) != FileType::RegularFile {
            return Err(Errno::ENXIO);
        }
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let file = rustix::fs::open(path, how, Mode::empty())?;
        let fd = Arc::new(file);
        if !flags.writes() {
            *self.reading.lock() = Arc::downgrade(&fd);
        }
        Ok(Arc::new(Content { fd, node: self }))
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        let (_fd, path) = self.proc_path()?;
        let mut value = vec![0; 65536];
        let n = rustix::fs::getxattr(path, name, &mut value)?;
        value.truncate(n);
        Ok(value)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.writable()?;
        let (_fd, path) = self.proc_path()?;
        Ok(rustix::fs::setxattr(path, name, value, XattrFlags::from_bits_retain(flags))?)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        self.writable()?;
        let (_fd, path) = self.proc_path()?;
        Ok(rustix::fs::removexattr(path, name)?)
    }

    fn xattrs(&self) -> Result<Vec<Vec<u8>>> {
        let (_fd, path) = self.proc_path()?;
        let mut list = vec![0; 65536];
        let n = rustix::fs::listxattr(path, &mut list)?;
        let names = list[..n].split(|b| *b == 0).filter(|n| !n.is_empty() && !n.starts_with(b"user.uml."));
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    fn anchor(&self) -> Option<&Anchor> {
        Some(&self.anchor)
    }
}
