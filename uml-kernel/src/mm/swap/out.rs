//! Swapping out.

use super::area::Saved;
use super::records::Record;
use super::swapped::Held;
use crate::mm::vma::{Backing, Vma};
use crate::mm::{Mm, PAGE};
use crate::platform::Op;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of the smallest chunk.
const CHUNK: u64 = 64 << 10;
/// And of the largest, in mappings of many GiB.
const MOST_CHUNK: u64 = 2 << 20;
/// Chunks that a mapping is divided into, about, before they become larger than the smallest: each can cost two mappings of the
/// host's, of which a process has 65,530.
const CHUNKS: u64 = 8192;
/// Ranges of one address space that are swapped out at most, for the same reason.
const MOST_RECORDS: usize = 28_000;
/// Pages whose presence is asked for at a time.
const LOOK: u64 = 4096;

/// How swapping out has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Out {
    /// Bytes that the host has back.
    pub bytes: u64,
    /// Whether there is room for more in the areas.
    pub room: bool,
}

/// Why no more of an address space goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// This chunk does not.
    Chunk,
    /// Nothing of this address space.
    Space,
    /// Nothing of any.
    Full,
}

/// The size of chunks of a mapping.
pub fn chunk(mapping: u64) -> u64 {
    (mapping / CHUNKS).next_power_of_two().clamp(CHUNK, MOST_CHUNK)
}

/// Whether a mapping is one that can be swapped out. Code is not: call sites in it are patched.
fn fits(vma: &Vma) -> bool {
    matches!(vma.backing, Backing::Anonymous)
        && !vma.shared
        && !vma.locked
        && !vma.wiped
        && vma.prot & libc::PROT_EXEC == 0
        && matches!(vma.name, "" | "[heap]" | "[stack]")
}

impl Mm {
    /// Swaps out about `want` bytes, from where the last time has ended on, once round at most. To be called without locks.
    pub fn swap_out(&self, want: u64) -> Out {
        let mut out = Out { bytes: 0, room: true };
        if !self.swap().is_enabled() {
            return out;
        }
        let inner = self.lock();
        let ranges: Vec<(u64, u64, i32)> =
            inner.vmas.iter().filter(|v| fits(v)).map(|v| (v.start, v.end, v.prot)).collect();
        let Some(mut held) = self.swap().hold() else { return out };
        let hand = held.state.hand;
        // Up to the end, then what lies before the hand.
        let behind =
            ranges.iter().filter(|r| r.1 > hand).map(|r| (r.0.max(hand), r.1, r.2, chunk(r.1 - r.0)));
        let before =
            ranges.iter().filter(|r| r.0 < hand).map(|r| (r.0, r.1.min(hand), r.2, chunk(r.1 - r.0)));
        for (start, end, prot, chunk) in behind.chain(before) {
            match held.put_out_range((start, end, prot), chunk, want, &mut out) {
                Ok(()) | Err(Stop::Chunk) if out.bytes < want => {}
                Err(Stop::Full) => {
                    out.room = false;
                    break;
                }
                _ => break,
            }
        }
        out
    }
}

impl Held<'_> {
    fn put_out_range(
        &mut self,
        (start, end, prot): (u64, u64, i32),
        chunk: u64,
        want: u64,
        out: &mut Out,
    ) -> Result<(), Stop> {
        let mut at = start;
        while at < end {
            let upto = (at + LOOK * PAGE).next_multiple_of(MOST_CHUNK).min(end);
            let present = self.present(at, ((upto - at) / PAGE) as usize).ok_or(Stop::Space)?;
            let base = at;
            while at < upto {
                let stop = (at + 1).next_multiple_of(chunk).min(upto);
                let here = &present[((at - base) / PAGE) as usize..((stop - base) / PAGE) as usize];
                let pages: Vec<u16> = (0..).zip(here).filter(|(_, p)| **p).map(|(n, _)| n).collect();
                if !pages.is_empty() && self.state.records.overlapping(at, stop).is_empty() {
                    match self.put_out(at, stop, prot, pages) {
                        Ok(bytes) => out.bytes += bytes,
                        Err(Stop::Chunk) => {}
                        Err(e) => return Err(e),
                    }
                }
                at = stop;
                self.state.hand = at;
                if out.bytes >= want {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Swaps out the pages of a range; the bytes that the host has back.
    fn put_out(&mut self, start: u64, end: u64, prot: i32, mut pages: Vec<u16>) -> Result<u64, Stop> {
        if self.state.records.len() >= MOST_RECORDS {
            return Err(Stop::Space);
        }
        let freed = pages.len() as u64 * PAGE;
        let gone = |e: std::io::Error| match e.raw_os_error() {
            Some(libc::ENOMEM) => Stop::Chunk,
            _ => Stop::Space,
        };
        self.swapped.changes();
        // Nobody can touch it from here on: what is read is what it will be.
        self.call(&[Op::protect(start, end - start, libc::PROT_NONE)]).map_err(gone)?;
        let saved = self.save(start, &mut pages);
        match saved {
            Ok(None) => {
                // Nothing but zeros, which need no place.
                let ops = [
                    Op::advise(start, end - start, libc::MADV_DONTNEED),
                    Op::protect(start, end - start, prot),
                ];
                self.swapped.changes();
                self.call(&ops).map_err(gone)?;
            }
            Ok(Some(saved)) => {
                self.state.records.insert(start, Record::new(start, end, prot, saved));
                self.call(&[Op::advise(start, end - start, libc::MADV_DONTNEED)]).map_err(gone)?;
            }
            Err(stop) => {
                self.swapped.changes();
                self.call(&[Op::protect(start, end - start, prot)]).map_err(gone)?;
                return Err(stop);
            }
        }
        Ok(freed)
    }

    /// Writes pages of a range that nobody can touch to an area. `None` if all are zeros.
    fn save(&self, start: u64, pages: &mut Vec<u16>) -> Result<Option<Saved>, Stop> {
        let mut bytes = vec![0; pages.len() * PAGE as usize];
        let memory = self.state.memory.as_ref().ok_or(Stop::Space)?;
        let mut done = 0;
        while done < pages.len() {
            let same = pages[done..].iter().zip(pages[done]..).take_while(|(p, n)| **p == *n).count();
            let into = &mut bytes[done * PAGE as usize..(done + same) * PAGE as usize];
            if let Err(e) = memory.read_exact_at(into, start + u64::from(pages[done]) * PAGE) {
                denied(&e);
                return Err(Stop::Space);
            }
            done += same;
        }
        let is_zero = |page: &[u8]| page.iter().all(|b| *b == 0);
        if bytes.chunks_exact(PAGE as usize).any(is_zero) {
            let kept: Vec<(u16, &[u8])> = pages
                .iter()
                .copied()
                .zip(bytes.chunks_exact(PAGE as usize))
                .filter(|(_, page)| !is_zero(page))
                .collect();
            let (numbers, parts): (Vec<u16>, Vec<&[u8]>) = kept.into_iter().unzip();
            bytes = parts.concat();
            *pages = numbers;
        }
        if pages.is_empty() {
            return Ok(None);
        }
        match Saved::new(pages, &bytes) {
            Ok(Some(saved)) => Ok(Some(saved)),
            Ok(None) => Err(Stop::Full),
            // It was said already; another area may have room the next time.
            Err(_) => Err(Stop::Space),
        }
    }
}

/// The host does not let us read what the guest cannot touch (proc_mem.force_override=never): nothing can be swapped out there.
fn denied(e: &std::io::Error) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if e.raw_os_error() != Some(libc::ESRCH) && !TOLD.swap(true, Ordering::Relaxed) {
        crate::log!("swap: the host does not show the guest's memory to swap it out: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_with_the_mapping() {
        assert_eq!(chunk(PAGE), CHUNK);
        assert_eq!(chunk(512 << 20), CHUNK);
        assert_eq!(chunk(1 << 30), 128 << 10);
        assert_eq!(chunk(1 << 46), MOST_CHUNK);
    }

    #[test]
    fn only_private_anonymous_memory_goes_out() {
        let vma = Vma::anonymous(0x10000, 0x20000, 3, "");
        assert!(fits(&vma) && fits(&Vma { name: "[stack]", ..vma.clone() }));
        let others = [
            Vma { locked: true, ..vma.clone() },
            Vma { wiped: true, ..vma.clone() },
            Vma { shared: true, ..vma.clone() },
            Vma { prot: 7, ..vma.clone() },
            Vma { name: "[vdso]", ..vma.clone() },
        ];
        assert!(others.iter().all(|v| !fits(v)));
    }
}
