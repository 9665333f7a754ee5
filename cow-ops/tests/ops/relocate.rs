//! Relocate: a base that was moved is found again, by what it contains or else by its time stamp.

use crate::common::{Disk, Place, header, image, layered, mtime, plain, point_at, set_mtime};
use block_device::Unobserved;
use cow_format::{Chain, OpenOptions, Shape, Version};
use cow_ops::{Error, relocate};
use std::fs;
use std::path::{Path, PathBuf};

const SIZE: usize = 300_000;

/// A disk whose base was moved to `there/deep/moved`, away from `here/base`.
fn moved(place: &Place, version: Version) -> (Disk, PathBuf) {
    for dir in ["here", "there", "there/deep"] {
        fs::create_dir(place.path(dir)).unwrap();
    }
    let unit = 8 * 512;
    let bytes = image(SIZE / unit * unit, 1);
    let base = place.raw("here/base", &bytes);
    let shape = Shape { version, ..Shape::default() };
    let mut disk = Disk::on(place.path("cow"), &base, &plain(shape), &bytes);
    disk.scribble(2, 0.9);
    let to = place.path("there/deep/moved");
    fs::rename(&base, &to).unwrap();
    let e = Chain::open(&disk.cow, &OpenOptions::default()).unwrap_err();
    assert!(e.to_string().starts_with("Stating backing file"), "{e}");
    (disk, to)
}

fn search(disk: &Disk, dirs: &[&Path]) -> cow_ops::Result<cow_ops::Adjusted> {
    let dirs: Vec<PathBuf> = dirs.iter().map(|d| d.to_path_buf()).collect();
    relocate(&disk.cow, None, &dirs, &Unobserved)
}

fn found(disk: &Disk, result: cow_ops::Result<cow_ops::Adjusted>, at: &Path) {
    let done = result.unwrap();
    assert_eq!(done.base, at);
    assert_eq!(header(&disk.cow).backing, at);
    disk.check("relocated");
}

#[test]
fn by_identity() {
    let place = Place::new();
    let (disk, to) = moved(&place, Version::V3);
    // Touched, as a copy would be; and one beside it that has everything but the content.
    let old = mtime(&to);
    set_mtime(&to, 1_000_000_000);
    let mut other = fs::read(&to).unwrap();
    other[123_456] ^= 1;
    let decoy = place.raw("there/decoy", &other);
    set_mtime(&decoy, old);
    let identity = cow_ops::info(&disk.cow, &Unobserved).unwrap().identity;
    assert!(identity.is_some());
    found(&disk, search(&disk, &[&place.path("there")]), &to);
    assert_eq!(cow_ops::info(&disk.cow, &Unobserved).unwrap().identity, identity, "it is kept");
    assert!(cow_ops::verify_base(&disk.cow, &Unobserved).unwrap().same);
}

#[test]
fn by_time_stamp() {
    for version in [Version::V1(cow_format::ByteOrder::Big), Version::V2, Version::V3Broken] {
        let place = Place::new();
        let (disk, to) = moved(&place, version);
        let bytes = fs::read(&to).unwrap();
        let touched = place.raw("there/same-but-touched", &bytes);
        set_mtime(&touched, 1_000_000_000);
        let shorter = place.raw("there/shorter", &bytes[512..]);
        set_mtime(&shorter, mtime(&to));
        found(&disk, search(&disk, &[&place.path("there")]), &to);
    }
}

#[test]
fn a_real_file() {
    let place = Place::with_fixtures();
    let base = place.path("base.img");
    for name in crate::common::FIXTURES {
        let cow = place.path(name);
        let disk = Disk { bytes: crate::common::merged(&cow), cow };
        point_at(&disk.cow, Path::new("/srv/uml/base.img"));
        found(&disk, search(&disk, &[place.dir()]), &base);
    }
}

#[test]
fn where_the_caller_says() {
    let place = Place::new();
    let (disk, to) = moved(&place, Version::V3);
    let file = fs::read(&disk.cow).unwrap();
    let wrong = place.raw("there/wrong", &vec![1; disk.bytes.len()]);
    let e = relocate(&disk.cow, Some(&wrong), &[], &Unobserved).unwrap_err();
    assert!(e.to_string().contains("content mismatch"), "{e}");
    assert!(fs::read(&disk.cow).unwrap() == file);
    found(&disk, relocate(&disk.cow, Some(&to), &[], &Unobserved), &to);
}

#[test]
fn none_or_several() {
    let place = Place::new();
    let (disk, to) = moved(&place, Version::V3);
    let file = fs::read(&disk.cow).unwrap();
    let e = search(&disk, &[&place.path("here")]).unwrap_err();
    assert!(matches!(&e, Error::Refused(text) if text.contains("no file found")), "{e}");
    fs::copy(&to, place.path("here/copy")).unwrap();
    let e = search(&disk, &[place.dir()]).unwrap_err().to_string();
    assert!(e.contains("several") && e.contains("here/copy") && e.contains("deep/moved"), "{e}");
    assert!(fs::read(&disk.cow).unwrap() == file);
    // One folder, named twice and once more within another, is still one.
    found(
        &disk,
        search(&disk, &[&place.path("there"), &place.path("there/deep"), &place.path("there")]),
        &to,
    );
}

#[test]
fn a_moved_layer() {
    let place = Place::new();
    let bytes = image(SIZE, 1);
    let base = place.raw("base", &bytes);
    let mut lower = Disk::on(place.path("lower"), &base, &plain(Shape::default()), &bytes);
    lower.scribble(3, 1.0);
    let mut top = Disk::on(place.path("top"), &lower.cow, &layered(), &lower.bytes);
    top.scribble(4, 1.0);
    fs::create_dir(place.path("away")).unwrap();
    let to = place.path("away/lower");
    fs::rename(&lower.cow, &to).unwrap();
    found(&top, search(&top, &[place.dir()]), &to);
}
