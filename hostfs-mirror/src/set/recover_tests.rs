#![allow(clippy::expect_used)]
use super::super::testing::Legs;
use super::*;
use crate::fail::{self, Plan};
use block_device::Unobserved;
use std::fs;

fn marks(regions: &[Region]) -> Option<Marks> {
    Some(Marks { regions: regions.to_vec(), damaged: 0 })
}

/// Three legs that crashed while the first was ahead of the second, and that of the third.
fn crashed() -> (Legs, BTreeSet<Region>) {
    let legs = Legs::new(3);
    legs.on_all(|l| {
        l.write("d/a", &vec![7; 150_000]);
        l.write("d/sub/inner", b"inner");
        l.write("from/moved", b"moved");
        l.write("to/there", b"there");
        l.write("from/dir/x", b"x");
        l.write("quiet/same", b"same");
    });
    for (i, l) in legs.legs.iter().enumerate().take(2) {
        l.write("d/a", &vec![8 + i as u8; 150_000]);
        l.write("d/new", b"made on two");
        fs::rename(l.at("from/moved"), l.at("to/moved")).expect("renamed");
    }
    let first = &legs.legs[0];
    first.write("d/new-dir/deep/f", b"on one");
    fs::rename(first.at("from/dir"), first.at("to/dir")).expect("renamed");
    fs::hard_link(first.at("to/there"), first.at("d/there")).expect("linked");
    let regions = [
        Region::one("d"),
        Region::one("from"),
        Region::one("to"),
        Region::subtree("from/dir"),
        Region::subtree("to/dir"),
    ];
    (legs, BTreeSet::from(regions))
}

#[test]
fn what_was_on_its_way_is_carried_forward() {
    let (legs, regions) = crashed();
    let report = run(&legs.sides(), 2, &regions, &Unobserved).expect("recovered");
    legs.assert_equal("recovered");
    assert_eq!(legs.legs[2].read("to/dir/x"), b"x");
    assert_eq!(legs.legs[2].read("d/new-dir/deep/f"), b"on one");
    assert!(report.undecided.is_empty());
}

#[test]
fn only_what_is_marked_is_looked_at() {
    let (legs, regions) = crashed();
    legs.legs[1].write("quiet/same", b"else");
    legs.legs[1].write("d/sub/inner", b"else");
    run(&legs.sides(), 2, &regions, &Unobserved).expect("recovered");
    assert_eq!(legs.legs[1].read("quiet/same"), b"else");
    assert_eq!(
        legs.legs[1].read("d/sub/inner"),
        b"else",
        "a mark is a directory, not what is in its directories"
    );
}

#[test]
fn killed_anywhere_it_recovers_again() {
    let mut steps = 0;
    for at in 1.. {
        let (mut legs, regions) = crashed();
        let right = super::super::testing::look(&legs.legs[0].path);
        fail::arm(Plan::StopAt(at));
        let done = run(&legs.sides(), 2, &regions, &Unobserved).is_ok();
        fail::arm(Plan::Count);
        legs.reopen();
        if done {
            break;
        }
        steps = at;
        run(&legs.sides(), 2, &regions, &Unobserved).expect("recovered");
        legs.assert_equal(&format!("killed at step {at}"));
        assert_eq!(super::super::testing::look(&legs.legs[0].path), right, "the primary is not touched");
    }
    println!("a recovery was killed at each of its {steps} steps, and recovered");
    assert!(steps > 40, "{steps}");
}

/// The primary is believed, unless its own checksum says that it is wrong.
#[test]
fn a_checksum_overrules_the_primary() {
    let legs = Legs::new(2);
    legs.on_all(|l| l.write("d/f", &vec![1; 100_000]));
    legs.legs.iter().for_each(|l| l.learn("d/f", 1));
    let regions = BTreeSet::from([Region::one("d")]);
    legs.legs[0].rot("d/f", 90_000);
    let report = run(&legs.sides(), 2, &regions, &Unobserved).expect("recovered");
    assert_eq!(legs.legs[1].read("d/f"), vec![1; 100_000], "wrong bytes are not spread");
    assert_eq!((report.wrong.len(), report.undecided.len()), (1, 0));
    // Both are wrong: nobody can say, and nothing is changed.
    legs.legs[1].rot("d/f", 90_001);
    let before = legs.legs[1].read("d/f");
    let report = run(&legs.sides(), 2, &regions, &Unobserved).expect("recovered");
    assert_eq!(report.undecided.len(), 1);
    assert_eq!(legs.legs[1].read("d/f"), before);
}

#[test]
fn maps_make_up_for_one_another() {
    let (a, b) = (Region::one("a"), Region::one("b"));
    let one = std::slice::from_ref::<Region>;
    let bad = Some(Marks { regions: vec![], damaged: 3 });
    assert_eq!(regions(&[marks(one(&a)), marks(one(&b))]), BTreeSet::from([a.clone(), b]));
    assert_eq!(regions(&[bad.clone(), marks(one(&a))]), BTreeSet::from([a.clone()]));
    assert_eq!(regions(&[None, marks(one(&a))]), BTreeSet::from([a]));
    assert_eq!(regions(&[bad, None]), BTreeSet::from([Region::whole()]));
    let beneath =
        marks(&[Region::subtree("d"), Region::one("d/e"), Region::subtree("d/f"), Region::one("dx")]);
    assert_eq!(regions(&[beneath]), BTreeSet::from([Region::subtree("d"), Region::one("dx")]));
}
