//! Merges in place: into the raw base, into the layer below, and back with an undo file.

use crate::common::{
    Disk, Place, header, image, layered, mtime, plain, real_moo, run, same, set_mtime, shapes, truncate, view,
};
use block_device::Unobserved;
use cow_format::{ByteOrder, Shape, Version, log};
use cow_ops::Error;
use cow_ops::merge::{InPlace, merge_in_place};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const SIZE: usize = 896 << 10;

fn disk(place: &Place, shape: Shape, size: usize) -> (Disk, PathBuf) {
    let bytes = image(size, 1);
    let base = place.raw("base", &bytes);
    let mut disk = Disk::on(place.path("cow"), &base, &plain(shape), &bytes);
    disk.scribble(2, 1.0);
    disk.write(&[(100_000, vec![0; 200_000])]);
    (disk, base)
}

#[test]
fn as_the_real_tool() {
    for shape in shapes() {
        let place = Place::new();
        let (disk, base) = disk(&place, shape, SIZE);
        if shape.version != Version::V1(ByteOrder::Big)
            && let Some(moo) = real_moo("a merge in place by the real tool")
        {
            fs::create_dir(place.path("theirs")).unwrap();
            let (cow, theirs) = (place.path("theirs/cow"), place.path("theirs/base"));
            run(Command::new("cp").arg("-a").args([&base, &theirs]));
            fs::copy(&disk.cow, &cow).unwrap();
            crate::common::point_at(&cow, &theirs);
            run(Command::new(moo).arg("-d").arg(&cow));
            same(&fs::read(&theirs).unwrap(), &disk.bytes, "the real uml_moo");
        }
        let report = merge_in_place(&disk.cow, &InPlace::default(), &Unobserved).unwrap();
        assert_eq!(report.copied + report.cloned + report.zeroed, report.dirty, "{shape:?}");
        assert!(!report.resumed && report.warnings.is_empty(), "{:?}", report.warnings);
        same(&fs::read(&base).unwrap(), &disk.bytes, "merged");
        disk.check("on the merged base");
        // The COW file names the base as it is now: the real tools go by that.
        assert_eq!(u64::from(header(&disk.cow).mtime), mtime(&base));
        merge_in_place(&disk.cow, &InPlace::default(), &Unobserved).unwrap();
        same(&fs::read(&base).unwrap(), &disk.bytes, "merged twice");
    }
}

/// Three layers of different sector sizes.
fn chain(place: &Place, size: usize) -> [Disk; 3] {
    let bytes = image(size, 1);
    let base = place.raw("base", &bytes);
    let of = |sector_size| Shape { sector_size, ..Shape::default() };
    let mut low = Disk::on(place.path("low"), &base, &plain(of(4096)), &bytes);
    low.scribble(3, 1.0);
    let how = cow_ops::Create { shape: of(512), ..layered() };
    let mut middle = Disk::on(place.path("middle"), &low.cow, &how, &low.bytes);
    middle.scribble(4, 1.0);
    let how = cow_ops::Create { shape: of(1024), ..layered() };
    let mut top = Disk::on(place.path("top"), &middle.cow, &how, &middle.bytes);
    top.scribble(5, 1.0);
    [low, middle, top]
}

#[test]
fn one_layer_down() {
    for size in [SIZE, SIZE - 99] {
        let place = Place::new();
        let [low, mut middle, top] = chain(&place, size);
        let report = merge_in_place(&top.cow, &InPlace::default(), &Unobserved).unwrap();
        assert_eq!((report.layers, &report.target), (1, &middle.cow));
        middle.bytes = top.bytes.clone();
        middle.check("merged into");
        top.check("on what it was merged into");
        low.check("two below");
        assert_eq!(fs::read(place.path("base")).unwrap(), image(size, 1));
        // On down to the base, one at a time.
        merge_in_place(&middle.cow, &InPlace::default(), &Unobserved).unwrap();
        merge_in_place(&low.cow, &InPlace::default(), &Unobserved).unwrap();
        same(&fs::read(place.path("base")).unwrap(), &top.bytes, "the base");
        for disk in [&low.cow, &middle.cow] {
            same(&view(disk), &top.bytes, "everything is the same now");
        }
    }
}

#[test]
fn all_the_way_down() {
    for size in [SIZE, SIZE - 99] {
        let place = Place::new();
        let [_, _, top] = chain(&place, size);
        let report =
            merge_in_place(&top.cow, &InPlace { all: true, ..InPlace::default() }, &Unobserved).unwrap();
        assert_eq!((report.layers, report.target), (3, place.path("base")));
        same(&fs::read(place.path("base")).unwrap(), &top.bytes, "the base");
        top.check("on the merged base");
    }
}

#[test]
fn undo_files() {
    for all in [false, true] {
        let place = Place::new();
        let [low, middle, top] = chain(&place, SIZE - 99);
        let (undo, below) = match all {
            true => (place.path("undo"), fs::read(place.path("base")).unwrap()),
            false => (place.path("undo"), middle.bytes.clone()),
        };
        let how = InPlace { all, undo: Some(undo.clone()), ..InPlace::default() };
        merge_in_place(&top.cow, &how, &Unobserved).unwrap();
        top.check("merged");
        let undo = Disk { cow: undo, bytes: below.clone() };
        undo.check("shows what was below");
        // Merged in its turn, it brings that back.
        let back = InPlace { force: true, ..InPlace::default() };
        merge_in_place(&undo.cow, &back, &Unobserved).unwrap();
        if all {
            same(&fs::read(place.path("base")).unwrap(), &below, "the base is back");
        } else {
            same(&view(&middle.cow), &below, "the layer shows what it did");
            low.check("two below");
        }
    }
}

#[test]
fn an_undo_file_is_never_overwritten() {
    let place = Place::new();
    let (disk, base) = disk(&place, Shape::default(), SIZE);
    let old = fs::read(&base).unwrap();
    let taken = place.raw("undo", b"mine");
    for undo in [taken.clone(), place.path("no/such/folder")] {
        let how = InPlace { undo: Some(undo), ..InPlace::default() };
        let e = merge_in_place(&disk.cow, &how, &Unobserved).unwrap_err();
        assert!(matches!(e, Error::Refused(_)), "{e}");
        assert!(fs::read(&base).unwrap() == old && fs::read(&taken).unwrap() == b"mine");
        assert!(log::unfinished(&log::read(&base).unwrap()).is_none());
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::new();
    let (disk, base) = disk(&place, Shape::default(), SIZE);
    let (names, old, file) = (place.names(), fs::read(&base).unwrap(), fs::read(&disk.cow).unwrap());
    let how = InPlace { dry_run: true, undo: Some(place.path("undo")), ..InPlace::default() };
    let report = merge_in_place(&disk.cow, &how, &Unobserved).unwrap();
    assert!(report.dry_run && report.dirty > 0);
    assert!(
        place.names() == names && fs::read(&base).unwrap() == old && fs::read(&disk.cow).unwrap() == file
    );
}

/// A merge that cannot end does not begin.
#[test]
fn a_file_cut_short_is_not_merged() {
    for all in [false, true] {
        let place = Place::new();
        let [_, _, top] = chain(&place, SIZE);
        let layout = header(&top.cow).layout;
        truncate(&top.cow, layout.data_offset + layout.size / 2);
        let old = fs::read(place.path("middle")).unwrap();
        merge_in_place(&top.cow, &InPlace { all, ..InPlace::default() }, &Unobserved).unwrap_err();
        assert_eq!(fs::read(place.path("base")).unwrap(), image(SIZE, 1));
        assert!(fs::read(place.path("middle")).unwrap() == old);
        for below in ["base", "middle"] {
            assert!(log::unfinished(&log::read(&place.path(below)).unwrap()).is_none());
        }
    }
}

/// A layer whose file ends after its last dirty sector, as some tools leave it: no data is missing.
#[test]
fn into_a_short_layer() {
    let place = Place::new();
    let [_, mut middle, mut top] = chain(&place, SIZE);
    let layout = header(&middle.cow).layout;
    let bits = crate::common::bits_of(&fs::read(&middle.cow).unwrap(), &layout);
    let last = bits.iter().rposition(|dirty| *dirty).unwrap() as u64 + 1;
    truncate(&middle.cow, layout.data_offset + last * 512);
    middle.check("short");
    top.write(&[(SIZE as u64 - 600, vec![7; 600])]);
    merge_in_place(&top.cow, &InPlace::default(), &Unobserved).unwrap();
    middle.bytes = top.bytes.clone();
    middle.check("merged into");
    top.check("on what it was merged into");
}

#[test]
fn another_base_on_the_command_line() {
    let place = Place::new();
    let (disk, base) = disk(&place, Shape::default(), SIZE);
    let copy = place.path("copy");
    run(Command::new("cp").arg("-a").args([&base, &copy]));
    let how = InPlace { backing: Some(copy.clone()), ..InPlace::default() };
    merge_in_place(&disk.cow, &how, &Unobserved).unwrap();
    same(&fs::read(&copy).unwrap(), &disk.bytes, "the copy");
    assert_eq!(fs::read(&base).unwrap(), image(SIZE, 1), "the recorded base is not touched");
    let wrong = place.raw("wrong", &[1; SIZE]);
    set_mtime(&wrong, 1_000_000_000);
    let how = InPlace { backing: Some(wrong.clone()), ..InPlace::default() };
    merge_in_place(&disk.cow, &how, &Unobserved).unwrap_err();
    assert!(fs::read(&wrong).unwrap() == [1; SIZE]);
}
