//! Bitmaps: bit n of byte n / 8, the lowest first.

/// Whether a bit is set.
pub(crate) fn get(bytes: &[u8], n: usize) -> bool {
    bytes.get(n / 8).is_none_or(|b| b >> (n % 8) & 1 != 0)
}

/// Sets or clears a run of bits.
pub(crate) fn put(bytes: &mut [u8], from: usize, len: usize, set: bool) {
    let (mut at, end) = (from, from + len);
    while at < end {
        if at.is_multiple_of(8) && end - at >= 8 {
            bytes[at / 8] = if set { 0xff } else { 0 };
            at += 8;
            continue;
        }
        let bit = 1 << (at % 8);
        if set {
            bytes[at / 8] |= bit
        } else {
            bytes[at / 8] &= !bit
        }
        at += 1;
    }
}

/// Whether all bits of a run are set, or clear.
pub(crate) fn all(bytes: &[u8], from: usize, len: usize, set: bool) -> bool {
    (from..from + len).all(|n| get(bytes, n) == set)
}

/// The first clear bit from `from` on, below `end`.
pub(crate) fn find_clear(bytes: &[u8], from: usize, end: usize) -> Option<usize> {
    let mut at = from;
    while at < end {
        if at.is_multiple_of(64)
            && let Some(word) = bytes.get(at / 8..at / 8 + 8).and_then(|b| b.try_into().ok())
        {
            let word = u64::from_le_bytes(word);
            if word == u64::MAX {
                at += 64;
                continue;
            }
            let found = at + (!word).trailing_zeros() as usize;
            return (found < end).then_some(found);
        }
        if !get(bytes, at) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// How many bits are clear from `from` on, up to `most` and below `end`.
pub(crate) fn clear_run(bytes: &[u8], from: usize, end: usize, most: usize) -> usize {
    let end = end.min(from.saturating_add(most));
    let mut at = from;
    while at < end {
        if at.is_multiple_of(64) && bytes.get(at / 8..at / 8 + 8).is_some_and(|w| w.iter().all(|b| *b == 0)) {
            at += 64;
            continue;
        }
        if get(bytes, at) {
            break;
        }
        at += 1;
    }
    at.min(end) - from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_as_bit_by_bit() {
        let mut bytes = vec![0u8; 64];
        let mut plain = vec![false; 512];
        let mut seed = 1u64;
        for _ in 0..300 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (from, len, set) =
                ((seed >> 33) as usize % 500, (seed >> 50) as usize % 90, seed >> 20 & 1 == 0);
            let len = len.min(512 - from);
            put(&mut bytes, from, len, set);
            plain[from..from + len].fill(set);
            let start = (seed >> 40) as usize % 512;
            let first = (start..512).find(|n| !plain[*n]);
            assert_eq!(find_clear(&bytes, start, 512), first);
            if let Some(first) = first {
                let run = (first..512).take_while(|n| !plain[*n]).count();
                assert_eq!(clear_run(&bytes, first, 512, usize::MAX), run);
                assert_eq!(clear_run(&bytes, first, 512, 7), run.min(7));
                assert!(all(&bytes, first, run, false));
            }
        }
    }
}
