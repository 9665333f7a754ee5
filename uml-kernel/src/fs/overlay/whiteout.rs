//! How the upper layer says that something is not there.

use super::Overlay;
use crate::base::{Errno, Result};
use crate::fs::{Attr, Inode, NewNode, kind};
use std::sync::Arc;

impl Overlay {
    /// Whether an upper node stands for "nothing here".
    pub(super) fn is_whiteout(&self, attr: &Attr, inode: &Arc<dyn Inode>) -> bool {
        if attr.kind() == kind::CHR && attr.rdev == 0 {
            return true;
        }
        attr.kind() == kind::REG && attr.size == 0 && inode.xattr(self.mark("whiteout").as_bytes()).is_ok()
    }

    /// Puts one in an upper directory.
    pub(super) fn put_whiteout(&self, dir: &Arc<dyn Inode>, name: &[u8]) -> Result<()> {
        let new = NewNode { mode: kind::CHR, rdev: 0, uid: 0, gid: 0, target: b"" };
        dir.create(name, &new).map(drop)
    }

    /// Whether an upper directory hides the lower one.
    pub(super) fn is_opaque(&self, inode: &Arc<dyn Inode>) -> bool {
        inode.xattr(self.mark("opaque").as_bytes()).is_ok_and(|v| v == b"y")
    }

    /// Makes it hide the lower one.
    pub(super) fn set_opaque(&self, inode: &Arc<dyn Inode>) -> Result<()> {
        inode.set_xattr(self.mark("opaque").as_bytes(), b"y", 0)
    }

    /// Empties an upper directory of whiteouts, so that it can be removed.
    pub(super) fn clear_whiteouts(&self, dir: &Arc<dyn Inode>) -> Result<()> {
        let mut names = Vec::new();
        dir.entries(0, &mut |e| {
            names.push(e.name);
            true
        })?;
        for name in names {
            let node = dir.lookup(&name)?;
            if !self.is_whiteout(&node.attr()?, &node) {
                return Err(Errno::ENOTEMPTY);
            }
            dir.unlink(&name)?;
        }
        Ok(())
    }

    fn mark(&self, what: &str) -> String {
        format!("{}{what}", self.prefix)
    }

    /// Whether an attribute is one of the marks, which the guest does not see.
    pub(super) fn is_mark(&self, name: &[u8]) -> bool {
        name.starts_with(self.prefix.as_bytes())
    }
}
