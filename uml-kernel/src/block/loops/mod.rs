//! Loop devices (loop(4), drivers/block/loop.c): a file as a disk.
//!
//! The lock of a device is `Leaf`: nothing is read, written or called under it. I/O is done by a thread of the device's own
//! ([`worker`]).

mod control;
mod ioctl;
mod plain;
mod worker;

use super::disk::Driver;
use super::ioctl::Caller;
use super::{Disk, parts, table};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::{File, makedev};
use crate::mm::UserMemory;
use ::block_device::{BlockDevice, check_range};
pub(super) use control::start;
pub use plain::of_file;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use worker::Backing;

/// Major number (Documentation/admin-guide/devices.txt).
pub(super) const MAJOR: u64 = 7;
/// Blocks, unless it is said otherwise.
const BLOCK: u32 = 512;

bitflags::bitflags! {
    /// LO_FLAGS_* (linux/loop.h).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    struct Flags: u32 {
        const READ_ONLY = 1;
        /// The file is let go with the last close.
        const AUTOCLEAR = 4;
        /// Partitions are looked for.
        const PARTSCAN = 8;
        /// Kept and told: there is no cache of this device's own that could be passed by.
        const DIRECT_IO = 16;
    }
}

/// Which part of the file it is, and how it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setup {
    offset: u64,
    /// 0: up to the end.
    limit: u64,
    flags: Flags,
    block: u32,
    /// As it was told, for whom it may concern.
    name: [u8; 64],
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { offset: 0, limit: 0, flags: Flags::empty(), block: BLOCK, name: [0; 64] }
    }
}

impl Setup {
    /// Bytes of the device over a file of some length.
    fn fit(&self, len: u64) -> u64 {
        let rest = len.saturating_sub(self.offset);
        if self.limit > 0 { rest.min(self.limit) } else { rest }
    }
}

/// One with a file.
#[derive(Clone)]
struct Bound {
    backing: Arc<Backing>,
    setup: Setup,
    size: u64,
    /// The file has refused to give space back.
    keeps_space: bool,
    /// It has been told to end, and nobody else has it open (Lo_rundown).
    ending: bool,
}

/// A loop device.
struct Loop {
    number: u64,
    bound: Mutex<Option<Bound>>,
}

/// The devices there are, by their indexes.
static LOOPS: Mutex<BTreeMap<u64, Arc<Loop>>> = Mutex::new(Rank::Leaf, BTreeMap::new());

/// The loop device of a device number.
fn find(number: u64) -> Option<Arc<Loop>> {
    (crate::fs::major(number) == MAJOR).then(|| LOOPS.lock().get(&crate::fs::minor(number)).cloned())?
}

/// Adds a device. EEXIST.
fn add(index: u64) -> Result<()> {
    let number = makedev(MAJOR, index);
    let device = Arc::new(Loop { number, bound: Mutex::new(Rank::Leaf, None) });
    table::add(Disk::driven(format!("loop{index}"), number, 1, device.clone(), device.clone()))?;
    LOOPS.lock().insert(index, device);
    Ok(())
}

/// Takes one away. ENODEV if it is not there, EBUSY if it has a file or is open.
fn remove(index: u64) -> Result<()> {
    let device = LOOPS.lock().get(&index).cloned().ok_or(Errno::ENODEV)?;
    if device.is_bound() {
        return Err(Errno::EBUSY);
    }
    table::remove(device.number)?;
    LOOPS.lock().remove(&index);
    Ok(())
}

impl Loop {
    fn is_bound(&self) -> bool {
        self.bound.lock().is_some()
    }

    /// As it is now; ENXIO without a file.
    fn look(&self) -> Result<Bound> {
        self.bound.lock().clone().filter(|b| !b.ending).ok_or(Errno::ENXIO)
    }

    /// Something of it, if there is a file.
    fn ask<T>(&self, what: impl FnOnce(&Bound) -> T) -> Option<T> {
        self.bound.lock().as_ref().map(what)
    }

    /// Changes what it is, if it still has that file.
    fn change(&self, backing: &Arc<Backing>, change: impl FnOnce(&mut Bound)) -> Result<()> {
        let mut bound = self.bound.lock();
        let bound = bound.as_mut().filter(|b| Arc::ptr_eq(&b.backing, backing)).ok_or(Errno::ENXIO)?;
        change(bound);
        Ok(())
    }

    /// The file, and where in it a range of the device is.
    fn place(&self, offset: u64, len: u64) -> io::Result<(Arc<Backing>, u64)> {
        let bound = self.ask(|b| (b.backing.clone(), b.setup.offset, b.size));
        let (backing, start, size) = bound.ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))?;
        check_range(offset, len, size)?;
        Ok((backing, start + offset))
    }

    fn to_write(&self, offset: u64, len: u64) -> io::Result<(Arc<Backing>, u64)> {
        if BlockDevice::read_only(self) {
            return Err(io::Error::from_raw_os_error(libc::EROFS));
        }
        self.place(offset, len)
    }

    /// Gives space back; EOPNOTSUPP if the file cannot, which is kept in mind.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let (backing, at) = self.to_write(offset, len)?;
        let result = backing.punch(at, len);
        if result == Err(Errno::EOPNOTSUPP) {
            self.change(&backing, |b| b.keeps_space = true).map_err(failure)?;
        }
        result.map_err(failure)
    }
}

fn failure(e: Errno) -> io::Error {
    io::Error::from_raw_os_error(e.0)
}

impl BlockDevice for Loop {
    fn len(&self) -> u64 {
        self.ask(|b| b.size).unwrap_or(0)
    }

    fn read_only(&self) -> bool {
        self.ask(|b| b.setup.flags.contains(Flags::READ_ONLY)).unwrap_or(false)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let (backing, at) = self.place(offset, buf.len() as u64)?;
        backing.read(buf, at).map_err(failure)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let (backing, at) = self.to_write(offset, buf.len() as u64)?;
        backing.write(buf, at).map_err(failure)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.punch(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<()> {
        if may_unmap && Driver::discards(self) && self.punch(offset, len).is_ok() {
            return Ok(());
        }
        let (backing, at) = self.to_write(offset, len)?;
        backing.zero(at, len).map_err(failure)
    }

    fn flush(&self) -> io::Result<()> {
        match self.ask(|b| (b.backing.clone(), b.setup.flags)) {
            Some((backing, flags)) if !flags.contains(Flags::READ_ONLY) => backing.flush().map_err(failure),
            _ => Ok(()),
        }
    }
}

impl Driver for Loop {
    fn may_open(&self) -> Result<()> {
        if self.ask(|b| b.ending) == Some(true) { Err(Errno::ENXIO) } else { Ok(()) }
    }

    fn last_closed(&self, disk: &Disk) {
        let ends = |b: &mut Bound| b.setup.flags.contains(Flags::AUTOCLEAR);
        let Some(bound) = self.bound.lock().take_if(ends) else { return };
        if !table::parts_of(disk).is_empty() {
            parts::rescan(disk);
        }
        // Here it is closed.
        drop(bound);
    }

    fn ioctl(
        &self,
        disk: &Disk,
        file: &File,
        caller: &dyn Caller,
        command: u32,
        arg: u64,
        memory: &UserMemory,
    ) -> Result<u64> {
        let disk = disk.whole().unwrap_or(disk);
        ioctl::Asked { device: self, disk, file, caller, memory }.answer(command, arg)
    }

    fn logical_block(&self) -> u32 {
        self.ask(|b| b.setup.block).unwrap_or(BLOCK)
    }

    fn scans(&self) -> bool {
        self.ask(|b| b.setup.flags.contains(Flags::PARTSCAN)).unwrap_or(false)
    }

    fn discards(&self) -> bool {
        self.ask(|b| !b.keeps_space).unwrap_or(false)
    }

    fn attributes(&self) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        let bound = self.bound.lock().clone()?;
        let setup = &bound.setup;
        let path = bound.backing.path().zip(table::root()).and_then(|(path, root)| path.text(&root));
        let flag = |flag| u8::from(setup.flags.contains(flag)).to_string();
        let values = vec![
            ("backing_file", String::from_utf8_lossy(&path.unwrap_or_default()).into_owned()),
            ("offset", setup.offset.to_string()),
            ("sizelimit", setup.limit.to_string()),
            ("autoclear", flag(Flags::AUTOCLEAR)),
            ("partscan", flag(Flags::PARTSCAN)),
            ("dio", flag(Flags::DIRECT_IO)),
        ];
        Some(("loop", values))
    }
}
