//! Merges into a new file.

use crate::common::{
    Disk, FIXTURES, Place, dirty_sectors, image, layered, plain, real_moo, run, same, shapes,
};
use block_device::Unobserved;
use cow_format::{ByteOrder, Shape, Version};
use cow_ops::Error;
use cow_ops::merge::{NewFileMerge, merge_new};
use std::fs;
use std::process::Command;

const SIZE: usize = 896 << 10;

#[test]
fn as_the_real_tool() {
    for shape in shapes() {
        let place = Place::new();
        let bytes = image(SIZE, 1);
        let base = place.raw("base", &bytes);
        let mut disk = Disk::on(place.path("cow"), &base, &plain(shape), &bytes);
        disk.scribble(2, 1.0);
        let (out, theirs) = (place.path("out"), place.path("theirs"));
        let report = merge_new(&disk.cow, &out, &NewFileMerge::default(), &Unobserved).unwrap();
        assert_eq!((report.size, report.layers, report.warnings.len()), (SIZE as u64, 1, 0));
        assert_eq!(report.dirty, dirty_sectors(&disk.cow) as u64 * u64::from(shape.sector_size));
        same(&fs::read(&out).unwrap(), &disk.bytes, "merged");
        if shape.version != Version::V1(ByteOrder::Big)
            && let Some(moo) = real_moo("a merge by the real tool")
        {
            run(Command::new(moo).arg(&disk.cow).arg(&theirs));
            same(&fs::read(&theirs).unwrap(), &disk.bytes, "the real uml_moo");
        }
        assert!(fs::read(&base).unwrap() == bytes);
        disk.check("still there");
    }
}

#[test]
fn real_files() {
    let place = Place::with_fixtures();
    for name in FIXTURES {
        let (out, theirs) = (place.path("out"), place.path("theirs"));
        merge_new(&place.path(name), &out, &NewFileMerge::default(), &Unobserved).unwrap();
        if name != "v1-be.cow"
            && let Some(moo) = real_moo("a merge by the real tool")
        {
            run(Command::new(moo).arg(place.path(name)).arg(&theirs));
            same(&fs::read(&out).unwrap(), &fs::read(&theirs).unwrap(), name);
        }
    }
}

/// Three layers, the lowest of larger sectors.
fn chain(place: &Place, size: usize) -> [Disk; 3] {
    let bytes = image(size, 1);
    let base = place.raw("base", &bytes);
    let shape = Shape { sector_size: 4096, ..Shape::default() };
    let mut low = Disk::on(place.path("low"), &base, &plain(shape), &bytes);
    low.scribble(3, 1.0);
    let mut middle = Disk::on(place.path("middle"), &low.cow, &layered(), &low.bytes);
    middle.scribble(4, 1.0);
    let mut top = Disk::on(place.path("top"), &middle.cow, &layered(), &middle.bytes);
    top.scribble(5, 1.0);
    [low, middle, top]
}

#[test]
fn a_chain_flat_or_one_layer_shorter() {
    for size in [SIZE, SIZE - 99] {
        let place = Place::new();
        let [low, middle, top] = chain(&place, size);
        let (flat, one) = (place.path("flat"), place.path("one"));
        let all = NewFileMerge { all: true, ..NewFileMerge::default() };
        let report = merge_new(&top.cow, &flat, &all, &Unobserved).unwrap();
        assert_eq!(report.layers, 3);
        same(&fs::read(&flat).unwrap(), &top.bytes, "flat");
        let report = merge_new(&top.cow, &one, &NewFileMerge::default(), &Unobserved).unwrap();
        assert_eq!(report.layers, 2);
        let one = Disk { cow: one, bytes: top.bytes.clone() };
        one.check("top and middle in one");
        assert!(crate::common::header(&one.cow).backing.ends_with("low"));
        fs::remove_file(&middle.cow).unwrap();
        one.check("without the middle");
        low.check("below");
        // And once more: the lowest has larger sectors than the one that is made.
        let two = place.path("two");
        merge_new(&one.cow, &two, &NewFileMerge::default(), &Unobserved).unwrap();
        fs::remove_file(&low.cow).unwrap();
        Disk { cow: two, bytes: one.bytes }.check("all three in one");
    }
}

#[test]
fn nothing_that_is_merged_is_replaced() {
    let place = Place::new();
    let [low, middle, top] = chain(&place, SIZE);
    for all in [false, true] {
        for target in [&low.cow, &middle.cow, &top.cow, &place.path("base")] {
            let how = NewFileMerge { all, ..NewFileMerge::default() };
            let e = merge_new(&top.cow, target, &how, &Unobserved).unwrap_err();
            assert!(matches!(e, Error::Refused(_)), "{e}");
        }
    }
    top.check("as before");
}

#[test]
fn a_dry_run_makes_nothing() {
    let place = Place::new();
    let [_, _, top] = chain(&place, SIZE);
    let names = place.names();
    let how = NewFileMerge { all: true, dry_run: true, ..NewFileMerge::default() };
    let report = merge_new(&top.cow, &place.path("out"), &how, &Unobserved).unwrap();
    assert!(report.dry_run && report.dirty > 0);
    assert_eq!(place.names(), names);
}

#[test]
fn a_file_cut_short_makes_nothing() {
    let place = Place::new();
    let [_, _, top] = chain(&place, SIZE);
    let target = place.raw("target", b"old");
    crate::common::truncate(&top.cow, crate::common::header(&top.cow).layout.data_offset);
    for all in [false, true] {
        let how = NewFileMerge { all, ..NewFileMerge::default() };
        merge_new(&top.cow, &target, &how, &Unobserved).unwrap_err();
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }
    assert!(!place.names().iter().any(|n| n.ends_with(".part")));
}
