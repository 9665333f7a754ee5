//! Random sequences of operations on one disk with its snapshots, after each of which everything still shows
//! what it must.

use crate::common::{Disk, Place, image, merged, plain, same, view};
use block_device::Unobserved;
use cow_format::{ByteOrder, Shape, Version};
use cow_ops::merge::{InPlace, NewFileMerge, merge_in_place, merge_new};
use cow_ops::{BaseFormat, Form, compact, convert, identify, rebase, revert, snapshot};
use powercut::XorShift;
use std::fs;
use std::path::PathBuf;

const SEQUENCES: u64 = 40;
const STEPS: u64 = 14;

struct State {
    place: Place,
    base: PathBuf,
    base_bytes: Vec<u8>,
    top: Disk,
    /// The frozen layers below the top one, the lowest first.
    frozen: Vec<Disk>,
    rng: XorShift,
    /// What was done, for the message of a failure.
    done: Vec<&'static str>,
}

impl State {
    fn new(seed: u64) -> Self {
        let mut rng = XorShift::new(seed);
        let place = Place::new();
        let shape = Self::shape(&mut rng);
        // A size that versions 1 and 2 can have.
        let size = 8 * 4096 * (3 + rng.below(4) as usize);
        let base_bytes = image(size, seed);
        let base = place.raw("base", &base_bytes);
        let top = Disk::on(place.path("disk"), &base, &plain(shape), &base_bytes);
        Self { place, base, base_bytes, top, frozen: Vec::new(), rng, done: Vec::new() }
    }

    fn shape(rng: &mut XorShift) -> Shape {
        let versions =
            [Version::V3, Version::V3Broken, Version::V2, Version::V1(ByteOrder::Little), Version::V3];
        let sector_size = 512 << rng.below(4);
        let alignment = [4096, 512][rng.below(2) as usize];
        Shape { version: versions[rng.below(5) as usize], sector_size, alignment }
    }

    fn below(&self) -> &[u8] {
        self.frozen.last().map_or(&self.base_bytes, |f| &f.bytes)
    }

    fn step(&mut self) {
        let cow = self.top.cow.clone();
        let force = InPlace { force: true, ..InPlace::default() };
        match self.rng.below(13) {
            0..=2 => {
                self.done.push("write");
                let seed = self.rng.next_u64();
                self.top.scribble(seed, 1.0);
            }
            3 | 4 => {
                self.done.push("snapshot");
                let frozen = snapshot(&cow, None).unwrap().frozen.unwrap();
                self.frozen.push(Disk { cow: frozen, bytes: self.top.bytes.clone() });
            }
            5 => {
                self.done.push("revert");
                if let Some(frozen) = self.frozen.pop() {
                    revert(&cow, false, false).unwrap();
                    self.top.bytes = frozen.bytes;
                }
            }
            6 => {
                self.done.push("revert to empty");
                revert(&cow, true, false).unwrap();
                self.top.bytes = self.below().to_vec();
            }
            7 => {
                self.done.push("compact");
                compact(&cow, &Unobserved).unwrap();
            }
            8 => {
                self.done.push("merge down");
                let undo = self.place.path("undo");
                let _ = fs::remove_file(&undo);
                merge_in_place(&cow, &InPlace { undo: Some(undo.clone()), ..force }, &Unobserved).unwrap();
                same(&view(&undo), self.below(), "the undo file");
                match self.frozen.last_mut() {
                    Some(frozen) => frozen.bytes.clone_from(&self.top.bytes),
                    None => self.base_bytes.clone_from(&self.top.bytes),
                }
                fs::remove_file(&undo).unwrap();
            }
            9 => {
                self.done.push("merge all");
                merge_in_place(&cow, &InPlace { all: true, ..force }, &Unobserved).unwrap();
                self.base_bytes.clone_from(&self.top.bytes);
                // What a frozen layer left clean shows the new base.
                self.frozen.iter_mut().for_each(|f| f.bytes = merged(&f.cow));
            }
            10 => {
                self.done.push("two layers into one");
                if let Some(frozen) = self.frozen.pop() {
                    let new = self.place.path("new");
                    merge_new(&cow, &new, &NewFileMerge::default(), &Unobserved).unwrap();
                    fs::rename(&new, &cow).unwrap();
                    fs::remove_file(&frozen.cow).unwrap();
                }
            }
            11 => {
                self.done.push("rebase");
                // Off the frozen layers, onto a base that differs a little.
                let mut other = self.base_bytes.clone();
                other[7000..7100].fill(self.rng.next_u64() as u8);
                let base = self.place.raw("other", &other);
                rebase(&cow, &base, BaseFormat::Raw, false, &Unobserved).unwrap();
                self.top.check("rebased");
                fs::rename(&base, &self.base).unwrap();
                self.frozen.drain(..).for_each(|f| fs::remove_file(f.cow).unwrap());
                self.base_bytes = other;
                cow_ops::relocate(&cow, Some(&self.base), &[], &Unobserved).unwrap();
            }
            _ => {
                self.done.push("another shape, and identified");
                let mut shape = Self::shape(&mut self.rng);
                if !self.frozen.is_empty() {
                    shape.version = Version::V3; // which has room to say that the base is a layer
                }
                let new = self.place.path("new");
                convert(&cow, &new, Form::Cow(shape), None, &Unobserved).unwrap();
                fs::rename(&new, &cow).unwrap();
                if matches!(shape.version, Version::V3 | Version::V3Broken) {
                    identify(&cow, false, &Unobserved).unwrap();
                }
            }
        }
    }

    fn check(&self) {
        let when = format!("after {}", self.done.join(", "));
        self.top.check(&when);
        same(&fs::read(&self.base).unwrap(), &self.base_bytes, &format!("the base {when}"));
        for frozen in &self.frozen {
            frozen.check(&when);
        }
        let report = cow_ops::check::check(&self.top.cow, false, false, &Unobserved).unwrap();
        assert!(report.worst() <= cow_ops::check::Severity::Leak, "{when}: {:?}", report.findings);
    }
}

#[test]
fn any_sequence() {
    for seed in 0..SEQUENCES {
        let mut state = State::new(seed);
        for _ in 0..STEPS {
            state.step();
            state.check();
        }
        println!("{seed}: {}", state.done.join(", "));
    }
}
