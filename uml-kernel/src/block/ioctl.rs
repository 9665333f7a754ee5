//! The ioctls of block devices (linux/fs.h, linux/blkpg.h, linux/hdreg.h), as block/ioctl.c answers them.

use super::Disk;
use super::file::{disk_of, is_alone};
use super::parts::{self, Change};
use crate::base::{Errno, Result};
use crate::fs::File;
use crate::mm::{Unpacker, UserMemory};
use std::sync::Arc;

const HDIO_GETGEO: u32 = 0x0301;
const BLKROSET: u32 = 0x125d;
const BLKROGET: u32 = 0x125e;
const BLKRRPART: u32 = 0x125f;
const BLKGETSIZE: u32 = 0x1260;
const BLKFLSBUF: u32 = 0x1261;
const BLKRASET: u32 = 0x1262;
const BLKRAGET: u32 = 0x1263;
const BLKFRASET: u32 = 0x1264;
const BLKFRAGET: u32 = 0x1265;
const BLKSECTGET: u32 = 0x1267;
const BLKSSZGET: u32 = 0x1268;
const BLKPG: u32 = 0x1269;
const BLKDISCARD: u32 = 0x1277;
const BLKIOMIN: u32 = 0x1278;
const BLKIOOPT: u32 = 0x1279;
const BLKALIGNOFF: u32 = 0x127a;
const BLKPBSZGET: u32 = 0x127b;
const BLKDISCARDZEROES: u32 = 0x127c;
const BLKSECDISCARD: u32 = 0x127d;
const BLKROTATIONAL: u32 = 0x127e;
const BLKZEROOUT: u32 = 0x127f;
const BLKGETZONESZ: u32 = 0x8004_1284;
const BLKGETNRZONES: u32 = 0x8004_1285;
const BLKBSZGET: u32 = 0x8008_1270;
const BLKBSZSET: u32 = 0x4008_1271;
const BLKGETSIZE64: u32 = 0x8008_1272;

/// Unit of what the kernel reads at a time.
const BLOCK: u32 = 4096;
/// Most of one request, in sectors (BLK_DEF_MAX_SECTORS_CAP).
const MAX_SECTORS: u16 = 2560;
/// The heads and sectors that ubd tells; cylinders are what is left.
const HEADS: u64 = 128;
const TRACK: u64 = 32;

/// Who asks.
pub trait Caller {
    /// CAP_SYS_ADMIN.
    fn is_admin(&self) -> bool;
    /// The file of one of its descriptors; EBADF.
    fn file(&self, fd: u64) -> Result<Arc<File>>;
}

/// An ioctl on the special file of a block device; ENOTTY if it is none of theirs.
pub fn ioctl(file: &File, caller: &dyn Caller, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
    let disk = disk_of(file).ok_or(Errno::ENOTTY)?;
    let device = &disk.device;
    let admin = || if caller.is_admin() { Ok(()) } else { Err(Errno::EACCES) };
    let put_u16 = |value: u16| memory.write(arg, &value.to_le_bytes());
    match command {
        BLKROSET => {
            admin()?;
            let yes = memory.u32(arg)? != 0;
            disk.set_read_only(yes);
        }
        BLKROGET => memory.put_u32(arg, disk.read_only().into())?,
        BLKRRPART => {
            admin()?;
            parts::reread(disk, is_alone(file))?;
        }
        BLKGETSIZE => memory.put_u64(arg, disk.len() / 512)?,
        BLKGETSIZE64 => memory.put_u64(arg, disk.len())?,
        BLKFLSBUF => {
            admin()?;
            device.flush()?;
        }
        BLKRASET | BLKFRASET => {
            admin()?;
            disk.set_read_ahead(arg);
        }
        BLKRAGET | BLKFRAGET => memory.put_u64(arg, disk.read_ahead())?,
        BLKSECTGET => put_u16(MAX_SECTORS)?,
        BLKSSZGET | BLKPBSZGET | BLKIOMIN => memory.put_u32(arg, disk.logical_block())?,
        BLKIOOPT | BLKALIGNOFF | BLKDISCARDZEROES | BLKGETZONESZ | BLKGETNRZONES => memory.put_u32(arg, 0)?,
        BLKROTATIONAL => put_u16(0)?,
        BLKBSZGET => memory.put_u32(arg, BLOCK)?,
        BLKBSZSET => {
            admin()?;
            let size = memory.u32(arg)?;
            if !(512..=BLOCK).contains(&size) || !size.is_power_of_two() || size < disk.logical_block() {
                return Err(Errno::EINVAL);
            }
        }
        BLKPG => {
            admin()?;
            blkpg(disk, arg, memory)?;
        }
        BLKDISCARD | BLKZEROOUT | BLKSECDISCARD => erase(disk, file, command, arg, memory)?,
        HDIO_GETGEO => geometry(disk, arg, memory)?,
        _ => return disk.driver().ioctl(disk, file, caller, command, arg, memory),
    }
    Ok(0)
}

/// What makes a range empty.
fn erase(disk: &Disk, file: &File, command: u32, arg: u64, memory: &UserMemory) -> Result<()> {
    if !file.flags().writes() {
        return Err(Errno::EBADF);
    }
    // As a disk that cannot: nobody promises here that no copy is left.
    if command == BLKSECDISCARD || command == BLKDISCARD && !disk.driver().discards() {
        return Err(Errno::EOPNOTSUPP);
    }
    if disk.read_only() {
        return Err(Errno::EPERM);
    }
    let (start, len) = (memory.u64(arg)?, memory.u64(arg.wrapping_add(8))?);
    let fits = start.checked_add(len).is_some_and(|end| end <= disk.len());
    if !disk.aligned(start, len) || !fits || len == 0 {
        return Err(Errno::EINVAL);
    }
    match command {
        BLKDISCARD => disk.device.discard(start, len)?,
        _ => disk.device.write_zeroes(start, len, false)?,
    }
    Ok(())
}

/// struct hd_geometry: of no disk that there ever was.
fn geometry(disk: &Disk, arg: u64, memory: &UserMemory) -> Result<()> {
    if arg == 0 {
        return Err(Errno::EINVAL);
    }
    let whole = disk.whole().unwrap_or(disk);
    let cylinders = whole.len() / 512 / (HEADS * TRACK);
    let mut bytes = [0; 16];
    (bytes[0], bytes[1]) = (HEADS as u8, TRACK as u8);
    bytes[2..4].copy_from_slice(&(cylinders as u16).to_le_bytes());
    bytes[8..].copy_from_slice(&(disk.start() / 512).to_le_bytes());
    memory.write(arg, &bytes)
}

/// struct blkpg_ioctl_arg, and struct blkpg_partition behind it.
fn blkpg(disk: &Disk, arg: u64, memory: &UserMemory) -> Result<()> {
    const ADD: u32 = 1;
    const DELETE: u32 = 2;
    const RESIZE: u32 = 3;
    let (op, data) = (memory.u32(arg)?, memory.u64(arg.wrapping_add(16))?);
    let mut bytes = [0; 20];
    memory.read(data, &mut bytes)?;
    let mut u = Unpacker(&bytes);
    let (start, len) = (u.u64(), u.u64());
    let number = u.u32();
    // Negative ones.
    if start > i64::MAX as u64 || len > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let change = match op {
        ADD => Change::Add { start, len },
        DELETE => Change::Delete,
        RESIZE => Change::Resize { start, len },
        _ => return Err(Errno::EINVAL),
    };
    parts::change(disk, number, change)
}
