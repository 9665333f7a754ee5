//! The bitmap of an open device: in memory, loaded a chunk at a time, written back on flush.
//!
//! A cache and not a shared mapping, for two reasons: the host may write a dirty page of a shared mapping
//! back whenever it likes, so a bit could become durable before its data; and a mapping of a file that
//! somebody truncates ends in SIGBUS. The lookup costs the same (docs/performance.md).

use crate::bits;
use crate::header::Layout;
use block_device::BlockDevice;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

const WORDS: usize = 512;
const CHUNK_BYTES: u64 = WORDS as u64 * 8;
const CHUNK_BITS: u64 = CHUNK_BYTES * 8;

struct Chunk {
    words: [AtomicU64; WORDS],
    /// Has bits that the file lacks; then its index is in `Bitmap::unsaved`.
    unsaved: AtomicBool,
}

pub(crate) struct Bitmap {
    chunks: Box<[OnceLock<Box<Chunk>>]>,
    unsaved: Mutex<Vec<usize>>,
    layout: Layout,
}

impl Bitmap {
    pub(crate) fn new(layout: Layout) -> Self {
        let chunks = (0..layout.bitmap_len.div_ceil(CHUNK_BYTES)).map(|_| OnceLock::new()).collect();
        Self { chunks, unsaved: Mutex::new(Vec::new()), layout }
    }

    fn chunk(&self, file: &dyn BlockDevice, index: usize) -> io::Result<&Chunk> {
        match self.chunks[index].get() {
            Some(chunk) => Ok(chunk),
            None => self.load(file, index),
        }
    }

    /// Reads a chunk from the file. Where two threads do so at once, the first one's copy stays: only that
    /// one can have had bits set since.
    #[cold]
    fn load(&self, file: &dyn BlockDevice, index: usize) -> io::Result<&Chunk> {
        let at = index as u64 * CHUNK_BYTES;
        let mut bytes = vec![0; (self.layout.bitmap_len - at).min(CHUNK_BYTES) as usize];
        file.read_at(&mut bytes, self.layout.bitmap_offset + at)?;
        // Bits past the last sector mean nothing; they are dropped here.
        let valid = self.layout.mapped_sectors - at * 8;
        let word = |i: usize| {
            let bits = valid.saturating_sub(i as u64 * 64);
            let mask = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
            AtomicU64::new(bits::word_at(&bytes, i) & mask)
        };
        let chunk = Box::new(Chunk { words: std::array::from_fn(word), unsaved: AtomicBool::new(false) });
        Ok(self.chunks[index].get_or_init(|| chunk))
    }

    /// Whether all of `[start, end)` is clean, or all of it dirty, where one loaded word can tell: most requests
    /// are as small as that.
    #[inline]
    pub(crate) fn uniform(&self, start: u64, end: u64) -> Option<bool> {
        let mask = (u64::MAX >> (64 - (end - start).min(64))) << (start % 64);
        if (end - 1) / 64 != start / 64 || end > self.layout.mapped_sectors {
            return None;
        }
        let chunk = self.chunks[(start / CHUNK_BITS) as usize].get()?;
        // Acquire as in `run_in_chunk`.
        match chunk.words[(start % CHUNK_BITS / 64) as usize].load(Ordering::Acquire) & mask {
            0 => Some(false),
            bits if bits == mask => Some(true),
            _ => None,
        }
    }

    /// Whether sector `start` is dirty, and how many sectors from it on, up to `end`, are the same.
    pub(crate) fn run(&self, file: &dyn BlockDevice, start: u64, end: u64) -> io::Result<(bool, u64)> {
        let mapped = self.layout.mapped_sectors;
        if start >= mapped {
            return Ok((false, end - start));
        }
        let (mut value, mut count) = self.run_in_chunk(file, start, end.min(mapped))?;
        while start + count < end.min(mapped) && (start + count).is_multiple_of(CHUNK_BITS) {
            let (next, more) = self.run_in_chunk(file, start + count, end.min(mapped))?;
            if next != value {
                return Ok((value, count));
            }
            (value, count) = (next, count + more);
        }
        if !value && start + count == mapped {
            count = end - start; // sectors without a bit are clean
        }
        Ok((value, count))
    }

    fn run_in_chunk(&self, file: &dyn BlockDevice, start: u64, end: u64) -> io::Result<(bool, u64)> {
        let index = start / CHUNK_BITS;
        let base = index * CHUNK_BITS;
        let chunk = self.chunk(file, index as usize)?;
        // Acquire pairs with the Release of set(): whoever sees a bit also sees its data in the file.
        let word = |i: u64| chunk.words[i as usize].load(Ordering::Acquire);
        Ok(bits::run(start - base, end.min(base + CHUNK_BITS) - base, word))
    }

    /// Marks `[start, end)` dirty. The data is in the file already; it need not be durable yet.
    pub(crate) fn set(&self, file: &dyn BlockDevice, start: u64, end: u64) -> io::Result<()> {
        let mut at = start;
        while at < end {
            let index = (at / CHUNK_BITS) as usize;
            let stop = end.min((index as u64 + 1) * CHUNK_BITS);
            let chunk = self.chunk(file, index)?;
            while at < stop {
                let bit = at % 64;
                let n = (64 - bit).min(stop - at);
                let mask = if n == 64 { u64::MAX } else { ((1 << n) - 1) << bit };
                chunk.words[(at % CHUNK_BITS / 64) as usize].fetch_or(mask, Ordering::Release);
                at += n;
            }
            self.note_unsaved(chunk, index);
        }
        Ok(())
    }

    fn note_unsaved(&self, chunk: &Chunk, index: usize) {
        // Under the lock: a second writer of the chunk must not return, and flush, between the first one's mark
        // and its place in the list.
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        if !chunk.unsaved.swap(true, Ordering::AcqRel) {
            unsaved.push(index);
        }
    }

    /// Takes what the file lacks: every bit set before the call is in the returned chunks. The caller makes
    /// the data durable, and then gives the chunks to [`save`](Self::save).
    pub(crate) fn take_unsaved(&self) -> Vec<(usize, Vec<u8>)> {
        let mut indexes = std::mem::take(&mut *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner));
        indexes.sort_unstable();
        let copy = |index: usize| {
            let chunk = self.chunks[index].get()?;
            // Cleared before the words are read: a bit set meanwhile is copied now, or noted for the next time.
            chunk.unsaved.swap(false, Ordering::AcqRel);
            let bytes = chunk.words.iter().flat_map(|w| w.load(Ordering::Acquire).to_le_bytes()).collect();
            Some((index, bytes))
        };
        indexes.into_iter().filter_map(copy).collect()
    }

    /// Writes chunks from [`take_unsaved`](Self::take_unsaved) to the file, not yet durably.
    pub(crate) fn save(&self, file: &dyn BlockDevice, chunks: &[(usize, Vec<u8>)]) -> io::Result<()> {
        for (index, bytes) in chunks {
            let at = *index as u64 * CHUNK_BYTES;
            let len = (self.layout.bitmap_len - at).min(CHUNK_BYTES) as usize;
            file.write_at(&bytes[..len], self.layout.bitmap_offset + at)?;
        }
        Ok(())
    }

    /// Puts chunks back that could not be saved.
    pub(crate) fn put_back(&self, chunks: &[(usize, Vec<u8>)]) {
        for (index, _) in chunks {
            if let Some(chunk) = self.chunks[*index].get() {
                self.note_unsaved(chunk, *index);
            }
        }
    }
}
