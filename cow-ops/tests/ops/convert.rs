//! Convert: every form into every other, and qemu-img as the judge of what qcow2 is.

use crate::common::{Disk, Place, bits_of, header, image, plain, real_moo, run, same, shapes, tool, view};
use block_device::Unobserved;
use cow_format::{ByteOrder, Shape, Version};
use cow_ops::{BaseFormat, Error, Form, convert};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SIZE: usize = 768 << 10;

fn disk(place: &Place, shape: Shape, size: usize) -> (Disk, PathBuf) {
    let bytes = image(size, 1);
    let base = place.raw("base", &bytes);
    let mut disk = Disk::on(place.path("cow"), &base, &plain(shape), &bytes);
    disk.scribble(2, 1.0);
    disk.write(&[(40_000, vec![0; 150_000])]);
    (disk, base)
}

fn to(source: &Path, target: &Path, form: Form) -> cow_ops::Result<cow_ops::Converted> {
    convert(source, target, form, None, &Unobserved)
}

/// `qemu-img check`, and `qemu-img compare` with a raw image.
fn judged(image: &Path, raw: &[u8], place: &Place) {
    let Some(qemu) = tool("qemu-img", "qemu-img's opinion of a qcow2 image") else { return };
    let want = place.raw("want.raw", raw);
    run(Command::new(&qemu).args(["check", "-q", "-f", "qcow2"]).arg(image));
    run(Command::new(&qemu).args(["compare", "-q", "-f", "qcow2", "-F", "raw"]).arg(image).arg(want));
}

#[test]
fn a_cow_file_in_every_other_version() {
    for from in shapes() {
        let place = Place::new();
        let (disk, base) = disk(&place, from, SIZE);
        for (n, shape) in shapes().into_iter().enumerate() {
            let target = place.path(&format!("to-{n}"));
            to(&disk.cow, &target, Form::Cow(shape)).unwrap();
            let made = Disk { cow: target, bytes: disk.bytes.clone() };
            made.check(&format!("from {from:?}"));
            let header = header(&made.cow);
            assert_eq!((header.version, header.layout.sector_size), (shape.version, shape.sector_size));
            assert_eq!(header.backing, base);
            let dirty = |cow: &Path| {
                let layout = crate::common::header(cow).layout;
                let bits = bits_of(&fs::read(cow).unwrap(), &layout);
                let at = |b: usize| bits[b / layout.sector_size as usize];
                (0..SIZE).step_by(512).map(at).collect::<Vec<bool>>()
            };
            let (old, new) = (dirty(&disk.cow), dirty(&made.cow));
            assert!(old.iter().zip(&new).all(|(old, new)| *new || !old), "no bit is lost");
            if shape.sector_size <= from.sector_size {
                assert_eq!(old, new, "and none added without need");
            }
            if shape.version != Version::V1(ByteOrder::Big)
                && let Some(moo) = real_moo("a converted file in the real tool")
            {
                let out = place.path("out");
                run(Command::new(moo).arg(&made.cow).arg(&out));
                same(&fs::read(out).unwrap(), &disk.bytes, "the real uml_moo");
            }
        }
    }
}

#[test]
fn to_raw_and_back() {
    for (shape, size) in [(Shape::default(), SIZE), (Shape::default(), SIZE - 411)] {
        let place = Place::new();
        let (disk, base) = disk(&place, shape, size);
        let raw = place.path("raw");
        to(&disk.cow, &raw, Form::Raw).unwrap();
        same(&fs::read(&raw).unwrap(), &disk.bytes, "the raw image");
        let back = place.path("back");
        let on = Some((&*base, BaseFormat::Raw));
        convert(&raw, &back, Form::Cow(Shape::default()), on, &Unobserved).unwrap();
        Disk { cow: back, bytes: disk.bytes }.check("from the raw image");
        let e = to(&raw, &place.path("x"), Form::Cow(shape)).unwrap_err();
        assert!(matches!(e, Error::Refused(_)), "{e}");
    }
}

#[test]
fn to_qcow2_and_back() {
    for size in [SIZE, SIZE - 512] {
        let place = Place::new();
        let (disk, base) = disk(&place, Shape::default(), size);
        for (name, form) in [("overlay", Form::Qcow2), ("flat", Form::Qcow2Flat)] {
            let image = place.path(name);
            to(&disk.cow, &image, form).unwrap();
            judged(&image, &disk.bytes, &place);
            let needs = if form == Form::Qcow2 { Some((&*base, BaseFormat::Raw)) } else { None };
            let raw = place.path("raw");
            convert(&image, &raw, Form::Raw, needs, &Unobserved).unwrap();
            same(&fs::read(&raw).unwrap(), &disk.bytes, name);
            let back = place.path("back");
            let on = Some((&*base, BaseFormat::Raw));
            convert(&image, &back, Form::Cow(Shape::default()), on, &Unobserved).unwrap();
            Disk { cow: back, bytes: disk.bytes.clone() }.check(name);
        }
        let e = to(&place.path("overlay"), &place.path("x"), Form::Raw).unwrap_err();
        assert!(matches!(e, Error::Refused(_)), "what an image names is not opened: {e}");
    }
}

/// A qcow2 image has whole sectors; what is after the end of the disk in the last one is zero.
#[test]
fn an_odd_size_to_qcow2() {
    let place = Place::new();
    let (disk, _) = disk(&place, Shape::default(), SIZE - 411);
    let mut padded = disk.bytes.clone();
    padded.resize(padded.len().next_multiple_of(512), 0);
    for (name, form) in [("overlay", Form::Qcow2), ("flat", Form::Qcow2Flat)] {
        to(&disk.cow, &place.path(name), form).unwrap();
        judged(&place.path(name), &padded, &place);
    }
}

/// A chain: the overlay holds what all its layers hold.
#[test]
fn layers_to_qcow2() {
    let place = Place::new();
    let (mut disk, _) = disk(&place, Shape::default(), SIZE);
    cow_ops::snapshot(&disk.cow, None).unwrap();
    disk.scribble(9, 1.0);
    for form in [Form::Qcow2, Form::Qcow2Flat] {
        let image = place.path("image");
        to(&disk.cow, &image, form).unwrap();
        judged(&image, &disk.bytes, &place);
    }
}

#[test]
fn images_that_qemu_wrote() {
    let Some(qemu) = tool("qemu-img", "reading qemu-img's own images") else { return };
    let place = Place::new();
    let (disk, base) = disk(&place, Shape::default(), SIZE);
    let raw = place.raw("raw", &disk.bytes);
    let on = Some((&*base, BaseFormat::Raw));
    for options in [&["-o", "compat=1.1"][..], &["-o", "compat=0.10"], &["-c"], &["-o", "cluster_size=4096"]]
    {
        let image = place.path("image");
        run(Command::new(&qemu).args(["convert", "-O", "qcow2"]).args(options).arg(&raw).arg(&image));
        let cow = place.path("from-qemu");
        convert(&image, &cow, Form::Cow(Shape::default()), on, &Unobserved).unwrap();
        Disk { cow, bytes: disk.bytes.clone() }.check(&format!("{options:?}"));
    }
    let image = place.path("image");
    run(Command::new(&qemu).args(["convert", "-O", "qcow2", "-o", "extended_l2=on"]).arg(&raw).arg(&image));
    let e = to(&image, &place.path("x"), Form::Raw).unwrap_err().to_string();
    assert!(e.contains("extended L2"), "what is not understood is named: {e}");
    let image = place.path("on-base");
    run(Command::new(&qemu)
        .args(["convert", "-O", "qcow2", "-F", "raw", "-B"])
        .arg(&base)
        .arg(&raw)
        .arg(&image));
    convert(&image, &place.path("flat"), Form::Raw, on, &Unobserved).unwrap();
    same(&fs::read(place.path("flat")).unwrap(), &disk.bytes, "an overlay of qemu's");
}

#[test]
fn every_real_file() {
    let place = Place::with_fixtures();
    for name in crate::common::FIXTURES {
        let cow = place.path(name);
        let want = view(&cow);
        let target = place.path("converted");
        to(&cow, &target, Form::Cow(Shape::default())).unwrap();
        Disk { cow: target, bytes: want.clone() }.check(name);
        to(&cow, &place.path("qcow2"), Form::Qcow2).unwrap();
        judged(&place.path("qcow2"), &want, &place);
    }
    let e = to(&place.path("qemu-v2.cow"), &place.path("x"), Form::Raw).unwrap_err().to_string();
    assert!(e.contains("QEMU"), "{e}");
}

/// The new file takes the place of nothing that it, or the source, needs.
#[test]
fn no_part_of_the_disk_is_replaced() {
    for form in [Form::Raw, Form::Qcow2, Form::Qcow2Flat, Form::Cow(Shape::default())] {
        let place = Place::new();
        let (mut disk, base) = disk(&place, Shape::default(), SIZE);
        let frozen = cow_ops::snapshot(&disk.cow, None).unwrap().frozen.unwrap();
        disk.scribble(3, 1.0);
        let other = place.raw("other-base", &fs::read(&base).unwrap());
        for target in [&disk.cow, &base, &frozen, &other] {
            let on = (target == &other).then_some((&**target, BaseFormat::Raw));
            let before = fs::read(target).unwrap();
            let done = convert(&disk.cow, target, form, on, &Unobserved);
            if target != &other || matches!(form, Form::Cow(_)) {
                assert!(done.is_err(), "{form:?} onto {} was done", target.display());
                assert!(fs::read(target).unwrap() == before, "{form:?} onto {}", target.display());
            }
            disk.check("as before");
        }
    }
}

#[test]
fn an_existing_target_goes_only_for_a_whole_one() {
    let place = Place::new();
    let (disk, base) = disk(&place, Shape::default(), SIZE);
    let target = place.raw("target", b"old");
    let short = place.raw("short", &disk.bytes[512..]);
    let on = Some((&*base, BaseFormat::Raw));
    convert(&short, &target, Form::Cow(Shape::default()), on, &Unobserved).unwrap_err();
    let v1 = Shape { version: Version::V1(ByteOrder::Little), sector_size: 513, alignment: 1 };
    to(&disk.cow, &target, Form::Cow(v1)).unwrap_err();
    assert_eq!(fs::read(&target).unwrap(), b"old");
    to(&disk.cow, &target, Form::Raw).unwrap();
    same(&fs::read(&target).unwrap(), &disk.bytes, "replaced");
    let names = place.names();
    assert!(!names.iter().any(|n| n.ends_with(".part")), "{names:?}");
}
