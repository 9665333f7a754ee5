//! Which parts of an address space are swapped out.

use super::area::Saved;
use crate::mm::PAGE;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A range of an address space whose pages are in a swap area, or have never been there: zeros. On the host nothing can be done
/// with it (PROT_NONE), and it holds no memory.
#[derive(Debug, Clone)]
pub struct Record {
    /// The address behind the last.
    pub end: u64,
    /// What the guest may do with it.
    pub prot: i32,
    /// Where the chunk began that was written; the guest may have let go of its beginning since.
    base: u64,
    saved: Arc<Saved>,
}

impl Record {
    /// Of a chunk that has just been written.
    pub fn new(start: u64, end: u64, prot: i32, saved: Saved) -> Record {
        Record { end, prot, base: start, saved: Arc::new(saved) }
    }

    /// Where the pages are.
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// The address of a page of [`Record::saved`].
    pub fn address(&self, page: u16) -> u64 {
        self.base + u64::from(page) * PAGE
    }

    /// The pages of [`Record::saved`] that lie in `start..end`, which is in the record.
    pub fn pages(&self, start: u64, end: u64) -> (u16, u16) {
        (((start - self.base) / PAGE) as u16, ((end - self.base) / PAGE) as u16)
    }
}

/// All of an address space, by their first address. They do not overlap.
#[derive(Debug, Clone, Default)]
pub struct Records(BTreeMap<u64, Record>);

impl Records {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts one in where none is.
    pub fn insert(&mut self, start: u64, record: Record) {
        self.0.insert(start, record);
    }

    /// The one that holds an address, and where it begins.
    pub fn find(&self, address: u64) -> Option<(u64, &Record)> {
        let (start, record) = self.0.range(..=address).next_back()?;
        (address < record.end).then_some((*start, record))
    }

    /// Takes out the one that begins at an address.
    pub fn remove(&mut self, start: u64) -> Option<Record> {
        self.0.remove(&start)
    }

    /// Where those begin that touch `start..end`.
    pub fn overlapping(&self, start: u64, end: u64) -> Vec<u64> {
        let first = self.find(start).map_or(start, |(at, _)| at);
        self.0.range(first..end.max(first)).map(|(at, _)| *at).collect()
    }

    /// Where the first begins that is of this area.
    pub fn of_area(&self, is: impl Fn(&Saved) -> bool) -> Option<u64> {
        self.0.iter().find(|(_, r)| is(&r.saved)).map(|(at, _)| *at)
    }

    /// The range of those around the one that begins at `start` which follow each other without a gap and allow the same.
    pub fn around(&self, start: u64) -> Vec<u64> {
        let Some(middle) = self.0.get(&start) else { return Vec::new() };
        let mut keys = vec![start];
        let mut first = start;
        for (at, r) in self.0.range(..start).rev().take_while(|(_, r)| r.prot == middle.prot) {
            if r.end != first {
                break;
            }
            first = *at;
            keys.push(first);
        }
        let mut end = middle.end;
        for (at, r) in self.0.range(end..).take_while(|(_, r)| r.prot == middle.prot) {
            if *at != end {
                break;
            }
            end = r.end;
            keys.push(*at);
        }
        keys.sort_unstable();
        keys
    }

    /// Bytes in `start..end` that lie in an area for which `is` holds.
    pub fn bytes(&self, start: u64, end: u64, is: impl Fn(&Saved) -> bool) -> u64 {
        let records = self.overlapping(start, end).into_iter().filter_map(|at| Some((at, self.0.get(&at)?)));
        let count = |(at, r): (u64, &Record)| {
            let (from, to) = r.pages(at.max(start), r.end.min(end));
            r.saved.count(from, to) * PAGE
        };
        records.filter(|(_, r)| is(&r.saved)).map(count).sum()
    }

    /// Cuts the one that reaches across an address in two.
    fn split(&mut self, address: u64) {
        let Some((start, record)) = self.find(address).filter(|(start, _)| *start < address) else { return };
        let upper = record.clone();
        if let Some(lower) = self.0.get_mut(&start) {
            lower.end = address;
        }
        self.0.insert(address, upper);
    }

    /// What was swapped out of `start..end` is no longer wanted; which ranges that was, with what the guest may do there.
    pub fn forget(&mut self, start: u64, end: u64) -> Vec<(u64, u64, i32)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        self.split(start);
        self.split(end);
        let gone = self.overlapping(start, end).into_iter().filter_map(|at| Some((at, self.0.remove(&at)?)));
        gone.map(|(at, r)| (at, r.end, r.prot)).collect()
    }

    /// What the guest may do in `start..end` is another from now on. The ranges of it that are not swapped out.
    pub fn protect(&mut self, start: u64, end: u64, prot: i32) -> Vec<(u64, u64)> {
        self.split(start);
        self.split(end);
        let mut here = start;
        let mut gaps = Vec::new();
        for (at, record) in self.0.range_mut(start..end) {
            record.prot = prot;
            if *at > here {
                gaps.push((here, *at));
            }
            here = record.end;
        }
        if here < end {
            gaps.push((here, end));
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::super::area::tests::area;
    use super::*;

    const CHUNK: u64 = 4 * PAGE;

    fn records(area: &Arc<super::super::area::Area>, starts: &[u64]) -> Records {
        let mut records = Records::default();
        for start in starts {
            let bytes = vec![1; 3 * PAGE as usize];
            let saved = Saved::in_area(area, &[0, 1, 3], &bytes).unwrap().unwrap();
            records.insert(*start, Record::new(*start, start + CHUNK, 3, saved));
        }
        records
    }

    #[test]
    fn what_is_cut_off_is_not_counted_and_goes_with_the_rest() {
        let area = area(100);
        let mut r = records(&area, &[0x10000, 0x14000, 0x20000]);
        assert_eq!(r.bytes(0, u64::MAX, |_| true), 9 * PAGE);
        assert_eq!(r.around(0x14000), [0x10000, 0x14000]);
        assert_eq!(r.forget(0x13000, 0x15000), [(0x13000, 0x14000, 3), (0x14000, 0x15000, 3)]);
        assert_eq!(r.bytes(0, u64::MAX, |_| true), 7 * PAGE);
        assert_eq!(r.bytes(0x15000, 0x16000, |_| true), PAGE);
        assert_eq!(r.bytes(0x16000, 0x17000, |_| true), 0);
        let (start, record) = r.find(0x15000).unwrap();
        assert_eq!((start, record.address(3), record.pages(start, record.end)), (0x15000, 0x17000, (1, 4)));
        assert!(r.find(0x13000).is_none() && r.find(0x14fff).is_none() && r.find(0x18000).is_none());
        let copy = r.clone();
        drop(r);
        assert_eq!(area.used(), 9 * PAGE);
        drop(copy);
        assert_eq!(area.used(), 0);
    }

    #[test]
    fn protection_is_of_pages() {
        let area = area(100);
        let mut r = records(&area, &[0x10000, 0x20000]);
        assert_eq!(r.protect(0xf000, 0x11000, 1), [(0xf000, 0x10000)]);
        assert_eq!(r.protect(0x12000, 0x23000, 0), [(0x14000, 0x20000)]);
        let prots: Vec<i32> = [0x10000, 0x11000, 0x12000, 0x20000, 0x23000]
            .iter()
            .filter_map(|at| r.find(*at).map(|(_, r)| r.prot))
            .collect();
        assert_eq!((prots, r.len()), (vec![1, 3, 0, 0, 3], 5));
        assert_eq!(r.protect(0x30000, 0x31000, 0), [(0x30000, 0x31000)]);
    }
}
