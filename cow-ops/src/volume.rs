//! Where on a disk the file system lies that is meant: the whole disk, or one partition of it.

mod content;
mod error;
#[cfg(test)]
mod tests;

pub use content::{Content, identify};
pub use error::{Error, Listed};

use block_device::{BlockDevice, Window};
use partitions::Entry;
use std::io;
use std::sync::Arc;

/// A place on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the partition; 0 for the whole disk.
    pub partition: u32,
    /// Its first byte on the disk.
    pub start: u64,
    /// Bytes.
    pub len: u64,
}

impl Place {
    /// This place of the disk, as a device.
    pub fn of(&self, disk: Arc<dyn BlockDevice>) -> Arc<dyn BlockDevice> {
        if self.partition == 0 {
            return disk;
        }
        Arc::new(Window::new(disk, self.start, self.len))
    }
}

/// The partitions of a disk that can hold something, with what they hold. None for a disk without a table.
///
/// # Errors
/// When the disk cannot be read.
pub fn list(disk: &Arc<dyn BlockDevice>) -> io::Result<Vec<Listed>> {
    let entries = partitions::scan(&**disk)?.entries;
    entries.into_iter().filter(|e| !e.kind.is_extended()).map(|e| listed(disk, e)).collect()
}

fn listed(disk: &Arc<dyn BlockDevice>, entry: Entry) -> io::Result<Listed> {
    let content = identify(&Window::new(Arc::clone(disk), entry.start, entry.len))?;
    Ok(Listed { entry, content })
}

/// The place of the ext file system that is meant. `partition` is its number, 0 for the whole disk; without one it is the whole disk where
/// that has a file system and no table, else the only partition that can be meant: it has the type of Linux's, and no swap area in it, or it
/// holds an ext file system.
///
/// # Errors
/// [`Error`], in text that says how to go on.
pub fn find(disk: &Arc<dyn BlockDevice>, partition: Option<u32>) -> Result<Place, Error> {
    let whole = Place { partition: 0, start: 0, len: disk.len() };
    if partition == Some(0) {
        return accept(whole, identify(&**disk)?);
    }
    if let Some(number) = partition {
        let found = entry(disk, number)?;
        return accept(found.place(), found.content);
    }
    let all = list(disk)?;
    let on_whole = identify(&**disk)?;
    if all.is_empty() {
        return accept(whole, on_whole);
    }
    // A table left over from before the whole disk was made one file system, or the reverse: nobody can tell.
    if on_whole == Content::Ext {
        return Err(Error::Ambiguous { all, whole: true });
    }
    let mut meant = all.iter().filter(|l| may_be_meant(l));
    match (meant.next(), meant.next()) {
        (Some(one), None) => accept(one.place(), one.content),
        _ => Err(Error::Ambiguous { all, whole: false }),
    }
}

/// The partition of this number, whatever it holds; 0 is the whole disk.
///
/// # Errors
/// [`Error`], in text that says how to go on.
pub fn part(disk: Arc<dyn BlockDevice>, number: u32) -> Result<Arc<dyn BlockDevice>, Error> {
    Ok(numbered(&disk, number)?.of(disk))
}

/// [`part`], as a place.
///
/// # Errors
/// [`Error`], in text that says how to go on.
pub fn numbered(disk: &Arc<dyn BlockDevice>, number: u32) -> Result<Place, Error> {
    if number == 0 {
        return Ok(Place { partition: 0, start: 0, len: disk.len() });
    }
    Ok(entry(disk, number)?.place())
}

fn entry(disk: &Arc<dyn BlockDevice>, number: u32) -> Result<Listed, Error> {
    let mut all = list(disk)?;
    match all.iter().position(|l| l.entry.number == number) {
        Some(at) => Ok(all.swap_remove(at)),
        None => Err(Error::NoSuch { number, all }),
    }
}

/// [`find`], as a device.
///
/// # Errors
/// [`Error`], in text that says how to go on.
pub fn choose(disk: Arc<dyn BlockDevice>, partition: Option<u32>) -> Result<Arc<dyn BlockDevice>, Error> {
    Ok(find(&disk, partition)?.of(disk))
}

fn may_be_meant(listed: &Listed) -> bool {
    listed.content == Content::Ext || listed.entry.kind.is_linux() && listed.content != Content::Swap
}

impl Listed {
    /// Where it lies.
    pub fn place(&self) -> Place {
        Place { partition: self.entry.number, start: self.entry.start, len: self.entry.len }
    }
}

fn accept(place: Place, content: Content) -> Result<Place, Error> {
    match content {
        Content::Ext => Ok(place),
        other => Err(Error::Foreign { place, content: other }),
    }
}
