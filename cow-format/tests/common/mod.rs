//! What the integration tests share, here and in cow-ops: COW files in memory, and the bitmap read the
//! slow way.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // every test file uses its own part

use block_device::BlockDevice;
use cow_format::{ByteOrder, Header, Layout, Version};
use powercut::XorShift;
use std::path::Path;

pub(crate) const VERSIONS: [Version; 5] = [
    Version::V1(ByteOrder::Little),
    Version::V1(ByteOrder::Big),
    Version::V2,
    Version::V3,
    Version::V3Broken,
];

/// What the data area of a new file holds: neither zeros nor anything a test writes on purpose. A bit without
/// its data shows it.
pub(crate) const STALE: u8 = 0x5a;

/// The header of a file in memory.
pub(crate) fn header(version: Version, size: u64, sector_size: u32, alignment: u32) -> Header {
    Header::new(version, Path::new("/base"), 0, size, sector_size, alignment).unwrap()
}

/// A COW file with every sector clean and stale bytes where data will go.
pub(crate) fn clean_file(header: &Header) -> Vec<u8> {
    let mut bytes = header.encode();
    bytes.resize(header.layout.data_offset as usize, 0);
    bytes.resize(header.layout.file_len() as usize, STALE);
    bytes
}

pub(crate) fn random_bytes(len: usize, rng: &mut XorShift) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_nonzero(&mut bytes);
    bytes
}

pub(crate) fn read_all(device: &dyn BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0; device.len() as usize];
    device.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Whether each sector's bit is set, one bit at a time.
pub(crate) fn bits_of(file: &[u8], layout: &Layout) -> Vec<bool> {
    let bitmap = &file[layout.bitmap_offset as usize..layout.bitmap_end() as usize];
    (0..layout.mapped_sectors as usize).map(|i| bitmap[i / 8] >> (i % 8) & 1 == 1).collect()
}
