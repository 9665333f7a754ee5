//! Hashes of names in indexed directories: legacy, half MD4 and TEA, as Documentation/filesystems/ext4 ("Hash Tree Directories") and
//! lib/ext2fs/dirhash.c define them.

/// What a directory hashes with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hasher {
    /// DX_HASH_*: 0 legacy, 1 half MD4, 2 TEA; 3 more where bytes are unsigned.
    pub(crate) version: u8,
    pub(crate) seed: [u32; 4],
}

/// Behind all hashes.
const END: u32 = 0x7fff_ffff << 1;

impl Hasher {
    /// The hash of a name; its lowest bit is clear. `None` for a version that is not known.
    pub(crate) fn hash(&self, name: &[u8]) -> Option<u32> {
        let signed = self.version < 3;
        let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        if self.seed.iter().any(|s| *s != 0) {
            state = self.seed;
        }
        let major = match self.version % 3 {
            0 if self.version < 6 => legacy(name, signed),
            1 if self.version < 6 => {
                for from in (0..name.len()).step_by(32) {
                    half_md4(&mut state, &words::<8>(&name[from..], signed));
                }
                state[1]
            }
            2 if self.version < 6 => {
                for from in (0..name.len()).step_by(16) {
                    tea(&mut state, &words::<4>(&name[from..], signed));
                }
                state[0]
            }
            _ => return None,
        };
        let hash = major & !1;
        Some(if hash == END { ((END >> 1) - 1) << 1 } else { hash })
    }
}

fn extended(byte: u8, signed: bool) -> u32 {
    if signed { i32::from(byte as i8) as u32 } else { byte.into() }
}

/// The next bytes of a name as words, padded with what is left of its length.
fn words<const N: usize>(name: &[u8], signed: bool) -> [u32; N] {
    let len = name.len() as u32;
    let pad = len | len << 8;
    let pad = pad | pad << 16;
    let mut out = [pad; N];
    let taken = &name[..name.len().min(N * 4)];
    for (n, word) in taken.chunks(4).enumerate() {
        out[n] = word.iter().fold(pad, |v, b| extended(*b, signed).wrapping_add(v << 8));
    }
    out
}

fn legacy(name: &[u8], signed: bool) -> u32 {
    let (mut a, mut b) = (0x12a3_fe2du32, 0x37ab_e8f9u32);
    for byte in name {
        let product = extended(*byte, signed).wrapping_mul(7_152_373);
        let mut next = b.wrapping_add(a ^ product);
        if next & 0x8000_0000 != 0 {
            next = next.wrapping_sub(0x7fff_ffff);
        }
        (b, a) = (a, next);
    }
    a << 1
}

fn half_md4(state: &mut [u32; 4], x: &[u32; 8]) {
    const K2: u32 = 0x5a82_7999;
    const K3: u32 = 0x6ed9_eba1;
    let f = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let g = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let h = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let [mut a, mut b, mut c, mut d] = *state;
    let step =
        |mix: u32, a: u32, add: u32, turn: u32| a.wrapping_add(mix).wrapping_add(add).rotate_left(turn);
    for n in [0, 4] {
        a = step(f(b, c, d), a, x[n], 3);
        d = step(f(a, b, c), d, x[n + 1], 7);
        c = step(f(d, a, b), c, x[n + 2], 11);
        b = step(f(c, d, a), b, x[n + 3], 19);
    }
    for n in [1, 0] {
        a = step(g(b, c, d), a, x[n].wrapping_add(K2), 3);
        d = step(g(a, b, c), d, x[n + 2].wrapping_add(K2), 5);
        c = step(g(d, a, b), c, x[n + 4].wrapping_add(K2), 9);
        b = step(g(c, d, a), b, x[n + 6].wrapping_add(K2), 13);
    }
    for n in [3, 1] {
        a = step(h(b, c, d), a, x[n].wrapping_add(K3), 3);
        d = step(h(a, b, c), d, x[n + 4].wrapping_add(K3), 9);
        c = step(h(d, a, b), c, x[n - 1].wrapping_add(K3), 11);
        b = step(h(c, d, a), b, x[n + 3].wrapping_add(K3), 15);
    }
    for (s, v) in state.iter_mut().zip([a, b, c, d]) {
        *s = s.wrapping_add(v);
    }
}

fn tea(state: &mut [u32; 4], x: &[u32; 4]) {
    let (mut b0, mut b1, mut sum) = (state[0], state[1], 0u32);
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        b0 = b0
            .wrapping_add((b1 << 4).wrapping_add(x[0]) ^ b1.wrapping_add(sum) ^ (b1 >> 5).wrapping_add(x[1]));
        b1 = b1
            .wrapping_add((b0 << 4).wrapping_add(x[2]) ^ b0.wrapping_add(sum) ^ (b0 >> 5).wrapping_add(x[3]));
    }
    state[0] = state[0].wrapping_add(b0);
    state[1] = state[1].wrapping_add(b1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_debugfs_has_them() {
        // debugfs -R 'dx_hash -h VERSION -s 01234567-89ab-cdef-0123-456789abcdef NAME'
        let seed = [0x6745_2301, 0xefcd_ab89, 0x6745_2301, 0xefcd_ab89];
        let names: [&str; 4] = [
            "a",
            "lost+found",
            "a name of more than thirty-two bytes, so that it takes two rounds",
            "umlaut \u{e4}\u{f6}",
        ];
        let wanted = [
            (0, [0xe74b_53e2, 0x5e2a_ba24, 0xe543_1c6a, 0x2b30_deb0u32]),
            (1, [0x35dc_0cc4, 0x663b_dc72, 0xd1b1_799a, 0xd82d_0c30]),
            (2, [0x6d0e_a4c0, 0x2dbf_9e80, 0x5912_47a0, 0x2238_0ce0]),
        ];
        for (version, hashes) in wanted {
            for (name, hash) in names.iter().zip(hashes) {
                assert_eq!(Hasher { version, seed }.hash(name.as_bytes()), Some(hash), "{version} {name}");
            }
        }
        assert_eq!(Hasher { version: 6, seed }.hash(b"a"), None);
    }
}
