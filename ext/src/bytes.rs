//! Little-endian fields of on-disk structures, at offsets that the caller knows to be inside.

/// Two bytes at `at`; 0 beyond the end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

/// Four bytes at `at`; 0 beyond the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// A number whose lower and upper halves lie apart.
pub(crate) fn halves(bytes: &[u8], lo: usize, hi: usize) -> u64 {
    u64::from(u32_at(bytes, lo)) | u64::from(u32_at(bytes, hi)) << 32
}

/// Puts two bytes at `at`.
pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// Puts four bytes at `at`.
pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
