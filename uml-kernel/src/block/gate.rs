//! What every request to a disk passes: it is counted, and the end is where the last whole sector ends.

use super::SECTOR;
use crate::base::blocking::blocking;
use ::block_device::{BlockDevice, Extent};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// What a request does.
#[derive(Debug, Clone, Copy)]
enum What {
    Read,
    Write,
    Discard,
    Flush,
}

#[derive(Debug, Default)]
struct Count {
    requests: AtomicU64,
    sectors: AtomicU64,
    nanos: AtomicU64,
}

/// What was asked of a device since it is there (Documentation/admin-guide/iostats.rst).
#[derive(Debug)]
pub struct Stats {
    counts: [Count; 4],
    in_flight: AtomicU64,
    /// Since when there is a request, as nanoseconds since `born`.
    busy_since: AtomicU64,
    busy: AtomicU64,
    born: Instant,
}

impl Stats {
    fn new() -> Stats {
        Stats {
            counts: Default::default(),
            in_flight: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        self.born.elapsed().as_nanos() as u64
    }

    fn count<T>(&self, what: What, bytes: u64, request: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let begun = self.now();
        if self.in_flight.fetch_add(1, Relaxed) == 0 {
            self.busy_since.store(begun, Relaxed);
        }
        let result = request();
        let ended = self.now();
        if self.in_flight.fetch_sub(1, Relaxed) == 1 {
            self.busy.fetch_add(ended.saturating_sub(self.busy_since.load(Relaxed)), Relaxed);
        }
        let count = &self.counts[what as usize];
        count.requests.fetch_add(1, Relaxed);
        count.nanos.fetch_add(ended - begun, Relaxed);
        if result.is_ok() {
            count.sectors.fetch_add(bytes.div_ceil(SECTOR), Relaxed);
        }
        result
    }

    /// How many requests are under way.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// In the order of /proc/diskstats; nothing is merged here.
    pub fn figures(&self) -> [u64; 17] {
        let ms = |nanos: u64| nanos / 1_000_000;
        let requests = |what: What| self.counts[what as usize].requests.load(Relaxed);
        let sectors = |what: What| self.counts[what as usize].sectors.load(Relaxed);
        let spent = |what: What| ms(self.counts[what as usize].nanos.load(Relaxed));
        use What::{Discard, Flush, Read, Write};
        let weighted = spent(Read) + spent(Write) + spent(Discard) + spent(Flush);
        let busy = ms(self.busy.load(Relaxed));
        let (reads, writes) = (requests(Read), requests(Write));
        [
            reads,
            0,
            sectors(Read),
            spent(Read),
            writes,
            0,
            sectors(Write),
            spent(Write),
            self.in_flight(),
            busy,
            weighted,
            requests(Discard),
            0,
            sectors(Discard),
            spent(Discard),
            requests(Flush),
            spent(Flush),
        ]
    }
}

/// A device whose requests are counted.
pub(super) struct Gate {
    inner: Arc<dyn BlockDevice>,
    stats: Stats,
    /// BLKROSET.
    read_only: AtomicBool,
    /// The disk's name, and its file of the host's; nothing for a partition, whose disk tells.
    name: String,
    /// The error of the host's that was told last.
    told: AtomicI32,
}

impl Gate {
    pub(super) fn new(inner: Arc<dyn BlockDevice>, name: String) -> Gate {
        Gate { inner, stats: Stats::new(), read_only: AtomicBool::new(false), name, told: AtomicI32::new(0) }
    }

    fn request<T>(&self, what: What, bytes: u64, request: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.stats.count(what, bytes, request).inspect_err(|e| self.tell(what, e))
    }

    /// Tells who runs the guest that the host has failed it; each error once, until another comes.
    fn tell(&self, what: What, e: &io::Error) {
        let way = match (e.raw_os_error(), e.kind()) {
            (Some(libc::EROFS | libc::EOPNOTSUPP), _) | (_, io::ErrorKind::InvalidInput) => return,
            (Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG), _) => {
                ": make room there; the guest gets errors, and has what it had synced"
            }
            (_, io::ErrorKind::UnexpectedEof) => {
                ": was it cut? The guest gets errors; end it, and check the disk"
            }
            _ => ": the guest gets errors; end it, and look after the host's disk",
        };
        let errno = e.raw_os_error().unwrap_or(libc::EIO);
        if !self.name.is_empty() && self.told.swap(errno, Relaxed) != errno {
            let verb = match what {
                What::Read => "read from",
                What::Write | What::Discard => "write to",
                What::Flush => "sync",
            };
            crate::base::log::alert(format!(
                "cannot {verb} disk {}: {}{way}",
                self.name,
                cow_format::strerror(e)
            ));
        }
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(super) fn set_read_only(&self, yes: bool) {
        self.read_only.store(yes, Relaxed);
    }
}

/// Bytes of a write that are copied for so long that the host may find the moment to let its writer wait.
const LONG: u64 = 128 << 10;

fn if_long<T>(len: u64, write: impl FnOnce() -> T) -> T {
    if len >= LONG { blocking(write) } else { write() }
}

fn total(lens: impl Iterator<Item = usize>) -> u64 {
    lens.map(|n| n as u64).sum()
}

impl BlockDevice for Gate {
    fn len(&self) -> u64 {
        self.inner.len() / SECTOR * SECTOR
    }

    fn read_only(&self) -> bool {
        self.read_only.load(Relaxed) || self.inner.read_only()
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_vectored_at(&mut [IoSliceMut::new(buf)], offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.request(What::Write, buf.len() as u64, || {
            if_long(buf.len() as u64, || self.inner.write_at(buf, offset))
        })
    }

    fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        let len = total(bufs.iter().map(|b| b.len()));
        self.request(What::Read, len, || {
            if self.inner.read_ready_at(bufs, offset)? {
                return Ok(());
            }
            blocking(|| self.inner.read_vectored_at(bufs, offset))
        })
    }

    fn read_ready_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<bool> {
        let len = total(bufs.iter().map(|b| b.len()));
        let ready = self.inner.read_ready_at(bufs, offset)?;
        if ready {
            self.request(What::Read, len, || Ok(()))?;
        }
        Ok(ready)
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let len = total(bufs.iter().map(|b| b.len()));
        self.request(What::Write, len, || if_long(len, || self.inner.write_vectored_at(bufs, offset)))
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.request(What::Discard, len, || blocking(|| self.inner.discard(offset, len)))
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<()> {
        self.request(What::Write, len, || if_long(len, || self.inner.write_zeroes(offset, len, may_unmap)))
    }

    fn flush(&self) -> io::Result<()> {
        self.request(What::Flush, 0, || blocking(|| self.inner.flush()))
    }

    fn extent(&self, offset: u64) -> io::Result<Extent> {
        let extent = self.inner.extent(offset)?;
        Ok(Extent { len: extent.len.min(self.len().saturating_sub(offset)).max(1), ..extent })
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        Ok(self.inner.next_data(offset)?.min(self.len()))
    }

    fn host_file(&self) -> Option<&File> {
        self.inner.host_file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::block_device::MemDevice;

    #[test]
    fn requests_are_counted() {
        let gate = Gate::new(Arc::new(MemDevice::new(vec![0; 8192 + 100])), "test".into());
        assert_eq!(gate.len(), 8192);
        gate.read_at(&mut [0; 1024], 0).unwrap();
        gate.read_at(&mut [0; 10], 0).unwrap();
        gate.write_at(&[0; 4096], 0).unwrap();
        gate.discard(0, 512).unwrap();
        gate.flush().unwrap();
        assert!(gate.read_at(&mut [0; 512], 1 << 40).is_err());
        let f = gate.stats().figures();
        assert_eq!((f[0], f[2], f[4], f[6], f[8], f[11], f[13], f[15]), (3, 3, 1, 8, 0, 1, 1, 1));
    }
}
