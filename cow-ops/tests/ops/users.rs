//! Other COW files on a base that is about to change.

use crate::common::{Disk, Place, image, layered, plain, same, view};
use block_device::Unobserved;
use cow_format::Shape;
use cow_ops::merge::{InPlace, merge_in_place};
use cow_ops::{Error, find_users};
use std::fs;
use std::path::{Path, PathBuf};

const SIZE: usize = 300 << 10;

fn base(place: &Place) -> PathBuf {
    place.raw("base", &image(SIZE, 1))
}

fn disk(path: PathBuf, base: &Path, seed: u64) -> Disk {
    let mut disk = Disk::on(path, base, &plain(Shape::default()), &fs::read(base).unwrap());
    disk.scribble(seed, 1.0);
    disk
}

fn refused(result: cow_ops::Result<cow_ops::merge::Report>, want: &[&Path]) {
    match result.map(drop).expect_err("others need the base") {
        Error::OtherUsers { users, .. } => assert_eq!(users, want),
        e => panic!("{e}"),
    }
}

#[test]
fn a_base_with_other_users_is_not_merged_into() {
    let place = Place::new();
    let base = base(&place);
    for dir in ["x", "y"] {
        fs::create_dir(place.path(dir)).unwrap();
    }
    let a = disk(place.path("a"), &base, 2);
    let beside = disk(place.path("beside"), &base, 3);
    // In a folder that nobody would look into: only the base's log knows of it.
    let far = disk(place.path("x/far"), &base, 4);
    // Not a user: it stands on another base; not a COW file: it only begins like one.
    let other_base = place.raw("other-base", &image(SIZE, 9));
    disk(place.path("unrelated"), &other_base, 5);
    place.raw("fake", b"OOOM\0\0\0\x03");
    fs::copy(&beside.cow, place.path("x/copy")).unwrap();
    let bytes = fs::read(&base).unwrap();
    refused(merge_in_place(&a.cow, &InPlace::default(), &Unobserved), &[&beside.cow, &far.cow]);
    assert!(fs::read(&base).unwrap() == bytes, "nothing has happened");
    beside.check("still good");
    far.check("still good");

    let dry = InPlace { dry_run: true, ..InPlace::default() };
    let report = merge_in_place(&a.cow, &dry, &Unobserved).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("x/far")), "{:?}", report.warnings);
    let report = merge_in_place(&a.cow, &InPlace { force: true, ..InPlace::default() }, &Unobserved).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("beside") && w.contains("x/far")));
    same(&fs::read(&base).unwrap(), &a.bytes, "merged");
    let e = cow_format::Chain::open(&beside.cow, &cow_format::OpenOptions::default()).unwrap_err();
    assert!(e.to_string().contains("it was merged with"), "and it says why: {e}");
}

#[test]
fn where_users_are_found() {
    let place = Place::new();
    let base = base(&place);
    fs::create_dir(place.path("x")).unwrap();
    let a = disk(place.path("a"), &base, 2);
    let far = disk(place.path("x/far"), &base, 3);
    assert_eq!(find_users(&base, &[], &[]), [a.cow.clone(), far.cow.clone()]);
    assert_eq!(find_users(&base, &[], &[&a.cow]), [&*far.cow]);
    fs::remove_file(cow_format::log::log_path(&base)).unwrap();
    assert_eq!(find_users(&base, &[], &[]), [&*a.cow]);
    assert_eq!(find_users(&base, &[&place.path("x")], &[]), [a.cow.clone(), far.cow.clone()]);
    // A second name is no second user, and a deleted one is none.
    fs::hard_link(&far.cow, place.path("x/linked")).unwrap();
    assert_eq!(find_users(&base, &[&place.path("x")], &[&far.cow]), [&*a.cow]);
    fs::remove_file(&a.cow).unwrap();
    assert_eq!(find_users(&base, &[], &[]), [] as [PathBuf; 0]);
}

#[test]
fn a_layer_with_other_users_is_not_merged_into() {
    let place = Place::new();
    let lower = disk(place.path("lower"), &base(&place), 2);
    let mut top = Disk::on(place.path("top"), &lower.cow, &layered(), &lower.bytes);
    top.scribble(4, 1.0);
    let other = Disk::on(place.path("other"), &lower.cow, &layered(), &lower.bytes);
    refused(merge_in_place(&top.cow, &InPlace::default(), &Unobserved), &[&other.cow]);
    lower.check("as before");
}

/// Merging everything into the raw base changes what the layers between show, too.
#[test]
fn users_of_the_layers_between_count() {
    let place = Place::new();
    let lower = disk(place.path("lower"), &base(&place), 2);
    let mut top = Disk::on(place.path("top"), &lower.cow, &layered(), &lower.bytes);
    top.scribble(4, 1.0);
    let mut other = Disk::on(place.path("other"), &lower.cow, &layered(), &lower.bytes);
    other.scribble(5, 1.0);
    let all = InPlace { all: true, ..InPlace::default() };
    refused(merge_in_place(&top.cow, &all, &Unobserved), &[&other.cow]);
    same(&view(&other.cow), &other.bytes, "as before");
}
