//! Dentries: names, and what they stand for. A cache over the file systems' directories, and the tree that paths are read from.

use super::{Inode, inotify};
use crate::base::time::{self, Instant};
use crate::base::{Errno, Mutex, Rank, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How long a name that was not there is believed not to be: the host may make it meanwhile.
const ABSENT_FOR: Instant = 1_000_000_000;
/// Names of one directory beyond which the unused are dropped.
const MANY: usize = 4096;

/// Counts changes of names, each before it is made here: what a file system said of a name before one may be wrong after it, and would
/// give a directory that was moved meanwhile a second dentry, in its old place.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// A name in a directory.
pub struct Dentry {
    id: u64,
    inode: Arc<dyn Inode>,
    place: Mutex<(Vec<u8>, Option<Arc<Dentry>>)>,
    children: Mutex<HashMap<Vec<u8>, Child>>,
    deleted: AtomicBool,
    /// It was made without a name, and may be given one.
    pub(super) linkable: AtomicBool,
    /// Mounts on it, in any namespace.
    pub(super) mounts: AtomicUsize,
}

enum Child {
    Present(Arc<Dentry>),
    Absent(Instant),
}

impl Child {
    fn present(&self) -> Option<Arc<Dentry>> {
        match self {
            Child::Present(dentry) => Some(dentry.clone()),
            Child::Absent(_) => None,
        }
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // The last who had it.
        if *self.deleted.get_mut() && inotify::any() && self.inode.attr().is_ok_and(|a| a.nlink == 0) {
            inotify::gone(&self.inode);
        }
    }
}

impl std::fmt::Debug for Dentry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.name()))
    }
}

impl Dentry {
    /// The root of a file system, or a file that has no name in any.
    pub fn root(name: &[u8], inode: Arc<dyn Inode>) -> Arc<Dentry> {
        Dentry::make(name, None, inode)
    }

    fn make(name: &[u8], parent: Option<Arc<Dentry>>, inode: Arc<dyn Inode>) -> Arc<Dentry> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Dentry {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            inode,
            place: Mutex::new(Rank::Leaf, (name.to_vec(), parent)),
            children: Mutex::new(Rank::Dentry, HashMap::new()),
            deleted: AtomicBool::new(false),
            linkable: AtomicBool::new(false),
            mounts: AtomicUsize::new(0),
        })
    }

    /// Unlike any other's.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What it stands for.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// Its name.
    pub fn name(&self) -> Vec<u8> {
        self.place.lock().0.clone()
    }

    /// The directory it is in; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().1.clone()
    }

    /// Whether its name is gone.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Relaxed)
    }

    /// Finds a name in this directory.
    pub fn child(self: &Arc<Dentry>, name: &[u8]) -> Result<Arc<Dentry>> {
        let fs = self.inode.file_system();
        let (cacheable, asked) = (fs.cacheable(), fs.changes_by_itself());
        if let Some(child) = self.children.lock().get(name) {
            match child {
                // What comes and goes by itself stays as long as it is mounted on or used, and is asked for again below.
                Child::Present(dentry)
                    if !asked && (cacheable || dentry.inode.lasting())
                        || dentry.mounts.load(Ordering::Relaxed) > 0 =>
                {
                    return Ok(dentry.clone());
                }
                Child::Absent(when) if cacheable && !asked && time::now() < when + ABSENT_FOR => {
                    return Err(Errno::ENOENT);
                }
                _ => {}
            }
        }
        let before = CHANGES.load(Ordering::SeqCst);
        let found = self.inode.lookup(name);
        let mut children = self.children.lock();
        if CHANGES.load(Ordering::SeqCst) != before {
            drop(children);
            return self.child(name);
        }
        match found {
            Ok(inode) => {
                let lasting = inode.lasting();
                if let Some(Child::Present(there)) = children.get(name)
                    && lasting
                {
                    if !asked || std::ptr::addr_eq(Arc::as_ptr(&there.inode), Arc::as_ptr(&inode)) {
                        return Ok(there.clone());
                    }
                    // Others have put something else in its place.
                    there.lost_its_name();
                }
                let dentry = Dentry::make(name, Some(self.clone()), inode);
                if lasting {
                    let before = children.insert(name.to_vec(), Child::Present(dentry.clone()));
                    shrink(&mut children);
                    drop(children);
                    // Not under the lock: its file may end with it.
                    drop(before);
                }
                Ok(dentry)
            }
            Err(Errno::ENOENT) if asked => {
                let before = children.remove(name);
                drop(children);
                if let Some(Child::Present(gone)) = before {
                    gone.lost_its_name();
                }
                Err(Errno::ENOENT)
            }
            Err(Errno::ENOENT) if cacheable => {
                children.insert(name.to_vec(), Child::Absent(time::now()));
                shrink(&mut children);
                Err(Errno::ENOENT)
            }
            Err(e) => Err(e),
        }
    }

    /// A node was made under this name.
    pub fn add(self: &Arc<Dentry>, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Dentry> {
        let dentry = Dentry::make(name, Some(self.clone()), inode);
        CHANGES.fetch_add(1, Ordering::SeqCst);
        self.children.lock().insert(name.to_vec(), Child::Present(dentry.clone()));
        dentry
    }

    /// The name was removed.
    pub fn forget(&self, name: &[u8]) {
        CHANGES.fetch_add(1, Ordering::SeqCst);
        if let Some(Child::Present(gone)) = self.children.lock().remove(name) {
            gone.deleted.store(true, Ordering::Relaxed);
        }
    }

    /// It is not where it was: removed by others, or moved. Who works in a directory that was moved goes on there.
    fn lost_its_name(&self) {
        let gone = self.inode.attr().map_or(true, |a| a.nlink == 0);
        self.deleted.store(gone, Ordering::Relaxed);
    }

    /// It has no name in any directory.
    pub fn forget_self(&self) {
        self.deleted.store(true, Ordering::Relaxed);
    }

    /// A name was moved to another directory, over whatever was there; with `exchange` the two were swapped.
    pub fn moved(self: &Arc<Dentry>, name: &[u8], to: &Arc<Dentry>, to_name: &[u8], exchange: bool) {
        CHANGES.fetch_add(1, Ordering::SeqCst);
        let taken = self.children.lock().remove(name);
        let replaced = to.children.lock().remove(to_name);
        if let Some(Child::Present(dentry)) = taken {
            *dentry.place.lock() = (to_name.to_vec(), Some(to.clone()));
            let other = to.children.lock().insert(to_name.to_vec(), Child::Present(dentry));
            // Somebody has looked it up meanwhile, and has a second dentry of it.
            if let Some(Child::Present(other)) = other {
                other.deleted.store(true, Ordering::Relaxed);
            }
        }
        if let Some(Child::Present(dentry)) = replaced {
            if exchange {
                *dentry.place.lock() = (name.to_vec(), Some(self.clone()));
                self.children.lock().insert(name.to_vec(), Child::Present(dentry));
            } else {
                dentry.deleted.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether `other` is this dentry or lies below it.
    pub fn contains(self: &Arc<Dentry>, other: &Arc<Dentry>) -> bool {
        let mut at = Some(other.clone());
        while let Some(dentry) = at {
            if Arc::ptr_eq(self, &dentry) {
                return true;
            }
            at = dentry.parent();
        }
        false
    }

    /// Drops every cached name below, as nobody comes by here any more.
    pub(super) fn cut(self: &Arc<Dentry>) {
        let mut all = vec![self.clone()];
        let mut next = 0;
        while next < all.len() {
            let below: Vec<_> = all[next].children.lock().values().filter_map(Child::present).collect();
            all.extend(below);
            next += 1;
        }
        // From the deepest up: each then ends by itself, and not by the end of what it holds. That may end files, which is not done
        // under the lock.
        while let Some(dentry) = all.pop() {
            let children = std::mem::take(&mut *dentry.children.lock());
            drop::<HashMap<_, _>>(children);
        }
    }
}

fn in_use(child: &Child) -> bool {
    match child {
        Child::Present(d) => Arc::strong_count(d) > 1 || d.mounts.load(Ordering::Relaxed) > 0,
        Child::Absent(_) => false,
    }
}

fn shrink(children: &mut HashMap<Vec<u8>, Child>) {
    if children.len() > MANY {
        children.retain(|_, c| in_use(c));
    }
}
