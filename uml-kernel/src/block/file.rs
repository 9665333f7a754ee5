//! The special file of a disk: read, write, and the ioctls of block devices (linux/fs.h, linux/hdreg.h).

use super::Disk;
use crate::base::{Errno, Result};
use crate::fs::{File, FileOps, OpenFlags, Path};
use crate::mm::UserMemory;
use std::any::Any;
use std::sync::Arc;

const BLKROGET: u32 = 0x125e;
const BLKGETSIZE: u32 = 0x1260;
const BLKFLSBUF: u32 = 0x1261;
const BLKSSZGET: u32 = 0x1268;
const BLKDISCARD: u32 = 0x1277;
const BLKIOMIN: u32 = 0x1278;
const BLKIOOPT: u32 = 0x1279;
const BLKALIGNOFF: u32 = 0x127a;
const BLKPBSZGET: u32 = 0x127b;
const BLKZEROOUT: u32 = 0x127f;
const BLKBSZGET: u32 = 0x8008_1270;
const BLKGETSIZE64: u32 = 0x8008_1272;
/// Unit of what the kernel reads at a time.
const BLOCK: u32 = 4096;

#[derive(Debug)]
struct BlockFile(Disk);

/// Opens the disk of a device number; ENXIO if there is none.
pub fn open(rdev: u64, path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let disk = super::find(rdev).ok_or(Errno::ENXIO)?;
    if flags.writes() && disk.device.read_only() {
        return Err(Errno::EACCES);
    }
    Ok(File::new(Arc::new(BlockFile(disk)), path, flags))
}

impl BlockFile {
    fn len(&self) -> u64 {
        self.0.device.len()
    }

    /// How much of a request lies before the end.
    fn fitting(&self, len: usize, at: u64) -> usize {
        usize::try_from(self.len().saturating_sub(at)).unwrap_or(usize::MAX).min(len)
    }

    fn range(&self, arg: u64, memory: &UserMemory) -> Result<(u64, u64)> {
        let (start, len) = (memory.u64(arg)?, memory.u64(arg + 8)?);
        let fits = start.checked_add(len).is_some_and(|end| end <= self.len());
        if start % 512 != 0 || len % 512 != 0 || !fits {
            return Err(Errno::EINVAL);
        }
        Ok((start, len))
    }
}

impl FileOps for BlockFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, into: &mut [u8], at: u64) -> Result<usize> {
        let n = self.fitting(into.len(), at);
        self.0.device.read_at(&mut into[..n], at)?;
        Ok(n)
    }

    fn write(&self, _: &File, from: &[u8], at: u64) -> Result<usize> {
        let n = self.fitting(from.len(), at);
        if n == 0 && !from.is_empty() {
            return Err(Errno::ENOSPC);
        }
        self.0.device.write_at(&from[..n], at)?;
        Ok(n)
    }

    fn append(&self, _: &File, _: &[u8]) -> Result<(usize, u64)> {
        Err(Errno::ENOSPC)
    }

    fn end(&self, _: &File) -> Result<u64> {
        Ok(self.len())
    }

    fn seek_data(&self, _: &File, at: u64, data: bool) -> Result<u64> {
        if at >= self.len() {
            return Err(Errno::ENXIO);
        }
        Ok(if data { at } else { self.len() })
    }

    fn sync(&self, _: &File, _: bool) -> Result<()> {
        Ok(self.0.device.flush()?)
    }

    fn ioctl(&self, file: &File, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
        match command {
            BLKROGET => memory.put_u32(arg, self.0.device.read_only().into())?,
            BLKGETSIZE => memory.put_u64(arg, self.len() / 512)?,
            BLKGETSIZE64 => memory.put_u64(arg, self.len())?,
            BLKSSZGET | BLKPBSZGET | BLKIOMIN => memory.put_u32(arg, 512)?,
            BLKIOOPT | BLKALIGNOFF => memory.put_u32(arg, 0)?,
            BLKBSZGET => memory.put_u32(arg, BLOCK)?,
            BLKFLSBUF => self.0.device.flush()?,
            BLKDISCARD | BLKZEROOUT => {
                if !file.flags().writes() {
                    return Err(Errno::EBADF);
                }
                let (start, len) = self.range(arg, memory)?;
                match command {
                    BLKDISCARD => self.0.device.discard(start, len)?,
                    _ => self.0.device.write_zeroes(start, len, false)?,
                }
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }
}
