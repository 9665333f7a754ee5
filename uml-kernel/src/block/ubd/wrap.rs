//! What the letters `s` and `t` make of a device.

use super::Letters;
use ::block_device::{BlockDevice, Extent};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::sync::Arc;

/// A device that behaves as the letters say.
pub(super) fn as_asked(device: Arc<dyn BlockDevice>, letters: Letters) -> Arc<dyn BlockDevice> {
    let (sync, no_trim) = (letters.contains(Letters::SYNC), letters.contains(Letters::NO_TRIM));
    if sync || no_trim { Arc::new(Wrapped { inner: device, sync, no_trim }) } else { device }
}

struct Wrapped {
    inner: Arc<dyn BlockDevice>,
    /// Each write is flushed before it returns.
    sync: bool,
    /// Space is not given back: a discard is refused, as by a disk that knows none.
    no_trim: bool,
}

impl Wrapped {
    fn settle(&self) -> io::Result<()> {
        if self.sync { self.inner.flush() } else { Ok(()) }
    }
}

impl BlockDevice for Wrapped {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_only(&self) -> bool {
        self.inner.read_only()
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }

    fn read_ready_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<bool> {
        self.inner.read_ready_at(bufs, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, offset)?;
        self.settle()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.no_trim {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        self.inner.discard(offset, len)?;
        self.settle()
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<()> {
        self.inner.write_zeroes(offset, len, may_unmap && !self.no_trim)?;
        self.settle()
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn extent(&self, offset: u64) -> io::Result<Extent> {
        self.inner.extent(offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        self.inner.next_data(offset)
    }

    fn host_file(&self) -> Option<&File> {
        // Who writes past this one would not be flushed.
        if self.sync { None } else { self.inner.host_file() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Counting {
        flushes: AtomicU32,
        discards: AtomicU32,
    }

    impl BlockDevice for Counting {
        fn len(&self) -> u64 {
            4096
        }
        fn read_only(&self) -> bool {
            false
        }
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
            Ok(())
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Ok(())
        }
        fn discard(&self, _: u64, _: u64) -> io::Result<()> {
            self.discards.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            self.flushes.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    fn made(letters: Letters) -> (Arc<Counting>, Arc<dyn BlockDevice>) {
        let inner = Arc::new(Counting::default());
        (inner.clone(), as_asked(inner, letters))
    }

    #[test]
    fn s_flushes_each_write() {
        let (inner, device) = made(Letters::SYNC);
        device.write_at(b"x", 0).unwrap();
        device.write_vectored_at(&[io::IoSlice::new(b"y")], 1).unwrap();
        device.discard(0, 512).unwrap();
        device.write_zeroes(0, 512, false).unwrap();
        assert!(inner.flushes.load(Ordering::Relaxed) >= 4);
        let (inner, device) = made(Letters::empty());
        device.write_at(b"x", 0).unwrap();
        assert_eq!(inner.flushes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn t_gives_nothing_back() {
        let (inner, device) = made(Letters::NO_TRIM);
        assert_eq!(device.discard(0, 512).unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
        device.write_zeroes(0, 512, true).unwrap();
        assert_eq!(inner.discards.load(Ordering::Relaxed), 0);
        let (inner, device) = made(Letters::empty());
        device.write_zeroes(0, 512, true).unwrap();
        device.discard(0, 512).unwrap();
        assert_eq!(inner.discards.load(Ordering::Relaxed), 2);
    }
}
