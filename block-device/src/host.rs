//! A regular file or block device of the host as a [`BlockDevice`].

use crate::{BlockDevice, Extent, ExtentKind, check_range};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fstatfs, seek};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Seek};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// linux/magic.h.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// An open host file. Its size is read once, and changed only through [`HostFile::set_len`].
#[derive(Debug)]
pub struct HostFile {
    file: File,
    path: PathBuf,
    len: AtomicU64,
    read_only: bool,
    /// Set where the file system turns out not to know RWF_NOWAIT: whether that is because it is memory (tmpfs).
    in_memory: OnceLock<bool>,
}

impl HostFile {
    /// Opens a regular file or block device.
    ///
    /// # Errors
    /// As `open(2)`; `EISDIR` for a directory; [`io::ErrorKind::InvalidInput`] for a FIFO, socket or
    /// character device, which is never opened, so that it cannot hang.
    pub fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        let kind = std::fs::metadata(path)?.file_type();
        if kind.is_dir() {
            return Err(Errno::ISDIR.into());
        }
        if !kind.is_file() && !kind.is_block_device() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither a regular file nor a block device",
            ));
        }
        let file = OpenOptions::new().read(true).write(!read_only).open(path)?;
        Self::from_file(file, path, read_only)
    }

    /// Wraps a file that is already open. `path` is used in messages, and to find files beside it.
    ///
    /// # Errors
    /// When the size cannot be found out.
    pub fn from_file(file: File, path: &Path, read_only: bool) -> io::Result<Self> {
        let meta = file.metadata()?;
        // A block device has st_size 0; its end is found by seeking. Offsets are never used otherwise.
        let len = if meta.is_file() { meta.len() } else { (&file).seek(io::SeekFrom::End(0))? };
        let (path, len) = (path.to_owned(), AtomicU64::new(len));
        Ok(Self { file, path, len, read_only, in_memory: OnceLock::new() })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Sets the length in bytes; what is added is a hole.
    ///
    /// # Errors
    /// As `ftruncate(2)`.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    fn check(&self, offset: u64, len: u64) -> io::Result<()> {
        check_range(offset, len, self.len())
    }

    fn check_write(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.read_only {
            return Err(Errno::ROFS.into());
        }
        self.check(offset, len)
    }

    fn zero_by_fallocate(&self, offset: u64, len: u64, flags: FallocateFlags) -> io::Result<bool> {
        match fallocate(&self.file, flags | FallocateFlags::KEEP_SIZE, offset, len) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn write_zero_bytes(&self, offset: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0u8; (256 << 10).min(len as usize)];
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let n = zeros.len().min((end - at) as usize);
            self.file.write_all_at(&zeros[..n], at)?;
            at += n as u64;
        }
        Ok(())
    }
}

/// Bytes that a vectored call has moved: none where it was interrupted, or had more buffers than IOV_MAX.
fn moved(result: rustix::io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(Errno::INTR | Errno::INVAL) => Ok(0),
        other => Ok(other?),
    }
}

/// The buffers that are not done after `done` bytes: index, bytes of it that are, and offset of the others.
fn rest(lens: &[usize], mut done: usize, mut offset: u64) -> impl Iterator<Item = (usize, usize, u64)> + '_ {
    lens.iter().enumerate().filter_map(move |(i, len)| {
        let skip = done.min(*len);
        let at = offset + skip as u64;
        (done, offset) = (done - skip, offset + *len as u64);
        (skip < *len).then_some((i, skip, at))
    })
}

impl BlockDevice for HostFile {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(offset, buf.len() as u64)?;
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_write(offset, buf.len() as u64)?;
        self.file.write_all_at(buf, offset)
    }

    fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        let len: usize = bufs.iter().map(|b| b.len()).sum();
        self.check(offset, len as u64)?;
        let done = moved(rustix::io::preadv(&self.file, bufs, offset))?;
        if done == len {
            return Ok(());
        }
        let lens: Vec<usize> = bufs.iter().map(|b| b.len()).collect();
        for (i, skip, at) in rest(&lens, done, offset) {
            self.file.read_exact_at(&mut bufs[i][skip..], at)?;
        }
        Ok(())
    }

    fn read_ready_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<bool> {
        let len: usize = bufs.iter().map(|b| b.len()).sum();
        self.check(offset, len as u64)?;
        match self.in_memory.get() {
            Some(true) => return self.read_vectored_at(bufs, offset).map(|()| true),
            Some(false) => return Ok(false),
            None => {}
        }
        match rustix::io::preadv2(&self.file, bufs, offset, ReadWriteFlags::NOWAIT) {
            Ok(done) => Ok(done == len),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let is_memory = || fstatfs(&self.file).is_ok_and(|fs| fs.f_type == TMPFS_MAGIC);
                self.in_memory.get_or_init(is_memory);
                self.read_ready_at(bufs, offset)
            }
            // What is in the way of a read shows by that.
            Err(_) => Ok(false),
        }
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let len: usize = bufs.iter().map(|b| b.len()).sum();
        self.check_write(offset, len as u64)?;
        let done = moved(rustix::io::pwritev(&self.file, bufs, offset))?;
        if done == len {
            return Ok(());
        }
        let lens: Vec<usize> = bufs.iter().map(|b| b.len()).collect();
        for (i, skip, at) in rest(&lens, done, offset) {
            self.file.write_all_at(&bufs[i][skip..], at)?;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_write(offset, len)?;
        if len == 0 || self.zero_by_fallocate(offset, len, FallocateFlags::PUNCH_HOLE)? {
            return Ok(());
        }
        self.write_zero_bytes(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<()> {
        if may_unmap {
            return self.discard(offset, len);
        }
        self.check_write(offset, len)?;
        if len == 0 || self.zero_by_fallocate(offset, len, FallocateFlags::ZERO_RANGE)? {
            return Ok(());
        }
        self.write_zero_bytes(offset, len)
    }

    fn zero_fast(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<bool> {
        self.check_write(offset, len)?;
        let flags = if may_unmap { FallocateFlags::PUNCH_HOLE } else { FallocateFlags::ZERO_RANGE };
        Ok(len == 0 || self.zero_by_fallocate(offset, len, flags)?)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn extent(&self, offset: u64) -> io::Result<Extent> {
        let end = self.len();
        check_range(offset, 1, end)?;
        let data = |len| Ok(Extent { len, kind: ExtentKind::Data });
        match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) if start > offset => {
                Ok(Extent { len: start.min(end) - offset, kind: ExtentKind::Hole })
            }
            Ok(_) => match seek(&self.file, SeekFrom::Hole(offset)) {
                Ok(hole) if hole > offset => data(hole.min(end) - offset),
                _ => data(end - offset),
            },
            // ENXIO: no data between here and the end of the file (lseek(2)).
            Err(Errno::NXIO) => Ok(Extent { len: end - offset, kind: ExtentKind::Hole }),
            // A block device, or a file system that cannot tell: everything is data.
            Err(_) => data(end - offset),
        }
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        check_range(offset, 1, self.len())?;
        match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => Ok(start.min(self.len())),
            Err(Errno::NXIO) => Ok(self.len()),
            Err(_) => Ok(offset),
        }
    }

    fn host_file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_just_been_written_is_ready_and_what_lies_beyond_the_end_is_refused() {
        let device = HostFile::from_file(tempfile::tempfile().unwrap(), Path::new("test"), false).unwrap();
        device.set_len(1 << 20).unwrap();
        device.write_at(&[7; 5000], 3000).unwrap();
        let (mut a, mut b) = ([0; 1000], [0; 4000]);
        let ready =
            device.read_ready_at(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)], 3000).unwrap();
        // A file system that is not memory, and cannot tell, says no.
        let can_tell = device.in_memory.get() != Some(&false);
        assert_eq!(ready, can_tell);
        assert!(!ready || (a == [7; 1000] && b == [7; 4000]));
        assert!(device.read_ready_at(&mut [IoSliceMut::new(&mut a)], (1 << 20) - 999).is_err());
    }
}
