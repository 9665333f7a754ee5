//! Merges with the power cut at every operation: into the base, into the layer below, and into a new file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "powercut/new_file.rs"]
mod new_file;

use block_device::{BlockDevice, MemDevice, Unobserved};
use common::{bits_of, overlay, random};
use cow_format::{CowDevice, Header, Layout, Version, parse_device};
use cow_ops::Error;
use cow_ops::merge::{Dirty, Journal, Source, apply_journaled};
use powercut::{Cut, Device, PowerCut, Survivors, Tally, XorShift, every_cut};
use std::io;
use std::path::Path;
use std::sync::Arc;

const SEEDS: u64 = 10;

/// A COW file with some sectors dirty, all others stale.
fn layer(header: &Header, seed: u64) -> Vec<u8> {
    let layout = header.layout;
    let mut bytes = header.encode();
    bytes.resize(layout.data_offset as usize, 0);
    bytes.extend(random(layout.size, seed));
    let mut rng = XorShift::new(seed);
    for _ in 0..layout.sectors / 10 {
        let first = rng.below(layout.sectors);
        for sector in first..layout.sectors.min(first + 1 + rng.below(4)) {
            bytes[(layout.bitmap_offset + sector / 8) as usize] |= 1 << (sector % 8);
        }
    }
    // A run long enough to be moved by itself.
    let per_sector = 8 * u64::from(layout.sector_size);
    let long = (layout.size / 4 / per_sector, layout.size * 2 / 3 / per_sector);
    bytes[(layout.bitmap_offset + long.0) as usize..(layout.bitmap_offset + long.1) as usize].fill(0xff);
    // Some dirty sectors are zeros, so that holes are merged too.
    let data = layout.data_offset as usize;
    for sector in (0..layout.sectors as usize).step_by(7) {
        let (start, end) = (sector * layout.sector_size as usize, (sector + 1) * layout.sector_size as usize);
        bytes[data + start..data + end.min(layout.size as usize)].fill(0);
    }
    bytes
}

fn header(size: u64, sector_size: u32, version: Version) -> Header {
    Header::new(version, Path::new("/base"), 0, size, sector_size, 512).unwrap()
}

/// What the layers show over `base`, the topmost first.
fn shown(layers: &[(&[u8], Layout)], base: &[u8]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    layers.iter().rev().for_each(|(file, layout)| overlay(file, layout, &mut bytes));
    bytes
}

/// The durable marks of a merge, each in a sector of its own: begun, ended.
struct Marks {
    file: Device,
    /// What this one gets wrong.
    fault: Fault,
}

/// Mistakes in the order of a merge, each of which the sweep has to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The first mark is not made durable before the target changes.
    BeginNotFlushed,
    /// The last mark is written before the target is flushed.
    EndBeforeFlush,
}

const BEGUN: [u8; 5] = *b"begun";
const ENDED: [u8; 5] = *b"ended";

impl Marks {
    fn mark(&self, offset: u64, text: &[u8], flush: bool) -> cow_ops::Result<()> {
        let write = || {
            self.file.write_at(text, offset)?;
            if flush { self.file.flush() } else { Ok(()) }
        };
        write().map_err(Error::io("writing", Path::new("the journal")))
    }

    /// What a journal says after a cut.
    fn read(bytes: &[u8]) -> (bool, bool) {
        (bytes.starts_with(&BEGUN), bytes[512..].starts_with(&ENDED))
    }
}

impl Journal for Marks {
    fn begin(&mut self) -> cow_ops::Result<()> {
        self.mark(0, &BEGUN, self.fault != Fault::BeginNotFlushed)
    }

    fn end(&mut self) -> cow_ops::Result<()> {
        self.mark(512, &ENDED, true)
    }
}

/// A device whose flush promises and does nothing, as if the flush came too late.
struct Unflushed(Arc<dyn BlockDevice>);

impl BlockDevice for Unflushed {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn read_only(&self) -> bool {
        self.0.read_only()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.discard(offset, len)
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk of some layers over a base, of which the top ones are merged into what is below them.
struct Case {
    name: &'static str,
    base: Vec<u8>,
    /// The topmost first.
    layers: Vec<(Header, Vec<u8>)>,
    /// How many of them are merged.
    depth: usize,
}

/// The ids of the devices that every scenario makes, in this order: journal, base, layers.
const JOURNAL: usize = 0;
const BASE: usize = 1;
const LAYERS: usize = 2;

impl Case {
    fn new(name: &'static str, size: u64, headers: &[Header], depth: usize) -> Self {
        let layers = headers.iter().zip(1..).map(|(h, n)| (h.clone(), layer(h, size + n))).collect();
        Self { name, base: random(size, size), layers, depth }
    }

    /// Does the merge. `Ok` means that it was answered for.
    fn merge(&self, files: &[Arc<dyn BlockDevice>], marks: Device, fault: Fault) -> cow_ops::Result<()> {
        let mut target = files[BASE].clone();
        for (i, (header, _)) in self.layers.iter().enumerate().skip(self.depth).rev() {
            target = Arc::new(CowDevice::new(files[LAYERS + i].clone(), header.layout, target).unwrap());
        }
        if fault == Fault::EndBeforeFlush {
            target = Arc::new(Unflushed(target));
        }
        let sources: Vec<Source<'_>> = (0..self.depth)
            .map(|i| Source { file: &*files[LAYERS + i], layout: self.layers[i].0.layout })
            .collect();
        let mut journal = Marks { file: marks, fault };
        let dirty = Dirty::of(&sources, self.base.len() as u64).unwrap();
        apply_journaled(&dirty, &*target, &mut journal, &Unobserved).map(drop)
    }

    fn scenario(&self, disk: &PowerCut, fault: Fault) -> bool {
        let marks = disk.device(vec![0; 1024]);
        let mut files: Vec<Arc<dyn BlockDevice>> = vec![Arc::new(marks.clone())];
        files.push(Arc::new(disk.device(self.base.clone())));
        for (_, bytes) in &self.layers {
            files.push(Arc::new(disk.device(bytes.clone())));
        }
        let done = self.merge(&files, marks, fault);
        assert!(done.is_ok() || disk.is_cut(), "{done:?}");
        done.is_ok()
    }

    /// What is below the merged layers, and what they show together.
    fn views(&self, left: &Survivors) -> (Vec<u8>, Vec<u8>) {
        let layers: Vec<(&[u8], Layout)> =
            self.layers.iter().enumerate().map(|(i, (h, _))| (left.device(LAYERS + i), h.layout)).collect();
        (shown(&layers[self.depth..], left.device(BASE)), shown(&layers, left.device(BASE)))
    }

    /// What is wrong with what a cut has left, if anything.
    fn wrong(&self, done: bool, left: &Survivors, uncut: &Survivors) -> Result<(), String> {
        let layers: Vec<(&[u8], Layout)> =
            self.layers.iter().map(|(h, bytes)| (&bytes[..], h.layout)).collect();
        let (old_below, want) = (shown(&layers[self.depth..], &self.base), shown(&layers, &self.base));
        for (i, (header, bytes)) in self.layers.iter().enumerate() {
            let file = MemDevice::new(left.device(LAYERS + i).to_vec());
            if parse_device(&file).map_or(true, |h| h.layout != header.layout) {
                return Err(format!("the header of layer {i} has changed"));
            }
            if i < self.depth && left.device(LAYERS + i) != bytes {
                return Err(format!("layer {i} was only to be read"));
            }
        }
        let (below, view) = self.views(left);
        if view != want {
            return Err("the view through the layers has changed".to_owned());
        }
        let (begun, ended) = Marks::read(left.device(JOURNAL));
        if !begun && below != old_below {
            return Err("the target has changed, and the journal does not say so".to_owned());
        }
        if (ended || done) && below != want {
            return Err("the journal says that the merge has ended, and it has not".to_owned());
        }
        if done && !ended {
            return Err("the merge was answered for, and the journal does not know".to_owned());
        }
        // Begun again on what is left, it ends where it would have ended without the cut.
        let again = PowerCut::new();
        let marks = again.device(left.device(JOURNAL).to_vec());
        let mut files: Vec<Arc<dyn BlockDevice>> = vec![Arc::new(marks.clone())];
        (BASE..LAYERS + self.layers.len())
            .for_each(|id| files.push(Arc::new(again.device(left.device(id).to_vec()))));
        self.merge(&files, marks, Fault::None).map_err(|e| format!("merging again: {e}"))?;
        drop(files);
        let finished = again.survivors(powercut::Survive::None);
        match (JOURNAL..LAYERS + self.layers.len()).find(|id| finished.device(*id) != uncut.device(*id)) {
            Some(id) => Err(format!("merged again, device {id} is not what it would have been")),
            None => Ok(()),
        }
    }

    /// Sweeps every cut, and returns what was wrong.
    fn sweep(&self, fault: Fault) -> (Tally, Vec<(Cut, String)>) {
        let disk = PowerCut::new();
        assert!(self.scenario(&disk, Fault::None));
        let uncut = disk.survivors(powercut::Survive::None);
        let (below, want) = self.views(&uncut);
        assert!(below == want, "{}: the merge does not merge", self.name);
        let mut wrong = Vec::new();
        let tally = every_cut(
            SEEDS,
            |disk| self.scenario(disk, fault),
            |done, left, cut| {
                if let Err(what) = self.wrong(*done, left, &uncut) {
                    wrong.push((cut, what));
                }
            },
        );
        (tally, wrong)
    }

    fn holds(&self) {
        let (tally, wrong) = self.sweep(Fault::None);
        assert!(wrong.is_empty(), "{}: {} of {tally}, first {:?}", self.name, wrong.len(), wrong[0]);
        assert!(tally.cuts > 10, "{}: only {tally}", self.name);
        println!("{}: {tally}", self.name);
    }

    /// The sweep sees this mistake, or it proves nothing.
    fn sees(&self, fault: Fault, what: &str) {
        let (tally, wrong) = self.sweep(fault);
        let count = wrong.iter().filter(|(_, w)| w.contains(what)).count();
        assert!(count > 0, "{}: {fault:?} was not seen in {tally}: {wrong:?}", self.name);
        println!("{}: {fault:?} is seen in {count} of {tally}", self.name);
    }
}

const SIZE: u64 = 320 * 512;

fn one_layer_on_a_base() -> Case {
    Case::new("one layer", SIZE, &[header(SIZE, 512, Version::V3)], 1)
}

fn two_of_three() -> Case {
    let sizes = [512, 1024, 2048];
    let headers = sizes.map(|ss| header(SIZE - 100, ss, Version::V3));
    Case::new("two layers into the third", SIZE - 100, &headers, 2)
}

#[test]
fn a_layer_into_its_base() {
    one_layer_on_a_base().holds();
    Case::new("odd size", SIZE - 77, &[header(SIZE - 77, 512, Version::V3)], 1).holds();
    Case::new("v2", SIZE, &[header(SIZE, 1024, Version::V2)], 1).holds();
}

#[test]
fn all_layers_into_the_base() {
    let headers = [512, 4096, 1024].map(|ss| header(SIZE, ss, Version::V3));
    Case::new("three layers", SIZE, &headers, 3).holds();
}

#[test]
fn a_layer_into_the_layer_below() {
    let fine = [header(SIZE, 512, Version::V3), header(SIZE, 512, Version::V3Broken)];
    Case::new("same sectors", SIZE, &fine, 1).holds();
    let coarse = [header(SIZE - 300, 512, Version::V3), header(SIZE - 300, 4096, Version::V3)];
    Case::new("into larger sectors", SIZE - 300, &coarse, 1).holds();
    let finer = [header(SIZE, 4096, Version::V3), header(SIZE, 512, Version::V2)];
    Case::new("into smaller sectors", SIZE, &finer, 1).holds();
    two_of_three().holds();
}

#[test]
fn a_wrong_order_is_seen() {
    for case in [one_layer_on_a_base(), two_of_three()] {
        case.sees(Fault::BeginNotFlushed, "the journal does not say so");
        case.sees(Fault::EndBeforeFlush, "it has not");
    }
}

/// The bits that the target of a merge one layer down has afterwards are its own and those merged into it.
#[test]
fn the_layer_below_has_both_bitmaps() {
    let case = Case::new("bits", SIZE, &[512, 512].map(|ss| header(SIZE, ss, Version::V3)), 1);
    let disk = PowerCut::new();
    assert!(case.scenario(&disk, Fault::None));
    let left = disk.survivors(powercut::Survive::None);
    let layout = case.layers[1].0.layout;
    let both = bits_of(&case.layers[0].1, &layout).into_iter().zip(bits_of(&case.layers[1].1, &layout));
    let want: Vec<bool> = both.map(|(a, b)| a || b).collect();
    assert_eq!(bits_of(left.device(LAYERS + 1), &layout), want);
}
