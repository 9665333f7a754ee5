//! Good COW files, broken in every way that `check` knows: what it says of them, and what a repair does.
//!
//! Each damage is done to a file of our own and, where it can be, to files that the real driver wrote.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "damage/below.rs"]
mod below;
mod common;
#[path = "damage/sample.rs"]
mod sample;

use common::{append, header, patch, random, real_moo, same, set_mtime, truncate};
use cow_format::{Shape, Version};
use cow_ops::check::{Finding, Kind, Severity};
use sample::{Sample, all, breaks, kinds, only, ours};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

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
        let mut disk = common::Disk { cow: sample.cow.clone(), bytes };
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
