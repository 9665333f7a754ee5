//! An open COW disk as a [`BlockDevice`].
//!
//! Lock order: one group of `allocating` stripes in ascending order, then nothing else; `flushing`, then
//! the bitmap's list of unsaved chunks. Reads, and writes to sectors that are dirty already, take no lock.

use crate::bitmap::Bitmap;
use crate::header::Layout;
use block_device::{BlockDevice, Extent, check_range};
use rustix::io::Errno;
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// log2 of the bytes that one stripe covers, at the least, before the next stripe's turn.
const STRIPE_SHIFT: u32 = 17;
const STRIPES: u64 = 64;

/// A COW file over its base. The base may be any device, another `CowDevice` among them.
///
/// The file's content is as the format page promises at every moment: data is durable before the bit that
/// says so. Dropping the device flushes it; errors show only through [`flush`](BlockDevice::flush).
pub struct CowDevice {
    file: Arc<dyn BlockDevice>,
    base: Arc<dyn BlockDevice>,
    layout: Layout,
    bitmap: Bitmap,
    /// Held shared by a write that dirties whole sectors, exclusively by one that first copies a sector
    /// from the base: that copy must not overwrite what another write has just put there.
    allocating: [RwLock<()>; STRIPES as usize],
    /// Number of flushes completed.
    flushing: Mutex<u64>,
    /// Number of flushes begun.
    flushes_begun: AtomicU64,
    /// A sync has failed: the host may have dropped data that it had accepted (fsync(2)), so nothing more
    /// is promised.
    failed: AtomicBool,
}

/// Bytes of bitmap that an open device can have: 64 TiB of 512-byte sectors. A sparse file of a few
/// kilobytes can claim more, and must not make the process run out of memory.
const MAX_BITMAP: u64 = 16 << 30;

enum Stripes<'a> {
    Shared { _guards: Vec<RwLockReadGuard<'a, ()>> },
    Exclusive { _guards: Vec<RwLockWriteGuard<'a, ()>> },
}

impl CowDevice {
    /// A device from the bytes of a COW file, the layout its header gives, and its base.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the base's size is not the device's, or the file ends before
    /// data that its bitmap calls dirty (with the offset).
    pub fn new(file: Arc<dyn BlockDevice>, layout: Layout, base: Arc<dyn BlockDevice>) -> io::Result<Self> {
        let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        if base.len() != layout.size {
            return invalid(format!("the base has {} bytes, the device {}", base.len(), layout.size));
        }
        if layout.bitmap_len > MAX_BITMAP {
            return invalid(format!(
                "a bitmap of {} bytes: larger sectors are needed for this size",
                layout.bitmap_len
            ));
        }
        if file.len() < layout.file_len() {
            for run in crate::DirtyRuns::new(&*file, layout) {
                let (end, have) = (layout.data_offset + run?.end(), file.len());
                if end > have {
                    return invalid(format!("dirty data up to offset {end}, but the file ends at {have}"));
                }
            }
        }
        Ok(Self {
            file,
            base,
            layout,
            bitmap: Bitmap::new(layout),
            allocating: std::array::from_fn(|_| RwLock::new(())),
            flushing: Mutex::new(0),
            flushes_begun: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        })
    }

    /// Where everything lies in the file.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether the byte at `offset` is in the COW file, and up to where, at most `end`, the same holds.
    ///
    /// # Errors
    /// Those of reading the bitmap.
    pub fn dirty_run(&self, offset: u64, end: u64) -> io::Result<(bool, u64)> {
        let shift = self.layout.sector_shift();
        let last = (end - 1) >> shift;
        if let Some(dirty) = self.bitmap.uniform(offset >> shift, last + 1) {
            return Ok((dirty, end));
        }
        let (dirty, sectors) = self.bitmap.run(&*self.file, offset >> shift, last + 1)?;
        Ok((dirty, (((offset >> shift) + sectors) << shift).min(end)))
    }

    fn check_write(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.read_only() {
            return Err(Errno::ROFS.into());
        }
        check_range(offset, len, self.layout.size)?;
        if self.failed.load(Ordering::Acquire) {
            return Err(Errno::IO.into());
        }
        self.layout.check_mapped(if len > 0 { offset + len } else { 0 })
    }

    /// The sectors that `[start, end)` touches.
    fn sectors(&self, start: u64, end: u64) -> Range<u64> {
        let shift = self.layout.sector_shift();
        start >> shift..((end - 1) >> shift) + 1
    }

    fn all_dirty(&self, start: u64, end: u64) -> io::Result<bool> {
        let (dirty, stop) = self.dirty_run(start, end)?;
        Ok(dirty && stop == end)
    }

    fn lock_stripes(&self, start: u64, end: u64, exclusive: bool) -> Stripes<'_> {
        // A sector lies in one stripe, however large it is.
        let shift = self.layout.sector_shift().max(STRIPE_SHIFT);
        let (first, last) = (start >> shift, (end - 1) >> shift);
        let count = (last - first + 1).min(STRIPES);
        let mut which: Vec<usize> = (first..first + count).map(|s| (s % STRIPES) as usize).collect();
        which.sort_unstable();
        let locks = which.into_iter().map(|i| &self.allocating[i]);
        if exclusive {
            let guards = locks.map(|l| l.write().unwrap_or_else(PoisonError::into_inner)).collect();
            Stripes::Exclusive { _guards: guards }
        } else {
            let guards = locks.map(|l| l.read().unwrap_or_else(PoisonError::into_inner)).collect();
            Stripes::Shared { _guards: guards }
        }
    }

    /// The bytes of the base that complete a clean sector of which a write covers only a part.
    fn fill(&self, from: u64, to: u64, sector_byte: u64) -> io::Result<Vec<u8>> {
        if from >= to || self.dirty_run(sector_byte, sector_byte + 1)?.0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; (to - from) as usize];
        self.base.read_at(&mut bytes, from)?;
        Ok(bytes)
    }

    /// Writes data that may touch clean sectors: data first, in one call, and then the bits.
    fn write_allocating(&self, bufs: &[IoSlice<'_>], start: u64, end: u64) -> io::Result<()> {
        let ss = u64::from(self.layout.sector_size);
        let (first, last) = (start / ss * ss, ((end - 1) / ss + 1) * ss);
        let last = last.min(self.layout.size);
        let partial = first < start || end < last;
        let _stripes = self.lock_stripes(start, end, partial);
        let head = self.fill(first, start, start)?;
        let tail = self.fill(end, last, end - 1)?;
        let at = self.layout.data_offset + start - head.len() as u64;
        match (head.is_empty() && tail.is_empty(), bufs) {
            (true, [one]) => self.file.write_at(one, at)?,
            (true, many) => self.file.write_vectored_at(many, at)?,
            (false, bufs) => {
                let mut all = Vec::with_capacity(bufs.len() + 2);
                all.push(IoSlice::new(&head));
                all.extend(bufs.iter().copied());
                all.push(IoSlice::new(&tail));
                self.file.write_vectored_at(&all, at)?;
            }
        }
        let sectors = self.sectors(start, end);
        self.bitmap.set(&*self.file, sectors.start, sectors.end)
    }

    /// Reads by runs of sectors that lie in one file; false as soon as `read` says so.
    fn read_runs(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        mut offset: u64,
        read: impl Fn(&dyn BlockDevice, &mut [IoSliceMut<'_>], u64) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let len = bufs.iter().map(|b| b.len() as u64).sum();
        check_range(offset, len, self.layout.size)?;
        let end = offset + len;
        let mut parts: Vec<&mut [u8]> = bufs.iter_mut().map(|b| &mut **b).rev().collect();
        while offset < end {
            let (dirty, stop) = self.dirty_run(offset, end)?;
            let mut run: Vec<IoSliceMut<'_>> = Vec::with_capacity(parts.len());
            let mut want = (stop - offset) as usize;
            while want > 0
                && let Some(part) = parts.pop()
            {
                let (now, later) = part.split_at_mut(want.min(part.len()));
                want -= now.len();
                run.push(IoSliceMut::new(now));
                if !later.is_empty() {
                    parts.push(later);
                }
            }
            let done = match dirty {
                true => read(&*self.file, &mut run, self.layout.data_offset + offset)?,
                false => read(&*self.base, &mut run, offset)?,
            };
            if !done {
                return Ok(false);
            }
            offset = stop;
        }
        Ok(true)
    }

    /// Zeros: whole sectors by `zero`, given a range of the file, and the rest written. Nothing is done where `zero` says that it did nothing.
    fn zero(
        &self,
        offset: u64,
        len: u64,
        zero: impl FnOnce(u64, u64) -> io::Result<bool>,
    ) -> io::Result<bool> {
        self.check_write(offset, len)?;
        let (ss, end) = (u64::from(self.layout.sector_size), offset + len);
        // Whole sectors in the middle; the last sector of the device is whole when its end is reached.
        let first = offset.next_multiple_of(ss).min(end);
        let last = if end == self.layout.size { end } else { (end / ss * ss).max(first) };
        if first < last {
            let _stripes = self.lock_stripes(first, last, false);
            if !zero(self.layout.data_offset + first, last - first)? {
                return Ok(false);
            }
            let sectors = self.sectors(first, last);
            self.bitmap.set(&*self.file, sectors.start, sectors.end)?;
        }
        for part in [offset..first, last..end] {
            if !part.is_empty() {
                self.write_at(&vec![0; (part.end - part.start) as usize], part.start)?;
            }
        }
        Ok(true)
    }

    fn flush_once(&self) -> io::Result<()> {
        let chunks = self.bitmap.take_unsaved();
        let sync = || {
            // Not to be repeated: after a failed sync the host counts the lost pages as clean.
            self.file.flush().inspect_err(|_| self.failed.store(true, Ordering::Release))
        };
        let saved = sync().and_then(|()| match chunks.is_empty() {
            true => Ok(()),
            false => self.bitmap.save(&*self.file, &chunks).and_then(|()| sync()),
        });
        if saved.is_err() {
            self.bitmap.put_back(&chunks);
        }
        saved
    }
}

impl BlockDevice for CowDevice {
    fn len(&self) -> u64 {
        self.layout.size
    }

    fn read_only(&self) -> bool {
        self.file.read_only()
    }

    fn sector_size(&self) -> u32 {
        self.layout.sector_size
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        check_range(offset, buf.len() as u64, self.layout.size)?;
        while !buf.is_empty() {
            let (dirty, stop) = self.dirty_run(offset, offset + buf.len() as u64)?;
            let (now, later) = buf.split_at_mut((stop - offset) as usize);
            if dirty {
                self.file.read_at(now, self.layout.data_offset + offset)?;
            } else {
                self.base.read_at(now, offset)?;
            }
            (buf, offset) = (later, stop);
        }
        Ok(())
    }

    fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        self.read_runs(bufs, offset, |device, run, at| device.read_vectored_at(run, at).map(|()| true))
            .map(drop)
    }

    fn read_ready_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<bool> {
        self.read_runs(bufs, offset, |device, run, at| device.read_ready_at(run, at))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        self.check_write(offset, buf.len() as u64)?;
        if buf.is_empty() {
            return Ok(());
        }
        if self.all_dirty(offset, end)? {
            return self.file.write_at(buf, self.layout.data_offset + offset);
        }
        self.write_allocating(&[IoSlice::new(buf)], offset, end)
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let len = bufs.iter().map(|b| b.len() as u64).sum();
        self.check_write(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        if self.all_dirty(offset, offset + len)? {
            return self.file.write_vectored_at(bufs, self.layout.data_offset + offset);
        }
        self.write_allocating(bufs, offset, offset + len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len, true)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<()> {
        self.zero(offset, len, |at, len| self.file.write_zeroes(at, len, may_unmap).map(|()| true)).map(drop)
    }

    fn zero_fast(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<bool> {
        self.zero(offset, len, |at, len| self.file.zero_fast(at, len, may_unmap))
    }

    fn flush(&self) -> io::Result<()> {
        if self.read_only() {
            return Ok(());
        }
        let begun = self.flushes_begun.load(Ordering::Acquire);
        let mut completed = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed.load(Ordering::Acquire) {
            return Err(Errno::IO.into());
        }
        if *completed > begun {
            return Ok(()); // one that began after this call has ended well: it covers us
        }
        let number = self.flushes_begun.fetch_add(1, Ordering::AcqRel) + 1;
        self.flush_once()?;
        *completed = number;
        Ok(())
    }

    fn extent(&self, offset: u64) -> io::Result<Extent> {
        check_range(offset, 1, self.layout.size)?;
        let (dirty, stop) = self.dirty_run(offset, self.layout.size)?;
        let below = match dirty {
            true => self.file.extent(self.layout.data_offset + offset)?,
            false => self.base.extent(offset)?,
        };
        Ok(Extent { len: below.len.min(stop - offset), ..below })
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        check_range(offset, 1, self.layout.size)?;
        let mut at = offset;
        while at < self.layout.size {
            let (dirty, stop) = self.dirty_run(at, self.layout.size)?;
            let next = match dirty {
                true => {
                    self.file.next_data(self.layout.data_offset + at)?.saturating_sub(self.layout.data_offset)
                }
                false => self.base.next_data(at)?,
            };
            if next < stop {
                return Ok(next);
            }
            at = stop;
        }
        Ok(at)
    }
}

impl Drop for CowDevice {
    fn drop(&mut self) {
        // What cannot be saved now was never promised: no flush was answered for it.
        let _ = self.flush();
    }
}
