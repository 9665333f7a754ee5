#![allow(clippy::expect_used)]
use super::super::testing::{Scratch, cuts, flips, scratch};
use super::*;
use crate::fail::{self, Plan};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn on_disk(s: &Scratch) -> BTreeSet<Region> {
    let marks = IntentMap::read(&s.dir).expect("read").expect("a map");
    assert_eq!(marks.damaged, 0);
    marks.regions.into_iter().collect()
}

fn covers(marks: &BTreeSet<Region>, path: &Path, kind: Kind) -> bool {
    marks
        .iter()
        .any(|m| (m.path == path && m.kind >= kind) || (m.kind == Kind::Subtree && path.starts_with(&m.path)))
}

fn one(path: &str) -> (&Path, Kind) {
    (Path::new(path), Kind::One)
}

#[test]
fn a_mark_is_on_the_disk_when_mark_returns_and_gone_after_unmark() {
    let s = scratch();
    let map = IntentMap::open(&s.dir).expect("made");
    map.mark(&[one("a"), one("b/c"), (Path::new("d"), Kind::Subtree)]).expect("marked");
    let all = BTreeSet::from([Region::one("a"), Region::one("b/c"), Region::subtree("d")]);
    assert_eq!(on_disk(&s), all);
    assert_eq!(map.list().regions.into_iter().collect::<BTreeSet<_>>(), all);
    map.unmark(&[Path::new("a"), Path::new("never"), Path::new("d")]).expect("unmarked");
    assert_eq!(on_disk(&s), BTreeSet::from([Region::one("b/c")]));
    drop(map);
    let map = IntentMap::open(&s.dir).expect("opened");
    assert_eq!(map.list().regions, [Region::one("b/c")]);
    map.clear().expect("cleared");
    assert!(on_disk(&s).is_empty());
}

/// What is marked already costs no write: that is what makes the map cheap.
#[test]
fn a_mark_that_is_there_costs_nothing() {
    let s = scratch();
    let map = IntentMap::open(&s.dir).expect("made");
    map.mark(&[one("a"), (Path::new("d"), Kind::Subtree)]).expect("marked");
    fail::arm(Plan::Count);
    map.mark(&[one("a"), one("d"), one("d/e/f")]).expect("marked");
    assert_eq!(fail::reached(), 0);
    map.mark(&[one("b"), one("c"), one("e")]).expect("marked");
    assert_eq!(fail::reached(), 2, "one write and one sync for a group");
}

#[test]
fn a_path_that_is_too_long_is_marked_by_its_ancestor() {
    let s = scratch();
    let map = IntentMap::open(&s.dir).expect("made");
    let deep = "0123456789/".repeat(60) + "x";
    map.mark(&[one(&deep)]).expect("marked");
    let marks = on_disk(&s);
    let only = marks.first().expect("a mark");
    assert_eq!((only.kind, marks.len()), (Kind::Subtree, 1));
    assert!(Path::new(&deep).starts_with(&only.path) && only.path.as_os_str().len() > MAX_PATH - 12);
}

#[test]
fn a_full_map_collapses_and_covers_everything() {
    let s = scratch();
    let map = IntentMap::open(&s.dir).expect("made");
    let paths: Vec<String> = (0..CAPACITY * 3).map(|i| format!("d{}/e{}/f{i}", i % 7, i % 31)).collect();
    for path in &paths {
        map.mark(&[one(path)]).expect("marked");
        if path.ends_with('7') {
            assert!(covers(&on_disk(&s), Path::new(path), Kind::One));
        }
    }
    let marks = on_disk(&s);
    assert!(paths.iter().all(|p| covers(&marks, Path::new(p), Kind::One)));
    assert!(!marks.contains(&Region::whole()), "it names directories, not everything");
    map.clear().expect("cleared");
    assert!(on_disk(&s).is_empty() && map.list().regions.is_empty());
}

/// Wherever a collapse stops, each mark that was acknowledged is still covered.
#[test]
fn a_collapse_that_stops_anywhere_forgets_nothing() {
    let full: Vec<String> = (0..CAPACITY).map(|i| format!("d{}/f{i}", i / 400)).collect();
    let marks: Vec<_> = full.iter().map(|p| one(p)).collect();
    for at in 1.. {
        let s = scratch();
        let map = IntentMap::open(&s.dir).expect("made");
        map.mark(&marks).expect("marked");
        fail::arm(Plan::StopAt(at));
        let done = map.mark(&[one("new")]).is_ok();
        fail::arm(Plan::Count);
        let on_disk = on_disk(&s);
        assert!(full.iter().all(|p| covers(&on_disk, Path::new(p), Kind::One)), "stopped at {at}");
        if done {
            assert!(covers(&on_disk, Path::new("new"), Kind::One) && at > 4);
            break;
        }
        assert!(at < 5000);
    }
}

#[test]
fn after_a_failed_sync_no_mark_is_acknowledged() {
    let s = scratch();
    let map = IntentMap::open(&s.dir).expect("made");
    fail::arm(Plan::FailAt(2, rustix::io::Errno::IO));
    assert!(map.mark(&[one("a")]).is_err());
    fail::arm(Plan::Count);
    assert!(map.mark(&[one("b")]).is_err(), "the leg is fenced for good");
    assert!(map.mark(&[one("a")]).is_err(), "the mark that failed is not there");
    map.clear().expect("the leg comes back");
    map.mark(&[one("a")]).expect("marked");
    assert_eq!(on_disk(&s), BTreeSet::from([Region::one("a")]));
}

#[test]
fn threads_share_syncs_and_every_mark_is_durable() {
    let s = scratch();
    let map = IntentMap::open(&s.dir).expect("made");
    std::thread::scope(|scope| {
        for t in 0..8 {
            let (map, s) = (&map, &s);
            scope.spawn(move || {
                for i in 0..40 {
                    let path = format!("t{t}/{i}");
                    map.mark(&[one(&path)]).expect("marked");
                    assert!(covers(&on_disk(s), Path::new(&path), Kind::One));
                    if i % 3 == 0 {
                        map.unmark(&[Path::new(&path)]).expect("unmarked");
                    }
                }
            });
        }
    });
    map.mark(&[one("last")]).expect("marked");
    let expected = 8 * 40 - 8 * 14 + 1;
    assert_eq!(on_disk(&s).len(), expected);
    assert_eq!(map.list().regions.into_iter().collect::<BTreeSet<_>>(), on_disk(&s));
}

/// A flipped bit loses no mark in silence: either it is read, or the map says that it is damaged.
#[test]
fn bad_bytes_are_noticed() {
    let s = scratch();
    let map = IntentMap::open(&s.dir).expect("made");
    map.mark(&[one("a"), one("b/c")]).expect("marked");
    let bytes = s.read(FILE);
    for (at, bad) in flips(&bytes[..SLOT * 6]) {
        let mut all = bytes.clone();
        all[..bad.len()].copy_from_slice(&bad);
        assert!(parse(&all).damaged > 0, "byte {at}");
    }
    for cut in cuts(&bytes).step_by(61) {
        assert!(parse(cut).damaged > 0, "{} bytes", cut.len());
    }
}

#[test]
fn a_map_that_is_damaged_is_made_anew_when_it_is_opened() {
    let s = scratch();
    drop(IntentMap::open(&s.dir).expect("made"));
    s.put(FILE, b"something else");
    assert!(IntentMap::read(&s.dir).expect("read").expect("a map").damaged > 0);
    let map = IntentMap::open(&s.dir).expect("opened");
    assert_eq!(
        on_disk(&s),
        BTreeSet::from([Region::whole()]),
        "until somebody has looked, everything may differ"
    );
    map.clear().expect("cleared");
    map.mark(&[one("a")]).expect("marked");
    assert_eq!(on_disk(&s), BTreeSet::from([Region::one("a")]));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_fuss(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
        let _ = parse(&bytes);
        let _ = marked(&bytes);
    }

    #[test]
    fn paths_that_lead_out_are_not_read(path in "(\\.\\.|/|a|\\.){1,5}") {
        let slot = encode(&Region::one(path.as_str()));
        if let Some(region) = marked(&slot) {
            let plain = |c| matches!(c, std::path::Component::Normal(_));
            prop_assert!(region.path.components().all(plain));
        }
    }
}
