//! Two file systems, one over the other: the lower is never changed, the upper takes all changes, in the format of Linux's
//! overlayfs (Documentation/filesystems/overlayfs.rst).

mod copy_up;
mod node;
mod whiteout;

use super::{FileSystem, Inode, StatFs, anonymous_dev};
use crate::base::{Mutex, Rank, Result};
use node::Node;
use std::sync::Arc;

/// The two, merged.
#[derive(Debug)]
pub struct Overlay {
    upper: Arc<dyn FileSystem>,
    lower: Arc<dyn FileSystem>,
    dev: u64,
    root: Mutex<Option<Arc<Node>>>,
    /// Prefix of the attributes that mark directories: `trusted.overlay.` or `user.overlay.`.
    prefix: &'static str,
    /// Held while something is copied up or names change.
    change: Mutex<()>,
}

impl Overlay {
    /// Merges two file systems.
    pub fn new(lower: Arc<dyn FileSystem>, upper: Arc<dyn FileSystem>, prefix: &'static str) -> Arc<Overlay> {
        let (lower_root, upper_root) = (lower.root(), upper.root());
        let fs = Arc::new(Overlay {
            upper,
            lower,
            dev: anonymous_dev(),
            root: Mutex::new(Rank::Leaf, None),
            prefix,
            change: Mutex::new(Rank::Dentry, ()),
        });
        *fs.root.lock() = Some(Node::new(&fs, None, Some(upper_root), Some(lower_root)));
        fs
    }
}

impl std::fmt::Debug for dyn FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FileSystem for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
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
        Ok(StatFs { magic: 0x794c_7630, ..self.upper.statfs()? })
    }

    fn sync(&self) -> Result<()> {
        self.upper.sync()
    }

    fn options(&self) -> String {
        format!(",lowerdir={},upperdir={}", self.lower.name(), self.upper.name())
    }
}
