//! The bytes of a file: in the kernel's heap while it is small, in a memfd once it is large or mapped, so that
//! read, write and mmap see the same.

use super::Node;
use crate::base::{Errno, Result, time};
use crate::fs::{File, FileOps, MapSource, OpenFlags};
use crate::platform::sys;
use rustix::fs::{FallocateFlags, SeekFrom};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Larger files live in a memfd.
const HEAP: u64 = 256 << 10;

/// A file's bytes.
#[derive(Debug)]
pub(super) enum Content {
    /// In the heap.
    Heap(Vec<u8>),
    /// In a memfd of this size.
    Memfd(Arc<OwnedFd>, u64),
}

impl Content {
    /// Bytes of the file.
    pub(super) fn size(&self) -> u64 {
        match self {
            Content::Heap(bytes) => bytes.len() as u64,
            Content::Memfd(_, size) => *size,
        }
    }

    /// Bytes it takes.
    pub(super) fn held(&self) -> u64 {
        match self {
            Content::Heap(bytes) => (bytes.len() as u64).next_multiple_of(4096),
            Content::Memfd(fd, _) => rustix::fs::fstat(fd).map_or(0, |s| s.st_blocks as u64 * 512),
        }
    }

    pub(super) fn is_memfd(&self) -> bool {
        matches!(self, Content::Memfd(..))
    }

    /// Moves it to a memfd.
    fn move_to_memfd(&mut self) -> Result<Arc<OwnedFd>> {
        if let Content::Memfd(fd, _) = self {
            return Ok(fd.clone());
        }
        let Content::Heap(bytes) = self else { return Err(Errno::EIO) };
        let fd = sys::memfd(c"file", bytes.len() as u64)?;
        let mut done = 0;
        while done < bytes.len() {
            done += rustix::io::pwrite(&fd, &bytes[done..], done as u64)?;
        }
        let (fd, size) = (Arc::new(fd), bytes.len() as u64);
        *self = Content::Memfd(fd.clone(), size);
        Ok(fd)
    }

    fn read(&self, into: &mut [u8], at: u64) -> Result<usize> {
        match self {
            Content::Heap(bytes) => {
                let Some(from) = bytes.get(at as usize..) else { return Ok(0) };
                let n = from.len().min(into.len());
                into[..n].copy_from_slice(&from[..n]);
                Ok(n)
            }
            Content::Memfd(fd, _) => Ok(rustix::io::pread(&**fd, into, at)?),
        }
    }

    /// Sets the length. The caller has accounted for it.
    pub(super) fn resize(&mut self, size: u64) -> Result<()> {
        if size > i64::MAX as u64 {
            return Err(Errno::EFBIG);
        }
        if size > HEAP {
            self.move_to_memfd()?;
        }
        match self {
            Content::Heap(bytes) => bytes.resize(size as usize, 0),
            Content::Memfd(fd, now) => {
                rustix::fs::ftruncate(&**fd, size)?;
                *now = size;
            }
        }
        Ok(())
    }

    fn write(&mut self, from: &[u8], at: u64) -> Result<usize> {
        let end = at.checked_add(from.len() as u64).filter(|e| *e <= i64::MAX as u64).ok_or(Errno::EFBIG)?;
        if end > HEAP {
            self.move_to_memfd()?;
        }
        match self {
            Content::Heap(bytes) => {
                if bytes.len() < end as usize {
                    bytes.resize(end as usize, 0);
                }
                bytes[at as usize..end as usize].copy_from_slice(from);
                Ok(from.len())
            }
            Content::Memfd(fd, size) => {
                let n = rustix::io::pwrite(&**fd, from, at)?;
                *size = (*size).max(at + n as u64);
                Ok(n)
            }
        }
    }
}

/// An open file.
#[derive(Debug)]
pub struct Opened(pub(super) Arc<Node>);

impl Opened {
    fn change<T>(&self, f: impl FnOnce(&mut Content) -> Result<T>) -> Result<T> {
        self.0.with_content(|content, attr| {
            let result = f(content);
            if result.is_ok() {
                attr.mtime = time::real();
                attr.ctime = attr.mtime;
                attr.mode = super::node::without_setid(attr.mode);
            }
            result
        })
    }
}

impl FileOps for Opened {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, into: &mut [u8], at: u64) -> Result<usize> {
        self.0.content(|c| c.read(into, at))
    }

    fn write(&self, _file: &File, from: &[u8], at: u64) -> Result<usize> {
        if from.is_empty() {
            return Ok(0);
        }
        let now = self.0.content(|c| Ok(c.size()))?;
        self.0.check_seals(now, now.max(at.saturating_add(from.len() as u64)), true)?;
        self.change(|c| c.write(from, at))
    }

    fn append(&self, _file: &File, from: &[u8]) -> Result<(usize, u64)> {
        self.change(|c| {
            let end = c.size();
            let n = c.write(from, end)?;
            Ok((n, end + n as u64))
        })
    }

    fn seek_data(&self, _file: &File, at: u64, data: bool) -> Result<u64> {
        self.0.content(|c| {
            if at >= c.size() {
                return Err(Errno::ENXIO);
            }
            match c {
                Content::Heap(bytes) => Ok(if data { at } else { bytes.len() as u64 }),
                Content::Memfd(fd, _) => {
                    let whence = if data { SeekFrom::Data(at) } else { SeekFrom::Hole(at) };
                    Ok(rustix::fs::seek(&**fd, whence)?)
                }
            }
        })
    }

    fn map(&self, file: &File, shared_write: bool) -> Result<MapSource> {
        if shared_write {
            self.0.check_seals(0, 0, true)?;
        }
        let fd = self.0.content_mut(Content::move_to_memfd)?;
        let sealed = self.0.check_seals(0, 0, true).is_err();
        if shared_write || file.flags().writes() && !sealed {
            self.0.watch_growth();
            return Ok(MapSource::Host(fd));
        }
        MapSource::for_reading(&fd)
    }

    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn allocate(&self, _file: &File, mode: u32, at: u64, len: u64) -> Result<()> {
        const KEEP: u32 = 1;
        const PUNCH: u32 = 2;
        const ZERO: u32 = 16;
        let end = at + len;
        let now = self.0.content(|c| Ok(c.size()))?;
        self.0.check_seals(now, if mode & KEEP == 0 { now.max(end) } else { now }, mode & PUNCH != 0)?;
        match mode {
            0 => self.change(|c| if end > c.size() { c.resize(end) } else { Ok(()) }),
            KEEP => Ok(()),
            m if m == PUNCH | KEEP => self.change(|c| match c {
                Content::Heap(bytes) => {
                    let size = bytes.len();
                    bytes[(at as usize).min(size)..(end as usize).min(size)].fill(0);
                    Ok(())
                }
                Content::Memfd(fd, _) => Ok(rustix::fs::fallocate(
                    &**fd,
                    FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                    at,
                    len,
                )?),
            }),
            m if m & !(ZERO | KEEP) == 0 => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

impl Node {
    /// Opens its bytes.
    pub(super) fn open_content(self: Arc<Node>, _flags: OpenFlags) -> Arc<dyn FileOps> {
        Arc::new(Opened(self))
    }
}
