//! Which parts of a device are dirty, and the bytes that fill it.

use cow_format::Run;

/// Scattered dirt comes in blocks of this many bytes: what a guest's file system writes.
pub(crate) const BLOCK: u64 = 4 << 10;
/// Clustered dirt comes in runs of this many bytes.
pub(crate) const CLUSTER: u64 = 4 << 20;

/// xorshift64*: fast, and the same numbers in every run.
#[derive(Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// Bytes that no file system or tool can take for zeros or compress.
    pub(crate) fn fill(&mut self, buf: &mut [u8]) {
        let (words, rest) = buf.as_chunks_mut::<8>();
        for w in words {
            *w = self.next().to_le_bytes();
        }
        rest.fill(0xa5);
    }
}

/// How dirt is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Blocks of 4 KiB anywhere.
    Scattered,
    /// Runs of 4 MiB anywhere.
    Clustered,
}

impl Spread {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scattered => "scattered",
            Self::Clustered => "clustered",
        }
    }

    fn unit(self) -> u64 {
        match self {
            Self::Scattered => BLOCK,
            Self::Clustered => CLUSTER,
        }
    }
}

/// Exactly `percent` of a device (rounded down, at least one unit), in order; neighbours are one run.
pub(crate) fn dirty_runs(size: u64, percent: u32, spread: Spread, seed: u64) -> Vec<Run> {
    let (unit, mut rng) = (spread.unit(), Rng::new(seed));
    let units = size / unit;
    let mut left = (units * u64::from(percent) / 100).max(1);
    let mut runs: Vec<Run> = Vec::new();
    for i in 0..units {
        // Selection sampling: each choice of `left` out of the units to come is equally likely.
        if rng.below(units - i) >= left {
            continue;
        }
        left -= 1;
        match runs.last_mut() {
            Some(last) if last.end() == i * unit => last.len += unit,
            _ => runs.push(Run { offset: i * unit, len: unit }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_dirty_as_was_asked() {
        for spread in [Spread::Scattered, Spread::Clustered] {
            for percent in [1, 10, 50] {
                let runs = dirty_runs(2 << 30, percent, spread, 7);
                let units: u64 = runs.iter().map(|r| r.len / spread.unit()).sum();
                assert_eq!(units, (2 << 30) / spread.unit() * u64::from(percent) / 100);
                assert!(runs.windows(2).all(|w| w[0].end() < w[1].offset));
                assert!(runs.iter().all(|r| r.end() <= 2 << 30));
            }
        }
    }
}
