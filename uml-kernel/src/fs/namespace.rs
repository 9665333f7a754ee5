//! The namespace of mounts: which lie where, and what may be taken away (fs/namespace.c).

use super::{Mount, MountFlags, Path};
use crate::base::wait::{Events, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Puts a mount on top of what is mounted on a path.
    fn put(&mut self, mount: &Arc<Mount>, at: Path) {
        at.dentry.mounts.fetch_add(1, Ordering::Relaxed);
        self.on.entry((at.mount.id(), at.dentry.id())).or_default().push(mount.clone());
        self.all.push(mount.clone());
        *mount.at.lock() = Some(at);
    }

    /// Takes a mount from where it is, which is let go after the lock: it may be the last that holds that. EINVAL if it is nowhere.
    fn take(&mut self, mount: &Arc<Mount>) -> Result<Path> {
        let at = mount.at.lock().take().ok_or(Errno::EINVAL)?;
        self.all.retain(|m| !Arc::ptr_eq(m, mount));
        let key = (at.mount.id(), at.dentry.id());
        if let Some(list) = self.on.get_mut(&key) {
            list.retain(|m| !Arc::ptr_eq(m, mount));
            if list.is_empty() {
                self.on.remove(&key);
            }
        }
        at.dentry.mounts.fetch_sub(1, Ordering::Relaxed);
        Ok(at)
    }

    fn knows(&self, mount: &Arc<Mount>) -> bool {
        self.all.iter().any(|m| Arc::ptr_eq(m, mount))
    }

    /// EBUSY if others lie on a mount, or somebody has something of it: an open file, a directory, a mapping, a program.
    fn check_unused(&self, mount: &Arc<Mount>) -> Result<()> {
        // Two are the table's, one is the caller's. Nobody gets another but by one of theirs, or here.
        let others = Arc::strong_count(mount) > 3;
        if others || self.on.keys().any(|(on, _)| *on == mount.id()) {
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// A mount and all that lie on it or on one of these, each before what it lies on.
    fn with_those_on(&self, mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let mut found = vec![mount.clone()];
        let mut next = 0;
        while next < found.len() {
            let id = found[next].id();
            let on = self.on.iter().filter(|((on, _), _)| *on == id);
            found.extend(on.flat_map(|(_, list)| list.iter().cloned()));
            next += 1;
        }
        found.reverse();
        found
    }
}

/// How a mount is taken away: umount2(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmount {
    /// If nobody uses it.
    Unused,
    /// From the tree at once, with all that lie on it; those who use it go on (MNT_DETACH).
    Detach,
    /// If nobody has used it since the same was asked for before; else EAGAIN (MNT_EXPIRE).
    Expire,
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

    /// Mounts on a directory (or a file on a file); EINVAL where that is mounted nowhere any more.
    pub fn mount(&self, mount: Arc<Mount>, at: Path) -> Result<()> {
        let mut table = self.table.lock();
        if !table.knows(&at.mount) {
            return Err(Errno::EINVAL);
        }
        table.put(&mount, at);
        drop(table);
        self.changed();
        Ok(())
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

    /// Takes a mount away; EBUSY while it is used or others lie on it, EINVAL for the root and for what is not mounted any more. The caller
    /// has the mount once.
    pub fn unmount(&self, mount: &Arc<Mount>, how: Unmount) -> Result<()> {
        let mut table = self.table.lock();
        if !table.knows(mount) || mount.at().is_none() {
            return Err(Errno::EINVAL);
        }
        let going = match how {
            Unmount::Detach => table.with_those_on(mount),
            _ => {
                table.check_unused(mount)?;
                vec![mount.clone()]
            }
        };
        if how == Unmount::Expire {
            // The path of this call is one, and all there may have been since the last.
            let crossed = mount.crossed.load(Ordering::Relaxed);
            if mount.expires.swap(crossed, Ordering::Relaxed) + 1 != crossed {
                return Err(Errno::EAGAIN);
            }
        }
        let places: Vec<Path> = going.iter().filter_map(|m| table.take(m).ok()).collect();
        drop(table);
        drop((going, places));
        self.changed();
        Ok(())
    }

    /// A mount becomes read-only (MS_REMOUNT), with `fs` its file system wherever that is mounted; EBUSY while somebody writes.
    pub fn make_read_only(&self, mount: &Arc<Mount>, flags: MountFlags, fs: bool) -> Result<()> {
        let before = mount.flags();
        // First the flag, then the look: who opens a file counts first, and looks at the flag then.
        mount.set_flags(flags | MountFlags::RDONLY);
        let same = |m: &Arc<Mount>| fs && Arc::ptr_eq(m.fs(), mount.fs());
        let written = mount.is_written() || self.table.lock().all.iter().any(|m| same(m) && m.is_written());
        let done = match (written, fs) {
            (true, _) => Err(Errno::EBUSY),
            (false, true) => mount.fs().remount(true),
            (false, false) => Ok(()),
        };
        if done.is_err() {
            mount.set_flags(before);
        }
        done
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
        if !table.knows(mount) || !table.knows(&to.mount) {
            return Err(Errno::EINVAL);
        }
        let before = table.take(mount)?;
        table.put(mount, to);
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
                Some(mount) => {
                    mount.crossed.fetch_add(1, Ordering::Relaxed);
                    path = Path { dentry: mount.root().clone(), mount };
                }
                None => break,
            }
        }
        path
    }
}
