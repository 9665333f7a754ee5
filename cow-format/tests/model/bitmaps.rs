//! Every way of reading bitmaps against reading them bit by bit, for bitmaps of several chunks and windows
//! with holes in them too.

use crate::common::bits_of;
use block_device::{BlockDevice, ExtentKind, HostFile};
use cow_format::{BaseSpec, BitWriter, CowDevice, DirtyRuns, Layout, NewCow, Run, Segment, Segments, Shape};
use powercut::XorShift;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The dirty byte ranges, `(start, end)`, of a list of bits.
pub(crate) fn runs_of(bits: &[bool], layout: &Layout) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (i, _) in bits.iter().enumerate().filter(|(_, dirty)| **dirty) {
        let start = i as u64 * u64::from(layout.sector_size);
        let end = (start + u64::from(layout.sector_size)).min(layout.size);
        match runs.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => runs.push((start, end)),
        }
    }
    runs
}

pub(crate) fn runs(file: &dyn BlockDevice, layout: Layout) -> Vec<(u64, u64)> {
    DirtyRuns::new(file, layout).map(|r| r.map(|r| (r.offset, r.end())).unwrap()).collect()
}

/// Segments from lists of bits, the topmost layer first, 512 bytes at a time.
pub(crate) fn naive_segments(layers: &[(Vec<bool>, Layout)], size: u64) -> Vec<Segment> {
    let mut found: Vec<Segment> = Vec::new();
    for offset in (0..size).step_by(512) {
        let holds = |(bits, l): &(Vec<bool>, Layout)| {
            bits.get((offset / u64::from(l.sector_size)) as usize).copied().unwrap_or(false)
        };
        let layer = layers.iter().position(holds);
        let len = (size - offset).min(512);
        match found.last_mut() {
            Some(last) if last.layer == layer => last.len += len,
            _ => found.push(Segment { offset, len, layer }),
        }
    }
    found
}

pub(crate) fn segments(files: &[(Arc<dyn BlockDevice>, Layout)], size: u64) -> Vec<Segment> {
    let layers = files.iter().map(|(f, l)| DirtyRuns::new(&**f, *l)).collect();
    Segments::new(layers, size).map(io::Result::unwrap).collect()
}

/// A COW file of the host with a bitmap of several chunks and windows, and the runs that it was given. Made
/// through a [`BitWriter`], or byte by byte, which leaves holes in the bitmap.
fn sparse(path: &Path, sectors: u64, by_writer: bool, rng: &mut XorShift) -> (HostFile, Layout, Vec<Run>) {
    let size = sectors * 512 - 77;
    let base = BaseSpec { path: path.with_extension("base"), mtime: 0, size, record: None };
    // With an odd alignment the holes, which are pages of the file, begin and end within words of the bitmap.
    let alignment = if by_writer { 4096 } else { 4099 };
    let new = NewCow::create(path, Shape { alignment, ..Shape::default() }, &base).unwrap();
    let layout = new.header.layout;
    // Chunks are 32768 sectors, windows 262144, pages of the bitmap 32768 as well.
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for edge in [32_768u64, 262_144, 524_288, sectors - 1] {
        ranges.push((edge - rng.below(200), (edge + 1 + rng.below(200)).min(sectors)));
    }
    // Runs that begin or end just where a chunk does.
    ranges.extend([(65_536, 98_304), (163_840 - 10, 163_840), (196_608, 196_608 + 10)]);
    for i in 0..15 {
        let start = rng.below(sectors);
        let len = 1 + rng.below(if i % 4 == 0 { 80_000 } else { 90 });
        ranges.push((start, (start + len).min(sectors)));
    }
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let joins = next.0 <= before.1;
        if joins {
            before.1 = before.1.max(next.1);
        }
        joins
    });
    let mut writer = BitWriter::new(new.file(), layout);
    for (start, end) in &ranges {
        if by_writer {
            let offset = start * 512;
            writer.mark(Run { offset, len: (end * 512).min(size) - offset }).unwrap();
            continue;
        }
        let mut bytes = vec![0; (end.div_ceil(8) - start / 8) as usize];
        new.file().read_at(&mut bytes, layout.bitmap_offset + start / 8).unwrap();
        (*start..*end).for_each(|s| bytes[(s / 8 - start / 8) as usize] |= 1 << (s % 8));
        new.file().write_at(&bytes, layout.bitmap_offset + start / 8).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    new.publish(false).unwrap();
    let runs = ranges
        .iter()
        .map(|(start, end)| Run { offset: start * 512, len: (end * 512).min(size) - start * 512 })
        .collect();
    (HostFile::open(path, true).unwrap(), layout, runs)
}

#[test]
fn large_bitmaps_with_holes() {
    const CHUNK: u64 = 32_768 * 512;
    let dir = tempfile::tempdir().unwrap();
    let mut rng = XorShift::new(7);
    let mut holes = 0;
    for round in 0..8 {
        let sectors = 600_000 + rng.below(1_000_000);
        let (mut files, mut bits) = (Vec::new(), Vec::new());
        for name in ["a", "b", "c"] {
            let path = dir.path().join(format!("{name}{round}"));
            let (file, l, given) = sparse(&path, sectors, name == "b", &mut rng);
            let mut head = vec![0; l.bitmap_end() as usize];
            file.read_at(&mut head, 0).unwrap();
            let set = bits_of(&head, &l);
            let mut at = l.bitmap_offset;
            while at < l.bitmap_end() {
                let extent = file.extent(at).unwrap();
                holes += u64::from(extent.kind == ExtentKind::Hole);
                at += extent.len;
            }
            let want = runs_of(&set, &l);
            assert!(want.iter().copied().eq(given.iter().map(|r| (r.offset, r.end()))), "what was marked");
            assert!(runs(&file, l) == want);
            // The same runs from an open device, which looks from anywhere to anywhere.
            let file: Arc<dyn BlockDevice> = Arc::new(file);
            let base = path.with_extension("base");
            File::create(&base).unwrap().set_len(l.size).unwrap(); // all hole
            let base = Arc::new(HostFile::open(&base, true).unwrap());
            let device = CowDevice::new(file.clone(), l, base).unwrap();
            for _ in 0..2000 {
                let run = want[rng.below(want.len() as u64) as usize];
                let near = [run.0, run.1, run.0 / CHUNK * CHUNK][rng.below(3) as usize];
                let start = (near + rng.below(2000)).saturating_sub(1000).min(l.size - 1);
                let end =
                    if rng.chance(1, 2) { l.size } else { (start + 1 + rng.below(1 << 26)).min(l.size) };
                let value = set[(start / 512) as usize];
                let stop = want.iter().flat_map(|r| [r.0, r.1]).find(|edge| *edge > start).unwrap_or(l.size);
                assert_eq!(device.dirty_run(start, end).unwrap(), (value, stop.min(end)), "{start}..{end}");
            }
            files.push((file, l));
            bits.push((set, l));
        }
        let size = files[0].1.size;
        assert!(segments(&files, size) == naive_segments(&bits, size));
    }
    assert!(holes > 0, "this file system shows no holes: the test proves little here");
}
