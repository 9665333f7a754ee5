#![allow(clippy::expect_used)]
use super::super::testing::{Scratch, cuts, flips, scratch};
use super::*;
use crate::fail::{self, Plan};
use proptest::prelude::*;

const LEG: Uuid = Uuid::from_u128(5);

fn read(s: &Scratch) -> BTreeSet<Region> {
    MissedLog::read(&s.dir, LEG).expect("read").expect("a log")
}

fn regions(names: &[&str]) -> BTreeSet<Region> {
    names.iter().map(|n| Region::one(*n)).collect()
}

fn covers(log: &BTreeSet<Region>, r: &Region) -> bool {
    log.iter().any(|l| l == r || (l.kind == Kind::Subtree && r.path.starts_with(&l.path)))
}

#[test]
fn what_is_added_is_read_until_it_is_removed() {
    let s = scratch();
    let mut log = MissedLog::open(&s.dir, LEG).expect("made");
    log.add(&s.dir, &[Region::one("a"), Region::one("b/c")]).expect("added");
    log.add(&s.dir, &[Region::one("a"), Region::subtree("d"), Region::entries("e/f")]).expect("added");
    log.sync().expect("synced");
    let mut all = regions(&["a", "b/c"]);
    all.insert(Region::entries("e/f"));
    all.insert(Region::subtree("d"));
    assert_eq!((read(&s), log.list()), (all.clone(), &all));
    let mut log = MissedLog::open(&s.dir, LEG).expect("opened");
    log.take(&Region::one("a"));
    log.take(&Region::one("never"));
    assert_eq!(read(&s), all, "a crash forgets nothing");
    log.settle(&s.dir).expect("settled");
    all.remove(&Region::one("a"));
    assert_eq!(read(&s), all);
    assert_eq!(MissedLog::legs(&s.dir).expect("legs"), [LEG]);
    log.add(&s.dir, &[Region::one("e")]).expect("added after a rewrite");
    all.insert(Region::one("e"));
    assert_eq!(read(&s), all);
    MissedLog::delete(&s.dir, LEG).expect("deleted");
    assert!(MissedLog::legs(&s.dir).expect("legs").is_empty());
}

#[test]
fn what_the_log_has_costs_nothing() {
    let s = scratch();
    let mut log = MissedLog::open(&s.dir, LEG).expect("made");
    log.add(&s.dir, &[Region::one("a"), Region::subtree("d")]).expect("added");
    fail::arm(Plan::Count);
    log.add(&s.dir, &[Region::one("a"), Region::one("d"), Region::one("d/e/f"), Region::subtree("d/g")])
        .expect("added");
    assert_eq!(fail::reached(), 0);
}

/// A flipped bit anywhere: nothing that was added is forgotten.
#[test]
fn a_bad_byte_forgets_nothing() {
    let s = scratch();
    let mut log = MissedLog::open(&s.dir, LEG).expect("made");
    log.add(&s.dir, &[Region::one("a"), Region::one("bb/cc")]).expect("added");
    log.add(&s.dir, &[Region::one("last")]).expect("added");
    for (at, bad) in flips(&s.read(&file_name(LEG))) {
        let (read, _) = parse(&bad);
        assert!(log.list().iter().all(|r| covers(&read, r)), "byte {at}: {read:?}");
    }
}

/// A crash tore the last batch at any byte: what was added before it stays, and the log goes on behind it.
#[test]
fn a_torn_batch_is_cut_off() {
    let s = scratch();
    let mut log = MissedLog::open(&s.dir, LEG).expect("made");
    log.add(&s.dir, &[Region::one("a"), Region::one("b")]).expect("added");
    let durable = s.read(&file_name(LEG)).len();
    log.add(&s.dir, &[Region::one("c"), Region::one("d/e")]).expect("added");
    let bytes = s.read(&file_name(LEG));
    for cut in cuts(&bytes).skip(durable) {
        s.put(&file_name(LEG), cut);
        let mut log = MissedLog::open(&s.dir, LEG).expect("opened");
        assert!(
            regions(&["a", "b"]).is_subset(log.list())
                && log.list().is_subset(&regions(&["a", "b", "c", "d/e"]))
        );
        log.add(&s.dir, &[Region::one("f")]).expect("added");
        assert!(regions(&["a", "b", "f"]).is_subset(&read(&s)) && !read(&s).contains(&Region::whole()));
    }
}

/// What is written to again while it is copied is missed again.
#[test]
fn what_is_added_after_it_was_taken_stays() {
    let s = scratch();
    let mut log = MissedLog::open(&s.dir, LEG).expect("made");
    log.add(&s.dir, &[Region::one("a"), Region::one("b")]).expect("added");
    log.take(&Region::one("a"));
    log.take(&Region::one("b"));
    log.add(&s.dir, &[Region::one("a")]).expect("added");
    log.settle(&s.dir).expect("settled");
    assert_eq!((log.list(), &read(&s)), (&regions(&["a"]), &regions(&["a"])));
}

#[test]
fn a_log_that_is_no_log_stands_for_everything_and_can_be_used() {
    let s = scratch();
    let mut log = MissedLog::open(&s.dir, LEG).expect("made");
    log.add(&s.dir, &[Region::one("a"), Region::one("b")]).expect("added");
    let mut bytes = s.read(&file_name(LEG));
    bytes[HEADER] ^= 1;
    s.put(&file_name(LEG), &bytes);
    let mut log = MissedLog::open(&s.dir, LEG).expect("opened");
    assert_eq!(*log.list(), BTreeSet::from([Region::whole()]));
    log.take(&Region::whole());
    log.settle(&s.dir).expect("settled");
    assert!(read(&s).is_empty());
}

#[test]
fn a_log_over_its_limit_names_directories() {
    let s = scratch();
    let mut log = MissedLog::with_limit(&s.dir, LEG, 64).expect("made");
    let all: Vec<Region> = (0..500).map(|i| Region::one(format!("d{}/f{i}", i % 5))).collect();
    for batch in all.chunks(7) {
        log.add(&s.dir, batch).expect("added");
    }
    assert!(read(&s).len() <= 64 && all.iter().all(|r| covers(&read(&s), r)));
    assert!(!read(&s).contains(&Region::whole()));
}

/// Wherever an operation stops: what was acknowledged before it is not forgotten, and what it removed was its own.
#[test]
fn whatever_stops_it_nothing_is_forgotten() {
    let all: Vec<Region> = (0..60).map(|i| Region::one(format!("d{}/f{i}", i % 5))).collect();
    for at in 1.. {
        let s = scratch();
        let mut log = MissedLog::with_limit(&s.dir, LEG, 64).expect("made");
        log.add(&s.dir, &all).expect("added");
        log.sync().expect("synced");
        fail::arm(Plan::StopAt(at));
        let work = |log: &mut MissedLog| -> Result<()> {
            log.take(&all[0]);
            log.settle(&s.dir)?;
            log.add(&s.dir, &[Region::one("x")])?;
            log.add(&s.dir, &(0..10).map(|i| Region::one(format!("y/{i}"))).collect::<Vec<_>>())?;
            log.sync()
        };
        let done = work(&mut log).is_ok();
        fail::arm(Plan::Count);
        let log = MissedLog::open(&s.dir, LEG).expect("opened");
        assert!(all[1..].iter().all(|r| covers(log.list(), r)), "stopped at {at}");
        if done {
            assert!(covers(log.list(), &Region::one("x")) && at > 10);
            break;
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_fuss(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn records_among_rubbish_make_it_the_whole_tree(junk in prop::collection::vec(any::<u8>(), 1..40), name in "[a-z]{1,9}") {
        let mut bytes = junk.clone();
        bytes.extend(batch([&Region::one(name.as_str())]));
        // Rubbish that is a record itself is none.
        prop_assume!(parse_record(&junk).is_none());
        prop_assert_eq!(parse(&bytes), (BTreeSet::from([Region::whole()]), None));
    }
}
