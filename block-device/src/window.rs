//! A partition: a part of a device, as a device.

use crate::{BlockDevice, Extent, check_range};
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A part of a device, as a device. Its end can be moved while it is in use.
pub struct Window {
    inner: Arc<dyn BlockDevice>,
    start: u64,
    len: AtomicU64,
}

impl Window {
    /// `start` and `len` lie on the device.
    pub fn new(inner: Arc<dyn BlockDevice>, start: u64, len: u64) -> Window {
        Window { inner, start, len: AtomicU64::new(len) }
    }

    /// Its first byte on the whole device.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Moves its end; the caller sees to it that it lies on the device.
    pub fn set_len(&self, len: u64) {
        self.len.store(len, Relaxed);
    }

    fn place(&self, offset: u64, len: u64) -> io::Result<u64> {
        check_range(offset, len, self.len())?;
        Ok(self.start + offset)
    }
}

impl BlockDevice for Window {
    fn len(&self) -> u64 {
        self.len.load(Relaxed)
    }

    fn read_only(&self) -> bool {
        self.inner.read_only()
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, self.place(offset, buf.len() as u64)?)
    }

    fn read_ready_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<bool> {
        let at = self.place(offset, bufs.iter().map(|b| b.len() as u64).sum())?;
        self.inner.read_ready_at(bufs, at)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, self.place(offset, buf.len() as u64)?)
    }

    fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        let at = self.place(offset, bufs.iter().map(|b| b.len() as u64).sum())?;
        self.inner.read_vectored_at(bufs, at)
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let at = self.place(offset, bufs.iter().map(|b| b.len() as u64).sum())?;
        self.inner.write_vectored_at(bufs, at)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.discard(self.place(offset, len)?, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<()> {
        self.inner.write_zeroes(self.place(offset, len)?, len, may_unmap)
    }

    fn zero_fast(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<bool> {
        self.inner.zero_fast(self.place(offset, len)?, len, may_unmap)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn extent(&self, offset: u64) -> io::Result<Extent> {
        let extent = self.inner.extent(self.place(offset, 1)?)?;
        Ok(Extent { len: extent.len.min(self.len() - offset), ..extent })
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        let at = self.inner.next_data(self.place(offset, 1)?)?;
        Ok((at - self.start).min(self.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemDevice;

    #[test]
    fn a_window_ends_where_it_ends() {
        let whole = Arc::new(MemDevice::new((0..64u8).flat_map(|n| [n; 512]).collect()));
        let window = Window::new(whole.clone(), 1024, 2048);
        let mut buf = [0; 512];
        window.read_at(&mut buf, 512).unwrap();
        assert_eq!(buf, [3; 512]);
        window.write_at(&[99; 512], 1536).unwrap();
        for (at, len) in [(2048, 1), (2047, 2), (0, 2049), (u64::MAX, 1)] {
            let mut buf = vec![0; len];
            assert!(window.read_at(&mut buf, at).is_err(), "{at} {len}");
            assert!(window.write_at(&buf, at).is_err() && window.discard(at, len as u64).is_err());
            assert!(window.write_zeroes(at, len as u64, false).is_err());
            assert!(window.read_vectored_at(&mut [IoSliceMut::new(&mut buf)], at).is_err());
            assert!(window.write_vectored_at(&[IoSlice::new(&buf)], at).is_err());
        }
        let bytes = whole.snapshot();
        assert_eq!((bytes[2560], bytes[3071], bytes[3072]), (99, 99, 6));
        window.set_len(1024);
        assert!(window.read_at(&mut buf, 1024).is_err());
    }
}
