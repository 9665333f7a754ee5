//! The special file of a block device: opening, reading, writing.

use super::{Disk, Open};
use crate::base::{Errno, Result};
use crate::fs::{File, FileOps, OpenFlags, Path};
use std::any::Any;
use std::sync::Arc;

/// fallocate(2)'s mode bits (linux/falloc.h).
pub(super) const KEEP_SIZE: u32 = 1;
pub(super) const PUNCH_HOLE: u32 = 2;
pub(super) const ZERO_RANGE: u32 = 16;

#[derive(Debug)]
pub(super) struct BlockFile {
    open: Open,
    /// With O_EXCL: it is held by this file.
    alone: bool,
}

/// Opens the disk of a device number; ENXIO if there is none. With O_EXCL, EBUSY if it is mounted, or open so already.
pub fn open(rdev: u64, path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let disk = super::find(rdev).ok_or(Errno::ENXIO)?;
    disk.driver().may_open()?;
    let alone = flags.contains(OpenFlags::EXCL);
    let ops = BlockFile { open: Open::new(&disk, alone)?, alone };
    let once = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::NOCTTY | OpenFlags::TRUNC;
    Ok(File::new(Arc::new(ops), path, flags - once))
}

/// Whether a file is a block device's.
pub fn is_open(file: &File) -> bool {
    file.ops_as::<BlockFile>().is_some()
}

/// The disk behind an open file.
pub(super) fn disk_of(file: &File) -> Option<&Disk> {
    file.ops_as::<BlockFile>().map(BlockFile::disk)
}

/// Whether this file has its disk alone.
pub(super) fn is_alone(file: &File) -> bool {
    file.ops_as::<BlockFile>().is_some_and(|f| f.alone)
}

impl BlockFile {
    fn disk(&self) -> &Disk {
        self.open.disk()
    }

    fn len(&self) -> u64 {
        self.disk().len()
    }

    /// How much of a request lies before the end. Direct I/O takes whole blocks.
    fn fitting(&self, file: &File, len: usize, at: u64) -> Result<usize> {
        if file.flags().contains(OpenFlags::DIRECT) && !self.disk().aligned(at, len as u64) {
            return Err(Errno::EINVAL);
        }
        Ok(usize::try_from(self.len().saturating_sub(at)).unwrap_or(usize::MAX).min(len))
    }

    /// O_SYNC and O_DSYNC: durable before the write returns.
    fn settle(&self, file: &File) -> Result<()> {
        if file.flags().contains(OpenFlags::DSYNC) { Ok(self.disk().device.flush()?) } else { Ok(()) }
    }
}

impl FileOps for BlockFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &File, into: &mut [u8], at: u64) -> Result<usize> {
        let n = self.fitting(file, into.len(), at)?;
        if n > 0 {
            self.disk().device.read_at(&mut into[..n], at)?;
        }
        Ok(n)
    }

    fn write(&self, file: &File, from: &[u8], at: u64) -> Result<usize> {
        if self.disk().read_only() {
            return Err(Errno::EPERM);
        }
        let n = self.fitting(file, from.len(), at)?;
        if from.is_empty() {
            return Ok(0);
        }
        if n == 0 {
            return Err(Errno::ENOSPC);
        }
        self.disk().device.write_at(&from[..n], at)?;
        self.settle(file)?;
        Ok(n)
    }

    /// The end does not move: there is no room behind it.
    fn append(&self, file: &File, from: &[u8]) -> Result<(usize, u64)> {
        let end = self.len();
        self.write(file, from, end).map(|n| (n, end))
    }

    fn end(&self, _: &File) -> Result<u64> {
        Ok(self.len())
    }

    fn farthest(&self, _: &File) -> Option<u64> {
        Some(self.len())
    }

    fn direct_unit(&self, _: &File) -> u64 {
        self.disk().logical_block().into()
    }

    fn seek_data(&self, _: &File, at: u64, data: bool) -> Result<u64> {
        if at >= self.len() {
            return Err(Errno::ENXIO);
        }
        Ok(if data { at } else { self.len() })
    }

    fn sync(&self, _: &File, _: bool) -> Result<()> {
        Ok(self.disk().device.flush()?)
    }

    /// As blkdev_fallocate: whole blocks, inside the disk.
    fn allocate(&self, file: &File, mode: u32, at: u64, len: u64) -> Result<()> {
        let unmap = match mode {
            ZERO_RANGE => false,
            m if m == ZERO_RANGE | KEEP_SIZE => false,
            m if m == PUNCH_HOLE | KEEP_SIZE => true,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let (end, size) = (at.checked_add(len).ok_or(Errno::EINVAL)?, self.len());
        // What would lead over the end is cut, if it may be.
        let len = match end > size {
            true if mode & KEEP_SIZE != 0 && at < size => size - at,
            true => return Err(Errno::EINVAL),
            false => len,
        };
        if !self.disk().aligned(at, len) {
            return Err(Errno::EINVAL);
        }
        if self.disk().read_only() {
            return Err(Errno::EPERM);
        }
        self.disk().device.write_zeroes(at, len, unmap)?;
        self.settle(file)
    }
}
