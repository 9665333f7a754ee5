//! Opening chains on the host: what belongs together, what does not, and in which words.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use block_device::{BlockDevice, HostFile};
use common::{VERSIONS, random_bytes};
use cow_format::{
    BaseSpec, Chain, CowDevice, Error, Fingerprint, Layer, MAX_LAYERS, Match, NewCow, OpenOptions, Record,
    RecordState, Shape, Version, identity, log,
};
use powercut::XorShift;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const SIZE: u64 = 128 << 10;

/// A directory with one raw base in it.
struct Place {
    dir: TempDir,
    base: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        fs::write(&base, random_bytes(SIZE as usize, &mut XorShift::new(1))).unwrap();
        Self { dir, base }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A COW file on `base`, with this record; its mtime is the base's own.
    fn cow_on(&self, name: &str, base: &Path, record: Option<Record>) -> PathBuf {
        let mtime = fs::metadata(base).map_or(0, |m| m.mtime() as u32);
        let spec = BaseSpec { path: base.to_owned(), mtime, size: SIZE, record };
        NewCow::create(&self.path(name), Shape::default(), &spec).unwrap().publish(false).unwrap();
        self.path(name)
    }

    /// As a real tool makes it: nothing but the time stamp to go by.
    fn plain(&self, name: &str) -> PathBuf {
        self.cow_on(name, &self.base, None)
    }

    /// With the identity of the raw base.
    fn identified(&self, name: &str) -> PathBuf {
        self.cow_on(name, &self.base, Some(record_of(&self.base)))
    }

    /// On another COW file, which must open.
    fn above(&self, name: &str, below: &Path) -> PathBuf {
        let chain = open(below).unwrap();
        let device = chain.device(0).unwrap();
        let (root, fingerprint) = identity::identify(&chain.top().file, &*device, true, |_, _| {}).unwrap();
        self.cow_on(name, below, Some(Record { root: Some(root), base_is_cow: true, fingerprint }))
    }
}

fn record_of(base: &Path) -> Record {
    let file = HostFile::open(base, true).unwrap();
    let (root, fingerprint) = identity::identify(&file, &file, true, |_, _| {}).unwrap();
    Record { root: Some(root), base_is_cow: false, fingerprint }
}

fn open(cow: &Path) -> Result<Chain, Error> {
    Chain::open(cow, &OpenOptions::default())
}

fn open_writable(cow: &Path, writable: usize) -> Result<Chain, Error> {
    Chain::open(cow, &OpenOptions { writable, ..OpenOptions::default() })
}

fn open_ignoring(cow: &Path) -> Result<Chain, Error> {
    Chain::open(cow, &OpenOptions { ignore_mismatch: true, ..OpenOptions::default() })
}

fn set_mtime(path: &Path, seconds: i64, nanoseconds: u32) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

/// Changes one byte and puts the time of modification back. Returns once the file system shows another time of
/// change: before Linux 6.13 that takes a tick of the clock.
fn change_behind_the_clock(path: &Path) {
    let before = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[77] ^= 1;
    loop {
        fs::write(path, &bytes).unwrap();
        set_mtime(path, before.mtime(), before.mtime_nsec() as u32);
        let now = fs::metadata(path).unwrap();
        assert_eq!((now.mtime(), now.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
        if Fingerprint::of(&now) != Fingerprint::of(&before) {
            return;
        }
    }
}

fn write(cow: &Path, offset: u64, bytes: &[u8]) {
    let chain = open_writable(cow, 1).unwrap();
    let device = chain.device(0).unwrap();
    device.write_at(bytes, offset).unwrap();
    device.flush().unwrap();
}

/// Names the base another way.
fn rename_base(cow: &Path, base: &Path) {
    let mut layer = Layer::read(Arc::new(HostFile::open(cow, false).unwrap())).unwrap();
    layer.set_base(base, layer.header.mtime, layer.record.valid()).unwrap();
}

fn content(chain: &Chain) -> Vec<u8> {
    let mut bytes = vec![0; chain.size() as usize];
    chain.device(0).unwrap().read_at(&mut bytes, 0).unwrap();
    bytes
}

fn text(result: Result<Chain, Error>) -> String {
    result.map(|c| c.matches).unwrap_err().to_string()
}

#[test]
fn without_an_identity_the_time_stamp_decides() {
    let place = Place::new();
    set_mtime(&place.base, 1_000_000_000, 5);
    let cow = place.plain("cow");
    assert_eq!(open(&cow).unwrap().matches, [Match::Mtime]);
    set_mtime(&place.base, 1_000_000_001, 0);
    let said =
        format!("mtime mismatch (1000000000 vs 1000000001) of COW header vs backing file {:?}", place.base);
    assert_eq!(text(open(&cow)), said);
    assert_eq!(open_ignoring(&cow).unwrap().matches, [Match::Ignored]);
    let other = place.plain("other");
    let entry = log::Entry::now(log::Event::MergeEnd, &other, None).unwrap();
    log::append(&place.base, &entry).unwrap();
    assert_eq!(text(open(&cow)), format!("{said}: it was merged with {:?} in place", entry.cow));
}

#[test]
fn the_size_must_be_right_whatever_is_ignored() {
    let place = Place::new();
    for cow in [place.plain("plain"), place.identified("identified")] {
        for len in [SIZE - 1, SIZE + 512] {
            HostFile::open(&place.base, false).unwrap().set_len(len).unwrap();
            let said =
                format!("Size mismatch ({SIZE} vs {len}) of COW header vs backing file {:?}", place.base);
            assert_eq!(text(open(&cow)), said);
            assert_eq!(text(open_ignoring(&cow)), said);
        }
        HostFile::open(&place.base, false).unwrap().set_len(SIZE).unwrap();
    }
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::new();
    let missing = place.path("missing");
    let said = format!("COW file open: No such file or directory: {}", missing.display());
    assert_eq!(text(open(&missing)), said);
    let cow = place.plain("cow");
    fs::rename(&place.base, &missing).unwrap();
    let said = format!("Stating backing file: No such file or directory: {}", place.base.display());
    assert_eq!(text(open(&cow)), said);
    assert!(text(open(&missing)).starts_with("Reading COW header failed"), "a raw file is no COW file");
    assert!(text(open(place.dir.path())).starts_with("COW file open: Is a directory"));
    let elsewhere = OpenOptions { backing: Some(missing.clone()), ..OpenOptions::default() };
    assert_eq!(Chain::open(&cow, &elsewhere).unwrap().base.path(), missing);
}

#[test]
fn a_relative_base_lies_beside_the_cow_file() {
    let place = Place::new();
    let cow = place.plain("cow");
    rename_base(&cow, Path::new("base"));
    assert_eq!(open(&cow).unwrap().base.path(), place.base);
}

#[test]
fn a_base_is_known_by_its_content() {
    let place = Place::new();
    let cow = place.identified("cow");
    assert_eq!(open(&cow).unwrap().matches, [Match::Fingerprint]);

    set_mtime(&place.base, 12345, 0);
    let digested = Cell::new(0);
    let counted = |_, _| digested.set(digested.get() + 1);
    let looking = OpenOptions { digesting: Some(&counted), ..OpenOptions::default() };
    let before = fs::read(&cow).unwrap();
    for n in 1..3 {
        assert_eq!(Chain::open(&cow, &looking).unwrap().matches, [Match::Content], "touched");
        assert_eq!(digested.get(), n, "said so, each time");
    }
    assert!(fs::read(&cow).unwrap() == before, "looking changes nothing");
    let using = OpenOptions { writable: 1, ..looking.clone() };
    assert_eq!(Chain::open(&cow, &using).unwrap().matches, [Match::Content]);
    assert_eq!(digested.take(), 3);
    let chain = Chain::open(&cow, &looking).unwrap();
    assert_eq!((&chain.matches[..], chain.top().header.mtime), (&[Match::Fingerprint][..], 12345));
    assert_eq!(digested.get(), 0, "the state of the base was noted when the disk was used");
}

/// A copy is as good as the base itself; but the header still names that one, so what it says of its time
/// stamp must go on being that one's.
#[test]
fn a_copy_stands_in_for_the_base() {
    let place = Place::new();
    set_mtime(&place.base, 1000, 0);
    let cow = place.identified("cow");
    let copy = place.path("copy");
    fs::copy(&place.base, &copy).unwrap();
    set_mtime(&copy, 2000, 0);
    for writable in [0, 1] {
        let options = OpenOptions { writable, backing: Some(copy.clone()), ..OpenOptions::default() };
        let chain = Chain::open(&cow, &options).unwrap();
        assert_eq!((&chain.matches[..], chain.base.path()), (&[Match::Content][..], &*copy));
        drop(chain);
        let chain = open(&cow).unwrap();
        assert_eq!((&*chain.top().header.backing, chain.top().header.mtime), (&*place.base, 1000));
        assert_eq!(chain.matches, [Match::Fingerprint], "{writable} writable");
    }

    // The same file by another path is no copy.
    set_mtime(&place.base, 3000, 0);
    let options = OpenOptions { writable: 1, backing: Some(place.path("./base")), ..OpenOptions::default() };
    assert_eq!(Chain::open(&cow, &options).unwrap().matches, [Match::Content]);
    assert_eq!(open(&cow).unwrap().top().header.mtime, 3000);
}

/// Opening all the same is for this once: the layer below being brought up to date does not make it right.
#[test]
fn what_was_ignored_is_not_accepted() {
    let place = Place::new();
    let mid = place.identified("mid");
    let top = place.above("top", &mid);
    write(&mid, 0, &[1; 512]);
    assert!(matches!(open(&top), Err(Error::IdentityMismatch { .. })));
    set_mtime(&place.base, 5, 0);
    let options = OpenOptions { writable: 2, ignore_mismatch: true, ..OpenOptions::default() };
    assert_eq!(Chain::open(&top, &options).unwrap().matches, [Match::Ignored, Match::Content]);
    assert!(matches!(open(&top), Err(Error::IdentityMismatch { .. })), "{:?}", open(&top).unwrap().matches);
}

/// Bringing a layer up to date changes its file; what lies above must know it afterwards too.
#[test]
fn a_refreshed_layer_is_still_known_above() {
    let place = Place::new();
    let mid = place.identified("mid");
    let top = place.above("top", &mid);
    set_mtime(&place.base, 5, 0);
    assert_eq!(open_writable(&top, 2).unwrap().matches, [Match::Fingerprint, Match::Content]);
    assert_eq!(open(&top).unwrap().matches, [Match::Fingerprint; 2]);
}

#[test]
fn a_changed_base_is_refused_with_its_old_time_stamp() {
    let place = Place::new();
    let plain = place.plain("plain");
    let cow = place.identified("cow");
    let recorded = record_of(&place.base).root.unwrap();
    change_behind_the_clock(&place.base);
    assert_eq!(open(&plain).unwrap().matches, [Match::Mtime], "this is what the identity is for");
    match open(&cow) {
        Err(Error::IdentityMismatch { path, recorded: r, found, explanation: None }) => {
            assert_eq!((path, r), (place.base.clone(), recorded));
            assert_eq!(Some(found), record_of(&place.base).root);
        }
        other => panic!("{other:?}"),
    }
    assert!(text(open(&cow)).starts_with(&format!("content mismatch of backing file {:?}", place.base)));
    assert_eq!(open_ignoring(&cow).unwrap().matches, [Match::Ignored]);
    change_behind_the_clock(&place.base); // the same bit again
    assert_eq!(open(&cow).unwrap().matches, [Match::Content], "and back");
}

#[test]
fn an_unfinished_merge_opens_for_its_own_cow_file_only() {
    let place = Place::new();
    let (mine, other) = (place.identified("mine"), place.plain("other"));
    log::append(&place.base, &log::Entry::now(log::Event::MergeBegin, &mine, None).unwrap()).unwrap();
    change_behind_the_clock(&place.base);
    assert_eq!(open(&mine).unwrap().matches, [Match::UnfinishedMerge]);
    let said = format!("backing file {:?} is half merged with {mine:?}", place.base);
    assert!(text(open(&other)).starts_with(&said), "{}", text(open(&other)));
    assert!(open_ignoring(&other).is_ok());
    log::append(&place.base, &log::Entry::now(log::Event::MergeEnd, &mine, None).unwrap()).unwrap();
    let said = text(open(&mine));
    assert!(said.ends_with(&format!(": it was merged with {mine:?} in place")), "{said}");
}

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

/// `ubd0=cow,base` names both: they must belong together, whatever path leads to the base.
#[test]
fn another_base_than_the_one_asked_for_is_refused() {
    let place = Place::new();
    let cow = place.identified("cow");
    let expecting = |path: PathBuf| {
        Chain::open(&cow, &OpenOptions { expected_backing: Some(path), ..OpenOptions::default() })
    };
    assert!(expecting(place.base.clone()).is_ok());
    std::os::unix::fs::symlink(&place.base, place.path("link")).unwrap();
    assert!(expecting(place.path("link")).is_ok());
    fs::copy(&place.base, place.path("copy")).unwrap();
    for other in ["copy", "missing"] {
        let said = format!(
            "Backing file mismatch - {:?} requested, {:?} specified in COW header of {cow:?}",
            place.path(other),
            place.base
        );
        assert_eq!(text(expecting(place.path(other))), said);
    }
}

#[test]
fn locks_keep_writers_from_everybody_else() {
    let place = Place::new();
    let (a, b) = (place.plain("a"), place.plain("b"));
    let me = format!("pid {}", std::process::id());
    let in_use = |result: Result<Chain, Error>, path: &Path, kind: &str| match result {
        Err(Error::Locked(conflict)) => {
            assert_eq!(conflict.path, path);
            let said = conflict.to_string();
            assert!(said.starts_with(&format!("{} is in use by ", path.display())), "{said}");
            assert!(said.contains(&format!("({me}, {kind} lock)")), "{said}");
        }
        other => panic!("{other:?}"),
    };

    let reader = open(&a).unwrap();
    let second = open(&a).unwrap();
    in_use(open_writable(&a, 1), &a, "shared");
    drop((reader, second));

    let writer = open_writable(&a, 1).unwrap();
    in_use(open(&a), &a, "exclusive");
    in_use(open_writable(&a, 1), &a, "exclusive");
    let unlocked = OpenOptions { unlocked: true, ..OpenOptions::default() };
    assert!(Chain::open(&a, &unlocked).is_ok(), "-U looks all the same");
    let other = open_writable(&b, 1).unwrap();
    in_use(open_writable(&place.plain("c"), 2), &place.base, "shared");
    drop((writer, other));

    let merging = open_writable(&a, 2).unwrap();
    in_use(open(&b), &place.base, "exclusive");
    drop(merging);
    assert!(open_writable(&b, usize::MAX).is_ok(), "nothing stays locked");

    set_mtime(&place.base, 3, 0);
    assert!(open_writable(&a, 2).is_err());
    HostFile::open(&place.base, false).unwrap().set_len(SIZE).unwrap();
    assert!(
        Chain::open(&a, &OpenOptions { writable: 2, ignore_mismatch: true, ..Default::default() }).is_ok()
    );
}

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
