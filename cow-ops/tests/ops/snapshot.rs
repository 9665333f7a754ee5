//! Snapshot and revert.

use crate::common::{Disk, Place, append, header, image, layered, plain, same, set_mtime, shapes, view};
use block_device::Unobserved;
use cow_format::Shape;
use cow_ops::check::check;
use cow_ops::{Error, compact, revert, snapshot};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const SIZE: usize = 320 << 10;

fn disk(place: &Place, shape: Shape) -> Disk {
    let bytes = image(SIZE, 1);
    let base = place.raw("base", &bytes);
    let mut disk = Disk::on(place.path("cow"), &base, &plain(shape), &bytes);
    disk.scribble(2, 1.0);
    disk
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn there_and_back() {
    for shape in shapes() {
        let place = Place::new();
        let mut disk = disk(&place, shape);
        let before = mode(&disk.cow);
        let mut states = Vec::new();
        for n in 1..4 {
            let made = snapshot(&disk.cow, None).unwrap();
            let frozen = place.path(&format!("cow.{n}"));
            assert_eq!(made.frozen.as_deref(), Some(&*frozen), "{shape:?}");
            assert_eq!(made.layers, n + 1);
            assert_eq!((mode(&frozen) & 0o222, mode(&disk.cow)), (0, before), "the old one is frozen");
            disk.check("after a snapshot");
            states.push((frozen, disk.bytes.clone()));
            disk.scribble(10 + n as u64, 1.0);
            disk.check("written after a snapshot");
        }
        for (frozen, bytes) in &states {
            same(&view(frozen), bytes, "a frozen layer");
        }
        for (n, (frozen, bytes)) in states.into_iter().enumerate().rev() {
            let done = revert(&disk.cow, false, false).unwrap();
            assert_eq!((done.layers, done.frozen.as_deref()), (n + 1, Some(&*frozen)));
            assert!(!frozen.exists());
            assert_eq!(mode(&disk.cow), before);
            disk.bytes = bytes;
            disk.check("reverted");
            disk.scribble(20, 0.5);
        }
        assert_eq!(header(&disk.cow).version, shape.version, "the first file is back");
        let e = revert(&disk.cow, false, false).unwrap_err();
        assert!(matches!(e, Error::Refused(_)), "{e}");
        disk.check("with nothing to revert to");
    }
}

#[test]
fn revert_to_empty() {
    let place = Place::new();
    let mut disk = disk(&place, Shape::default());
    snapshot(&disk.cow, None).unwrap();
    let frozen = disk.bytes.clone();
    disk.scribble(3, 1.0);
    revert(&disk.cow, true, false).unwrap();
    disk.bytes = frozen;
    disk.check("an empty layer on the frozen one");
    revert(&disk.cow, false, false).unwrap();
    disk.check("the frozen one itself");
    revert(&disk.cow, true, false).unwrap();
    disk.bytes = fs::read(place.path("base")).unwrap();
    disk.check("an empty layer on the raw base");
}

#[test]
fn names() {
    let place = Place::new();
    let mut disk = disk(&place, Shape::default());
    let taken = place.raw("cow.1", b"mine");
    assert_eq!(snapshot(&disk.cow, None).unwrap().frozen, Some(place.path("cow.2")));
    let names = place.names();
    snapshot(&disk.cow, Some(&taken)).unwrap_err();
    assert_eq!((place.names(), fs::read(&taken).unwrap()), (names, b"mine".to_vec()));
    disk.scribble(4, 1.0);
    disk.check("after a snapshot that failed");
    snapshot(&disk.cow, Some(&place.path("before the update"))).unwrap();
    disk.check("under a name of the caller's");
}

#[test]
fn a_snapshot_that_others_stand_on_stays() {
    let place = Place::new();
    let mut disk = disk(&place, Shape::default());
    let frozen = snapshot(&disk.cow, None).unwrap().frozen.unwrap();
    let other = Disk::on(place.path("other"), &frozen, &layered(), &disk.bytes);
    let old = disk.bytes.clone();
    disk.scribble(5, 1.0);
    match revert(&disk.cow, false, false).unwrap_err() {
        Error::OtherUsers { base, users } => assert_eq!((base, users), (frozen, vec![other.cow.clone()])),
        e => panic!("{e}"),
    }
    disk.check("still there");
    other.check("still on it");
    revert(&disk.cow, false, true).unwrap();
    disk.bytes = old;
    disk.check("by force");
}

#[test]
fn a_disk_in_use_is_left_alone() {
    let place = Place::new();
    let disk = disk(&place, Shape::default());
    let names = place.names();
    let user = block_device::HostFile::open(&disk.cow, true).unwrap();
    block_device::lock(&user, block_device::LockKind::Shared).unwrap();
    snapshot(&disk.cow, None).unwrap_err();
    revert(&disk.cow, true, true).unwrap_err();
    drop(user);
    assert_eq!(place.names(), names);
    disk.check("as before");
}

/// An alignment that leaves no room for a record; the new layer needs one.
#[test]
fn a_file_without_padding() {
    let place = Place::new();
    let mut disk = disk(&place, Shape { alignment: 16, ..Shape::default() });
    snapshot(&disk.cow, None).unwrap();
    disk.scribble(6, 1.0);
    disk.check("after a snapshot");
}

/// What is done to a frozen layer without changing what it shows must not cut off the disk above, which has
/// recorded its time stamps.
#[test]
fn work_on_a_frozen_layer() {
    let place = Place::new();
    let mut disk = disk(&place, Shape::default());
    set_mtime(&disk.cow, 1_000_000_000);
    let frozen = snapshot(&disk.cow, None).unwrap().frozen.unwrap();
    disk.scribble(7, 1.0);
    compact(&frozen, &Unobserved).unwrap();
    disk.check("on a compacted layer");
    append(&frozen, &[1; 10]);
    set_mtime(&frozen, 1_000_000_000);
    assert!(check(&frozen, true, false, &Unobserved).unwrap().repaired > 0);
    disk.check("on a repaired layer");
}
