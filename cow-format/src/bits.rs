//! Runs of equal bits, found a word at a time. Bits are least-significant first.

/// Length of the run of bits equal to bit `start` of `word(start / 64)`, looked for up to bit `end`.
/// `word(i)` gives word *i* of the bitmap, bit 0 of it standing for bit `64 * i`.
///
/// Returns the value of the bits and how many there are, at least 1. `start` is below `end`.
pub fn run(start: u64, end: u64, mut word: impl FnMut(u64) -> u64) -> (bool, u64) {
    debug_assert!(start < end);
    let first = word(start / 64) >> (start % 64);
    let value = first & 1 == 1;
    let flip = if value { u64::MAX } else { 0 };
    // Bits shifted in from above must not end the run: count within what is left of the word.
    let mut at = start + u64::from((first ^ flip).trailing_zeros()).min(64 - start % 64);
    while at < end && at.is_multiple_of(64) {
        let same = u64::from((word(at / 64) ^ flip).trailing_zeros());
        at += same;
        if same < 64 {
            break;
        }
    }
    (value, at.min(end) - start)
}

/// Words from the bytes of a bitmap; bytes missing at the end count as zero.
#[inline]
pub fn word_at(bytes: &[u8], index: usize) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    match words.get(index) {
        Some(word) => u64::from_le_bytes(*word),
        None if index > words.len() => 0,
        None => {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(word)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_counting(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 1..40),
                                a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
            let bits = bytes.len() * 8;
            let (a, b) = (a.index(bits), b.index(bits) + 1);
            prop_assume!(a < b);
            let bit = |i: usize| bytes[i / 8] >> (i % 8) & 1 == 1;
            let count = (a..b).take_while(|i| bit(*i) == bit(a)).count();
            prop_assert_eq!(run(a as u64, b as u64, |w| word_at(&bytes, w as usize)), (bit(a), count as u64));
        }
    }
}
