//! The VMA tree: which addresses are mapped, how, from what.

use super::shared::SharedMemory;
use crate::fs::File;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Rounds up to whole pages; `None` beyond the address space.
pub fn page_up(n: u64) -> Option<u64> {
    n.checked_add(PAGE - 1).map(|n| n & !(PAGE - 1))
}

/// What a mapping shows.
#[derive(Debug, Clone)]
pub enum Backing {
    /// Private zeros.
    Anonymous,
    /// Zeros shared with the mappings that fork makes of it; the number names the object.
    Shared(Arc<SharedMemory>),
    /// A file, from this offset.
    File(Arc<File>, u64),
}

/// One mapped range.
#[derive(Debug, Clone)]
pub struct Vma {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// `PROT_` bits.
    pub prot: i32,
    /// `PROT_` bits that mprotect may give.
    pub max_prot: i32,
    /// Whether stores are shared (MAP_SHARED).
    pub shared: bool,
    /// What it shows.
    pub backing: Backing,
    /// Offset into a shared object, for futexes; the file's is in `backing`.
    pub offset: u64,
    /// A name for /proc/PID/maps: `[heap]`, `[stack]`.
    pub name: &'static str,
    /// MADV_DONTFORK.
    pub dont_fork: bool,
    /// MADV_WIPEONFORK.
    pub wiped: bool,
    /// mlock(2): it stays in memory.
    pub locked: bool,
}

impl Vma {
    /// Private zeros.
    pub fn anonymous(start: u64, end: u64, prot: i32, name: &'static str) -> Vma {
        let (backing, offset) = (Backing::Anonymous, 0);
        let (shared, dont_fork, wiped, locked) = (false, false, false, false);
        Vma { start, end, prot, max_prot: 7, shared, backing, offset, name, dont_fork, wiped, locked }
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Whether its private writable pages count against the limit of memory.
    pub fn is_private_writable(&self) -> bool {
        !self.shared && self.prot & libc::PROT_WRITE != 0
    }

    /// The part of it in `start..end`.
    fn part(&self, start: u64, end: u64) -> Vma {
        let mut part = self.clone();
        let by = start - self.start;
        part.start = start;
        part.end = end;
        part.offset += by;
        if let Backing::File(_, offset) = &mut part.backing {
            *offset += by;
        }
        part
    }

    fn continues(&self, next: &Vma) -> bool {
        let same = self.end == next.start
            && self.prot == next.prot
            && self.max_prot == next.max_prot
            && self.shared == next.shared
            && self.name == next.name
            && self.dont_fork == next.dont_fork
            && self.wiped == next.wiped
            && self.locked == next.locked;
        same && match (&self.backing, &next.backing) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            (Backing::Shared(a), Backing::Shared(b)) => {
                Arc::ptr_eq(a, b) && self.offset + self.len() == next.offset
            }
            (Backing::File(a, x), Backing::File(b, y)) => Arc::ptr_eq(a, b) && x + self.len() == *y,
            _ => false,
        }
    }
}

/// All mapped ranges of an address space, by their start. They do not overlap.
#[derive(Debug, Clone, Default)]
pub struct VmaTree(BTreeMap<u64, Vma>);

impl VmaTree {
    /// The range that holds an address.
    pub fn find(&self, address: u64) -> Option<&Vma> {
        self.0.range(..=address).next_back().map(|(_, v)| v).filter(|v| address < v.end)
    }

    /// All, from low to high.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Vma> {
        self.0.values()
    }

    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that touch `start..end`.
    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &Vma> {
        let first = self.find(start).map_or(start, |v| v.start);
        self.0.range(first..end.max(first)).map(|(_, v)| v)
    }

    /// Whether every page of `start..end` is mapped.
    pub fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for vma in self.overlapping(start, end) {
            if vma.start > at {
                return false;
            }
            at = vma.end;
        }
        at >= end
    }

    /// Takes `start..end` out, splitting what reaches beyond; what was there.
    pub fn remove(&mut self, start: u64, end: u64) -> Vec<Vma> {
        let touched: Vec<u64> = self.overlapping(start, end).map(|v| v.start).collect();
        let mut out = Vec::with_capacity(touched.len());
        for key in touched {
            let Some(vma) = self.0.remove(&key) else { continue };
            if vma.start < start {
                self.0.insert(vma.start, vma.part(vma.start, start));
            }
            if vma.end > end {
                self.0.insert(end, vma.part(end, vma.end));
            }
            out.push(vma.part(vma.start.max(start), vma.end.min(end)));
        }
        out
    }

    /// Puts a range in where nothing is, joined with its neighbours where they continue each other.
    pub fn insert(&mut self, mut vma: Vma) {
        if let Some(before) = self.0.range(..vma.start).next_back().map(|(_, v)| v)
            && before.continues(&vma)
        {
            let start = before.start;
            if let Some(before) = self.0.remove(&start) {
                let end = vma.end;
                vma = before;
                vma.end = end;
            }
        }
        if let Some(after) = self.0.get(&vma.end)
            && vma.continues(after)
        {
            let key = vma.end;
            vma.end = after.end;
            self.0.remove(&key);
        }
        self.0.insert(vma.start, vma);
    }

    /// Changes every range in `start..end`.
    pub fn update(&mut self, start: u64, end: u64, mut change: impl FnMut(&mut Vma)) {
        for mut vma in self.remove(start, end) {
            change(&mut vma);
            self.insert(vma);
        }
    }

    /// The highest free range of `len` bytes in `low..high`, as Linux places mappings top-down.
    pub fn find_gap(&self, len: u64, low: u64, high: u64) -> Option<u64> {
        let mut end = high;
        for vma in self.0.range(..high).rev().map(|(_, v)| v) {
            if vma.end <= end && end - vma.end >= len {
                let start = end - len;
                return (start >= low).then_some(start);
            }
            end = end.min(vma.start);
            if end < low {
                return None;
            }
        }
        (end >= low + len).then(|| end - len)
    }

    /// Whether nothing is mapped in `start..end`.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.overlapping(start, end).next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anonymous(start: u64, end: u64) -> Vma {
        Vma::anonymous(start, end, 3, "")
    }

    #[test]
    fn ranges_split_and_join() {
        let mut tree = VmaTree::default();
        tree.insert(anonymous(0x1000, 0x5000));
        tree.insert(anonymous(0x5000, 0x6000));
        assert_eq!(tree.len(), 1);
        let gone = tree.remove(0x2000, 0x3000);
        assert_eq!((gone[0].start, gone[0].end), (0x2000, 0x3000));
        assert_eq!(tree.len(), 2);
        assert!(tree.covers(0x3000, 0x6000) && !tree.covers(0x1000, 0x6000));
        tree.update(0x4000, 0x5000, |v| v.prot = 1);
        assert_eq!(tree.len(), 4);
        tree.update(0x4000, 0x5000, |v| v.prot = 3);
        assert_eq!(tree.len(), 2);
    }

    #[test]
    fn gaps_are_found_from_the_top() {
        let mut tree = VmaTree::default();
        assert_eq!(tree.find_gap(0x1000, 0x1000, 0x10000), Some(0xf000));
        tree.insert(anonymous(0xe000, 0x10000));
        tree.insert(anonymous(0xb000, 0xd000));
        assert_eq!(tree.find_gap(0x1000, 0x1000, 0x10000), Some(0xd000));
        assert_eq!(tree.find_gap(0x2000, 0x1000, 0x10000), Some(0x9000));
        assert_eq!(tree.find_gap(0xb000, 0x1000, 0x10000), None);
    }
}
