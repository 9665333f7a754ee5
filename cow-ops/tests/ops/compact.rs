//! Compact: bits and space go, the disk stays.

use crate::common::{
    Disk, Place, bits_of, dirty_sectors, header, image, layered, patch, plain, random, real_moo, run, same,
    shapes, space, view,
};
use block_device::Unobserved;
use cow_format::{ByteOrder, Shape, Version};
use cow_ops::compact;
use std::fs;
use std::process::Command;

const SIZE: usize = 640 << 10;

/// Bytes of dirty sectors that equal `below`, with all that is dirty beside them in their page of 4 KiB: bits
/// are not cleared in part of a page, which the real kernel would misread.
fn needless(disk: &Disk, below: &[u8]) -> u64 {
    let (file, layout) = (fs::read(&disk.cow).unwrap(), header(&disk.cow).layout);
    let ss = layout.sector_size as usize;
    let dirty = bits_of(&file, &layout);
    let range = |i: usize| i * ss..((i + 1) * ss).min(below.len());
    let per_page = (4096 / ss).max(1);
    let mut bytes = 0;
    for page in (0..dirty.len()).collect::<Vec<_>>().chunks(per_page) {
        for run in page.chunk_by(|a, b| dirty[*a] == dirty[*b]).filter(|run| dirty[run[0]]) {
            let all = range(run[0]).start..range(run[run.len() - 1]).end;
            bytes += if disk.bytes[all.clone()] == below[all.clone()] { all.len() as u64 } else { 0 };
        }
    }
    bytes
}

/// A disk that has what compact looks for: sectors equal to the base, zeros, and data that no bit names.
fn wasteful(place: &Place, base: &[u8], shape: Shape) -> Disk {
    let path = place.raw("base", base);
    let mut disk = Disk::on(place.path("cow"), &path, &plain(shape), base);
    disk.scribble(3, 0.8);
    disk.write(&[(1000, base[1000..90_000].to_vec()), (200_000, base[200_000..200_700].to_vec())]);
    disk.write(&[(300_000, vec![0; 70_000]), (base.len() as u64 - 700, base[base.len() - 700..].to_vec())]);
    let (file, layout) = (fs::read(&disk.cow).unwrap(), header(&disk.cow).layout);
    let dirty = bits_of(&file, &layout);
    let clean = dirty.iter().rposition(|d| !d).unwrap() as u64;
    patch(&disk.cow, layout.data_offset + clean * u64::from(layout.sector_size), &random(512, 8));
    disk
}

#[test]
fn bits_go_and_bytes_stay() {
    for shape in shapes() {
        let place = Place::new();
        let base = image(SIZE, 1);
        let disk = wasteful(&place, &base, shape);
        let (before, needless_before) = (space(&disk.cow), needless(&disk, &base));
        assert!(needless_before > 80_000);
        let done = compact(&disk.cow, &Unobserved).unwrap();
        disk.check("compacted");
        assert_eq!(done.cleaned, needless_before, "{shape:?}");
        assert_eq!(needless(&disk, &base), 0);
        assert_eq!((done.space_before, done.space_after), (before, space(&disk.cow)));
        assert!(done.space_after + 130_000 < before, "{shape:?}: {before} to {}", done.space_after);
        let file = fs::read(&disk.cow).unwrap();
        assert_eq!(compact(&disk.cow, &Unobserved).unwrap().cleaned, 0);
        assert!(fs::read(&disk.cow).unwrap() == file, "nothing is left to do");
        let findings = cow_ops::check::check(&disk.cow, false, false, &Unobserved).unwrap().findings;
        assert!(findings.iter().all(|f| f.kind == cow_ops::check::Kind::DirtyHole), "{findings:?}");
        if let Some(moo) = real_moo("a compacted file in the real tool")
            && shape.version != Version::V1(ByteOrder::Big)
        {
            let out = place.path("out");
            run(Command::new(moo).arg(&disk.cow).arg(&out));
            same(&fs::read(out).unwrap(), &disk.bytes, "the real uml_moo");
        }
    }
}

#[test]
fn a_size_that_no_sector_fits() {
    let place = Place::new();
    let base = image(SIZE - 77, 2);
    let disk = wasteful(&place, &base, Shape { sector_size: 4096, ..Shape::default() });
    compact(&disk.cow, &Unobserved).unwrap();
    disk.check("compacted");
    assert_eq!(needless(&disk, &base), 0);
}

#[test]
fn a_layer_is_held_against_the_layers_below() {
    let place = Place::new();
    let base = image(SIZE, 1);
    let path = place.raw("base", &base);
    let mut lower = Disk::on(place.path("lower"), &path, &plain(Shape::default()), &base);
    lower.scribble(4, 1.0);
    let mut top = Disk::on(place.path("top"), &lower.cow, &layered(), &lower.bytes);
    // What the base holds here, and the layer does not; and the other way round.
    top.write(&[(0, base[..300_000].to_vec()), (300_000, lower.bytes[300_000..].to_vec())]);
    let pages = |bytes: &[u8]| bytes[..300_000].chunks(4096).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let differ = pages(&lower.bytes).into_iter().zip(pages(&base)).filter(|(a, b)| a != b);
    let differ: usize = differ.map(|(page, _)| page.len().div_ceil(512)).sum();
    assert!(differ > 0);
    compact(&top.cow, &Unobserved).unwrap();
    top.check("compacted");
    lower.check("below a compacted layer");
    assert_eq!(dirty_sectors(&top.cow), differ);
}

#[test]
fn nothing_is_done_to_what_is_in_use() {
    let place = Place::new();
    let base = image(SIZE, 1);
    let disk = wasteful(&place, &base, Shape::default());
    let file = fs::read(&disk.cow).unwrap();
    let user = block_device::HostFile::open(&disk.cow, true).unwrap();
    block_device::lock(&user, block_device::LockKind::Shared).unwrap();
    assert!(compact(&disk.cow, &Unobserved).unwrap_err().to_string().contains("in use"));
    drop(user);
    assert!(fs::read(&disk.cow).unwrap() == file);
    same(&view(&disk.cow), &disk.bytes, "as before");
}
