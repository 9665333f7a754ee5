//! The identity of a base: what is known by its content, whatever its time stamp says, and what is refused.

use crate::place::{
    Place, change_behind_the_clock, open, open_ignoring, open_writable, record_of, set_mtime, text, write,
};
use cow_format::{Chain, Error, Match, OpenOptions, log};
use std::cell::Cell;
use std::fs;

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
