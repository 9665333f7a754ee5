//! Opening what is not content: FIFOs and devices.

use super::{Attr, File, OpenFlags, Path};
use crate::base::{Errno, Result};
use std::sync::Arc;

/// Opens a FIFO.
pub(super) fn open_fifo(path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    super::pipe::open_fifo(path, flags)
}

/// Opens a device.
pub(super) fn open_device(path: Path, attr: Attr, flags: OpenFlags) -> Result<Arc<File>> {
    match (super::major(attr.rdev), super::minor(attr.rdev)) {
        (1, 3) => Ok(File::new(Arc::new(Null), path, flags)),
        (1, 5) => Ok(File::new(Arc::new(Zero), path, flags)),
        (1, 7) => Ok(File::new(Arc::new(Full), path, flags)),
        (1, 8 | 9) => Ok(File::new(Arc::new(Random), path, flags)),
        _ => Err(Errno::ENXIO),
    }
}
struct Null;
impl super::FileOps for Null {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn read(&self, _: &File, _: &mut [u8], _: u64) -> Result<usize> {
        Ok(0)
    }
    fn write(&self, _: &File, from: &[u8], _: u64) -> Result<usize> {
        Ok(from.len())
    }
}
struct Zero;
impl super::FileOps for Zero {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn read(&self, _: &File, into: &mut [u8], _: u64) -> Result<usize> {
        into.fill(0);
        Ok(into.len())
    }
    fn write(&self, _: &File, from: &[u8], _: u64) -> Result<usize> {
        Ok(from.len())
    }
}

struct Full;
impl super::FileOps for Full {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn read(&self, _: &File, into: &mut [u8], _: u64) -> Result<usize> {
        into.fill(0);
        Ok(into.len())
    }
    fn write(&self, _: &File, _: &[u8], _: u64) -> Result<usize> {
        Err(Errno::ENOSPC)
    }
}
struct Random;
impl super::FileOps for Random {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn read(&self, _: &File, into: &mut [u8], _: u64) -> Result<usize> {
        Ok(rustix::rand::getrandom(into, rustix::rand::GetRandomFlags::empty())?)
    }
    fn write(&self, _: &File, from: &[u8], _: u64) -> Result<usize> {
        Ok(from.len())
    }
}

/// F_SETPIPE_SZ and F_GETPIPE_SZ.
pub fn pipe_size(file: &File, set: Option<u64>) -> Result<u64> {
    let end = file.ops_as::<super::pipe::PipeEnd>().ok_or(Errno::EBADF)?;
    match set {
        Some(size) => {
            let size = u32::try_from(size).map_err(|_| Errno::EINVAL)?;
            end.pipe().set_capacity(size, false).map(|n| n as u64)
        }
        None => Ok(end.pipe().capacity() as u64),
    }
}

/// F_ADD_SEALS and F_GET_SEALS.
pub fn seals(_file: &File, _add: Option<u32>) -> Result<u64> {
    Err(Errno::EINVAL)
}

/// A file system by its type, for mount(2).
pub fn make_fs(kind: &[u8], options: &[u8]) -> Result<Arc<dyn super::FileSystem>> {
    match kind {
        b"tmpfs" | b"ramfs" | b"devtmpfs" => {
            let name = if kind == b"ramfs" { "ramfs" } else { "tmpfs" };
            let (mut size, mut mode, mut uid, mut gid) = (1 << 30, 0o1777, 0, 0);
            for option in String::from_utf8_lossy(options).split(',').filter(|o| !o.is_empty()) {
                let (key, value) = option.split_once('=').unwrap_or((option, ""));
                let number = || value.parse::<u32>().map_err(|_| Errno::EINVAL);
                match key {
                    "size" => size = parse_size(value).ok_or(Errno::EINVAL)?,
                    "mode" => mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?,
                    "uid" => uid = number()?,
                    "gid" => gid = number()?,
                    "nr_inodes" | "nr_blocks" | "huge" | "inode64" | "inode32" | "noswap" => {}
                    _ => return Err(Errno::EINVAL),
                }
            }
            Ok(super::tmpfs::TmpFs::new(name, size, mode, uid, gid))
        }
        _ => Err(Errno::ENODEV),
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "" => Some(number),
        "k" | "K" => number.checked_mul(1 << 10),
        "m" | "M" => number.checked_mul(1 << 20),
        "g" | "G" => number.checked_mul(1 << 30),
        "%" => Some((2 << 30) / 100 * number.min(100)),
        _ => None,
    }
}
