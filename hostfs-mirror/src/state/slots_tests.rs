#![allow(clippy::expect_used)]
use super::super::testing::{cuts, flips, scratch};
use super::*;
use crate::fail::{self, Plan};
use proptest::prelude::*;

fn state(generation: u64) -> LegState {
    let member = |leg: u128, standing| Member {
        leg: Uuid::from_u128(leg),
        seen: generation - u64::from(standing == Standing::Stale),
        role: if leg == 1 { Role::Normal } else { Role::WriteMostly },
        standing,
        hint: PathBuf::from(format!("/mnt/disk{leg}")),
    };
    LegState {
        set: Uuid::from_u128(77),
        leg: Uuid::from_u128(1),
        name: "home".to_owned(),
        generation,
        clean: generation.is_multiple_of(2),
        min_legs: 1,
        members: vec![member(1, Standing::Live), member(2, Standing::Stale)],
    }
}

fn read(bytes: &[u8]) -> Option<LegState> {
    read_slots(bytes).map(|(s, ..)| s)
}

#[test]
fn what_was_written_is_read() {
    let s = scratch();
    let mut slots = Slots::create(&s.dir, state(1)).expect("made");
    for generation in 2..7 {
        slots.write(state(generation)).expect("written");
        assert_eq!(Slots::peek(&s.dir).expect("read"), state(generation));
    }
    assert!(matches!(Slots::open(&s.dir), Err(Error::InUse)), "one at a time");
    drop(slots);
    assert_eq!(*Slots::open(&s.dir).expect("opened").state(), state(6));
}

/// No single bad byte takes a leg back in time: both slots hold the newest state.
#[test]
fn a_bad_byte_anywhere_leaves_the_newest_state() {
    let s = scratch();
    let mut slots = Slots::create(&s.dir, state(1)).expect("made");
    slots.write(state(2)).expect("written");
    for (at, bad) in flips(&s.read(FILE)) {
        assert_eq!(read(&bad), Some(state(2)), "byte {at}");
    }
}

#[test]
fn damage_is_counted_and_mended_by_the_next_write() {
    let s = scratch();
    drop(Slots::create(&s.dir, state(1)).expect("made"));
    let mut bytes = s.read(FILE);
    bytes[HEADER + 3] ^= 1;
    s.put(FILE, &bytes);
    let mut slots = Slots::open(&s.dir).expect("opened");
    assert_eq!(slots.damaged(), 1);
    slots.write(state(2)).expect("written");
    drop(slots);
    assert_eq!(Slots::open(&s.dir).expect("opened").damaged(), 0);
    bytes[SLOT + HEADER + 3] ^= 1;
    s.put(FILE, &bytes);
    assert!(matches!(Slots::open(&s.dir), Err(Error::Bad { .. })));
}

#[test]
fn a_file_cut_anywhere_reads_as_the_newest_or_as_nothing() {
    let s = scratch();
    Slots::create(&s.dir, state(3)).expect("made");
    for cut in cuts(&s.read(FILE)) {
        let read = read(cut);
        assert!(read.is_none() || read == Some(state(3)));
        assert_eq!(read.is_some(), cut.len() >= HEADER + state(3).encode().expect("bytes").len());
    }
}

/// Every step of a write, failing: what is read is the old state or the new one, and the new one after success.
#[test]
fn a_write_that_stops_anywhere_leaves_the_old_or_the_new() {
    for at in 1.. {
        let s = scratch();
        let mut slots = Slots::create(&s.dir, state(1)).expect("made");
        fail::arm(Plan::StopAt(at));
        let done = slots.write(state(2)).is_ok();
        fail::arm(Plan::Count);
        let read = Slots::peek(&s.dir).expect("read");
        assert!(read == state(2) || (!done && read == state(1)), "stopped at {at}");
        if done {
            assert_eq!(at, 5, "two writes and two syncs");
            break;
        }
    }
}

/// A write torn at any byte of the slot: the state before it.
#[test]
fn a_torn_write_leaves_the_state_before() {
    let old = [slot(1, &state(1)).expect("slot"), slot(2, &state(1)).expect("slot")].concat();
    let new = slot(3, &state(2)).expect("slot");
    let end = HEADER + state(2).encode().expect("bytes").len();
    for n in 0..end {
        let mut torn = old.clone();
        torn[..n].copy_from_slice(&new[..n]);
        // Where the rest is alike in old and new, nothing is torn.
        let expected = if torn[..end] == new[..end] { 2 } else { 1 };
        assert_eq!(read(&torn), Some(state(expected)), "torn at {n}");
    }
}

#[test]
fn hints_that_do_not_fit_are_left_out_and_everything_else_stays() {
    let mut large = state(4);
    large.members = (0..MAX_MEMBERS as u128)
        .map(|i| Member {
            leg: Uuid::from_u128(i),
            hint: PathBuf::from("/".repeat(400)),
            ..large.members[0].clone()
        })
        .collect();
    let read = LegState::decode(&large.encode().expect("fits")).expect("decodes");
    assert_eq!(read.members.len(), MAX_MEMBERS);
    assert_eq!(read.members.iter().filter(|m| !m.hint.as_os_str().is_empty()).count(), 7);
    large.members.push(large.members[0].clone());
    assert!(large.encode().is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_fuss(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_slot(&bytes);
        let _ = LegState::decode(&bytes);
    }
}
