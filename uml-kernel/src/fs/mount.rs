//! Mounts, and the namespace that holds them.

use super::{Dentry, FileSystem, Inode};
use crate::base::wait::{Events, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

bitflags::bitflags! {
    /// Per-mount flags, the `MS_` values of mount(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// Read-only.
        const RDONLY = 1;
        /// No set-user-ID.
        const NOSUID = 2;
        /// No devices.
        const NODEV = 4;
        /// No programs.
        const NOEXEC = 8;
        /// No access times.
        const NOATIME = 1024;
        /// No access times of directories.
        const NODIRATIME = 2048;
        /// Access times kept coarsely.
        const RELATIME = 1 << 21;
        /// Internal: its nodes are in no tree, and each is known by its own name (`pipe:[7]`).
        const KERNMOUNT = 1 << 22;
    }
}

/// A file system, or a part of one, at a place in the tree.
pub struct Mount {
    id: u64,
    fs: Arc<dyn FileSystem>,
    root: Arc<Dentry>,
    source: String,
    flags: AtomicU32,
    at: Mutex<Option<Path>>,
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.fs.name(), self.id)
    }
}

impl Mount {
    /// A mount that is nowhere yet.
    pub fn new(fs: Arc<dyn FileSystem>, root: Arc<Dentry>, source: &str, flags: MountFlags) -> Arc<Mount> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Mount {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            fs,
            root,
            source: source.into(),
            flags: AtomicU32::new(flags.bits()),
            at: Mutex::new(Rank::Leaf, None),
        })
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// The file system.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }
    /// Its root.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }
    /// What was mounted, as in /proc/mounts.
    pub fn source(&self) -> &str {
        &self.source
    }
    /// Its flags.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }
    /// Changes its flags (MS_REMOUNT).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }
    /// Where it is mounted; `None` for the root of all.
    pub fn at(&self) -> Option<Path> {
        self.at.lock().clone()
    }
}

/// A dentry as reached through a mount.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name in its file system.
    pub dentry: Arc<Dentry>,
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}:{:?}", self.mount, self.dentry)
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl Path {
    /// Its inode.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// EROFS if the mount is read-only.
    pub fn check_writable(&self) -> Result<()> {
        if self.mount.flags().contains(MountFlags::RDONLY) { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// The directory above, through mounts, not above `root`. A root's parent is itself.
    pub fn parent(&self, root: &Path) -> Path {
        let mut here = self.clone();
        loop {
            if here == *root {
                return here;
            }
            if !Arc::ptr_eq(&here.dentry, here.mount.root()) {
                return match here.dentry.parent() {
                    Some(parent) => Path { mount: here.mount, dentry: parent },
                    None => here,
                };
            }
            match here.mount.at() {
                Some(at) => here = at,
                None => return here,
            }
        }
    }

    /// As text, from `root`; `None` if it does not lie below. A deleted name ends in " (deleted)". What is in no tree (a pipe, a
    /// socket) gives its name, without a slash.
    pub fn text(&self, root: &Path) -> Option<Vec<u8>> {
        if self.mount.flags().contains(MountFlags::KERNMOUNT) {
            return Some(self.dentry.name());
        }
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut here = self.clone();
        let deleted = self.dentry.is_deleted();
        while here != *root {
            if Arc::ptr_eq(&here.dentry, here.mount.root()) {
                match here.mount.at() {
                    Some(at) => here = at,
                    None => return None,
                }
            } else {
                let parent = here.dentry.parent()?;
                parts.push(here.dentry.name());
                here.dentry = parent;
            }
        }
        let mut text = Vec::new();
        for part in parts.iter().rev() {
            text.push(b'/');
            text.extend_from_slice(part);
        }
        if text.is_empty() {
            text.push(b'/');
        }
        if deleted {
            text.extend_from_slice(b" (deleted)");
        }
        Some(text)
    }
}

/// All mounts that a task sees.
#[derive(Debug)]
pub struct Namespace {
    root: Path,
    table: Mutex<Table>,
    changes: AtomicU64,
    watchers: WaitQueue,
}

#[derive(Debug, Default)]
struct Table {
    /// By mount and dentry on which they lie: the mounts there, the last one on top.
    on: HashMap<(u64, u64), Vec<Arc<Mount>>>,
    all: Vec<Arc<Mount>>,
}

impl Table {
    /// Puts a mount on top of what is mounted on a path; where it was before.
    fn put(&mut self, mount: &Arc<Mount>, at: Path) -> Option<Path> {
        at.dentry.mounts.fetch_add(1, Ordering::Relaxed);
        self.on.entry((at.mount.id(), at.dentry.id())).or_default().push(mount.clone());
        self.all.push(mount.clone());
        mount.at.lock().replace(at)
    }

    /// Takes a mount from where it is; EINVAL if it is nowhere, or no longer: a working directory may still be in it.
    fn take(&mut self, mount: &Arc<Mount>) -> Result<()> {
        let at = mount.at().ok_or(Errno::EINVAL)?;
        let known = self.all.len();
        self.all.retain(|m| !Arc::ptr_eq(m, mount));
        if self.all.len() == known {
            return Err(Errno::EINVAL);
        }
        let key = (at.mount.id(), at.dentry.id());
        if let Some(list) = self.on.get_mut(&key) {
            list.retain(|m| !Arc::ptr_eq(m, mount));
            if list.is_empty() {
                self.on.remove(&key);
            }
        }
        at.dentry.mounts.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Namespace {
    /// With a file system at its root.
    pub fn new(mount: Arc<Mount>) -> Arc<Namespace> {
        let root = Path { dentry: mount.root().clone(), mount: mount.clone() };
        let table = Table { on: HashMap::new(), all: vec![mount] };
        Arc::new(Namespace {
            root,
            table: Mutex::new(Rank::Dentry, table),
            changes: AtomicU64::new(0),
            watchers: WaitQueue::new(),
        })
    }

    /// The root of all.
    pub fn root(&self) -> Path {
        self.root.clone()
    }

    /// All mounts, in the order they were made.
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        self.table.lock().all.clone()
    }

    /// Mounts on a directory (or a file on a file).
    pub fn mount(&self, mount: Arc<Mount>, at: Path) {
        let mut table = self.table.lock();
        table.put(&mount, at);
        drop(table);
        self.changed();
    }

    /// How often the mounts have changed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Woken with `PRI` at each change: pollers of /proc/PID/mountinfo wait on it.
    pub fn watchers(&self) -> &WaitQueue {
        &self.watchers
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.watchers.wake(Events::PRI | Events::ERR);
    }

    /// Takes a mount away; EBUSY while others lie on it, EINVAL for the root and for what is not mounted any more.
    pub fn unmount(&self, mount: &Arc<Mount>, lazy: bool) -> Result<()> {
        let mut table = self.table.lock();
        if !lazy && table.on.iter().any(|((id, _), list)| *id == mount.id() && !list.is_empty()) {
            return Err(Errno::EBUSY);
        }
        table.take(mount)?;
        let elsewhere = table.all.iter().any(|m| Arc::ptr_eq(&m.fs, &mount.fs));
        drop(table);
        if !elsewhere {
            mount.root.prune();
        }
        self.changed();
        Ok(())
    }

    /// Moves a mount to another place (MS_MOVE); ELOOP for one that lies on the mount itself: the way up from there would have no end, and
    /// neither would a path that is read on it.
    pub fn move_mount(&self, mount: &Arc<Mount>, to: Path) -> Result<()> {
        if mount.at().is_none() {
            return Err(Errno::EINVAL);
        }
        let mut table = self.table.lock();
        let mut above = Some(to.mount.clone());
        while let Some(m) = above {
            if Arc::ptr_eq(&m, mount) {
                return Err(Errno::ELOOP);
            }
            above = m.at().map(|at| at.mount);
        }
        table.take(mount)?;
        // Where it was is let go after the lock: it may be the last that holds it.
        let before = table.put(mount, to);
        drop(table);
        drop(before);
        self.changed();
        Ok(())
    }

    /// Goes to what is mounted on a path, if anything.
    pub fn cross(&self, mut path: Path) -> Path {
        while path.dentry.mounts.load(Ordering::Relaxed) > 0 {
            let top = self
                .table
                .lock()
                .on
                .get(&(path.mount.id(), path.dentry.id()))
                .and_then(|l| l.last().cloned());
            match top {
                Some(mount) => path = Path { dentry: mount.root().clone(), mount },
                None => break,
            }
        }
        path
    }
}
