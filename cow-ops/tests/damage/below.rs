//! Damage that is not in the file itself, but in what it stands on.

use crate::common::{self, Disk, append, layered, patch, same, set_mtime, truncate};
use crate::sample::{Sample, all, breaks, ours};
use block_device::Unobserved;
use cow_format::log::{self, Entry, Event};
use cow_ops::check::{Kind, Severity, check};
use std::fs;
use std::path::PathBuf;

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
