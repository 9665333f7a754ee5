//! The buffers of a pipe: a queue of pages, filled and emptied as Linux does (fs/pipe.c), so that short counts come out the same.

use crate::base::{Errno, Result};
use std::collections::VecDeque;

/// Bytes of one slot.
pub const PAGE: usize = 4096;
/// Slots of a new pipe.
pub const DEFAULT_SLOTS: usize = 16;

#[derive(Debug)]
struct Slot {
    /// Up to a page of data; what is before `at` has been read. Its capacity is always a page.
    data: Vec<u8>,
    at: usize,
    /// A packet: nothing is merged into it, and what a read leaves of it is lost.
    packet: bool,
}

/// Data in a pipe.
#[derive(Debug)]
pub(super) struct Ring {
    slots: VecDeque<Slot>,
    limit: usize,
    /// Emptied pages kept for the next write.
    spare: Vec<Vec<u8>>,
}

impl Ring {
    pub(super) const fn new() -> Ring {
        Ring { slots: VecDeque::new(), limit: DEFAULT_SLOTS, spare: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= self.limit
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.slots.iter().map(|s| s.data.len() - s.at).sum()
    }

    /// Slots there are.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Changes the number of slots; EBUSY if more are in use.
    pub(super) fn set_limit(&mut self, slots: usize) -> Result<()> {
        if slots < self.slots.len() {
            return Err(Errno::EBUSY);
        }
        self.limit = slots;
        Ok(())
    }

    /// Appends what has room of `from` behind its first `done` bytes, which are in already; returns the new `done`. What does not fill
    /// a page goes behind the last data if it fits there as a whole.
    pub(super) fn push(&mut self, from: &[u8], mut done: usize, packet: bool) -> usize {
        let odd = from.len() % PAGE;
        if done == 0
            && odd > 0
            && let Some(last) = self.slots.back_mut()
            && !last.packet
            && last.data.len() + odd <= PAGE
        {
            last.data.extend_from_slice(&from[..odd]);
            done = odd;
        }
        while done < from.len() && !self.is_full() {
            let end = from.len().min(done + PAGE);
            let mut data = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(PAGE));
            data.extend_from_slice(&from[done..end]);
            self.slots.push_back(Slot { data, at: 0, packet });
            done = end;
        }
        done
    }

    /// Takes data out, as much as there is room for in `into` (at most one packet).
    pub(super) fn pull(&mut self, into: &mut [u8]) -> usize {
        let mut done = 0;
        while done < into.len() {
            let Some(first) = self.slots.front_mut() else { break };
            let n = (first.data.len() - first.at).min(into.len() - done);
            into[done..done + n].copy_from_slice(&first.data[first.at..first.at + n]);
            first.at += n;
            done += n;
            let packet = first.packet;
            if (packet || first.at == first.data.len())
                && let Some(mut slot) = self.slots.pop_front()
                && self.spare.len() < 2
            {
                slot.data.clear();
                self.spare.push(slot.data);
            }
            if packet {
                break;
            }
        }
        done
    }
}
