//! The block devices there are, by their numbers, and their special files in devtmpfs.

use super::{Disk, claim, loops, parts};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::{Namespace, Path, devtmpfs, kind, makedev};
use std::sync::{Arc, OnceLock};

/// The group of disks, by its number in every distribution (udev's rule gives them to it).
const GROUP_DISK: u32 = 6;
/// Major number of partitions beyond those that their disk has numbers for (BLOCK_EXT_MAJOR).
const BLOCK_EXT: u64 = 259;

/// Each disk, with its partitions behind it.
static DISKS: Mutex<Vec<Disk>> = Mutex::new(Rank::Leaf, Vec::new());
/// Where devtmpfs may be mounted.
static TREE: OnceLock<Arc<Namespace>> = OnceLock::new();

/// Adds a disk to those there are, with its partitions and their special files. EEXIST if its name or number is taken.
pub(super) fn add(disk: Disk) -> Result<()> {
    insert(&disk)?;
    parts::rescan(&disk);
    Ok(())
}

/// Takes a disk away, with its partitions. EBUSY while it is open or mounted, ENXIO if there is none of that number.
pub(super) fn remove(number: u64) -> Result<()> {
    let disk = find(number).filter(|d| d.whole().is_none()).ok_or(Errno::ENXIO)?;
    if claim::opens(&disk) > 0 {
        return Err(Errno::EBUSY);
    }
    for part in parts_of(&disk) {
        take(&part);
    }
    take(&disk);
    Ok(())
}

/// All disks and partitions, disks in the order in which they were added, each before its partitions.
pub fn all() -> Vec<Disk> {
    DISKS.lock().clone()
}

/// The disk or partition of a device number.
pub fn find(number: u64) -> Option<Disk> {
    DISKS.lock().iter().find(|d| d.number == number).cloned()
}

/// The partitions of a disk, by their numbers.
pub(super) fn parts_of(disk: &Disk) -> Vec<Disk> {
    let all = all();
    all.into_iter().filter(|d| d.whole().is_some_and(|w| w.number == disk.number)).collect()
}

/// Makes the special files of the disks there are, and from now on of those to come.
pub fn populate(ns: &Arc<Namespace>) -> Result<()> {
    let _ = TREE.set(ns.clone());
    all().iter().try_for_each(make_node)?;
    // Behind the disks that the guest was given, of which the first may be the root.
    loops::start()
}

/// The root of the tree.
pub(super) fn root() -> Option<Path> {
    TREE.get().map(|ns| ns.root())
}

/// Everything that was written to disks is durable.
pub fn flush_all() {
    for disk in all().iter().filter(|d| d.whole().is_none() && !d.is_empty()) {
        if let Err(e) = disk.device.flush() {
            crate::log!("{}: {e}", disk.name);
        }
    }
}

/// A number for a partition that its disk has none for.
pub(super) fn spare_number() -> u64 {
    let disks = DISKS.lock();
    let taken = |n: &u64| disks.iter().any(|d| d.number == makedev(BLOCK_EXT, *n));
    let free = (0..).find(|n| !taken(n)).unwrap_or_default();
    makedev(BLOCK_EXT, free)
}

/// Puts a disk, or a partition, into the table and into devtmpfs.
pub(super) fn insert(disk: &Disk) -> Result<()> {
    let mut disks = DISKS.lock();
    if disks.iter().any(|d| d.number == disk.number || d.name == disk.name) {
        return Err(Errno::EEXIST);
    }
    let family = |d: &Disk| d.whole().map_or(d.number, |w| w.number);
    let before = |d: &Disk| family(d) == family(disk) && d.partition_number() < disk.partition_number();
    let at = disks.iter().rposition(before).map_or(disks.len(), |n| n + 1);
    disks.insert(at, disk.clone());
    drop(disks);
    if let Err(e) = make_node(disk) {
        // It is there all the same, and mknod(1) makes what is missing.
        crate::log!("{}: no special file: {e}", disk.name);
    }
    Ok(())
}

/// Takes it out of both.
pub(super) fn take(disk: &Disk) {
    DISKS.lock().retain(|d| d.number != disk.number);
    let name = disk.name.as_bytes();
    // What the guest has put there in its place is the guest's.
    let ours = |attr: crate::fs::Attr| attr.kind() == kind::BLK && attr.rdev == disk.number;
    let unlinked = devtmpfs::root().and_then(|dir| match dir.lookup(name)?.attr()? {
        attr if ours(attr) => dir.unlink(name),
        _ => Ok(()),
    });
    if let Err(e) = unlinked {
        crate::log!("{}: its special file stays: {e}", disk.name);
    }
    forget(name);
}

/// What names led to is looked up again, wherever devtmpfs is mounted.
fn forget(name: &[u8]) {
    let mounts = TREE.get().map(|ns| ns.mounts()).unwrap_or_default();
    for mount in mounts.iter().filter(|m| m.fs().name() == "devtmpfs") {
        mount.root().forget(name);
    }
}

fn make_node(disk: &Disk) -> Result<()> {
    let dir = devtmpfs::root()?;
    if devtmpfs::add_device(&dir, &disk.name, kind::BLK | 0o660, disk.number, GROUP_DISK)? {
        // That it was not there.
        forget(disk.name.as_bytes());
    }
    Ok(())
}
