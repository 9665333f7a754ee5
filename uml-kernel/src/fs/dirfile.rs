//! Open directories.

use super::{DirEntry, File, FileOps, kind};
use crate::base::{Errno, Result};
use std::any::Any;

/// An open directory. Its position is a cookie: 0 `.`, 1 `..`, 2 the first entry, then what the inode says.
#[derive(Debug, Default)]
pub struct Directory;

impl FileOps for Directory {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _: &File, _: &mut [u8], _: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn sync(&self, file: &File, _: bool) -> Result<()> {
        file.inode().file_system().sync()
    }
}

/// Gives entries from a position on, with `.` and `..` first.
pub fn entries(file: &File, from: u64, emit: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
    let own = file.inode().attr()?;
    if !own.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if file.path().dentry.is_deleted() {
        return Err(Errno::ENOENT);
    }
    let entry = |name: &[u8], ino, next| DirEntry { name: name.to_vec(), ino, kind: kind::DIR, next };
    if from == 0 && !emit(entry(b".", own.ino, 1)) {
        return Ok(());
    }
    if from <= 1 {
        let above = file.path().dentry.parent().and_then(|p| p.inode().attr().ok());
        if !emit(entry(b"..", above.map_or(own.ino, |a| a.ino), 2)) {
            return Ok(());
        }
    }
    file.inode().entries(if from <= 2 { 0 } else { from }, emit)
}
