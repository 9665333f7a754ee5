//! The ioctls of a loop device (linux/loop.h), as lo_ioctl answers them.

use super::worker::Backing;
use super::{Bound, Flags, Loop, Setup};
use crate::base::{Errno, Result};
use crate::block::file::{disk_of, is_alone};
use crate::block::ioctl::Caller;
use crate::block::{Disk, Open, claim, parts, table};
use crate::fs::{File, kind};
use crate::mm::{Packer, Unpacker, UserMemory};
use std::sync::Arc;

const LOOP_SET_FD: u32 = 0x4c00;
const LOOP_CLR_FD: u32 = 0x4c01;
const LOOP_SET_STATUS: u32 = 0x4c02;
const LOOP_GET_STATUS: u32 = 0x4c03;
const LOOP_SET_STATUS64: u32 = 0x4c04;
const LOOP_GET_STATUS64: u32 = 0x4c05;
const LOOP_CHANGE_FD: u32 = 0x4c06;
const LOOP_SET_CAPACITY: u32 = 0x4c07;
const LOOP_SET_DIRECT_IO: u32 = 0x4c08;
const LOOP_SET_BLOCK_SIZE: u32 = 0x4c09;
const LOOP_CONFIGURE: u32 = 0x4c0a;

/// What LOOP_SET_STATUS can set, and what of it it can take back.
const SETTABLE: Flags = Flags::AUTOCLEAR.union(Flags::PARTSCAN);
const CLEARABLE: Flags = Flags::AUTOCLEAR;
/// Longest key (LO_KEY_SIZE): of ciphers that there are no more.
const KEY: u32 = 32;
/// Largest block (a page).
const LARGEST: u32 = 4096;

/// An ioctl, and who it comes from.
pub(super) struct Asked<'a> {
    pub(super) device: &'a Loop,
    pub(super) disk: &'a Disk,
    pub(super) file: &'a File,
    pub(super) caller: &'a dyn Caller,
    pub(super) memory: &'a UserMemory,
}

/// What of struct loop_info64 and struct loop_info is of use.
struct Info {
    offset: u64,
    limit: u64,
    flags: u32,
    name: [u8; 64],
}

impl Info {
    fn new(offset: u64, limit: u64, flags: u32, name: &[u8], (cipher, key): (u32, u32)) -> Result<Info> {
        if key > KEY || cipher != 0 {
            return Err(Errno::EINVAL);
        }
        if i64::try_from(offset).is_err() || i64::try_from(limit).is_err() {
            return Err(Errno::EOVERFLOW);
        }
        let mut kept = [0; 64];
        // The last byte ends it.
        kept[..63].copy_from_slice(&name[..63]);
        Ok(Info { offset, limit, flags, name: kept })
    }

    /// struct loop_info64.
    fn parse(bytes: &[u8; 232]) -> Result<Info> {
        let mut u = Unpacker(&bytes[24..]);
        let (offset, limit) = (u.u64(), u.u64());
        let _number = u.u32();
        let (cipher, key, flags) = (u.u32(), u.u32(), u.u32());
        Info::new(offset, limit, flags, &bytes[56..120], (cipher, key))
    }

    /// struct loop_info, whose offset is an int, and which has no limit.
    fn parse_old(bytes: &[u8; 168]) -> Result<Info> {
        let mut u = Unpacker(&bytes[32..]);
        let offset = i64::from(u.i32()) as u64;
        let (cipher, key, flags) = (u.u32(), u.u32(), u.u32());
        Info::new(offset, 0, flags, &bytes[48..112], (cipher, key))
    }
}

/// EBADF if a file lies on this device, EINVAL if it is none that can be a disk (loop_validate_file).
pub(super) fn check(file: &Arc<File>, device: &Loop) -> Result<()> {
    let mut here = file.clone();
    loop {
        let attr = here.attr()?;
        let disk = match disk_of(&here) {
            Some(disk) => Some(disk.clone()),
            // A file of a file system on a disk: Linux does not look so far, and hangs.
            None if attr.kind() == kind::REG => table::find(attr.dev),
            None => return Err(Errno::EINVAL),
        };
        let number = disk.map(|d| d.whole().unwrap_or(&d).number);
        let Some(below) = number.and_then(super::find) else { return Ok(()) };
        if below.number == device.number {
            return Err(Errno::EBADF);
        }
        let bound = below.look().map_err(|_| Errno::EINVAL)?;
        here = bound.backing.file()?.clone();
    }
}

impl Asked<'_> {
    pub(super) fn answer(&self, command: u32, arg: u64) -> Result<u64> {
        match command {
            LOOP_SET_FD => self.bind(arg, 0, None)?,
            LOOP_CONFIGURE => {
                let mut bytes = [0; 304];
                self.memory.read(arg, &mut bytes)?;
                let mut u = Unpacker(&bytes);
                let (fd, block) = (u.u32(), u.u32());
                let info: &[u8; 232] = bytes[8..240].try_into().map_err(|_| Errno::EINVAL)?;
                self.bind(fd.into(), block, Some(info))?;
            }
            LOOP_CHANGE_FD => self.exchange(arg)?,
            LOOP_CLR_FD => self.clear()?,
            LOOP_SET_STATUS64 => {
                self.writer()?;
                let bound = self.device.look();
                let mut bytes = [0; 232];
                self.memory.read(arg, &mut bytes)?;
                self.set_status(&bound?, &Info::parse(&bytes)?)?;
            }
            LOOP_SET_STATUS => {
                self.writer()?;
                let bound = self.device.look();
                let mut bytes = [0; 168];
                self.memory.read(arg, &mut bytes)?;
                self.set_status(&bound?, &Info::parse_old(&bytes)?)?;
            }
            LOOP_GET_STATUS64 => self.memory.write(arg, &self.status()?)?,
            LOOP_GET_STATUS => self.memory.write(arg, &self.old_status()?)?,
            LOOP_SET_CAPACITY => {
                self.writer()?;
                let bound = self.device.look()?;
                let len = bound.backing.len()?;
                self.device.change(&bound.backing, |b| b.size = b.setup.fit(len))?;
            }
            LOOP_SET_DIRECT_IO => {
                self.writer()?;
                let bound = self.device.look()?;
                if arg != 0 && bound.setup.offset % 512 != 0 {
                    return Err(Errno::EINVAL);
                }
                self.device.change(&bound.backing, |b| b.setup.flags.set(Flags::DIRECT_IO, arg != 0))?;
            }
            LOOP_SET_BLOCK_SIZE => {
                self.writer()?;
                let bound = self.device.look()?;
                let _held = self.alone()?;
                let block = block(u32::try_from(arg).map_err(|_| Errno::EINVAL)?)?;
                self.device.change(&bound.backing, |b| b.setup.block = block)?;
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }

    /// Who may write to it may set it up, and so may an administrator.
    fn writer(&self) -> Result<()> {
        if self.file.flags().writes() || self.caller.is_admin() { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Nobody else has it alone, as long as this is kept.
    fn alone(&self) -> Result<Option<Open>> {
        if is_alone(self.file) { Ok(None) } else { Open::new(self.disk, true).map(Some) }
    }

    /// loop_configure.
    fn bind(&self, fd: u64, block_size: u32, info: Option<&[u8; 232]>) -> Result<()> {
        let file = self.caller.file(fd)?;
        let _held = self.alone()?;
        if self.device.is_bound() {
            return Err(Errno::EBUSY);
        }
        check(&file, self.device)?;
        let mut setup = Setup::default();
        if let Some(info) = info {
            let info = Info::parse(info)?;
            setup.flags = Flags::from_bits(info.flags).ok_or(Errno::EINVAL)?;
            (setup.offset, setup.limit, setup.name) = (info.offset, info.limit, info.name);
        }
        setup.block = block(block_size)?;
        if !file.flags().writes() || !self.file.flags().writes() {
            setup.flags |= Flags::READ_ONLY;
        }
        let backing = Arc::new(Backing::start(file, &self.disk.name)?);
        let size = setup.fit(backing.len()?);
        {
            let mut bound = self.device.bound.lock();
            if bound.is_some() {
                drop(bound);
                return Err(Errno::EBUSY);
            }
            *bound = Some(Bound { backing, setup, size, keeps_space: false, ending: false });
        }
        // As on Linux, it stays so when the file is gone.
        self.disk.set_read_only(setup.flags.contains(Flags::READ_ONLY));
        parts::rescan(self.disk);
        Ok(())
    }

    /// LOOP_CHANGE_FD: another file of the same size, for one that is only read.
    fn exchange(&self, fd: u64) -> Result<()> {
        let bound = self.device.look()?;
        let file = self.caller.file(fd)?;
        if !bound.setup.flags.contains(Flags::READ_ONLY) {
            return Err(Errno::EINVAL);
        }
        check(&file, self.device)?;
        let backing = Arc::new(Backing::start(file, &self.disk.name)?);
        if bound.setup.fit(backing.len()?) != bound.setup.fit(bound.backing.len()?) {
            return Err(Errno::EINVAL);
        }
        self.device.change(&bound.backing, |b| b.backing = backing)?;
        self.scan();
        Ok(())
    }

    /// It ends with the last close; if that is to come next, nobody can have it any more.
    fn clear(&self) -> Result<()> {
        let bound = self.device.look()?;
        let last = claim::opens(self.disk) == 1;
        self.device.change(&bound.backing, |b| {
            b.setup.flags |= Flags::AUTOCLEAR;
            b.ending = last;
        })
    }

    fn set_status(&self, bound: &Bound, info: &Info) -> Result<()> {
        let (before, asked) = (bound.setup.flags, Flags::from_bits_truncate(info.flags) & SETTABLE);
        let flags = (before - CLEARABLE) | asked;
        let mut setup = Setup { flags, name: info.name, ..bound.setup };
        let moved = (setup.offset, setup.limit) != (info.offset, info.limit);
        (setup.offset, setup.limit) = (info.offset, info.limit);
        if moved {
            self.disk.device.flush()?;
        }
        let len = bound.backing.len()?;
        self.device.change(&bound.backing, |b| {
            b.setup = setup;
            if moved {
                b.size = setup.fit(len);
            }
        })?;
        if (flags - before).contains(Flags::PARTSCAN) {
            self.scan();
        }
        Ok(())
    }

    /// Looks for partitions, if that is asked for; what is in use stays.
    fn scan(&self) {
        if !self.disk.driver().scans() {
            return;
        }
        if let Err(e) = parts::reread(self.disk, is_alone(self.file)) {
            crate::log!("{}: partition scan failed: {e}", self.disk.name);
        }
    }

    /// Device and inode of the file, and its device number if it is one.
    fn file_numbers(&self, bound: &Bound) -> Result<(u64, u64, u64)> {
        let attr = bound.backing.file()?.attr()?;
        Ok((attr.dev, attr.ino, if attr.kind() == kind::BLK { attr.rdev } else { attr.dev }))
    }

    fn index(&self) -> u32 {
        crate::fs::minor(self.device.number) as u32
    }

    /// struct loop_info64.
    fn status(&self) -> Result<Vec<u8>> {
        let bound = self.device.look()?;
        let ((dev, ino, rdev), setup) = (self.file_numbers(&bound)?, &bound.setup);
        let head = Packer::new().u64(dev).u64(ino).u64(rdev).u64(setup.offset).u64(setup.limit);
        let middle = head.u32(self.index()).u32(0).u32(0).u32(setup.flags.bits()).bytes(&setup.name);
        Ok(middle.pad(232).0)
    }

    /// struct loop_info, which has no limit; EOVERFLOW for an offset that does not fit.
    fn old_status(&self) -> Result<Vec<u8>> {
        let bound = self.device.look()?;
        let ((dev, ino, rdev), setup) = (self.file_numbers(&bound)?, &bound.setup);
        let offset = i32::try_from(setup.offset).map_err(|_| Errno::EOVERFLOW)?;
        let head = Packer::new().u32(self.index()).u32(0).u64(dev).u64(ino).u64(rdev);
        let middle = head.i32(offset).u32(0).u32(0).u32(setup.flags.bits()).bytes(&setup.name);
        Ok(middle.pad(168).0)
    }
}

/// A size that blocks can have; 0 is the usual one.
fn block(size: u32) -> Result<u32> {
    if size == 0 {
        return Ok(super::BLOCK);
    }
    if (512..=LARGEST).contains(&size) && size.is_power_of_two() { Ok(size) } else { Err(Errno::EINVAL) }
}
