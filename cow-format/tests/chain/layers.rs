//! Bases that are COW files themselves: what makes a layer of a file, what must not, and where a chain ends.

use crate::common::VERSIONS;
use crate::place::{
    Place, SIZE, change_behind_the_clock, content, open, open_ignoring, open_writable, record_of, set_mtime,
    text, write,
};
use block_device::HostFile;
use cow_format::{
    BaseSpec, Error, Fingerprint, Layer, MAX_LAYERS, Match, NewCow, Record, RecordState, Shape, Version,
};
use std::fs;
use std::path::Path;
use std::sync::Arc;

#[test]
fn layers_are_followed_by_record() {
    let place = Place::new();
    let mid = place.identified("mid");
    write(&mid, 1000, &[0xaa; 5000]);
    write(&mid, 60_000, &[0xab; 100]);
    let top = place.above("top", &mid);
    write(&top, 3000, &[0xbb; 700]);

    let mut model = fs::read(&place.base).unwrap();
    model[1000..6000].fill(0xaa);
    model[60_000..60_100].fill(0xab);
    model[3000..3700].fill(0xbb);
    let chain = open(&top).unwrap();
    assert_eq!(chain.matches, [Match::Fingerprint; 2]);
    assert_eq!((chain.layers.len(), chain.base.path()), (2, &*place.base));
    assert_eq!((chain.below(0).path(), chain.below(1).path()), (&*mid, &*place.base));
    assert!(content(&chain) == model);
    let of: Vec<_> = chain.segments(2).map(|s| s.unwrap()).map(|s| (s.offset, s.layer)).collect();
    let sectors = [(0, None), (512, Some(1)), (2560, Some(0)), (4096, Some(1)), (6144, None)];
    assert_eq!(of[..5], sectors);
    assert_eq!(chain.segments(0).map(|s| s.unwrap().len).collect::<Vec<_>>(), [SIZE]);
    drop(chain);

    // What is two below counts as well, and under the name of the layer that it does not fit.
    change_behind_the_clock(&place.base);
    assert!(text(open(&top)).starts_with(&format!("content mismatch of backing file {:?}", place.base)));
    change_behind_the_clock(&place.base);
    assert_eq!(open(&top).unwrap().matches, [Match::Fingerprint, Match::Content]);

    set_mtime(&mid, 99, 0);
    assert_eq!(open(&top).unwrap().matches, [Match::Content, Match::Content], "a touched layer");
    write(&mid, 0, &[1]);
    let said = text(open(&top));
    assert!(
        said.starts_with(&format!("content mismatch of backing file {mid:?}")),
        "a written layer: {said}"
    );
}

/// A guest owns its disk's bytes. That disk, used as a base, must not make the host open what the guest names.
#[test]
fn a_header_that_a_guest_wrote_is_only_data() {
    let place = Place::new();
    let secret = place.path("secret");
    fs::write(&secret, vec![0x53; SIZE as usize]).unwrap();
    for version in VERSIONS {
        // A whole COW file over the secret, size and time stamp right, a record in it, cut to the base's size.
        let record = record_of(&secret);
        let mtime = record.fingerprint.header_mtime();
        let spec = BaseSpec { path: secret.clone(), mtime, size: SIZE, record: Some(record) };
        let shape = Shape { version, ..Shape::default() };
        let hostile = place.path("hostile");
        NewCow::create(&hostile, shape, &spec).unwrap().publish(true).unwrap();
        let mut bytes = fs::read(&hostile).unwrap();
        bytes.resize(SIZE as usize, 0);
        fs::write(&place.base, &bytes).unwrap();
        for (name, record) in [("plain", None), ("identified", Some(record_of(&place.base)))] {
            let cow = place.cow_on(name, &place.base, record);
            let chain = open(&cow).unwrap();
            assert_eq!((chain.layers.len(), chain.base.path()), (1, &*place.base), "{version:?}");
            assert!(content(&chain) == bytes, "{version:?}");
            fs::remove_file(cow).unwrap();
        }
    }
}

/// Without its record nobody knows that the base is a layer: then the sizes do not fit, and nothing is opened.
#[test]
fn a_damaged_record_does_not_open_a_layer_as_raw() {
    let place = Place::new();
    let mid = place.identified("mid");
    let top = place.above("top", &mid);
    let mut bytes = fs::read(&top).unwrap();
    let at = open(&top).unwrap().top().header.record_offset().unwrap() as usize;
    bytes[at + 20] ^= 4;
    fs::write(&top, &bytes).unwrap();
    assert_eq!(
        Layer::read(Arc::new(HostFile::open(&top, true).unwrap())).unwrap().record,
        RecordState::Damaged
    );
    assert!(text(open_ignoring(&top)).starts_with(&format!("Size mismatch ({SIZE} vs ")));
}

/// Nor does a flipped bit quietly turn the identity of a raw base into its time stamp.
#[test]
fn a_damaged_record_is_not_an_absent_one() {
    let place = Place::new();
    let cow = place.identified("cow");
    let mut bytes = fs::read(&cow).unwrap();
    let at = open(&cow).unwrap().top().header.record_offset().unwrap() as usize;
    bytes[at + 20] ^= 4;
    fs::write(&cow, &bytes).unwrap();
    assert!(matches!(open(&cow), Err(Error::Record { .. })));
    assert_eq!(open_ignoring(&cow).unwrap().matches, [Match::Mtime]);
}

#[test]
fn a_chain_that_leads_back_is_refused() {
    let place = Place::new();
    let layer = |path: &Path| {
        let fingerprint = Fingerprint::of(&fs::metadata(&place.base).unwrap());
        let record = Record { root: None, base_is_cow: true, fingerprint };
        (path.to_owned(), record)
    };
    let (a, b, own) = (place.path("a"), place.path("b"), place.path("own"));
    for (cow, (below, record)) in [("a", layer(&b)), ("b", layer(&place.path("link"))), ("own", layer(&own))]
    {
        place.cow_on(cow, &below, Some(record));
    }
    fs::hard_link(&a, place.path("link")).unwrap(); // another name of the same file
    let raw = place.cow_on("raw", &place.path("raw"), None);
    for writable in [0, 1, 2, usize::MAX] {
        for (cow, named) in [(&a, place.path("link")), (&own, own.clone()), (&raw, raw.clone())] {
            match open_writable(cow, writable) {
                Err(Error::Cycle { path }) => assert_eq!(path, named),
                other => panic!("{}, {writable} writable: {other:?}", cow.display()),
            }
        }
    }
}

#[test]
fn chains_end_somewhere() {
    let place = Place::new();
    let fingerprint = |path: &Path| Fingerprint::of(&fs::metadata(path).unwrap());
    let mut below = place.plain("0");
    for i in 1..=MAX_LAYERS + 1 {
        let record = Record { root: None, base_is_cow: true, fingerprint: fingerprint(&below) };
        below = place.cow_on(&i.to_string(), &below, Some(record));
    }
    let deepest = place.path(&MAX_LAYERS.to_string());
    let chain = open(&deepest).unwrap();
    assert_eq!(chain.layers.len(), MAX_LAYERS + 1, "the top one and those below it");
    assert!(content(&chain) == fs::read(&place.base).unwrap());
    match open(&below) {
        Err(Error::TooDeep { path, max: MAX_LAYERS }) => assert_eq!(path, below),
        other => panic!("{:?}", other.map(|c| c.matches)),
    }
}

/// Where there is no room for a record nothing could say that the base is a layer.
#[test]
fn only_a_record_makes_a_layer() {
    let place = Place::new();
    let mid = place.identified("mid");
    let record = Record { base_is_cow: true, ..record_of(&place.base) };
    for version in VERSIONS {
        let spec = BaseSpec { path: mid.clone(), mtime: 0, size: SIZE, record: Some(record) };
        let made = NewCow::create(&place.path("top"), Shape { version, ..Shape::default() }, &spec);
        match (version, made) {
            (Version::V3 | Version::V3Broken, made) => drop(made.unwrap()),
            (_, Err(e @ Error::Unsupported { .. })) => assert!(e.to_string().ends_with("use v3"), "{e}"),
            (_, other) => panic!("{version:?}: {other:?}"),
        }
    }
    assert!(!place.path("top").exists());
}
