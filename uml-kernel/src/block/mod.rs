//! Block devices: the disks that the guest was given, and their special files.

mod file;
mod ubd;

pub use file::open;
pub use ubd::{Letters, Spec};

use crate::base::{Mutex, Rank, Result};
use crate::fs::Inode;
use ::block_device::BlockDevice;
use std::sync::Arc;

/// Major number of ubd disks (Documentation/admin-guide/devices.txt).
pub const UBD: u64 = 98;
/// Minor numbers of one disk: itself and its partitions.
pub const MINORS: u64 = 16;

/// A disk of the guest's.
#[derive(Clone)]
pub struct Disk {
    /// As in /dev.
    pub name: String,
    /// Its device number.
    pub number: u64,
    /// What it holds.
    pub device: Arc<dyn BlockDevice>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("name", &self.name).finish_non_exhaustive()
    }
}

static DISKS: Mutex<Vec<Disk>> = Mutex::new(Rank::Leaf, Vec::new());

/// Adds a disk to those there are.
pub fn add(disk: Disk) {
    DISKS.lock().push(disk);
}

/// All disks, in the order in which they were added.
pub fn all() -> Vec<Disk> {
    DISKS.lock().clone()
}

/// The disk of a device number.
pub fn find(number: u64) -> Option<Disk> {
    DISKS.lock().iter().find(|d| d.number == number).cloned()
}

/// Makes the special files of all disks in a directory.
pub fn populate(dir: &Arc<dyn Inode>) -> Result<()> {
    const GROUP_DISK: u32 = 6;
    for disk in all() {
        crate::fs::devtmpfs::add_device(
            dir,
            &disk.name,
            crate::fs::kind::BLK | 0o660,
            disk.number,
            GROUP_DISK,
        )?;
    }
    Ok(())
}
