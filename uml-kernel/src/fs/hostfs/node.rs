//! The nodes of a host directory: how each is found again, and what the host says of it.

use super::owner::{self, Meta, Owners, Seen, proc_path};
use super::{Dev, HostFs};
use crate::base::time::{self, Instant};
use crate::base::{Errno, Mutex, Rank, Result, Timespec};
use crate::fs::{Anchor, Attr, Inode, kind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// How long attributes are believed where nobody else changes them.
const VALID: Instant = 1_000_000_000;
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// An inode.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) fs: Arc<HostFs>,
    pub(super) me: Weak<Node>,
    /// Where it was found: the directory, and its name there. It may have moved since; then the descriptor counts.
    place: Mutex<Option<(Arc<Node>, Vec<u8>)>>,
    /// A path descriptor of its own: a directory's once it is searched, a file's that has lost its name.
    fd: Mutex<Option<Arc<OwnedFd>>>,
    /// It has no other way back to what it is: the root, and what has lost its name.
    pinned: AtomicBool,
    host: (u64, u64),
    /// Type on the host.
    kind: u32,
    pub(super) dev: Dev,
    cached: Mutex<Option<(Attr, Instant)>>,
    seen: Mutex<Option<Seen>>,
    /// The descriptors of those who have it open, and whether they write.
    pub(super) opened: Mutex<Vec<(Weak<OwnedFd>, bool)>>,
    pub(super) anchor: Anchor,
}

fn timespec(t: rustix::fs::StatxTimestamp) -> Timespec {
    Timespec { sec: t.tv_sec, nsec: t.tv_nsec.into() }
}

fn identity(s: &Statx) -> (u64, u64) {
    (rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor), s.stx_ino)
}

/// EINVAL for what is not one name: whatever was asked, the host sees nothing with a way up or down in it.
fn one_name(name: &[u8]) -> Result<&[u8]> {
    match name {
        b"" | b"." | b".." => Err(Errno::EINVAL),
        n if n.contains(&b'/') || n.contains(&0) => Err(Errno::EINVAL),
        n => Ok(n),
    }
}

impl Node {
    /// The root, of which the descriptor is open.
    pub(super) fn root(fs: &Arc<HostFs>, fd: OwnedFd) -> Arc<Node> {
        let host = rustix::fs::fstat(&fd).map_or((0, 0), |s| (s.st_dev, s.st_ino));
        let dev = fs.met(host.0, &fd).unwrap_or(Dev { seen: fs.dev, closed: true, memory: false });
        let node = Node::make(fs, None, host, kind::DIR, dev);
        *node.fd.lock() = Some(Arc::new(fd));
        node.pinned.store(true, Ordering::Relaxed);
        node
    }

    fn make(
        fs: &Arc<HostFs>,
        place: Option<(Arc<Node>, Vec<u8>)>,
        host: (u64, u64),
        kind: u32,
        dev: Dev,
    ) -> Arc<Node> {
        Arc::new_cyclic(|me| Node {
            fs: fs.clone(),
            me: me.clone(),
            place: Mutex::new(Rank::Leaf, place),
            fd: Mutex::new(Rank::Leaf, None),
            pinned: AtomicBool::new(false),
            host,
            kind,
            dev,
            cached: Mutex::new(Rank::Leaf, None),
            seen: Mutex::new(Rank::Leaf, None),
            opened: Mutex::new(Rank::Leaf, Vec::new()),
            anchor: Anchor::default(),
        })
    }

    /// A path descriptor of a name in this directory. Links are not followed.
    pub(super) fn open_name(&self, name: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(self.directory()?, one_name(name)?, flags, Mode::empty())?)
    }

    /// A descriptor by which the host finds this node, whatever its name is by now.
    pub(super) fn handle(&self) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = self.held() {
            return Ok(fd);
        }
        let (parent, name) = self.place.lock().clone().ok_or(Errno::ESTALE)?;
        let fd = parent.open_name(&name)?;
        let s = rustix::fs::fstat(&fd)?;
        // Something else has its name now.
        if (s.st_dev, s.st_ino) != self.host { Err(Errno::ESTALE) } else { Ok(Arc::new(fd)) }
    }

    /// A descriptor that is open already: its own, or of somebody who has it open.
    fn held(&self) -> Option<Arc<OwnedFd>> {
        if let Some(fd) = self.fd.lock().clone() {
            return Some(fd);
        }
        self.opened.lock().iter().find_map(|(fd, _)| fd.upgrade())
    }

    /// The descriptor of a directory; EACCES for one whose files are not content.
    pub(super) fn directory(&self) -> Result<Arc<OwnedFd>> {
        if self.dev.closed {
            return Err(Errno::EACCES);
        }
        if let Some(fd) = self.fd.lock().clone() {
            return Ok(fd);
        }
        self.keep(self.handle()?)
    }

    fn keep(&self, fd: Arc<OwnedFd>) -> Result<Arc<OwnedFd>> {
        *self.fd.lock() = Some(fd.clone());
        if let Some(oldest) = self.fs.opened(&self.me) {
            oldest.close();
        }
        Ok(fd)
    }

    /// Gives its descriptor up, unless there is no way to another.
    fn close(&self) {
        if !self.pinned.load(Ordering::Relaxed) {
            let fd = self.fd.lock().take();
            drop(fd);
        }
    }

    /// Keeps a descriptor of what is about to lose its name: open files and their attributes outlive it.
    pub(super) fn pin(&self) {
        self.pinned.store(true, Ordering::Relaxed);
        if self.fd.lock().is_none()
            && let Ok(fd) = self.handle()
        {
            *self.fd.lock() = Some(fd);
        }
        self.changed();
    }

    /// It has a name, where it is found again.
    pub(super) fn found_at(&self, dir: &Node, name: &[u8]) {
        let place = dir.me.upgrade().map(|dir| (dir, name.to_vec()));
        // The old place may be the last to hold its directory, whose end takes locks.
        let old = std::mem::replace(&mut *self.place.lock(), place);
        drop(old);
    }

    /// Its attributes may have changed.
    pub(super) fn changed(&self) {
        *self.cached.lock() = None;
    }

    /// EROFS where nothing is changed.
    pub(super) fn writable(&self) -> Result<()> {
        if self.fs.access.writable { Ok(()) } else { Err(Errno::EROFS) }
    }

    /// EPERM where what is there stays.
    pub(super) fn may_shrink(&self) -> Result<()> {
        if self.fs.access.append { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// The type on the host of what is a file there, and may be something else here.
    pub(super) fn host_kind(&self) -> u32 {
        self.kind
    }

    /// What the host says now, or has said a moment ago where nobody else changes it.
    pub(super) fn attributes(&self) -> Result<Attr> {
        if !self.fs.access.shared
            && let Some((attr, when)) = *self.cached.lock()
            && time::now() < when + VALID
        {
            return Ok(attr);
        }
        let attr = self.stat()?;
        *self.cached.lock() = Some((attr, time::now()));
        Ok(attr)
    }

    fn stat(&self) -> Result<Attr> {
        if let Some(fd) = self.held() {
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
            return self.attr_of(&rustix::fs::statx(&fd, "", flags, WANTED)?);
        }
        let (parent, name) = self.place.lock().clone().ok_or(Errno::ESTALE)?;
        let s = rustix::fs::statx(parent.directory()?, one_name(&name)?, AtFlags::SYMLINK_NOFOLLOW, WANTED)?;
        if identity(&s) != self.host {
            return Err(Errno::ESTALE);
        }
        self.attr_of(&s)
    }

    fn attr_of(&self, s: &Statx) -> Result<Attr> {
        let mut attr = Attr {
            dev: self.dev.seen,
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
        match self.fs.access.owners {
            Owners::AsIs => {}
            Owners::Mapped { uid, gid } => {
                attr.uid = uid.unwrap_or(attr.uid);
                attr.gid = gid.unwrap_or(attr.gid);
            }
            Owners::Shadow | Owners::Recorded => {
                if let Some(meta) = self.meta(attr.ctime) {
                    meta.over(&mut attr);
                }
            }
        }
        Ok(attr)
    }

    /// What its attribute says, which is asked for only if anything about the file has changed since.
    fn meta(&self, changed: Timespec) -> Option<Meta> {
        // Others have none.
        if !matches!(self.kind, kind::REG | kind::DIR) {
            return None;
        }
        if let Some(seen) = *self.seen.lock()
            && seen.changed == changed
        {
            return seen.meta;
        }
        let meta = self.handle().ok().and_then(|fd| owner::read(fd.as_fd()));
        *self.seen.lock() = Some(Seen { changed, meta });
        meta
    }

    /// The node of a name in this directory.
    pub(super) fn child(&self, name: &[u8]) -> Result<Arc<Node>> {
        let dir = self.directory()?;
        let s = rustix::fs::statx(dir, one_name(name)?, AtFlags::SYMLINK_NOFOLLOW, WANTED)?;
        self.node_of(&s, name)
    }

    /// The node of what the host says is under a name in this directory.
    fn node_of(&self, s: &Statx, name: &[u8]) -> Result<Arc<Node>> {
        let host = identity(s);
        let kind = u32::from(s.stx_mode) & kind::MASK;
        let known = self.fs.inodes.lock().get(&host).and_then(Weak::upgrade);
        // A number may have been given anew, to something else.
        if let Some(node) = known.filter(|n| n.kind == kind) {
            node.changed();
            if !node.pinned.load(Ordering::Relaxed) || s.stx_nlink > 0 {
                node.found_at(self, name);
            }
            return Ok(node);
        }
        let dev = match self.fs.dev_of(host.0) {
            Some(dev) => dev,
            None => {
                let fd = self.open_name(name)?;
                self.fs.met(rustix::fs::fstat(&fd)?.st_dev, &fd)?
            }
        };
        let place = self.me.upgrade().map(|me| (me, name.to_vec()));
        let node = self.fs.remember(Node::make(&self.fs, place, host, kind, dev));
        let attr = node.attr_of(s)?;
        *node.cached.lock() = Some((attr, time::now()));
        Ok(node)
    }

    /// The node of a file that has just been made, and has no name yet.
    pub(super) fn unnamed(fs: &Arc<HostFs>, fd: &Arc<OwnedFd>) -> Result<Arc<Node>> {
        let s = rustix::fs::fstat(fd)?;
        let node = Node::make(fs, None, (s.st_dev, s.st_ino), kind::REG, fs.met(s.st_dev, fd)?);
        *node.fd.lock() = Some(fd.clone());
        node.pinned.store(true, Ordering::Relaxed);
        Ok(fs.remember(node))
    }

    /// EXDEV for another file system's.
    pub(super) fn own<'a>(&self, inode: &'a Arc<dyn Inode>) -> Result<&'a Node> {
        inode.as_any().downcast_ref::<Node>().filter(|n| Arc::ptr_eq(&n.fs, &self.fs)).ok_or(Errno::EXDEV)
    }

    /// Opens a regular file, by way of a descriptor of just that: whatever has its name by now, no FIFO, device or socket of the host's
    /// is ever opened.
    pub(super) fn reopen(&self, fd: &OwnedFd, how: OFlags) -> Result<OwnedFd> {
        let s = rustix::fs::fstat(fd)?;
        if FileType::from_raw_mode(s.st_mode) != FileType::RegularFile {
            return Err(Errno::ENXIO);
        }
        if self.dev.closed || s.st_dev != self.fs.host_dev && super::is_closed(fd.as_fd())? {
            return Err(Errno::EACCES);
        }
        let path = proc_path(fd.as_fd());
        let writes = how.intersects(OFlags::WRONLY | OFlags::RDWR);
        // What the guest writes is no program that runs as its owner on the host, where the host itself would not see to that.
        if writes && owner::is_set_id(s.st_mode) {
            rustix::fs::chmod(&path, Mode::from_raw_mode(s.st_mode & 0o1777))?;
        }
        let append = if writes && self.fs.access.append { OFlags::APPEND } else { OFlags::empty() };
        let always = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(rustix::fs::open(path, how | append | always, Mode::empty())?)
    }

    /// A shadow's file capabilities go when it is about to be written to.
    pub(super) fn lose_capabilities(&self, fd: &OwnedFd) {
        if self.fs.access.owners == Owners::Shadow {
            let _ = rustix::fs::removexattr(proc_path(fd.as_fd()), owner::CAPABILITY);
        }
    }

    /// Somebody has written to it: what is kept of set-id bits goes, as it does on the host by itself.
    pub(super) fn written(&self) {
        self.changed();
        let meta = self.seen.lock().and_then(|s| s.meta);
        if let Some(meta) = meta.filter(|m| owner::is_set_id(m.mode))
            && let Ok(fd) = self.handle()
        {
            let mode = crate::fs::tmpfs::without_setid(meta.mode);
            let _ = self.force(&fd, Meta { mode, ..meta });
        }
    }

    /// Makes owner, mode and number so: on the host, in the attribute, or not.
    pub(super) fn force(&self, fd: &OwnedFd, meta: Meta) -> Result<()> {
        let owners = self.fs.access.owners;
        let s = rustix::fs::fstat(fd)?;
        let link = FileType::from_raw_mode(s.st_mode) == FileType::Symlink;
        let chown = || {
            let (uid, gid) = (rustix::fs::Uid::from_raw(meta.uid), rustix::fs::Gid::from_raw(meta.gid));
            rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        };
        let mut kept = true;
        if (s.st_uid, s.st_gid) != (meta.uid, meta.gid) {
            match owners {
                Owners::Shadow => kept = false,
                Owners::Mapped { .. } => {}
                Owners::Recorded | Owners::AsIs => kept = chown().is_ok(),
            }
        }
        if !link {
            let mode = meta.host_mode(owners);
            let path = proc_path(fd.as_fd());
            if s.st_mode & 0o7777 != mode || !kept {
                kept &= rustix::fs::chmod(&path, Mode::from_raw_mode(mode)).is_ok();
            }
            kept &= rustix::fs::fstat(fd)?.st_mode == meta.mode;
            // What an older one says is not true any more.
            if owners.in_attributes() {
                let written = !kept || owner::read(fd.as_fd()).is_some();
                if written {
                    owner::write(fd.as_fd(), meta)?;
                }
                let s = rustix::fs::fstat(fd)?;
                let changed = Timespec { sec: s.st_ctime, nsec: s.st_ctime_nsec as i64 };
                *self.seen.lock() = Some(Seen { changed, meta: written.then_some(meta) });
            }
        }
        self.changed();
        Ok(())
    }
}

impl HostFs {
    /// Keeps a node for as long as somebody has it; another's, if that was quicker.
    fn remember(&self, node: Arc<Node>) -> Arc<Node> {
        let mut inodes = self.inodes.lock();
        if inodes.len() > 4096 && inodes.len().is_power_of_two() {
            inodes.retain(|_, w| w.strong_count() > 0);
        }
        let there = inodes.get(&node.host).and_then(Weak::upgrade).filter(|n| n.kind == node.kind);
        match there {
            Some(there) => {
                // Not under the lock: the end of a node takes it.
                drop(inodes);
                drop(node);
                there
            }
            None => {
                inodes.insert(node.host, Arc::downgrade(&node));
                node
            }
        }
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
