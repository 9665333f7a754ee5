//! Rebase: another base, the same disk.

use crate::common::{
    Disk, Place, dirty_sectors, header, image, layered, patch, plain, random, same, set_mtime, shapes, view,
};
use block_device::Unobserved;
use cow_format::{Shape, Version};
use cow_ops::{BaseFormat, Error, rebase};
use std::fs;

const SIZE: usize = 500_000;

/// `bytes` with some changes, of which one lies in the last sector.
fn changed(bytes: &[u8]) -> Vec<u8> {
    let mut other = bytes.to_vec();
    other[5000..5003].copy_from_slice(b"new");
    let middle = other.len() / 2;
    other[middle..middle + 30_000].copy_from_slice(&random(30_000, 12));
    *other.last_mut().unwrap() ^= 1;
    other
}

fn size_of(shape: Shape) -> usize {
    // Versions 1 and 2 have bits for whole bytes of sectors only.
    let unit = 8 * shape.sector_size as usize;
    if shape.version == Version::V3 { SIZE } else { SIZE / unit * unit }
}

#[test]
fn onto_another_base_and_back() {
    for shape in shapes() {
        let place = Place::new();
        let old = image(size_of(shape), 1);
        let new = changed(&old);
        let (a, b) = (place.raw("a", &old), place.raw("b", &new));
        let mut disk = Disk::on(place.path("cow"), &a, &plain(shape), &old);
        disk.scribble(5, 0.6);
        let dirty = dirty_sectors(&disk.cow) as u64;
        let done = rebase(&disk.cow, &b, BaseFormat::Unsaid, false, &Unobserved).unwrap();
        disk.check("on the other base");
        assert_eq!(header(&disk.cow).backing, b);
        assert_eq!(done.base, b);
        assert!(done.copied > 0);
        let more = dirty_sectors(&disk.cow) as u64 - dirty;
        assert_eq!(done.copied.div_ceil(u64::from(shape.sector_size)), more, "{shape:?}");
        // The bases are only read.
        assert!(fs::read(&a).unwrap() == old && fs::read(&b).unwrap() == new);
        fs::remove_file(&a).unwrap();
        disk.check("without the old base");
        let a = place.raw("a", &old);
        rebase(&disk.cow, &a, BaseFormat::Raw, false, &Unobserved).unwrap();
        disk.check("back on the old base");
    }
}

#[test]
fn the_header_alone() {
    let place = Place::new();
    let old = image(SIZE, 1);
    let new = changed(&old);
    let (a, b) = (place.raw("a", &old), place.raw("b", &new));
    let mut disk = Disk::on(place.path("cow"), &a, &plain(Shape::default()), &old);
    disk.write(&[(0, random(1024, 3))]);
    rebase(&disk.cow, &b, BaseFormat::Raw, true, &Unobserved).unwrap();
    let mut want = new.clone();
    want[..1024].copy_from_slice(&disk.bytes[..1024]);
    same(&view(&disk.cow), &want, "the new base shows");
    // Also away from a base that has changed.
    set_mtime(&b, 1_000_000_000);
    fs::write(&b, &old).unwrap();
    rebase(&disk.cow, &a, BaseFormat::Raw, true, &Unobserved).unwrap();
    disk.check("back");
}

#[test]
fn onto_a_layer_and_down_again() {
    let place = Place::new();
    let bytes = image(SIZE, 1);
    let base = place.raw("base", &bytes);
    let mut layer = Disk::on(place.path("layer"), &base, &plain(Shape::default()), &bytes);
    layer.scribble(6, 1.0);
    let mut disk = Disk::on(place.path("cow"), &base, &plain(Shape::default()), &bytes);
    disk.scribble(7, 1.0);
    let refused = rebase(&disk.cow, &layer.cow, BaseFormat::Unsaid, false, &Unobserved);
    assert!(matches!(refused, Err(Error::Refused(_))), "a format that is not said is not guessed");
    rebase(&disk.cow, &layer.cow, BaseFormat::Cow, false, &Unobserved).unwrap();
    disk.check("on a layer");
    layer.check("below");
    rebase(&disk.cow, &base, BaseFormat::Unsaid, false, &Unobserved).unwrap();
    disk.check("on the raw base again");
    // Onto itself, or onto what stands on it: its lock is in the way.
    let above = Disk::on(place.path("above"), &disk.cow, &layered(), &disk.bytes);
    for onto in [&disk.cow, &above.cow] {
        rebase(&disk.cow, onto, BaseFormat::Cow, false, &Unobserved).unwrap_err();
        disk.check("not on itself");
    }
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let place = Place::new();
    let bytes = image(SIZE / 4096 * 4096, 1);
    let base = place.raw("base", &bytes);
    let layer = Disk::on(place.path("layer"), &base, &plain(Shape::default()), &bytes);
    let longer = place.raw("longer", &[&bytes[..], &[0; 512]].concat());
    let deep = place.path(&"d".repeat(200));
    fs::create_dir(&deep).unwrap();
    let far = deep.join("f".repeat(200));
    fs::write(&far, &bytes).unwrap();
    let v1 = Shape { version: Version::V1(cow_format::ByteOrder::Little), ..Shape::default() };
    let mut disk = Disk::on(place.path("cow"), &base, &plain(v1), &bytes);
    disk.scribble(8, 1.0);
    let file = fs::read(&disk.cow).unwrap();
    for (onto, format, why) in [
        (&longer, BaseFormat::Raw, "Size mismatch"),
        (&place.path("nowhere"), BaseFormat::Raw, "Stating backing file"),
        (&far, BaseFormat::Raw, "backing path of"),
        (&layer.cow, BaseFormat::Cow, "no room to say that its base is a COW layer"),
    ] {
        let e = rebase(&disk.cow, onto, format, false, &Unobserved).unwrap_err().to_string();
        assert!(e.contains(why), "{e}");
        assert!(fs::read(&disk.cow).unwrap() == file, "{e}");
        disk.check("where it was");
    }
}

/// The real tools write versions 1 and 2 with too few bits for some sizes: what differs there cannot be kept, and
/// what differs just before can.
#[test]
fn sectors_without_a_bit() {
    const SIZE: usize = 640 << 10;
    let place = Place::new();
    let old = image(SIZE, 1);
    let cow = place.path("cow");
    let (a, shape) = (place.raw("a", &old), Shape { version: Version::V2, ..Shape::default() });
    Disk::on(cow.clone(), &a, &plain(shape), &old);
    // Two sectors more are as many bytes of bitmap.
    let old = image(SIZE + 1024, 1);
    patch(&cow, 4108, &(old.len() as u64).to_be_bytes());
    assert_eq!(header(&cow).layout.mapped_sectors + 2, header(&cow).layout.sectors);
    place.raw("a", &old);
    set_mtime(&a, u64::from(header(&cow).mtime));
    let other = |at: usize| {
        let mut bytes = old.clone();
        bytes[at] ^= 1;
        place.raw("b", &bytes)
    };
    for at in [SIZE, old.len() - 1] {
        let refused = rebase(&cow, &other(at), BaseFormat::Raw, false, &Unobserved).unwrap_err();
        assert!(refused.to_string().contains("no bit in this version"), "{refused}");
        same(&view(&cow), &old, "still on its old base");
    }
    rebase(&cow, &other(SIZE - 1), BaseFormat::Raw, false, &Unobserved).unwrap();
    same(&view(&cow), &old, "on its new base");
    assert_eq!(dirty_sectors(&cow), 8);
}
