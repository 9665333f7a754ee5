#![allow(clippy::expect_used)]
use super::super::testing::{Scratch, cuts, flips, scratch};
use super::*;
use crate::fail::{self, Plan};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn key(ino: u64) -> Key {
    Key { ino, btime: 1_700_000_000_000_000_000 + ino as i64 }
}

fn entry(n: u64) -> Entry {
    let size = n * 1000 % 200_000;
    let sums = (0..size.div_ceil(BLOCK as u64)).map(|b| (n * 31 + b) as u32).collect();
    Entry { generation: n, size, mtime: n as i64, mode: 0o100_644, uid: 1, gid: 2, xattrs: n ^ 7, sums }
}

fn all(m: &Manifest) -> BTreeMap<Key, Entry> {
    m.keys().map(|k| (k, m.get(k).expect("an entry of the index can be read"))).collect()
}

fn segment(s: &Scratch, n: u32) -> Vec<u8> {
    let dir = s.dir.subdir(DIR).expect("manifest");
    dir.read(&segment_name(n), u64::MAX).expect("read").expect("segment")
}

fn put_segment(s: &Scratch, n: u32, bytes: &[u8]) {
    s.dir.subdir(DIR).expect("manifest").replace(&segment_name(n), bytes).expect("written");
}

#[test]
fn the_last_word_holds() {
    let s = scratch();
    let mut m = Manifest::open(&s.dir).expect("made");
    m.put(&[(key(1), entry(1)), (key(2), entry(2))]).expect("put");
    m.put(&[(key(1), entry(100)), (key(3), entry(3))]).expect("put");
    m.remove(&[key(2), key(99)]).expect("removed");
    m.sync().expect("synced");
    let expected = BTreeMap::from([(key(1), entry(100)), (key(3), entry(3))]);
    assert_eq!(all(&m), expected);
    assert_eq!(m.get(Key { ino: 1, btime: 5 }), None, "another file that has its inode number now");
    drop(m);
    assert_eq!(all(&Manifest::open(&s.dir).expect("opened")), expected);
}

#[test]
fn an_entry_holds_while_size_and_mtime_do() {
    let e = entry(150);
    assert!(e.matches(150_000, 150) && !e.matches(150_001, 150) && !e.matches(150_000, 151));
    assert!(!Entry { sums: vec![1], ..e }.matches(150_000, 150), "too few blocks");
}

#[test]
fn compaction_keeps_what_holds_and_makes_it_small() {
    let s = scratch();
    let mut m = Manifest::open(&s.dir).expect("made");
    for round in 0..2000 {
        let batch: Vec<_> = (0..20).map(|i| (key(i), entry(round + i))).collect();
        m.put(&batch).expect("put");
        m.sync().expect("synced");
    }
    m.remove(&[key(0)]).expect("removed");
    let expected: BTreeMap<_, _> = (1..20).map(|i| (key(i), entry(1999 + i))).collect();
    assert_eq!(all(&m), expected);
    let names = s.dir.subdir(DIR).expect("dir").names().expect("names");
    assert_eq!(names.len(), 1, "{names:?}");
    assert!((segment(&s, m.last).len() as u64) < COMPACT_FROM + 4096);
    assert_eq!(all(&Manifest::open(&s.dir).expect("opened")), expected);
    let (bytes, live) = (m.bytes, m.live);
    let again = Manifest::open(&s.dir).expect("opened");
    assert_eq!((again.bytes, again.live), (bytes, live), "the accounts are those of a fresh look");
}

/// A crash after compaction may leave any of the segments that it made obsolete: they say nothing any more.
#[test]
fn segments_from_before_a_compaction_are_obsolete() {
    let s = scratch();
    let mut m = Manifest::open(&s.dir).expect("made");
    m.put(&[(key(1), entry(1)), (key(2), entry(2))]).expect("put");
    let before = segment(&s, 1);
    m.remove(&[key(2)]).expect("removed");
    m.compact().expect("compacted");
    drop(m);
    put_segment(&s, 1, &before);
    let m = Manifest::open(&s.dir).expect("opened");
    assert_eq!(all(&m), BTreeMap::from([(key(1), entry(1))]));
    assert_eq!(s.dir.subdir(DIR).expect("dir").names().expect("names").len(), 1);
}

/// Wherever work stops, each key has the entry from before or the one after.
#[test]
fn whatever_stops_it_entries_are_the_old_or_the_new() {
    for at in 1.. {
        let s = scratch();
        let mut m = Manifest::open(&s.dir).expect("made");
        m.put(&[(key(1), entry(1)), (key(2), entry(2)), (key(4), entry(4))]).expect("put");
        m.sync().expect("synced");
        fail::arm(Plan::StopAt(at));
        let work = |m: &mut Manifest| -> Result<()> {
            m.put(&[(key(1), entry(70))])?;
            m.remove(&[key(2)])?;
            m.compact()?;
            m.put(&[(key(3), entry(3))])?;
            m.sync()
        };
        let done = work(&mut m).is_ok();
        fail::arm(Plan::Count);
        let m = Manifest::open(&s.dir).expect("opened");
        let one = m.get(key(1)).expect("never without");
        assert!(one == entry(70) || (!done && one == entry(1)), "stopped at {at}");
        assert!(m.get(key(2)).is_none_or(|e| !done && e == entry(2)));
        assert_eq!((m.get(key(4)), m.damaged()), (Some(entry(4)), 0));
        if done {
            assert_eq!(m.get(key(3)), Some(entry(3)));
            assert!(at > 8);
            break;
        }
    }
}

/// A bad byte costs what is known of one file, and never makes up an entry.
#[test]
fn a_bad_byte_costs_one_entry() {
    let s = scratch();
    let mut m = Manifest::open(&s.dir).expect("made");
    m.put(&[(key(1), entry(1)), (key(2), entry(150)), (key(3), entry(3))]).expect("put");
    let expected = all(&m);
    let bytes = segment(&s, 1);
    // The last 4 bytes of the header are not used.
    for (at, bad) in flips(&bytes).filter(|(at, _)| !(20..24).contains(at)) {
        put_segment(&s, 1, &bad);
        let found = all(&Manifest::open(&s.dir).expect("opened"));
        assert!(found.len() >= 2 && found.iter().all(|(k, e)| expected[k] == *e), "byte {at}");
        let dir = s.dir.subdir(DIR).expect("dir");
        for name in dir.names().expect("names") {
            dir.remove(&name).expect("removed");
        }
    }
    for cut in cuts(&bytes).step_by(3) {
        put_segment(&s, 1, cut);
        let mut m = Manifest::open(&s.dir).expect("opened");
        let found = all(&m);
        assert!(found.iter().all(|(k, e)| expected[k] == *e));
        m.put(&[(key(9), entry(9))]).expect("put behind the damage");
        assert_eq!(Manifest::open(&s.dir).expect("opened").get(key(9)), Some(entry(9)));
        let dir = s.dir.subdir(DIR).expect("dir");
        for name in dir.names().expect("names") {
            dir.remove(&name).expect("removed");
        }
    }
}

/// A record that goes bad while the manifest is open is as none.
#[test]
fn rot_under_an_open_manifest_is_seen() {
    let s = scratch();
    let mut m = Manifest::open(&s.dir).expect("made");
    m.put(&[(key(2), entry(150))]).expect("put");
    assert_eq!(m.get(key(2)), Some(entry(150)));
    let dir = s.dir.subdir(DIR).expect("dir");
    let file = dir.file(&segment_name(1), OFlags::RDWR).expect("opened").expect("there");
    file.write_all_at(&[0xff], SEGMENT_HEADER + 60).expect("written");
    assert_eq!(m.get(key(2)), None);
}

#[test]
fn a_digest_of_attributes_knows_names_from_values() {
    let d = |list: &[(&str, &str)]| xattr_digest(list.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
    assert_eq!(d(&[("a", "1"), ("b", "2")]), d(&[("b", "2"), ("a", "1")]));
    assert_ne!(d(&[("a", "1"), ("b", "2")]), d(&[("a", "2"), ("b", "1")]));
    assert_ne!(d(&[("ab", "c")]), d(&[("a", "bc")]));
    assert_eq!(d(&[]), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_fuss(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_record(&bytes);
        let _ = parse_segment_header(&bytes);
    }

    #[test]
    fn it_is_a_map(work in prop::collection::vec((0u64..6, 0u64..300, 0u8..8), 1..60)) {
        let s = scratch();
        let mut m = Manifest::open(&s.dir).expect("made");
        let mut model = BTreeMap::new();
        for (k, v, what) in work {
            match what {
                0 => { m.remove(&[key(k)]).expect("removed"); model.remove(&key(k)); }
                1 => m.compact().expect("compacted"),
                2 => m = Manifest::open(&s.dir).expect("opened"),
                _ => { m.put(&[(key(k), entry(v))]).expect("put"); model.insert(key(k), entry(v)); }
            }
            prop_assert_eq!(all(&m), model.clone());
        }
    }
}
