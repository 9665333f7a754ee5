//! Open directories.

use super::{DirEntry, File, FileOps, kind};
use crate::base::{Errno, Mutex, Rank, Result};
use std::any::Any;

/// An open directory. Its position is a cookie: 0 `.`, 1 `..`, 2 the first entry, then what the inode says.
#[derive(Debug)]
pub struct Directory {
    /// The entries as they were at the last rewind, of directories that give them all at once.
    list: Mutex<Vec<DirEntry>>,
}

impl Default for Directory {
    fn default() -> Directory {
        Directory { list: Mutex::new(Rank::Leaf, Vec::new()) }
    }
}

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
    let from = if from <= 2 { 0 } else { from };
    let inode = file.inode();
    let Some(directory) = file.ops_as::<Directory>().filter(|_| inode.entries_are_a_list()) else {
        return inode.entries(from, emit);
    };
    if from == 0 {
        let mut list = Vec::new();
        inode.entries(0, &mut |mut entry| {
            entry.next = list.len() as u64 + 3;
            list.push(entry);
            true
        })?;
        *directory.list.lock() = list;
    }
    // An entry's position is one more than its index and the two dots: what comes after position n begins at index n - 2.
    let start = if from == 0 { 0 } else { from as usize - 2 };
    let rest = directory.list.lock().get(start..).unwrap_or_default().to_vec();
    for entry in rest {
        if !emit(entry) {
            break;
        }
    }
    Ok(())
}
