//! Opening a COW file on a raw base: time stamps, sizes, paths and locks.

use crate::place::{Place, SIZE, open, open_ignoring, open_writable, rename_base, set_mtime, text};
use block_device::HostFile;
use cow_format::{Chain, Error, Match, OpenOptions, log};
use std::fs;
use std::path::{Path, PathBuf};

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
