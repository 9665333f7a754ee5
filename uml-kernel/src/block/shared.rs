//! File systems on disks: a disk has one at most. Who mounts it again gets the same, if it is of the type and can be written as asked
//! for (get_tree_bdev).

use super::{Disk, Open};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::FileSystem;
use std::sync::{Arc, Weak};

struct Mounted {
    number: u64,
    kind: Vec<u8>,
    fs: Weak<dyn FileSystem>,
}

static MOUNTED: Mutex<Vec<Mounted>> = Mutex::new(Rank::Leaf, Vec::new());

/// The file system of a disk: the one there is, or what `make` makes of the disk, which it has
/// alone as long as it keeps the `Disk` that it is given.
pub fn mount(
    disk: &Disk,
    kind: &[u8],
    read_only: bool,
    make: impl FnOnce(&Disk) -> Result<Arc<dyn FileSystem>>,
) -> Result<Arc<dyn FileSystem>> {
    if !read_only && disk.read_only() {
        return Err(Errno::EACCES);
    }
    let there = {
        let mounted = MOUNTED.lock();
        let same = mounted.iter().find(|m| m.number == disk.number && m.fs.strong_count() > 0);
        same.and_then(|m| Some((m.kind == kind, m.fs.upgrade()?)))
    };
    if let Some((same_kind, fs)) = there {
        // As it is now: it may have been remounted.
        let fits = same_kind && fs.is_read_only() == read_only;
        return if fits { Ok(fs) } else { Err(Errno::EBUSY) };
    }
    let fs = make(&disk.holding(Open::new(disk, true)?))?;
    let mut mounted = MOUNTED.lock();
    mounted.retain(|m| m.fs.strong_count() > 0);
    mounted.push(Mounted { number: disk.number, kind: kind.into(), fs: Arc::downgrade(&fs) });
    Ok(fs)
}
