//! Good COW files to be broken, and what is asked of `check` about each damage.

use crate::common::{self, Disk, Place, append, header, image, overlay, patch, plain, same, truncate};
use block_device::Unobserved;
use cow_format::{Header, Layout, Shape, Version};
use cow_ops::check::{Finding, Kind, Report, Severity, check};
use std::fs;
use std::path::PathBuf;

/// A good COW file, to be broken.
pub(crate) struct Sample {
    pub(crate) place: Place,
    pub(crate) cow: PathBuf,
    pub(crate) base: PathBuf,
}

impl Sample {
    /// One of ours, of a size whose last byte of bitmap is not full; its second half is clean.
    pub(crate) fn ours(shape: Shape) -> Self {
        let sectors = if shape.version == Version::V3 { 8 * 40 + 3 } else { 8 * 40 };
        Self::of(shape, sectors * u64::from(shape.sector_size))
    }

    pub(crate) fn of(shape: Shape, size: u64) -> Self {
        let place = Place::new();
        let bytes = image(size as usize, 1);
        let base = place.raw("base", &bytes);
        let mut disk = Disk::on(place.path("cow"), &base, &plain(shape), &bytes);
        disk.scribble(2, 0.5);
        Self { cow: disk.cow, base, place }
    }

    /// One that the real driver wrote.
    pub(crate) fn real(name: &str) -> Self {
        let place = Place::with_fixtures();
        Self { cow: place.path(name), base: place.path("base.img"), place }
    }

    pub(crate) fn layout(&self) -> Layout {
        header(&self.cow).layout
    }

    /// What the disk shows by the format page; where the base or the file ends too early, zeros.
    pub(crate) fn shows(&self, layout: &Layout) -> Vec<u8> {
        let mut bytes = fs::read(&self.base).unwrap_or_default();
        bytes.resize(layout.size as usize, 0);
        let mut file = fs::read(&self.cow).unwrap();
        file.resize(file.len().max(layout.file_len() as usize), 0);
        overlay(&file, layout, &mut bytes);
        bytes
    }

    pub(crate) fn check(&self, repair: bool) -> Report {
        check(&self.cow, repair, false, &Unobserved).unwrap()
    }

    /// The byte after the last dirty sector, in the file.
    pub(crate) fn dirty_end(&self) -> u64 {
        let layout = self.layout();
        let bits = common::bits_of(&fs::read(&self.cow).unwrap(), &layout);
        let last = bits.iter().rposition(|dirty| *dirty).unwrap() as u64;
        layout.data_offset + ((last + 1) * u64::from(layout.sector_size)).min(layout.size)
    }

    /// Offset in the file of whole blocks of data that are clean, with clean ones around them.
    pub(crate) fn clean_blocks(&self, count: u64) -> u64 {
        let layout = self.layout();
        let bits = common::bits_of(&fs::read(&self.cow).unwrap(), &layout);
        let ss = u64::from(layout.sector_size);
        let mut at = layout.data_offset.next_multiple_of(4096) + 4096;
        loop {
            let (start, end) = (at - 4096 - layout.data_offset, at + (count + 1) * 4096 - layout.data_offset);
            assert!(end <= layout.size, "no clean blocks");
            if bits[(start / ss) as usize..end.div_ceil(ss) as usize].iter().all(|dirty| !dirty) {
                return at;
            }
            at += 4096;
        }
    }

    /// Puts bytes after the end, in a block that nothing else is in.
    pub(crate) fn append(&self, bytes: &[u8]) {
        truncate(&self.cow, fs::metadata(&self.cow).unwrap().len().next_multiple_of(4096));
        append(&self.cow, bytes);
    }

    pub(crate) fn set_bits(&self, first: u64, count: u64) {
        let at = self.layout().bitmap_offset;
        let mut file = fs::read(&self.cow).unwrap();
        (first..first + count).for_each(|s| file[(at + s / 8) as usize] |= 1 << (s % 8));
        let bitmap = &file[at as usize..self.layout().bitmap_end() as usize];
        patch(&self.cow, at, bitmap);
    }
}

pub(crate) fn ours() -> Sample {
    Sample::ours(Shape::default())
}

/// A sample of ours of each version, and two that the real driver wrote.
pub(crate) fn all() -> Vec<Sample> {
    let mut all: Vec<Sample> =
        common::VERSIONS.map(|version| Sample::ours(Shape { version, ..Shape::default() })).into();
    all.extend(["session.cow", "v2.cow"].map(Sample::real));
    all
}

pub(crate) fn kinds(report: &Report) -> Vec<Kind> {
    report.findings.iter().map(|f| f.kind).collect()
}

pub(crate) fn only(report: &Report, kind: Kind) -> &Finding {
    let mut found = report.findings.iter().filter(|f| f.kind == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind:?} in {:?}", report.findings));
    assert!(found.next().is_none(), "{kind:?} twice in {:?}", report.findings);
    one
}

/// Breaks the sample and holds `check` to its word: the finding, what it is called, and either a repair that
/// leaves what the disk shows alone, or none that touches the file.
pub(crate) fn breaks(
    sample: &Sample,
    kind: Kind,
    severity: Severity,
    repairable: bool,
    damage: impl FnOnce(&Sample),
) {
    let name = sample.cow.display();
    let before = kinds(&sample.check(false));
    assert!(!before.contains(&kind), "{name} has it already: {before:?}");
    let layout = sample.layout();
    damage(sample);
    let layout = common_layout(sample).unwrap_or(layout);
    let broken = fs::read(&sample.cow).unwrap();
    let shown = sample.shows(&layout);

    let report = sample.check(false);
    let finding = only(&report, kind);
    assert_eq!((finding.severity, finding.repairable), (severity, repairable), "{name}: {finding:?}");
    assert!(!finding.text.is_empty() && report.worst() >= severity);
    assert_eq!(report.repaired, 0);
    assert!(fs::read(&sample.cow).unwrap() == broken, "{name}: looking has changed it");

    let report = sample.check(true);
    if repairable {
        assert_eq!(report.repaired, 1, "{name}: {:?}", report.findings);
        assert!(!kinds(&report).contains(&kind));
        same(&sample.shows(&sample.layout()), &shown, "after the repair");
        assert_eq!(kinds(&sample.check(false)), before, "{name}: after the repair");
        assert_eq!(sample.check(true).repaired, 0, "a repair has nothing left to do");
    } else {
        assert_eq!(only(&report, kind).severity, severity);
        assert_eq!(report.repaired, 0);
        assert!(fs::read(&sample.cow).unwrap() == broken, "{name}: there was nothing to repair");
    }
    println!("{name}: {kind:?} {severity:?}, {}", if repairable { "repaired" } else { "left alone" });
}

/// The layout after the damage, if the header still parses.
fn common_layout(sample: &Sample) -> Option<Layout> {
    let file = fs::read(&sample.cow).unwrap();
    let prefix = &file[..file.len().min(cow_format::MAX_HEADER_LEN)];
    Header::parse(prefix, file.len() as u64).ok().map(|h| h.layout)
}
