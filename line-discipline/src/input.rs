//! The input queue: bytes, and which of them end a line.
//!
//! Positions count bytes since the last flush, so that "the line begins where it began" survives reading.

use std::collections::VecDeque;

use crate::flags::DISABLED;

#[derive(Clone, Copy, Debug)]
struct Entry {
    byte: u8,
    /// It ends a line. A [`DISABLED`] that does is an end of file, and is not handed out.
    ends_line: bool,
}

/// Bytes that wait for readers.
#[derive(Clone, Debug, Default)]
pub(crate) struct InputQueue {
    entries: VecDeque<Entry>,
    tail: u64,
    /// Up to here there are whole lines; what stands behind can still be edited.
    lines_end: u64,
    /// Up to here non-canonical readers may read.
    committed: u64,
}

impl InputQueue {
    /// Bytes in the queue.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Position behind the last byte.
    pub(crate) fn head(&self) -> u64 {
        self.tail + self.entries.len() as u64
    }

    /// Position behind the last whole line: the first byte that can be edited.
    pub(crate) fn lines_end(&self) -> u64 {
        self.lines_end
    }

    /// Whether there is a line to read.
    pub(crate) fn has_line(&self) -> bool {
        self.lines_end != self.tail
    }

    /// Bytes that non-canonical readers may read.
    pub(crate) fn committed_len(&self) -> usize {
        self.committed.saturating_sub(self.tail) as usize
    }

    /// The byte at `position`, which must be in the queue.
    pub(crate) fn at(&self, position: u64) -> u8 {
        self.entries[(position - self.tail) as usize].byte
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.entries.push_back(Entry { byte, ends_line: false });
    }

    /// Adds the byte that ends a line, and so hands the line to readers.
    pub(crate) fn push_line_end(&mut self, byte: u8) {
        self.entries.push_back(Entry { byte, ends_line: true });
        self.lines_end = self.head();
    }

    /// Takes back all from `position` on.
    pub(crate) fn truncate(&mut self, position: u64) {
        self.entries.truncate(position.saturating_sub(self.tail) as usize);
    }

    /// Lets non-canonical readers have all there is.
    pub(crate) fn commit(&mut self) {
        self.committed = self.head();
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// From now on input is by lines: what is there counts as one line, whose last byte ends it.
    pub(crate) fn begin_lines(&mut self) {
        self.forget_line_ends();
        if let Some(last) = self.entries.back_mut() {
            last.ends_line = true;
            self.lines_end = self.head();
        }
        self.commit();
    }

    /// From now on input is not by lines: ends of file turn into the zero bytes they are kept as.
    pub(crate) fn end_lines(&mut self) {
        self.forget_line_ends();
        self.commit();
    }

    fn forget_line_ends(&mut self) {
        for entry in &mut self.entries {
            entry.ends_line = false;
        }
        self.lines_end = self.tail;
    }

    /// Bytes of whole lines, ends of file not counted.
    pub(crate) fn line_bytes(&self) -> usize {
        let lines = self.lines_end.saturating_sub(self.tail) as usize;
        self.entries.iter().take(lines).filter(|entry| !entry.is_end_of_file()).count()
    }

    /// Reads at most one line. An end of file right behind a full buffer goes with it, so that it does not end the
    /// next read.
    pub(crate) fn read_line(&mut self, buf: &mut [u8]) -> usize {
        let mut read = 0;
        while self.has_line() {
            let Some(&entry) = self.entries.front() else { break };
            if entry.is_end_of_file() {
                self.drop_first();
                break;
            }
            let Some(slot) = buf.get_mut(read) else { break };
            *slot = entry.byte;
            read += 1;
            self.drop_first();
            if entry.ends_line {
                break;
            }
        }
        read
    }

    /// Reads what there is.
    pub(crate) fn read_bytes(&mut self, buf: &mut [u8]) -> usize {
        let count = buf.len().min(self.committed_len());
        for (slot, entry) in buf.iter_mut().zip(self.entries.drain(..count)) {
            *slot = entry.byte;
        }
        self.tail += count as u64;
        count
    }

    fn drop_first(&mut self) {
        if self.entries.pop_front().is_some() {
            self.tail += 1;
        }
    }
}

impl Entry {
    fn is_end_of_file(self) -> bool {
        self.ends_line && self.byte == DISABLED
    }
}
