//! Sets of blocks, as ranges in order.

use std::ops::Range;

/// Ranges that neither touch nor overlap, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Of ranges in any order, that may overlap.
    pub(crate) fn of(mut all: Vec<Range<u64>>) -> Ranges {
        all.retain(|r| r.start < r.end);
        all.sort_unstable_by_key(|r| r.start);
        let mut out: Vec<Range<u64>> = Vec::with_capacity(all.len());
        for range in all {
            match out.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => out.push(range),
            }
        }
        Ranges(out)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// What of a range is in the set.
    pub(crate) fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.0.partition_point(|r| r.end <= range.start);
        self.0[first..]
            .iter()
            .take_while(move |r| r.start < range.end)
            .map(move |r| r.start.max(range.start)..r.end.min(range.end))
    }

    pub(crate) fn touches(&self, range: Range<u64>) -> bool {
        self.within(range).next().is_some()
    }

    /// What is in this set, and not in the other.
    pub(crate) fn without(&self, other: &Ranges) -> Ranges {
        let mut out = Vec::new();
        for range in &self.0 {
            let mut at = range.start;
            for gone in other.within(range.clone()) {
                out.push(at..gone.start);
                at = gone.end;
            }
            out.push(at..range.end);
        }
        Ranges::of(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.iter().cloned().flatten().collect()
    }

    #[test]
    fn as_sets_of_numbers() {
        let mut seed = 7u64;
        let mut below = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % n
        };
        for _ in 0..500 {
            let mut some = || {
                let n = below(8);
                (0..n).map(|_| below(60)).map(|at| at..at + 1 + at % 7).collect::<Vec<_>>()
            };
            let (a, b) = (some(), some());
            let (x, y) = (a.iter().cloned().flatten().collect(), b.iter().cloned().flatten().collect());
            let (x, y): (BTreeSet<u64>, BTreeSet<u64>) = (x, y);
            let (a, b) = (Ranges::of(a), Ranges::of(b));
            assert_eq!(set(&a), x);
            assert_eq!(set(&a.without(&b)), &x - &y);
            let within: BTreeSet<u64> = a.within(20..40).flatten().collect();
            assert_eq!(within, x.range(20..40).copied().collect());
            assert_eq!(a.touches(20..40), !within.is_empty());
        }
    }
}
