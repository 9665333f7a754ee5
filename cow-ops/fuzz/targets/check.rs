//! Any bytes as a COW file under `check`. Input: the file.

use block_device::{BlockDevice, MemDevice, Unobserved};
use cow_format::{CowDevice, Layout, RECORD_LEN, Record, RecordState, parse_device};
use cow_ops::check::{Kind, check_bytes};
use std::io;
use std::sync::Arc;

/// # Panics
/// When the check fails instead of finding, miscounts, or does not see what the device refuses.
pub(crate) fn run(data: &[u8]) {
    let file = MemDevice::new(data.to_vec());
    let Ok(header) = parse_device(&file) else { return };
    let layout = header.layout;
    let record = header.record_offset().and_then(|at| data.get(at as usize..)?.first_chunk::<RECORD_LEN>());
    let record = record.map_or(RecordState::Absent, Record::decode);
    if let RecordState::Valid(record) = record {
        assert_eq!(Record::decode(&record.encode()), RecordState::Valid(record));
    }
    let mut kinds = Vec::new();
    for ordered in [false, true] {
        let mut dirty = 0;
        // A device in memory has no errors of its own: whatever is wrong is to be found, not to fail.
        let findings = check_bytes(&file, layout, ordered, &Unobserved, &mut dirty).expect("a finding");
        assert_eq!(dirty, dirty_bytes(data, layout));
        for finding in &findings {
            assert!(!finding.text.is_empty());
            assert!(finding.offset.is_none_or(|at| at <= layout.file_len().max(data.len() as u64)));
        }
        kinds = findings.iter().map(|f| f.kind).collect();
    }
    let has = |kind| kinds.contains(&kind);
    assert_eq!(has(Kind::Trailing), data.len() as u64 > layout.file_len());
    assert_eq!(has(Kind::BitmapOverlap), layout.mapped_sectors < layout.sectors);
    let opened = CowDevice::new(Arc::new(file), layout, Arc::new(Nothing(layout.size)));
    assert_eq!(has(Kind::DataBeyondEnd), opened.is_err(), "check and device disagree: {:?}", opened.err());
}

/// What the bitmap calls dirty, counted bit by bit.
fn dirty_bytes(data: &[u8], layout: Layout) -> u64 {
    let ss = u64::from(layout.sector_size);
    let dirty = |sector: u64| data[(layout.bitmap_offset + sector / 8) as usize] >> (sector % 8) & 1 == 1;
    let bytes = |sector: u64| ss.min(layout.size - sector * ss);
    (0..layout.mapped_sectors).filter(|s| dirty(*s)).map(bytes).sum()
}

/// A base of any size that nobody reads.
struct Nothing(u64);

impl BlockDevice for Nothing {
    fn len(&self) -> u64 {
        self.0
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
