//! Another base for a COW file that there is already.

use crate::common::VERSIONS;
use crate::place::{Place, SIZE, change_behind_the_clock, open, record_of, rename_base};
use block_device::{BlockDevice, HostFile};
use cow_format::{
    BaseSpec, Chain, CowDevice, Error, Layer, Match, NewCow, OpenOptions, Record, RecordState, Shape,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[test]
fn accepting_a_base_makes_it_the_right_one() {
    let place = Place::new();
    let cow = place.identified("cow");
    change_behind_the_clock(&place.base);
    let moved = place.path("moved");
    fs::rename(&place.base, &moved).unwrap();
    let options = OpenOptions {
        writable: 1,
        ignore_mismatch: true,
        backing: Some(moved.clone()),
        ..OpenOptions::default()
    };
    let mut chain = Chain::open(&cow, &options).unwrap();
    let root = record_of(&moved).root.unwrap();
    chain.accept_below(0, Some(root), true).unwrap();
    drop(chain);
    let chain = open(&cow).unwrap();
    assert_eq!(chain.matches, [Match::Fingerprint]);
    assert_eq!(chain.top().header.backing, fs::canonicalize(&moved).unwrap());
    drop(chain);

    // Where it was not moved, the path stays as somebody once wrote it.
    let relative = place.cow_on("relative", &moved, None);
    rename_base(&relative, Path::new("moved"));
    let options = OpenOptions { writable: 1, ignore_mismatch: true, ..OpenOptions::default() };
    Chain::open(&relative, &options).unwrap().accept_below(0, Some(root), false).unwrap();
    let chain = open(&relative).unwrap();
    assert_eq!(
        (&chain.matches[..], &*chain.top().header.backing),
        (&[Match::Fingerprint][..], Path::new("moved"))
    );
}

/// Another base, in the file's own version; the real driver would write a version 3 header over the bitmap.
#[test]
fn a_new_base_leaves_version_bitmap_and_data() {
    let place = Place::new();
    for version in VERSIONS {
        let cow = place.path(version.name());
        let spec = BaseSpec { path: place.base.clone(), mtime: 1, size: SIZE, record: None };
        NewCow::create(&cow, Shape { version, ..Shape::default() }, &spec).unwrap().publish(false).unwrap();
        let file = Arc::new(HostFile::open(&cow, false).unwrap());
        let mut layer = Layer::read(file.clone()).unwrap();
        let base = Arc::new(HostFile::open(&place.base, true).unwrap());
        let device = CowDevice::new(file.clone(), layer.header.layout, base.clone()).unwrap();
        device.write_at(&[0xcc; 9000], 3333).unwrap();
        drop(device);

        let before = fs::read(&cow).unwrap();
        let long = PathBuf::from(format!("/{}", "x".repeat(5000)));
        assert!(matches!(layer.set_base(&long, 2, None), Err(Error::Header { .. })), "{version:?}");
        let on_layer = Record { base_is_cow: true, ..record_of(&place.base) };
        let roomy = layer.header.record_offset().is_some();
        if !roomy {
            let refused = layer.set_base(Path::new("/other"), 2, Some(on_layer));
            assert!(matches!(refused, Err(Error::Unsupported { .. })), "{version:?}");
        }
        assert!(fs::read(&cow).unwrap() == before, "{version:?}: a refusal changes nothing");

        let record = record_of(&place.base);
        let other = Path::new("/a/longer/path/than/before/so/that/nothing/of/the/old/one/can/show");
        layer.set_base(other, 7, Some(record)).unwrap();
        for (path, mtime, record) in [(other, 7, Some(record)), (Path::new("/b"), 8, None)] {
            layer.set_base(path, mtime, record).unwrap();
            let found = Layer::read(Arc::new(HostFile::open(&cow, true).unwrap())).unwrap();
            assert_eq!(found.header, layer.header);
            assert_eq!(
                (found.header.version, &*found.header.backing, found.header.mtime),
                (version, path, mtime)
            );
            let kept = record.filter(|_| roomy).map_or(RecordState::Absent, RecordState::Valid);
            assert_eq!((found.record, layer.record), (kept, kept), "{version:?}");
            let from = layer.header.layout.bitmap_offset as usize;
            assert!(fs::read(&cow).unwrap()[from..] == before[from..], "{version:?}: bitmap and data");
        }
        let device = CowDevice::new(file, layer.header.layout, base).unwrap();
        let mut bytes = [0; 9000];
        device.read_at(&mut bytes, 3333).unwrap();
        assert_eq!(bytes, [0xcc; 9000]);
    }
}
