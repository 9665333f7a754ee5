use super::*;

fn sample(version: Version) -> Header {
    Header::new(version, Path::new("/srv/base.img"), 1_767_323_045, 8 << 20, 512, 4096).unwrap()
}

const ALL: [Version; 5] = [
    Version::V1(ByteOrder::Little),
    Version::V1(ByteOrder::Big),
    Version::V2,
    Version::V3,
    Version::V3Broken,
];

#[test]
fn every_version_survives_the_round_trip() {
    for version in ALL {
        let h = sample(version);
        assert_eq!(Header::parse(&h.encode(), h.layout.file_len()), Ok(h), "{version:?}");
    }
}

/// The numbers of design/cow-format.md's table, worked out by hand for 8 MiB.
#[test]
fn layouts_are_those_of_the_format_page() {
    let at = |v| {
        let l = sample(v).layout;
        (l.bitmap_offset, l.bitmap_len, l.data_offset)
    };
    assert_eq!(at(Version::V1(ByteOrder::Little)), (280, 2048, 2560));
    assert_eq!(at(Version::V2), (4120, 2048, 6656));
    assert_eq!(at(Version::V3), (8192, 2048, 12288));
    assert_eq!(at(Version::V3Broken), (8192, 2048, 12288));
}

#[test]
fn damage_is_named_with_its_offset() {
    let good = sample(Version::V3);
    let len = good.layout.file_len();
    let broken = |at: usize, bytes: &[u8]| {
        let mut raw = good.encode();
        raw[at..at + bytes.len()].copy_from_slice(bytes);
        Header::parse(&raw, len).unwrap_err()
    };
    assert_eq!(broken(0, b"QFI\xfb"), HeaderError::Magic(0x5146_49fb));
    assert_eq!(broken(4, &[0, 0, 0, 9]), HeaderError::Version(9));
    assert_eq!(broken(12, &[0x80; 8]), HeaderError::Size { value: 0x8080_8080_8080_8080, offset: 12 });
    assert_eq!(broken(12, &[0; 8]), HeaderError::Size { value: 0, offset: 12 });
    assert_eq!(broken(20, &[0; 4]), HeaderError::SectorSize { value: 0, offset: 20 });
    assert_eq!(broken(20, &[0, 0, 2, 1]), HeaderError::SectorSize { value: 513, offset: 20 });
    assert_eq!(broken(24, &[0; 4]), HeaderError::Alignment(24));
    assert_eq!(broken(28, &[0, 0, 0, 7]), HeaderError::CowFormat { value: 7, offset: 28 });
    assert_eq!(broken(32, &[b'a'; 4096]), HeaderError::PathUnterminated(32));
    let raw = good.encode();
    assert_eq!(Header::parse(&raw[..100], 100), Err(HeaderError::Short { have: 100, need: 4128 }));
    assert_eq!(
        Header::parse(&raw, 9000),
        Err(HeaderError::BitmapBeyondEnd { start: 8192, end: 10240, file_len: 9000 })
    );
}

#[test]
fn a_bitmap_cut_short_is_read_and_never_written() {
    let size = (1000 * 8 + 3) * 512;
    let e = Header::new(Version::V2, Path::new("/b"), 0, size, 512, 512).unwrap_err();
    assert!(matches!(e, HeaderError::TruncatedBitmap { missing: 3, .. }), "{e:?}");
    let mut raw = sample(Version::V2).encode();
    raw[4108..4116].copy_from_slice(&size.to_be_bytes());
    let h = Header::parse(&raw, 1 << 30).unwrap();
    assert_eq!((h.layout.bitmap_len, h.layout.sectors, h.layout.mapped_sectors), (1000, 8003, 8000));
}
