//! Good COW files, broken in every way that `check` knows: what it says of them, and what a repair does.
//!
//! Each damage is done to a file of our own and, where it can be, to files that the real driver wrote.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use block_device::Unobserved;
use common::{
    Disk, Place, append, header, image, layered, overlay, patch, plain, random, real_moo, same, set_mtime,
    truncate,
};
use cow_format::log::{self, Entry, Event};
use cow_format::{Header, Layout, Shape, Version};
use cow_ops::check::{Finding, Kind, Report, Severity, check};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

/// A good COW file, to be broken.
struct Sample {
    place: Place,
    cow: PathBuf,
    base: PathBuf,
}

impl Sample {
    /// One of ours, of a size whose last byte of bitmap is not full; its second half is clean.
    fn ours(shape: Shape) -> Self {
        let sectors = if shape.version == Version::V3 { 8 * 40 + 3 } else { 8 * 40 };
        Self::of(shape, sectors * u64::from(shape.sector_size))
    }

    fn of(shape: Shape, size: u64) -> Self {
        let place = Place::new();
        let bytes = image(size as usize, 1);
        let base = place.raw("base", &bytes);
        let mut disk = Disk::on(place.path("cow"), &base, &plain(shape), &bytes);
        disk.scribble(2, 0.5);
        Self { cow: disk.cow, base, place }
    }

    /// One that the real driver wrote.
    fn real(name: &str) -> Self {
        let place = Place::with_fixtures();
        Self { cow: place.path(name), base: place.path("base.img"), place }
    }

    fn layout(&self) -> Layout {
        header(&self.cow).layout
    }

    /// What the disk shows by the format page; where the base or the file ends too early, zeros.
    fn shows(&self, layout: &Layout) -> Vec<u8> {
        let mut bytes = fs::read(&self.base).unwrap_or_default();
        bytes.resize(layout.size as usize, 0);
        let mut file = fs::read(&self.cow).unwrap();
        file.resize(file.len().max(layout.file_len() as usize), 0);
        overlay(&file, layout, &mut bytes);
        bytes
    }

    fn check(&self, repair: bool) -> Report {
        check(&self.cow, repair, false, &Unobserved).unwrap()
    }

    /// The byte after the last dirty sector, in the file.
    fn dirty_end(&self) -> u64 {
        let layout = self.layout();
        let bits = common::bits(&fs::read(&self.cow).unwrap(), &layout);
        let last = bits.iter().rposition(|dirty| *dirty).unwrap() as u64;
        layout.data_offset + ((last + 1) * u64::from(layout.sector_size)).min(layout.size)
    }

    /// Offset in the file of whole blocks of data that are clean, with clean ones around them.
    fn clean_blocks(&self, count: u64) -> u64 {
        let layout = self.layout();
        let bits = common::bits(&fs::read(&self.cow).unwrap(), &layout);
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
    fn append(&self, bytes: &[u8]) {
        truncate(&self.cow, fs::metadata(&self.cow).unwrap().len().next_multiple_of(4096));
        append(&self.cow, bytes);
    }

    fn set_bits(&self, first: u64, count: u64) {
        let at = self.layout().bitmap_offset;
        let mut file = fs::read(&self.cow).unwrap();
        (first..first + count).for_each(|s| file[(at + s / 8) as usize] |= 1 << (s % 8));
        let bitmap = &file[at as usize..self.layout().bitmap_end() as usize];
        patch(&self.cow, at, bitmap);
    }
}

fn ours() -> Sample {
    Sample::ours(Shape::default())
}

/// A sample of ours of each version, and two that the real driver wrote.
fn all() -> Vec<Sample> {
    let mut all: Vec<Sample> =
        common::VERSIONS.map(|version| Sample::ours(Shape { version, ..Shape::default() })).into();
    all.extend(["session.cow", "v2.cow"].map(Sample::real));
    all
}

fn kinds(report: &Report) -> Vec<Kind> {
    report.findings.iter().map(|f| f.kind).collect()
}

fn only(report: &Report, kind: Kind) -> &Finding {
    let mut found = report.findings.iter().filter(|f| f.kind == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind:?} in {:?}", report.findings));
    assert!(found.next().is_none(), "{kind:?} twice in {:?}", report.findings);
    one
}

/// Breaks the sample and holds `check` to its word: the finding, what it is called, and either a repair that
/// leaves what the disk shows alone, or none that touches the file.
fn breaks(sample: &Sample, kind: Kind, severity: Severity, repairable: bool, damage: impl FnOnce(&Sample)) {
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

#[test]
fn undamaged_files_have_no_findings() {
    for sample in all() {
        let report = sample.check(false);
        // The real driver keeps no order, and the tar has made holes of its zeros.
        let real = sample.cow.extension().is_some();
        let unexpected = report
            .findings
            .iter()
            .find(|f| !(real && f.kind == Kind::DirtyHole && f.severity == Severity::Note));
        assert_eq!(unexpected, None, "{}", sample.cow.display());
        assert_eq!(report.worst(), Severity::Note);
    }
}

#[test]
fn header_damage() {
    for sample in all() {
        breaks(&sample, Kind::Header, Severity::Corrupt, false, |s| patch(&s.cow, 4, &[0, 9, 0, 0]));
    }
    let short = ours();
    breaks(&short, Kind::Header, Severity::Corrupt, false, |s| truncate(&s.cow, 4000));
    let bitmap = ours();
    breaks(&bitmap, Kind::Header, Severity::Corrupt, false, |s| {
        truncate(&s.cow, s.layout().bitmap_end() - 1);
    });
}

#[test]
fn data_beyond_the_end() {
    for sample in all() {
        breaks(&sample, Kind::DataBeyondEnd, Severity::Corrupt, false, |s| {
            truncate(&s.cow, s.dirty_end() - 1);
        });
    }
    let all_gone = ours();
    breaks(&all_gone, Kind::DataBeyondEnd, Severity::Corrupt, false, |s| {
        truncate(&s.cow, s.layout().bitmap_end());
    });
    assert_eq!(only(&all_gone.check(false), Kind::DataBeyondEnd).bytes, Some(all_gone.check(false).dirty));
}

#[test]
fn a_short_file() {
    for sample in all() {
        breaks(&sample, Kind::Short, Severity::Leak, true, |s| truncate(&s.cow, s.dirty_end()));
        assert_eq!(fs::metadata(&sample.cow).unwrap().len(), sample.layout().file_len());
    }
}

/// The real driver writes past the end of such a file as anywhere else.
#[test]
fn a_short_file_can_be_written() {
    for sample in all() {
        truncate(&sample.cow, sample.dirty_end());
        let bytes = sample.shows(&sample.layout());
        let mut disk = Disk { cow: sample.cow.clone(), bytes };
        let size = disk.bytes.len() as u64;
        disk.write(&[(size - 700, random(700, 4))]);
        disk.check("written at its end");
    }
}

#[test]
fn trailing_bytes() {
    for sample in all() {
        breaks(&sample, Kind::Trailing, Severity::Leak, true, |s| s.append(b"more"));
        assert_eq!(fs::metadata(&sample.cow).unwrap().len(), sample.layout().file_len());
    }
}

#[test]
fn bits_past_the_last_sector() {
    // 323 sectors: three bits of the last byte mean something.
    breaks(&ours(), Kind::TailBits, Severity::Corrupt, true, |s| {
        let last = s.layout().bitmap_end() - 1;
        patch(&s.cow, last, &[fs::read(&s.cow).unwrap()[last as usize] | 0x88]);
    });
}

/// A version 1 or 2 file of a size that the real driver's formula has too few bits for: three sectors have
/// none. No tool of ours makes one.
fn with_overlap(version: Version, size_at: u64, sector_size: u32) -> Sample {
    let sample = Sample::ours(Shape { version, sector_size, alignment: 4096 });
    let size = sample.layout().size + 3 * u64::from(sector_size);
    let mtime = common::mtime(&sample.base);
    append(&sample.base, &random(3 * u64::from(sector_size), 9));
    set_mtime(&sample.base, mtime);
    let little = version == Version::V1(cow_format::ByteOrder::Little);
    patch(&sample.cow, size_at, &if little { size.to_le_bytes() } else { size.to_be_bytes() });
    truncate(&sample.cow, sample.layout().file_len());
    sample
}

fn overlaps() -> [Sample; 3] {
    use cow_format::ByteOrder::{Big, Little};
    [
        with_overlap(Version::V1(Little), 268, 512),
        with_overlap(Version::V1(Big), 268, 4096),
        with_overlap(Version::V2, 4108, 4096),
    ]
}

#[test]
fn sectors_without_a_bit() {
    for sample in overlaps() {
        let layout = sample.layout();
        assert_eq!(layout.sectors - layout.mapped_sectors, 3);
        let report = sample.check(false);
        assert_eq!(kinds(&report), [Kind::BitmapOverlap]);
        let finding = only(&report, Kind::BitmapOverlap);
        assert_eq!((finding.severity, finding.repairable), (Severity::Note, false));
        assert_eq!(finding.bytes, Some(3 * u64::from(layout.sector_size)));
        let before = fs::read(&sample.cow).unwrap();
        assert_eq!(sample.check(true).repaired, 0);
        assert!(fs::read(&sample.cow).unwrap() == before);
    }
}

#[test]
fn bits_that_the_driver_lost() {
    for sample in overlaps() {
        breaks(&sample, Kind::LostBits, Severity::Corrupt, false, |s| {
            patch(&s.cow, s.layout().bitmap_end(), &[0b101]);
        });
    }
}

/// What the driver wrote where there are no bits is all that is left of somebody's data: a repair must not
/// take it for rubbish.
#[test]
fn data_of_lost_bits_survives_a_repair() {
    for sample in overlaps() {
        let layout = sample.layout();
        let at = layout.data_offset + layout.mapped_sectors * u64::from(layout.sector_size);
        let data = random(3 * u64::from(layout.sector_size), 11);
        patch(&sample.cow, layout.bitmap_end(), &[0b111]);
        patch(&sample.cow, at, &data);
        append(&sample.cow, b"so that there is something to repair");
        assert!(sample.check(true).repaired > 0);
        same(&fs::read(&sample.cow).unwrap()[at as usize..][..data.len()], &data, "the lost sectors");
    }
}

#[test]
fn data_that_no_bit_names() {
    for sample in all() {
        let at = sample.clean_blocks(2);
        breaks(&sample, Kind::OrphanData, Severity::Leak, true, |s| patch(&s.cow, at, &random(8192, 5)));
        let blocks = |s: &Sample| fs::metadata(&s.cow).unwrap().blocks();
        let after = blocks(&sample);
        patch(&sample.cow, at, &random(8192, 5));
        assert_eq!(only(&sample.check(false), Kind::OrphanData).bytes, Some(8192));
        assert_eq!(only(&sample.check(false), Kind::OrphanData).offset, Some(at));
        sample.check(true);
        assert!(blocks(&sample) <= after, "the space is given back");
    }
}

#[test]
fn bits_without_data() {
    for version in [Version::V2, Version::V3Broken] {
        let sample = Sample::ours(Shape { version, ..Shape::default() });
        let layout = sample.layout();
        let at = sample.clean_blocks(2);
        let damage = |s: &Sample| s.set_bits((at - layout.data_offset) / 512, 16);
        if cow_format::Layer::read(std::sync::Arc::new(
            block_device::HostFile::open(&sample.cow, true).unwrap(),
        ))
        .unwrap()
        .record
        .valid()
        .is_some()
        {
            // It has only had writers that keep order: a bit over a hole is a discard.
            damage(&sample);
            assert_eq!(kinds(&sample.check(false)), []);
        } else {
            breaks(&sample, Kind::DirtyHole, Severity::Note, false, damage);
        }
    }
    let sample = Sample::real("session.cow");
    let at = sample.clean_blocks(2);
    let before = sample.check(false).findings;
    let bytes = |f: &[Finding]| f.iter().find(|f| f.kind == Kind::DirtyHole).map_or(0, |f| f.bytes.unwrap());
    sample.set_bits((at - sample.layout().data_offset) / 512, 16);
    assert_eq!(bytes(&sample.check(false).findings), bytes(&before) + 8192);
}

#[test]
fn a_damaged_record() {
    breaks(&ours(), Kind::Record, Severity::Corrupt, false, |s| {
        let at = header(&s.cow).record_offset().unwrap();
        let old = fs::read(&s.cow).unwrap()[at as usize + 40];
        patch(&s.cow, at + 40, &[old ^ 1]);
    });
}

#[test]
fn nothing_below() {
    for sample in all() {
        breaks(&sample, Kind::Chain, Severity::Corrupt, false, |s| fs::remove_file(&s.base).unwrap());
    }
}

/// A disk of two layers, of which the upper one is the sample.
fn layers() -> (Sample, PathBuf) {
    let mut sample = ours();
    let bytes = common::view(&sample.cow);
    let mut top = Disk::on(sample.place.path("top"), &sample.cow, &layered(), &bytes);
    top.scribble(7, 0.8);
    let lower = std::mem::replace(&mut sample.cow, top.cow);
    (sample, lower)
}

#[test]
fn a_damaged_layer_below() {
    let (top, lower) = layers();
    breaks(&top, Kind::Chain, Severity::Corrupt, false, |_| patch(&lower, 4, &[7; 4]));
    let (top, lower) = layers();
    // A layer below that leads back to the top one.
    breaks(&top, Kind::Chain, Severity::Corrupt, false, |top| {
        fs::remove_file(&lower).unwrap();
        fs::hard_link(&top.cow, &lower).unwrap();
    });
}

/// A repair changes the file's time stamps: those of a layer are what the disks above it go by.
#[test]
fn repairing_a_layer_keeps_the_disks_above() {
    let (top, lower) = layers();
    let shown = common::view(&top.cow);
    truncate(&lower, fs::metadata(&lower).unwrap().len() + 8192);
    assert_eq!(check(&lower, true, false, &Unobserved).unwrap().repaired, 1);
    set_mtime(&lower, 1_000_000_000);
    same(&common::view(&top.cow), &shown, "the disk above");
}

#[test]
fn another_base() {
    for sample in all() {
        breaks(&sample, Kind::Base, Severity::Corrupt, false, |s| {
            patch(&s.base, 1000, b"changed");
            set_mtime(&s.base, 1_000_000_000);
        });
    }
    for sample in [ours(), Sample::real("session.cow")] {
        breaks(&sample, Kind::Base, Severity::Corrupt, false, |s| append(&s.base, &[0; 512]));
    }
    // Its time stamps put back as far as anybody can.
    breaks(&ours(), Kind::Base, Severity::Corrupt, false, |s| {
        let mtime = fs::metadata(&s.base).unwrap().modified().unwrap();
        patch(&s.base, 1000, b"changed");
        fs::File::options().write(true).open(&s.base).unwrap().set_modified(mtime).unwrap();
    });
}

#[test]
fn an_interrupted_merge() {
    for sample in all() {
        breaks(&sample, Kind::UnfinishedMerge, Severity::Corrupt, false, |s| {
            log::append(&s.base, &Entry::now(Event::MergeBegin, &s.cow, None).unwrap()).unwrap();
            patch(&s.base, 1000, &fs::read(&s.base).unwrap()[1000..1010]);
        });
    }
    // Killed right after the mark: nothing of the base has changed yet.
    breaks(&ours(), Kind::UnfinishedMerge, Severity::Corrupt, false, |s| {
        log::append(&s.base, &Entry::now(Event::MergeBegin, &s.cow, None).unwrap()).unwrap();
    });
}

/// Everything that can be repaired, at once; and the real tool sees the same disk before and after.
#[test]
fn all_that_can_be_repaired() {
    let sample = Sample::real("session.cow");
    let shown = sample.shows(&sample.layout());
    let merge = |name: &str| {
        let moo = real_moo("the merge of a repaired file")?;
        let out = sample.place.path(name);
        common::run(Command::new(moo).arg(&sample.cow).arg(&out));
        Some(fs::read(out).unwrap())
    };
    if let Some(bytes) = merge("before") {
        same(&bytes, &shown, "the real uml_moo, before");
    }
    let at = sample.clean_blocks(3);
    patch(&sample.cow, at, &random(3 * 4096, 6));
    sample.append(&random(10_000, 7));
    assert_eq!(sample.check(true).repaired, 2);
    same(&sample.shows(&sample.layout()), &shown, "after the repair");
    if let Some(bytes) = merge("after") {
        same(&bytes, &shown, "the real uml_moo, after");
    }

    let ours = ours();
    let shown = ours.shows(&ours.layout());
    let at = ours.clean_blocks(1);
    patch(&ours.cow, at, &random(4096, 8));
    patch(&ours.cow, ours.layout().bitmap_end() - 1, &[0xf8]);
    truncate(&ours.cow, ours.dirty_end().max(at + 4096));
    assert_eq!(kinds(&ours.check(false)), [Kind::TailBits, Kind::Short, Kind::OrphanData]);
    assert_eq!(ours.check(true).repaired, 3);
    assert_eq!(kinds(&ours.check(false)), []);
    same(&ours.shows(&ours.layout()), &shown, "after the repair");
}
