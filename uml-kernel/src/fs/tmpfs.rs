//! An in-memory file system (tmpfs(5)).

mod content;
mod node;

use super::{FileSystem, Inode, StatFs, anonymous_dev, kind};
use crate::base::{Errno, Mutex, Rank, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use content::Opened;
pub use node::{Node, recount, seal, without_setid};

/// Bytes that all in-memory files hold, for `mem=`.
pub static HELD: AtomicU64 = AtomicU64::new(0);
/// Those of them that are not in the kernel's heap.
pub static IN_MEMFDS: AtomicU64 = AtomicU64::new(0);

/// Bytes that an inode is counted as (Linux's BOGO_INODE_SIZE).
const INODE: u64 = 1024;

/// One tmpfs.
#[derive(Debug)]
pub struct TmpFs {
    dev: u64,
    next_ino: AtomicU64,
    /// Bytes it may hold, and holds.
    limit: u64,
    used: AtomicU64,
    /// Bytes left for inodes and extended attributes, of [`INODE`] an inode.
    space: AtomicU64,
    root: Mutex<Option<Arc<Node>>>,
    /// Held while names change.
    tree: Mutex<()>,
    name: &'static str,
}

impl TmpFs {
    /// An empty one, of at most `limit` bytes, whose root has this mode and owner.
    pub fn new(name: &'static str, limit: u64, mode: u32, uid: u32, gid: u32) -> Arc<TmpFs> {
        let fs = Arc::new(TmpFs {
            dev: anonymous_dev(),
            next_ino: AtomicU64::new(1),
            limit,
            used: AtomicU64::new(0),
            space: AtomicU64::new(limit / 4096 * INODE),
            root: Mutex::new(Rank::Leaf, None),
            tree: Mutex::new(Rank::UpperInode, ()),
            name,
        });
        let new = super::NewNode { mode: kind::DIR | mode, rdev: 0, uid, gid, target: b"" };
        *fs.root.lock() = Some(Node::new(&fs, &new));
        fs
    }

    /// A file that has no name, as memfd_create(2) makes.
    pub fn anonymous_file(self: &Arc<TmpFs>, uid: u32, gid: u32, mode: u32) -> Arc<Node> {
        let node =
            Node::new(self, &super::NewNode { mode: kind::REG | mode, rdev: 0, uid, gid, target: b"" });
        node.unlinked();
        node
    }

    /// Space for an inode or extended attributes.
    fn take(&self, bytes: u64) -> Result<()> {
        let take = |left: u64| left.checked_sub(bytes);
        let taken = self.space.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(|_| ()).map_err(|_| Errno::ENOSPC)
    }

    fn give_back(&self, bytes: u64) {
        self.space.fetch_add(bytes, Ordering::Relaxed);
    }

    fn grow(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        HELD.fetch_add(bytes, Ordering::Relaxed);
    }

    fn shrink(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        HELD.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl FileSystem for TmpFs {
    fn name(&self) -> &'static str {
        self.name
    }

    fn root(&self) -> Arc<dyn Inode> {
        match self.root.lock().clone() {
            Some(root) => root,
            None => unreachable!("set by new"),
        }
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn statfs(&self) -> Result<StatFs> {
        let blocks = self.limit / 4096;
        let free = blocks.saturating_sub(self.used.load(Ordering::Relaxed).div_ceil(4096));
        let files = blocks;
        Ok(StatFs {
            magic: 0x0102_1994,
            bsize: 4096,
            blocks,
            bfree: free,
            bavail: free,
            files,
            ffree: self.space.load(Ordering::Relaxed) / INODE,
            namelen: 255,
        })
    }

    fn options(&self) -> String {
        format!(",size={}k", self.limit >> 10)
    }
}
