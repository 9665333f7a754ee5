//! One block-device trait for the whole workspace, and what stands directly on the host behind it.
//!
//! Everything that holds a disk's bytes is a [`BlockDevice`]: a host file ([`HostFile`]), a COW disk
//! (`cow_format::CowDevice`), the power-cut backend of the tests. File systems, mounts, the NBD server
//! and the guest kernel are written against the trait alone.
//!
//! Lock order: none here; no function takes more than one lock.

mod copy;
mod extents;
mod host;
mod lock;
mod memory;
mod newfile;
mod observe;
mod sys;
mod window;

pub use copy::{Copier, CopyStats, WINDOW, is_zero, spans_hole};
pub use extents::Extents;
pub use host::HostFile;
pub use lock::{Holder, LockConflict, LockKind, holders, lock, try_lock};
pub use memory::MemDevice;
pub use newfile::{NewFile, sync_parent};
pub use observe::{Observer, Unobserved};
pub use sys::clone_range;
pub use window::Window;

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};

/// What a stretch of a device holds, as far as its storage knows without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentKind {
    /// Bytes are stored; they may still all be zero.
    Data,
    /// Nothing is stored: the stretch reads as zeros.
    Hole,
}

/// A stretch of one kind, from the offset it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes, at least 1, never past the end of the device.
    pub len: u64,
    /// What it holds.
    pub kind: ExtentKind,
}

/// A fixed-size array of bytes that is read and written at offsets, from any thread.
///
/// All offsets and lengths are bytes, with no alignment asked of the caller. A request that reaches
/// past [`len`](Self::len) fails with [`io::ErrorKind::InvalidInput`] and does nothing. A write is
/// durable only once a later [`flush`](Self::flush) has returned `Ok`.
pub trait BlockDevice: Send + Sync {
    /// Size in bytes.
    fn len(&self) -> u64;

    /// Whether the device has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether writes are refused (with `EROFS`).
    fn read_only(&self) -> bool;

    /// The unit, in bytes, below which a write costs a read first. At least 512.
    fn sector_size(&self) -> u32 {
        512
    }

    /// Fills `buf` from `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Fills `bufs` from `offset` if that is certain not to wait for a disk: the host has the bytes in memory. False, with the buffers
    /// in whatever state, if it may have to wait, or cannot tell.
    fn read_ready_at(&self, _bufs: &mut [IoSliceMut<'_>], _offset: u64) -> io::Result<bool> {
        Ok(false)
    }

    /// Writes all of `buf` at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `bufs`, one after the other, from `offset`.
    fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], mut offset: u64) -> io::Result<()> {
        for b in bufs {
            self.read_at(b, offset)?;
            offset += b.len() as u64;
        }
        Ok(())
    }

    /// Writes `bufs`, one after the other, at `offset`.
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        for b in bufs {
            self.write_at(b, offset)?;
            offset += b.len() as u64;
        }
        Ok(())
    }

    /// Gives the space of a range back. The range reads as zeros afterwards.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes a range read as zeros, without giving space back unless `may_unmap`.
    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<()> {
        if may_unmap {
            return self.discard(offset, len);
        }
        let zeros = vec![0u8; (64 << 10).min(len as usize)];
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let n = zeros.len().min((end - at) as usize);
            self.write_at(&zeros[..n], at)?;
            at += n as u64;
        }
        Ok(())
    }

    /// Returns once every write that completed before the call is durable.
    fn flush(&self) -> io::Result<()>;

    /// The stretch of one kind that begins at `offset` (which is below [`len`](Self::len)).
    fn extent(&self, offset: u64) -> io::Result<Extent> {
        Ok(Extent { len: self.len() - offset, kind: ExtentKind::Data })
    }

    /// The first byte from `offset` on that is not in a hole, or [`len`](Self::len). Cheaper than
    /// [`extent`](Self::extent) where it lies in data: the end of that need not be found.
    fn next_data(&self, offset: u64) -> io::Result<u64> {
        let extent = self.extent(offset)?;
        Ok(if extent.kind == ExtentKind::Hole { offset + extent.len } else { offset })
    }

    /// The host file behind the device when device offsets are file offsets, for copies inside the host kernel.
    fn host_file(&self) -> Option<&File> {
        None
    }
}

/// Checks a request against the size of a device.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`], naming the range, when it reaches past `size` or wraps.
pub fn check_range(offset: u64, len: u64, size: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{len} bytes at offset {offset} reach past the end of the device ({size} bytes)"),
        )),
    }
}
