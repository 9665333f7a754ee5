//! Merges in place that are stopped half way: what the base is then, who may go on, and who may not.

use crate::common::{Disk, Place, image, layered, plain, same, view};
use block_device::{Observer, Unobserved};
use cow_format::log::{self, Entry, Event};
use cow_format::{Chain, Match, OpenOptions, Shape};
use cow_ops::Error;
use cow_ops::merge::{InPlace, merge_in_place};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

const SIZE: usize = 600 << 10;

/// Stops at the n-th report of progress in a phase.
struct Stop {
    phase: &'static str,
    left: AtomicU64,
}

impl Stop {
    fn at(phase: &'static str, n: u64) -> Self {
        Self { phase, left: AtomicU64::new(n) }
    }
}

impl Observer for Stop {
    fn progress(&self, phase: &'static str, _: u64, _: u64) {
        if phase == self.phase {
            let _ = self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        }
    }

    fn cancelled(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

/// Two disks on one base, both identified.
fn two(place: &Place) -> (Disk, Disk) {
    let bytes = image(SIZE, 1);
    let base = place.raw("base", &bytes);
    let mut a = Disk::on(place.path("a"), &base, &plain(Shape::default()), &bytes);
    a.scribble(2, 1.0);
    let mut b = Disk::on(place.path("b"), &base, &plain(Shape::default()), &bytes);
    b.scribble(3, 1.0);
    (a, b)
}

fn open(disk: &Disk) -> Result<Chain, cow_format::Error> {
    Chain::open(&disk.cow, &OpenOptions::default())
}

fn force() -> InPlace {
    InPlace { force: true, ..InPlace::default() }
}

#[test]
fn stopped_anywhere_it_goes_on() {
    let mut stops = 0;
    for n in 1.. {
        let place = Place::new();
        let (a, b) = two(&place);
        let base = place.path("base");
        match merge_in_place(&a.cow, &force(), &Stop::at("merging", n)) {
            Ok(_) => break,
            Err(e) => {
                assert!(e.is_cancelled() && e.to_string().contains("run the same command again"), "{e}")
            }
        }
        stops += 1;
        same(&view(&a.cow), &a.bytes, "half merged, the disk shows what it did");
        let e = open(&b).unwrap_err();
        assert!(matches!(&e, cow_format::Error::HalfMerged { cow, .. } if *cow == a.cow), "stop {n}: {e}");
        let e = merge_in_place(&b.cow, &InPlace::default(), &Unobserved).unwrap_err();
        assert!(matches!(e, Error::Cow(cow_format::Error::HalfMerged { .. })), "{e}");
        assert_eq!(cow_ops::info(&a.cow, &Unobserved).unwrap().unfinished_merge, Some(a.cow.clone()));
        for refused in [
            cow_ops::compact(&a.cow, &Unobserved).map(drop),
            cow_ops::rebase(&a.cow, &base, cow_ops::BaseFormat::Raw, false, &Unobserved).map(drop),
        ] {
            assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
        }
        // Even under another name, and without --force: who was being merged is who may go on.
        let moved = place.path("renamed");
        fs::rename(&a.cow, &moved).unwrap();
        let report = merge_in_place(&moved, &InPlace::default(), &Unobserved).unwrap();
        assert!(report.resumed);
        same(&fs::read(&base).unwrap(), &a.bytes, "finished");
        assert!(log::unfinished(&log::read(&base).unwrap()).is_none());
        let e = open(&b).unwrap_err().to_string();
        assert!(e.contains("content mismatch") && e.contains("was merged with"), "{e}");
    }
    assert!(stops > 5, "only {stops} places to stop");
    println!("stopped at {stops} places");
}

#[test]
fn a_copy_of_the_disk_is_another_disk() {
    let place = Place::new();
    let (a, _) = two(&place);
    merge_in_place(&a.cow, &force(), &Stop::at("merging", 3)).unwrap_err();
    let copy = place.path("copy");
    fs::copy(&a.cow, &copy).unwrap();
    let e = Chain::open(&copy, &OpenOptions::default()).unwrap_err();
    assert!(matches!(e, cow_format::Error::HalfMerged { .. }), "{e}");
}

/// The power went, and the file system kept data of the base but not its new time stamps, as it may: the log
/// is all there is to tell.
#[test]
fn the_log_counts_more_than_time_stamps() {
    let place = Place::new();
    let (a, b) = two(&place);
    let base = place.path("base");
    log::append(&base, &Entry::now(Event::MergeBegin, &a.cow, None).unwrap()).unwrap();
    let e = open(&b).expect_err("the base may be half merged");
    assert!(matches!(e, cow_format::Error::HalfMerged { .. }), "{e}");
    assert_eq!(open(&a).unwrap().matches, [Match::UnfinishedMerge]);
    assert!(merge_in_place(&a.cow, &InPlace::default(), &Unobserved).unwrap().resumed);
    same(&fs::read(&base).unwrap(), &a.bytes, "finished");
}

#[test]
fn with_an_undo_file() {
    for (phase, n) in [("keeping what is overwritten", 2), ("merging", 2), ("merging", 6)] {
        let place = Place::new();
        let (a, _) = two(&place);
        let (base, undo) = (place.path("base"), place.path("undo"));
        let old = fs::read(&base).unwrap();
        let how = InPlace { undo: Some(undo.clone()), ..force() };
        merge_in_place(&a.cow, &how, &Stop::at(phase, n)).unwrap_err();
        a.check("half merged");
        let other = InPlace { undo: Some(place.path("elsewhere")), ..force() };
        let e = merge_in_place(&a.cow, &other, &Unobserved).unwrap_err();
        assert!(matches!(e, Error::Refused(_)), "{e}");
        // Going on without a word about it keeps the one that was begun.
        merge_in_place(&a.cow, &InPlace::default(), &Unobserved).unwrap();
        same(&fs::read(&base).unwrap(), &a.bytes, "finished");
        Disk { cow: undo, bytes: old }.check("shows the base as it was");
    }
}

#[test]
fn into_a_layer() {
    for (n, all) in [(1, false), (4, false), (3, true)] {
        let place = Place::new();
        let (lower, _) = two(&place);
        let mut top = Disk::on(place.path("top"), &lower.cow, &layered(), &lower.bytes);
        top.scribble(4, 1.0);
        let mut other = Disk::on(place.path("other"), &lower.cow, &layered(), &lower.bytes);
        other.scribble(5, 1.0);
        let how = InPlace { all, ..force() };
        merge_in_place(&top.cow, &how, &Stop::at("merging", n)).unwrap_err();
        let findings = cow_ops::check::check(&top.cow, false, false, &Unobserved).unwrap().findings;
        assert!(findings.iter().any(|f| f.kind == cow_ops::check::Kind::UnfinishedMerge), "{findings:?}");
        let e = cow_ops::compact(&top.cow, &Unobserved).unwrap_err();
        assert!(matches!(e, Error::Refused(_)), "{e}");
        same(&view(&top.cow), &top.bytes, "half merged");
        let half = if all { place.path("b") } else { other.cow.clone() };
        let e = Chain::open(&half, &OpenOptions::default()).unwrap_err();
        assert!(matches!(e, cow_format::Error::HalfMerged { .. }), "{n}, all {all}: {e}");
        let report = merge_in_place(&top.cow, &InPlace { all, ..InPlace::default() }, &Unobserved).unwrap();
        assert!(report.resumed);
        same(&view(&top.cow), &top.bytes, "finished");
        let target = if all { fs::read(place.path("base")).unwrap() } else { view(&lower.cow) };
        same(&target, &top.bytes, "what it was merged into");
    }
}
