//! Any bytes as a header, with any claim about the length of the file they begin.
//!
//! Input: the claimed length (u64, little-endian), then the first bytes of the file.

use cow_format::{Header, HeaderError, MAX_HEADER_LEN};
use std::path::Path;

/// # Panics
/// When a header is accepted that should not have been, or does not survive being written again.
pub(crate) fn run(data: &[u8]) {
    let Some((claim, bytes)) = data.split_first_chunk::<8>() else { return };
    for file_len in [u64::from_le_bytes(*claim), bytes.len() as u64, i64::MAX as u64] {
        match Header::parse(&prefix(bytes, file_len), file_len) {
            Ok(header) => accepted(&header, file_len),
            Err(e) => drop(e.to_string()),
        }
    }
}

/// The start of a file of `file_len` bytes that begins with `bytes` and goes on with zeros.
fn prefix(bytes: &[u8], file_len: u64) -> Vec<u8> {
    let len = file_len.min(MAX_HEADER_LEN as u64) as usize;
    let mut prefix = bytes[..bytes.len().min(len)].to_vec();
    prefix.resize(len, 0);
    prefix
}

fn accepted(header: &Header, file_len: u64) {
    let encoded = header.encode();
    assert_eq!(encoded.len(), header.version.header_len());
    assert_eq!(Header::parse(&prefix(&encoded, file_len), file_len).as_ref(), Ok(header));
    in_order(header, file_len);

    let layout = header.layout;
    let made = Header::new(
        header.version,
        &header.backing,
        header.mtime,
        layout.size,
        layout.sector_size,
        header.alignment,
    );
    match made {
        Ok(made) => assert_eq!(&made, header),
        Err(HeaderError::TruncatedBitmap { missing, .. }) => {
            assert_eq!(missing, layout.sectors - layout.mapped_sectors);
        }
        Err(e) => panic!("read, but cannot be made: {e}"),
    }
    let moved = header.with_backing(Path::new("/m"), 7);
    assert!(moved.is_ok_and(|m| m.layout == layout && m.version == header.version && m.mtime == 7));
}

/// Header, record, bitmap and data follow each other, and nothing wraps.
fn in_order(header: &Header, file_len: u64) {
    let l = header.layout;
    let header_end = header.version.header_len() as u64;
    let end = |from: u64, len: u64| from.checked_add(len).expect("the end of a part wraps");
    assert!(header_end <= l.bitmap_offset);
    assert!(end(l.bitmap_offset, l.bitmap_len) <= l.data_offset, "bitmap and data overlap");
    assert_eq!(end(l.bitmap_offset, l.bitmap_len), l.bitmap_end());
    assert!(l.bitmap_end() <= file_len);
    assert_eq!(end(l.data_offset, l.size), l.file_len());
    assert!(l.file_len() <= i64::MAX as u64, "no file is that long");
    assert!(l.size > 0 && l.sector_size.is_power_of_two() && l.sector_size >= 512);
    assert_eq!(1u64 << l.sector_shift(), u64::from(l.sector_size));
    assert_eq!(l.sectors, l.size.div_ceil(u64::from(l.sector_size)));
    assert_eq!(l.mapped_sectors, l.sectors.min(l.bitmap_len * 8));
    assert!(l.sectors - l.mapped_sectors < 8, "only the last byte of a bitmap can be missing");
    assert_eq!(l.data_offset % u64::from(header.alignment), 0);
    if let Some(at) = header.record_offset() {
        assert!(header_end <= at && at + cow_format::RECORD_LEN as u64 <= l.bitmap_offset);
    }
}
