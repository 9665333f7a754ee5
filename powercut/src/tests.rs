use super::*;
use block_device::BlockDevice;
use std::io;

fn atoms(values: &[u8]) -> Vec<u8> {
    values.iter().flat_map(|v| [*v; ATOM as usize]).collect()
}

#[test]
fn live_and_durable_are_kept_apart() {
    let disk = PowerCut::new();
    let a = disk.device(atoms(&[1, 1]));
    let b = disk.device(atoms(&[1]));
    a.write_at(&atoms(&[2]), 0).unwrap();
    b.write_at(&atoms(&[3]), 0).unwrap();
    a.flush().unwrap();
    a.discard(ATOM, ATOM).unwrap();
    assert_eq!(disk.operations(), 4);
    assert_eq!(a.live(), atoms(&[2, 0]));
    let none = disk.survivors(Survive::None);
    assert_eq!(none.device(a.id()), atoms(&[2, 1]), "what came after the flush is lost");
    assert_eq!(none.device(b.id()), atoms(&[1]), "a flush covers one device");
    let all = disk.survivors(Survive::All);
    assert_eq!((all.device(0), all.device(1)), (&atoms(&[2, 0])[..], &atoms(&[3])[..]));
    assert!(a.write_at(&[0; 2], 2 * ATOM - 1).is_err());
    assert_eq!(disk.operations(), 4, "a request that is refused is no operation");
}

#[test]
fn the_operation_that_is_cut_may_be_half_done() {
    let disk = PowerCut::new();
    let a = disk.device(atoms(&[1; 8]));
    disk.cut_at(1);
    a.flush().unwrap();
    assert_eq!(a.write_at(&atoms(&[2; 8]), 0).unwrap_err().to_string(), "the power is gone");
    assert!(disk.is_cut());
    assert!(a.flush().is_err() && a.read_at(&mut [0], 0).is_err() && a.set_len(0).is_err());
    assert_eq!(disk.operations(), 2, "nothing happens without power");
    assert_eq!(disk.survivors(Survive::None).device(0), atoms(&[1; 8]));
    assert_eq!(disk.survivors(Survive::All).device(0), atoms(&[2; 8]));
    let mut torn = 0;
    for seed in 0..50 {
        let left = disk.survivors(Survive::Random(seed));
        assert_eq!(left, disk.survivors(Survive::Random(seed)));
        for piece in left.device(0).chunks(ATOM as usize) {
            assert!(piece == atoms(&[1]) || piece == atoms(&[2]), "an atom is never torn");
        }
        torn += u64::from(left.device(0)[..512] != left.device(0)[7 * 512..]);
    }
    assert!((5..45).contains(&torn), "{torn} of 50 torn");
}

#[test]
fn an_atom_shows_only_what_it_once_held() {
    let disk = PowerCut::new();
    let a = disk.device(vec![0; 512]);
    a.write_at(&[1], 0).unwrap();
    a.write_at(&[2], 511).unwrap();
    let mut seen = [false; 3];
    for seed in 0..50 {
        let left = disk.survivors(Survive::Random(seed));
        let state =
            [(0, 0), (1, 0), (1, 2)].iter().position(|s| *s == (left.device(0)[0], left.device(0)[511]));
        seen[state.expect("a state that was never there")] = true;
    }
    assert_eq!(seen, [true; 3]);
}

#[test]
fn a_length_is_lost_apart_from_its_bytes() {
    let disk = PowerCut::new();
    let a = disk.device(vec![]);
    a.set_len(700).unwrap();
    a.write_at(&[5; 700], 0).unwrap();
    let lens: Vec<_> = (0..50).map(|s| disk.survivors(Survive::Random(s)).device(0).to_vec()).collect();
    assert!(lens.iter().any(Vec::is_empty));
    assert!(lens.iter().any(|b| b.len() == 700 && b[..512] == [0; 512] && b[512..] == [5; 188]));
    a.flush().unwrap();
    assert_eq!(disk.survivors(Survive::None).device(0), [5; 700]);
}

/// Replaces a file the way `block_device::NewFile` does. Returns whether the replacement was acknowledged.
fn replace(disk: &PowerCut, flush: bool, sync: bool) -> bool {
    let old = disk.device(atoms(&[1, 1]));
    let dir = disk.directory();
    let steps = || -> io::Result<()> {
        dir.put("image", &old)?;
        dir.sync()?;
        let new = dir.create(2 * ATOM)?;
        new.write_at(&atoms(&[2, 2]), 0)?;
        if flush {
            new.flush()?;
        }
        dir.put(".part", &new)?;
        dir.rename(".part", "image")?;
        if sync {
            dir.sync()?;
        }
        Ok(())
    };
    steps().is_ok()
}

/// The cases in which the file is neither the old one nor, as promised, the new one.
fn broken(flush: bool, sync: bool) -> (Tally, u64) {
    let mut bad = 0;
    let tally = every_cut(
        4,
        |disk| replace(disk, flush, sync),
        |done, left, cut| {
            let file = left.file("image");
            let whole = file == Some(&atoms(&[2, 2]));
            let old = file == Some(&atoms(&[1, 1])) || (file.is_none() && cut.at.is_some_and(|n| n < 2));
            bad += u64::from(!whole && (*done || !old));
        },
    );
    (tally, bad)
}

#[test]
fn atomic_replacement_is_told_from_what_only_looks_so() {
    let (tally, bad) = broken(true, true);
    assert_eq!((tally.cuts, bad), (9, 0), "{tally}");
    assert!(tally.checked > 9 * 6, "unsynced names are tried both ways: {tally}");
    assert!(broken(false, true).1 > 0, "a name before its bytes");
    assert!(broken(true, false).1 > 0, "a rename that was never synced");
}

#[test]
fn names_come_and_go() {
    let disk = PowerCut::new();
    let dir = disk.directory();
    let a = dir.create(1).unwrap();
    dir.put("a", &a).unwrap();
    dir.sync().unwrap();
    dir.rename("a", "b").unwrap();
    assert_eq!(dir.open("a").err().map(|e| e.kind()), Some(io::ErrorKind::NotFound));
    assert_eq!(dir.open("b").unwrap().id(), a.id());
    let names = |mode| disk.survivors_with(Survive::None, mode).names().collect::<Vec<_>>().join(" ");
    assert_eq!((names(Survive::None), names(Survive::All)), ("a".into(), "b".into()));
    dir.remove("b").unwrap();
    assert_eq!(dir.remove("b").unwrap_err().kind(), io::ErrorKind::NotFound);
    let seen: Vec<_> = (0..20).map(|s| names(Survive::Random(s))).collect();
    assert!(["a", "b", ""].iter().all(|n| seen.iter().any(|s| s == n)), "{seen:?}");
}
