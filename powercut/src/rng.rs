//! Numbers that are the same for the same seed, on every host.

/// Marsaglia's xorshift64*, seeded through one step of splitmix64 so that small seeds differ at once.
#[derive(Debug, Clone)]
pub struct XorShift(u64);

impl XorShift {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)).max(1)) // zero is the one state that never changes
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The bias is end / 2^64: of no account in a test.
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// True `times` out of `of`.
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// Fills `bytes`, none of them zero: written bytes can then be told from a hole.
    pub fn fill_nonzero(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_u64().to_le_bytes();
            chunk.iter_mut().zip(random).for_each(|(b, r)| *b = r.max(1));
        }
    }
}
