//! Copying up: what is about to change gets its own copy in the upper layer, with all that it is.

use super::node::Node;
use crate::base::{Errno, Result};
use crate::fs::{Dentry, File, Inode, Mount, MountFlags, NewNode, OpenFlags, Path, SetAttr, kind};
use std::sync::Arc;

/// Bytes copied at a time.
const PIECE: usize = 256 << 10;

impl Node {
    /// Its node in the upper layer, made if it is not there yet; without its bytes if they are about to be cut off.
    /// The caller holds the lock for changes.
    pub(super) fn copy_up(&self, content: bool) -> Result<Arc<dyn Inode>> {
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        let lower = self.lower().ok_or(Errno::ESTALE)?;
        let (parent, name) = self.place().ok_or(Errno::ESTALE)?;
        let dir = parent.copy_up(true)?;
        let attr = lower.attr()?;
        let target = if attr.kind() == kind::LNK { lower.read_link()? } else { Vec::new() };
        let new = NewNode { mode: attr.mode, rdev: attr.rdev, uid: attr.uid, gid: attr.gid, target: &target };
        let upper = dir.create(&name, &new)?;
        let copied = copy_rest(&lower, &upper, attr.kind(), content);
        if let Err(e) = copied {
            // Half a copy would hide the whole original.
            let _ = if attr.is_dir() { dir.rmdir(&name) } else { dir.unlink(&name) };
            return Err(e);
        }
        upper.set_attr(&SetAttr {
            atime: Some(attr.atime),
            mtime: Some(attr.mtime),
            ..SetAttr::default()
        })?;
        self.set_upper(upper.clone());
        Ok(upper)
    }
}

fn copy_rest(lower: &Arc<dyn Inode>, upper: &Arc<dyn Inode>, kind: u32, content: bool) -> Result<()> {
    for name in lower.xattrs().unwrap_or_default() {
        if let Ok(value) = lower.xattr(&name) {
            match upper.set_xattr(&name, &value, 0) {
                Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EPERM) => {}
                Err(e) => return Err(e),
            }
        }
    }
    if kind == kind::REG && content { copy_bytes(lower, upper) } else { Ok(()) }
}

/// A file on an inode that is reached by no path.
fn open(inode: &Arc<dyn Inode>, flags: OpenFlags) -> Result<Arc<File>> {
    let dentry = Dentry::root(b"", inode.clone());
    let mount = Mount::new(inode.file_system(), dentry.clone(), "none", MountFlags::empty());
    Ok(File::new(inode.clone().open(flags)?, Path { mount, dentry }, flags))
}

fn copy_bytes(lower: &Arc<dyn Inode>, upper: &Arc<dyn Inode>) -> Result<()> {
    let size = lower.attr()?.size;
    if size == 0 {
        return Ok(());
    }
    let from = open(lower, OpenFlags::empty())?;
    let to = open(upper, OpenFlags::RDWR)?;
    let mut buffer = vec![0; PIECE.min(size as usize)];
    let mut at = 0;
    while at < size {
        // Holes stay holes.
        at = match from.ops().seek_data(&from, at, true) {
            Ok(data) => data,
            Err(Errno::ENXIO) => break,
            Err(_) => at,
        };
        let end = from.ops().seek_data(&from, at, false).unwrap_or(size).max(at + 1);
        let want = (end - at).min(PIECE as u64) as usize;
        let n = from.ops().read(&from, &mut buffer[..want], at)?;
        if n == 0 {
            break;
        }
        let mut put = 0;
        while put < n {
            put += to.ops().write(&to, &buffer[put..n], at + put as u64)?;
        }
        at += n as u64;
    }
    upper.set_attr(&SetAttr { size: Some(size), ..SetAttr::default() })
}
