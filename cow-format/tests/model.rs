//! Chains of `CowDevice`s of every form against a plain vector of bytes, and every way of reading a bitmap
//! against reading it bit by bit.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use block_device::{BlockDevice, ExtentKind, HostFile, MemDevice};
use common::{STALE, VERSIONS, bits_of, header, random_bytes, runs_of};
use cow_format::{
    BaseSpec, BitWriter, CowDevice, DirtyRuns, Layout, NewCow, Run, Segment, Segments, Shape, Version,
    parse_device,
};
use powercut::XorShift;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;
use std::sync::Arc;

/// A request; offsets are taken modulo what the device has, lengths cut at its end.
#[derive(Debug, Clone)]
enum Op {
    Write { offset: u64, len: u64 },
    WriteVectored { offset: u64, parts: Vec<u64> },
    Read { offset: u64, len: u64 },
    ReadVectored { offset: u64, parts: Vec<u64> },
    Discard { offset: u64, len: u64 },
    Zeroes { offset: u64, len: u64, may_unmap: bool },
    Flush,
    Reopen,
}

#[derive(Debug, Clone)]
struct Plan {
    version: Version,
    sector_size: u32,
    alignment: u32,
    ops: Vec<Op>,
}

#[derive(Debug, Clone)]
struct World {
    size: u64,
    on_host: bool,
    seed: u64,
    /// From the bottom up.
    layers: Vec<Plan>,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![0u64..700, Just(512), Just(4096), Just(16384), 0u64..70_000];
    // Anywhere, at a sector of some size, or just beside one.
    let offset = prop_oneof![
        any::<u32>().prop_map(u64::from),
        (0u64..400).prop_map(|n| n * 512),
        (0u64..60, 0u64..3).prop_map(|(n, d)| (n * 4096 + d).saturating_sub(1)),
    ];
    let parts = prop::collection::vec(prop_oneof![0u64..5, 0u64..600, Just(512), 0u64..9000], 0..7);
    let at = (offset.clone(), len);
    prop_oneof![
        6 => at.clone().prop_map(|(offset, len)| Op::Write { offset, len }),
        3 => (offset.clone(), parts.clone()).prop_map(|(offset, parts)| Op::WriteVectored { offset, parts }),
        2 => at.clone().prop_map(|(offset, len)| Op::Read { offset, len }),
        3 => (offset, parts).prop_map(|(offset, parts)| Op::ReadVectored { offset, parts }),
        2 => at.clone().prop_map(|(offset, len)| Op::Discard { offset, len }),
        2 => (at, any::<bool>()).prop_map(|((offset, len), may_unmap)| Op::Zeroes { offset, len, may_unmap }),
        1 => Just(Op::Flush),
        1 => Just(Op::Reopen),
    ]
}

fn world() -> impl Strategy<Value = World> {
    let plan = (
        prop::sample::select(VERSIONS.to_vec()),
        prop::sample::select(vec![512u32, 4096, 16384]),
        prop::sample::select(vec![8u32, 512, 4096]),
        prop::collection::vec(op(), 0..25),
    )
        .prop_map(|(version, sector_size, alignment, ops)| Plan { version, sector_size, alignment, ops });
    (1u64..150_000, any::<bool>(), any::<u64>(), prop::collection::vec(plan, 1..5)).prop_map(
        |(size, on_host, seed, layers)| {
            let cuts_short = |p: &&Plan| !matches!(p.version, Version::V3 | Version::V3Broken);
            // Versions 1 and 2 have bits for sectors in eights only; the last one may still be a partial one.
            let size = match layers.iter().filter(cuts_short).map(|p| p.sector_size).max() {
                Some(ss) => size.next_multiple_of(8 * u64::from(ss)) - size % 512,
                None => size,
            };
            World { size, on_host, seed, layers }
        },
    )
}

/// Where the files of one world lie.
struct Storage {
    dir: Option<tempfile::TempDir>,
}

impl Storage {
    fn keep(&self, name: &str, head: &[u8], len: u64) -> Arc<dyn BlockDevice> {
        match &self.dir {
            Some(dir) => {
                let path = dir.path().join(name);
                std::fs::write(&path, head).unwrap();
                let file = HostFile::open(&path, false).unwrap();
                file.set_len(len).unwrap(); // the rest is a hole
                Arc::new(file)
            }
            None => {
                let mut bytes = head.to_vec();
                bytes.resize(len as usize, STALE);
                Arc::new(MemDevice::new(bytes))
            }
        }
    }
}

/// One layer while it is the top one.
struct Top {
    file: Arc<dyn BlockDevice>,
    below: Arc<dyn BlockDevice>,
    layout: Layout,
    device: CowDevice,
    /// Sectors that must be dirty.
    dirty: Vec<bool>,
}

impl Top {
    fn open(file: Arc<dyn BlockDevice>, layout: Layout, below: Arc<dyn BlockDevice>) -> Self {
        let device = CowDevice::new(file.clone(), layout, below.clone()).unwrap();
        Self { file, below, layout, device, dirty: vec![false; layout.sectors as usize] }
    }

    fn wrote(&mut self, offset: u64, len: u64) {
        if len > 0 {
            let ss = u64::from(self.layout.sector_size);
            self.dirty[(offset / ss) as usize..(offset + len).div_ceil(ss) as usize].fill(true);
        }
    }

    fn apply(&mut self, op: &Op, model: &mut [u8], rng: &mut XorShift) {
        let size = self.layout.size;
        let place = |offset: u64, len: u64| {
            let offset = offset % size;
            (offset, len.min(size - offset))
        };
        let split = |offset: u64, parts: &[u64]| {
            let mut left = size - offset;
            let cut = |n: &u64| {
                let n = (*n).min(left);
                left -= n;
                n as usize
            };
            parts.iter().map(cut).collect::<Vec<usize>>()
        };
        match op {
            Op::Write { offset, len } => {
                let (offset, len) = place(*offset, *len);
                let bytes = random_bytes(len as usize, rng);
                self.device.write_at(&bytes, offset).unwrap();
                model[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
                self.wrote(offset, len);
            }
            Op::WriteVectored { offset, parts } => {
                let offset = offset % size;
                let parts = split(offset, parts);
                let bytes = random_bytes(parts.iter().sum(), rng);
                let mut rest = &bytes[..];
                let slices: Vec<_> = parts
                    .iter()
                    .map(|n| {
                        let (now, later) = rest.split_at(*n);
                        rest = later;
                        IoSlice::new(now)
                    })
                    .collect();
                self.device.write_vectored_at(&slices, offset).unwrap();
                model[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
                self.wrote(offset, bytes.len() as u64);
            }
            Op::Read { offset, len } => {
                let (offset, len) = place(*offset, *len);
                let mut bytes = vec![0; len as usize];
                self.device.read_at(&mut bytes, offset).unwrap();
                assert!(bytes == model[offset as usize..][..bytes.len()], "{op:?}");
            }
            Op::ReadVectored { offset, parts } => {
                let offset = offset % size;
                let mut bytes: Vec<Vec<u8>> = split(offset, parts).iter().map(|n| vec![0; *n]).collect();
                let mut slices: Vec<_> = bytes.iter_mut().map(|b| IoSliceMut::new(b)).collect();
                self.device.read_vectored_at(&mut slices, offset).unwrap();
                let bytes = bytes.concat();
                assert!(bytes == model[offset as usize..][..bytes.len()], "{op:?}");
            }
            Op::Discard { offset, len } => {
                let (offset, len) = place(*offset, *len);
                self.device.discard(offset, len).unwrap();
                model[offset as usize..][..len as usize].fill(0);
                self.wrote(offset, len);
            }
            Op::Zeroes { offset, len, may_unmap } => {
                let (offset, len) = place(*offset, *len);
                self.device.write_zeroes(offset, len, *may_unmap).unwrap();
                model[offset as usize..][..len as usize].fill(0);
                self.wrote(offset, len);
            }
            Op::Flush => {
                self.device.flush().unwrap();
                assert!(self.saved() == self.dirty[..], "bits after a flush");
            }
            Op::Reopen => {
                self.device.flush().unwrap();
                assert_eq!(parse_device(&*self.file).unwrap().layout, self.layout);
                self.device = CowDevice::new(self.file.clone(), self.layout, self.below.clone()).unwrap();
            }
        }
    }

    fn saved(&self) -> Vec<bool> {
        bits_of(&read_all(&*self.file), &self.layout)
    }
}

fn read_all(device: &dyn BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0; device.len() as usize];
    device.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn runs(file: &dyn BlockDevice, layout: Layout) -> Vec<(u64, u64)> {
    DirtyRuns::new(file, layout).map(|r| r.map(|r| (r.offset, r.end())).unwrap()).collect()
}

/// Segments from lists of bits, the topmost layer first, 512 bytes at a time.
fn naive_segments(layers: &[(Vec<bool>, Layout)], size: u64) -> Vec<Segment> {
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

fn segments(files: &[(Arc<dyn BlockDevice>, Layout)], size: u64) -> Vec<Segment> {
    let layers = files.iter().map(|(f, l)| DirtyRuns::new(&**f, *l)).collect();
    Segments::new(layers, size).map(io::Result::unwrap).collect()
}

/// Extents follow each other to the end, and holes read as zeros.
fn check_extents(device: &dyn BlockDevice, model: &[u8]) {
    let mut at = 0;
    while at < device.len() {
        let extent = device.extent(at).unwrap();
        assert!(extent.len > 0 && at + extent.len <= device.len(), "{extent:?} at {at}");
        if extent.kind == ExtentKind::Hole {
            let bytes = &model[at as usize..][..extent.len as usize];
            assert!(bytes.iter().all(|b| *b == 0), "{extent:?} at {at} holds data");
        }
        at += extent.len;
    }
    assert!(device.extent(device.len()).is_err());
}

fn check_world(world: &World) {
    let mut rng = XorShift::new(world.seed);
    let storage = Storage { dir: world.on_host.then(|| tempfile::tempdir().unwrap()) };
    // Half of a base on the host is a hole.
    let written = if world.on_host { world.size / 2 } else { world.size };
    let base = storage.keep("base", &random_bytes(written as usize, &mut rng), world.size);
    let mut model = read_all(&*base);
    let mut below = base.clone();
    let mut files: Vec<(Arc<dyn BlockDevice>, Layout)> = Vec::new();
    for (i, plan) in world.layers.iter().enumerate() {
        let header = header(plan.version, world.size, plan.sector_size, plan.alignment);
        let mut head = header.encode();
        head.resize(header.layout.data_offset as usize, 0);
        let l = &header.layout;
        if !l.mapped_sectors.is_multiple_of(8) {
            head[l.bitmap_end() as usize - 1] = 0xff << (l.mapped_sectors % 8); // these mean nothing
        }
        let file = storage.keep(&format!("cow{i}"), &head, header.layout.file_len());
        let mut top = Top::open(file.clone(), header.layout, below.clone());
        for op in &plan.ops {
            top.apply(op, &mut model, &mut rng);
        }
        top.device.flush().unwrap();
        assert!(top.saved() == top.dirty, "bits of layer {i}");
        assert!(read_all(&top.device) == model, "layer {i} and below");
        files.insert(0, (file, header.layout));
        below = Arc::new(top.device);
    }
    drop(below);

    let mut device = base;
    for (file, layout) in files.iter().rev() {
        device = Arc::new(CowDevice::new(file.clone(), *layout, device).unwrap());
    }
    assert!(read_all(&*device) == model, "all layers, opened again");
    check_extents(&*device, &model);
    let bits: Vec<_> = files.iter().map(|(f, l)| (bits_of(&read_all(&**f), l), *l)).collect();
    for ((file, layout), (bits, _)) in files.iter().zip(&bits) {
        assert_eq!(runs(&**file, *layout), runs_of(bits, layout));
    }
    for depth in 0..=files.len() {
        let naive = naive_segments(&bits[..depth], world.size);
        assert_eq!(segments(&files[..depth], world.size), naive, "the first {depth} layers");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_chain_is_a_vector_of_bytes(world in world()) {
        check_world(&world);
    }
}

/// Each form once by itself, whatever the property test has come upon.
#[test]
fn every_form_by_itself() {
    let ops = |rng: &mut XorShift| {
        (0..40)
            .map(|i| {
                let (offset, len) = (rng.next_u64() >> 32, rng.below(9000));
                match i % 5 {
                    0 | 1 => Op::Write { offset, len },
                    2 => Op::WriteVectored { offset, parts: (0..5).map(|_| rng.below(2000)).collect() },
                    3 => Op::Discard { offset, len },
                    _ => Op::Reopen,
                }
            })
            .collect()
    };
    let mut rng = XorShift::new(1);
    for version in VERSIONS {
        for sector_size in [512, 4096, 16384] {
            for on_host in [false, true] {
                let layers = vec![Plan { version, sector_size, alignment: 4096, ops: ops(&mut rng) }];
                let size = 8 * u64::from(sector_size) * 3 - 100;
                check_world(&World { size, on_host, seed: rng.next_u64(), layers });
            }
        }
    }
}

/// The defect of versions 1 and 2: the last sectors have no bit. They show the base and cannot be written.
#[test]
fn sectors_without_a_bit() {
    for version in VERSIONS.iter().filter(|v| !matches!(v, Version::V3 | Version::V3Broken)) {
        for sectors in [3u64, 8, 11, 20] {
            let size = sectors * 512;
            let mut raw = header(*version, 4096 * 4, 512, 512).encode();
            let size_at = if *version == Version::V2 { 4108 } else { 268 };
            let big = raw[..4] == *b"OOOM";
            let bytes = if big { size.to_be_bytes() } else { size.to_le_bytes() };
            raw[size_at..size_at + 8].copy_from_slice(&bytes);
            raw.resize(16384, 0);
            let file: Arc<dyn BlockDevice> = Arc::new(MemDevice::new(raw));
            let layout = parse_device(&*file).unwrap().layout;
            let mapped = sectors / 8 * 8;
            assert_eq!((layout.size, layout.mapped_sectors), (size, mapped));
            let base = random_bytes(size as usize, &mut XorShift::new(sectors));
            let open =
                || CowDevice::new(file.clone(), layout, Arc::new(MemDevice::new(base.clone()))).unwrap();
            let device = open();
            let mut model = base.clone();
            for sector in 0..sectors {
                let result = device.write_at(&[sector as u8; 100], sector * 512 + 7);
                if sector < mapped {
                    result.unwrap();
                    model[sector as usize * 512 + 7..][..100].fill(sector as u8);
                } else {
                    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Unsupported);
                    assert!(device.discard(sector * 512, 512).is_err());
                    assert!(device.write_vectored_at(&[IoSlice::new(&[1])], sector * 512).is_err());
                }
            }
            if sectors > mapped {
                assert!(device.write_at(&vec![1; size as usize], 0).is_err(), "not even in part");
            }
            assert!(read_all(&device) == model);
            device.flush().unwrap();
            let bits = bits_of(&read_all(&*file), &layout);
            assert_eq!(bits, vec![true; mapped as usize]);
            assert_eq!(runs(&*file, layout), runs_of(&bits, &layout));
            drop(device);
            let device = open();
            assert!(read_all(&device) == model);
            check_extents(&device, &model);
        }
    }
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
            let device = CowDevice::new(file.clone(), l, Arc::new(Empty(l.size))).unwrap();
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

/// A base of zeros, all hole.
struct Empty(u64);

impl BlockDevice for Empty {
    fn len(&self) -> u64 {
        self.0
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read_at(&self, buf: &mut [u8], _offset: u64) -> io::Result<()> {
        buf.fill(0);
        Ok(())
    }
    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn discard(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
