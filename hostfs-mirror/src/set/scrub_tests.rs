#![allow(clippy::expect_used)]
use super::super::copy::Alone;
use super::super::testing::Legs;
use super::*;
use crate::fail::{self, Plan};
use block_device::Unobserved;
use std::fs;

const LEN: usize = 200_000;

fn legs(n: usize) -> Legs {
    let legs = Legs::new(n);
    legs.on_all(|l| {
        l.write("d/f", &(0..LEN).map(|i| (i / 7) as u8).collect::<Vec<_>>());
        l.write("d/empty", b"");
        l.write("g", b"small");
    });
    legs.legs.iter().for_each(|l| ["d/f", "d/empty", "g"].iter().for_each(|f| l.learn(f, 1)));
    legs
}

fn scrub(legs: &Legs, heal: bool) -> Report {
    let sides = legs.sides();
    let scrub = Scrub { sides: &sides, generation: 5, heal, hold: &Alone };
    scrub.run(Path::new(""), &mut Limit::new(&Unobserved, "scrub", None, 0)).expect("scrubbed")
}

#[test]
fn nothing_is_said_of_legs_that_are_right() {
    let legs = legs(3);
    let report = scrub(&legs, true);
    assert!(report.wrong.is_empty() && report.undecided.is_empty(), "{report:?}");
    assert_eq!(report.bytes_read, 3 * (LEN as u64 + 5));
}

/// A flipped bit in any block of any leg: found, and healed from a leg that has it right.
#[test]
fn a_flipped_bit_is_healed_wherever_it_is() {
    for leg in 0..2 {
        for at in [0, 65_535, 65_536, 131_071, LEN - 1] {
            let legs = legs(2);
            let right = legs.legs[0].read("d/f");
            legs.legs[leg].rot("d/f", at);
            let only_looked = scrub(&legs, false);
            assert_eq!((only_looked.wrong.len(), only_looked.wrong[0].healed), (1, false));
            assert_ne!(legs.legs[leg].read("d/f"), right);
            let report = scrub(&legs, true);
            assert_eq!(report.wrong.len(), 1, "{report:?}");
            assert_eq!((report.wrong[0].offset, report.wrong[0].healed), (at as u64 / 65_536 * 65_536, true));
            assert_eq!(legs.legs[leg].read("d/f"), right);
            legs.assert_equal("healed");
            assert!(scrub(&legs, true).wrong.is_empty());
        }
    }
}

/// Two of three have the same wrong bytes: a vote would take them for right.
#[test]
fn a_checksum_decides_and_never_a_vote() {
    let legs = legs(3);
    let right = legs.legs[0].read("d/f");
    legs.legs[0].rot("d/f", 70_000);
    legs.legs[2].rot("d/f", 70_000);
    assert_eq!(scrub(&legs, true).wrong.len(), 2);
    assert!(legs.legs.iter().all(|l| l.read("d/f") == right));
}

#[test]
fn different_blocks_of_one_file_heal_each_other() {
    let legs = legs(2);
    let right = legs.legs[0].read("d/f");
    legs.legs[0].rot("d/f", 1);
    legs.legs[1].rot("d/f", 150_000);
    let report = scrub(&legs, true);
    assert!(report.undecided.is_empty() && report.wrong.iter().all(|w| w.healed), "{report:?}");
    assert!(legs.legs.iter().all(|l| l.read("d/f") == right));
}

/// A leg without checksums of its own helps where its bytes are those that the wrong leg should have, and not otherwise.
#[test]
fn an_unknown_copy_heals_only_what_its_bytes_are_right_for() {
    let legs = Legs::new(2);
    legs.on_all(|l| l.write("f", &[3; LEN]));
    legs.legs[0].learn("f", 1);
    legs.legs[0].rot("f", 10);
    legs.legs[0].rot("f", 70_000);
    legs.legs[1].rot("f", 70_001);
    let report = scrub(&legs, true);
    assert_eq!(
        report.wrong.iter().map(|w| (w.offset, w.healed)).collect::<Vec<_>>(),
        [(0, true), (65_536, false)]
    );
    assert_eq!(report.undecided.len(), 1, "{report:?}");
    assert_eq!(legs.legs[0].read("f")[10], 3);
    assert_ne!(legs.legs[0].read("f")[70_000], 3);
}

#[test]
fn a_block_that_is_wrong_everywhere_is_reported_and_left() {
    let legs = legs(2);
    legs.legs[0].rot("d/f", 1);
    legs.legs[1].rot("d/f", 2);
    let before: Vec<_> = legs.legs.iter().map(|l| l.read("d/f")).collect();
    let report = scrub(&legs, true);
    assert!(!report.undecided.is_empty() && report.wrong.iter().all(|w| !w.healed));
    assert_eq!(legs.legs.iter().map(|l| l.read("d/f")).collect::<Vec<_>>(), before);
}

/// Files that no manifest knows: equal ones are known from then on, and those that differ are nobody's to decide.
#[test]
fn without_checksums_nothing_is_decided() {
    let legs = Legs::new(3);
    legs.on_all(|l| ["same", "differs"].iter().for_each(|f| l.write(f, b"bytes")));
    legs.legs[2].write("differs", b"BYTES");
    let report = scrub(&legs, true);
    assert_eq!(report.undecided.len(), 1);
    assert_eq!(report.undecided[0].path, Path::new("differs"));
    assert_eq!(legs.legs[2].read("differs"), b"BYTES");
    assert!(legs.legs[0].known("same").is_some() && legs.legs[0].known("differs").is_none());
}

#[test]
fn a_leg_that_is_known_to_be_right_decides() {
    let legs = Legs::new(2);
    legs.on_all(|l| l.write("f", b"right"));
    legs.legs[0].learn("f", 1);
    legs.legs[1].write("f", b"other, and longer");
    let report = scrub(&legs, true);
    assert!(report.undecided.is_empty() && report.wrong[0].healed, "{report:?}");
    legs.assert_equal("healed");
    // Both are right, at different generations: the later one.
    legs.legs[1].write("f", b"later");
    legs.legs[1].learn("f", 9);
    scrub(&legs, true);
    assert_eq!(legs.legs[0].read("f"), b"later");
}

#[test]
fn attributes_that_somebody_changed_are_put_back() {
    use std::os::unix::fs::PermissionsExt;
    let legs = legs(2);
    fs::set_permissions(legs.legs[0].at("g"), fs::Permissions::from_mode(0o600)).expect("mode");
    let report = scrub(&legs, true);
    assert!(report.undecided.is_empty(), "{report:?}");
    legs.assert_equal("healed");
    assert_eq!(fs::metadata(legs.legs[0].at("g")).expect("there").permissions().mode() & 0o777, 0o644);
}

#[test]
fn names_on_one_leg_only_are_reported() {
    let legs = legs(2);
    legs.legs[1].write("more", b"x");
    let report = scrub(&legs, true);
    assert_eq!(report.undecided.len(), 1, "{report:?}");
    assert!(legs.legs[1].at("more").exists());
}

#[test]
fn killed_anywhere_it_heals_again() {
    let mut steps = 0;
    for at in 1.. {
        let mut legs = legs(2);
        let right = legs.legs[0].read("d/f");
        for i in [5, 70_000, 140_000] {
            legs.legs[1].rot("d/f", i);
        }
        legs.legs[0].rot("g", 1);
        let sides = legs.sides();
        fail::arm(Plan::StopAt(at));
        let work = Scrub { sides: &sides, generation: 5, heal: true, hold: &Alone };
        let done = work.run(Path::new(""), &mut Limit::new(&Unobserved, "scrub", None, 0)).is_ok();
        fail::arm(Plan::Count);
        drop(sides);
        legs.reopen();
        if done {
            break;
        }
        steps = at;
        let report = scrub(&legs, true);
        assert!(report.undecided.is_empty(), "killed at {at}: {report:?}");
        assert!(
            legs.legs.iter().all(|l| l.read("d/f") == right && l.read("g") == b"small"),
            "killed at {at}"
        );
    }
    println!("a scrub was killed at each of its {steps} steps, and healed again");
    assert!(steps >= 6, "{steps}");
}
