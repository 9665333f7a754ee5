//! A leg dies while a program writes: the program sees nothing of it, and the set knows which leg is right.

use crate::compare::assert_equal_but_access;
use crate::faulty::{Fault, Faulty};
use crate::place::{Mounted, Place, locals};
use hostfs_mirror::leg::Leg;
use hostfs_mirror::state::Standing;
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes, writes, renames and removes; at the half of it the leg fails.
fn work(mounted: &Mounted, at_half: impl FnOnce()) {
    let mut at_half = Some(at_half);
    let open = fs::File::create(mounted.at("open")).expect("made");
    for n in 0..60_u64 {
        if n == 30
            && let Some(fail) = at_half.take()
        {
            fail();
        }
        let (dir, file) = (mounted.at(&format!("d{n}")), mounted.at(&format!("d{n}/f")));
        fs::create_dir(&dir).expect("made");
        fs::write(&file, n.to_string().repeat(1000)).expect("written");
        fs::hard_link(&file, dir.join("g")).expect("linked");
        fs::rename(&file, mounted.at(&format!("f{n}"))).expect("renamed");
        open.write_all_at(&n.to_le_bytes(), n * 8).expect("written");
        if n % 3 == 0 {
            open.sync_all().expect("durable");
            fs::remove_file(mounted.at(&format!("f{n}"))).expect("removed");
        }
    }
    for n in 0..60_u64 {
        assert_eq!(
            fs::read_to_string(mounted.at(&format!("d{n}/g"))).expect("read"),
            n.to_string().repeat(1000)
        );
        assert_eq!(mounted.at(&format!("f{n}")).exists(), n % 3 != 0);
    }
}

/// The leg at `which` (from 0) of two fails so.
fn one_fails(which: usize, fault: Fault, standing: Standing) {
    let Some(place) = Place::new() else { return };
    let paths = [place.directory("a"), place.directory("b")];
    let legs = [Faulty::new(&paths[0]), Faulty::new(&paths[1])];
    let all: Vec<Arc<dyn Leg>> = legs.iter().map(|leg| leg.clone() as Arc<dyn Leg>).collect();
    let mounted = Mounted::new(&place, all);
    work(&mounted, || legs[which].becomes(fault));
    let leg = mounted.leg(which + 1);
    assert_eq!(
        (leg.standing, mounted.set.status().generation),
        (standing, 2),
        "{:?}",
        mounted.set.status().events
    );
    assert!(leg.missed > 0);
    // What is found on the legs by who comes later: the one that failed is behind.
    legs[which].becomes(Fault::Sound);
    assert_eq!(mounted.end(), Ok(()));
    let mounted = Mounted::again(&place, locals(&paths));
    assert_eq!(mounted.leg(which + 1).standing, standing);
    assert_eq!(mounted.leg(2 - which).standing, Standing::Live);
    mounted.set.take_in(which, None, None, &block_device::Unobserved).expect("taken in");
    assert_eq!(mounted.leg(which + 1).standing, Standing::Live);
    fs::write(mounted.at("after"), "both").expect("written");
    assert_eq!(mounted.end(), Ok(()));
    assert_equal_but_access(&paths);
}

#[test]
fn the_second_has_no_room() {
    one_fails(1, Fault::Writes(Errno::NOSPC), Standing::Stale);
}

#[test]
fn the_first_is_read_only() {
    one_fails(0, Fault::Writes(Errno::ROFS), Standing::Stale);
}

#[test]
fn the_first_dies() {
    one_fails(0, Fault::All(Errno::IO), Standing::Fenced);
}

#[test]
fn what_the_second_syncs_is_lost() {
    one_fails(1, Fault::Syncs(Errno::IO), Standing::Fenced);
}

fn hangs(which: usize) {
    let Some(place) = Place::new() else { return };
    let paths = [place.directory("a"), place.directory("b")];
    let legs = [Faulty::new(&paths[0]), Faulty::new(&paths[1])];
    let all: Vec<Arc<dyn Leg>> = legs.iter().map(|leg| leg.clone() as Arc<dyn Leg>).collect();
    let mounted = Mounted::new(&place, all);
    let begun = Instant::now();
    work(&mounted, || legs[which].becomes(Fault::Hangs));
    // One timeout of a second, and not one an operation.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(mounted.leg(which + 1).standing, Standing::Fenced);
    assert!(mounted.leg(which + 1).hanging > 0);
    legs[which].becomes(Fault::Sound);
    assert_eq!(mounted.end(), Ok(()));
}

#[test]
fn the_first_hangs() {
    hangs(0);
}

#[test]
fn the_second_hangs() {
    hangs(1);
}

#[test]
fn a_real_one_is_full() {
    let Some(mut place) = Place::new() else { return };
    let Some(small) = place.tmpfs("small", "3m") else { return };
    let paths = [place.directory("a"), small];
    let mounted = Mounted::new(&place, locals(&paths));
    for n in 0..10 {
        fs::write(mounted.at(&format!("f{n}")), vec![n; 1 << 20]).expect("written");
    }
    assert_eq!((mounted.leg(1).standing, mounted.leg(2).standing), (Standing::Live, Standing::Stale));
    for n in 0..10 {
        assert_eq!(fs::read(mounted.at(&format!("f{n}"))).expect("read"), vec![n; 1 << 20]);
    }
    assert_eq!(mounted.end(), Ok(()));
}

/// What a disk does that rots: a bit changes, and nothing else.
fn flip(path: PathBuf, at: u64) {
    let times = fs::metadata(&path).expect("there");
    let file = fs::File::options().read(true).write(true).open(&path).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 8], at).expect("written");
    let times = fs::FileTimes::new()
        .set_modified(times.modified().expect("a time"))
        .set_accessed(times.accessed().expect("a time"));
    file.set_times(times).expect("set");
}

#[test]
fn a_flipped_bit_is_never_served() {
    let Some(place) = Place::new() else { return };
    let paths = [place.directory("a"), place.directory("b")];
    let mounted = Mounted::new(&place, locals(&paths));
    let right: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    for name in ["f", "g", "h"] {
        fs::write(mounted.at(name), &right).expect("written");
    }
    assert_eq!(mounted.end(), Ok(()));
    flip(paths[0].join("f"), 700_001);
    flip(paths[1].join("g"), 3);
    flip(paths[0].join("h"), 1_199_999);
    flip(paths[1].join("h"), 65_536);
    let mounted = Mounted::reading_from(Some(1), &place, locals(&paths));
    for name in ["f", "g", "h"] {
        assert!(fs::read(mounted.at(name)).expect("read") == right, "{name}");
    }
    let status = mounted.set.status();
    assert!(status.events.iter().any(|e| e.text.contains("repaired")), "{:?}", status.events);
    assert!(status.legs.iter().all(|leg| leg.standing == Standing::Live));
    assert_eq!(mounted.end(), Ok(()));
    // What was read from the leg that is read is right again on it.
    assert!(fs::read(paths[0].join("f")).expect("read") == right);
    assert!(fs::read(paths[0].join("h")).expect("read") == right);
}

#[test]
fn bad_on_both_is_an_error() {
    let Some(place) = Place::new() else { return };
    let paths = [place.directory("a"), place.directory("b")];
    let mounted = Mounted::new(&place, locals(&paths));
    fs::write(mounted.at("f"), vec![7; 100_000]).expect("written");
    assert_eq!(mounted.end(), Ok(()));
    flip(paths[0].join("f"), 10);
    flip(paths[1].join("f"), 20);
    let mounted = Mounted::again(&place, locals(&paths));
    let e = fs::read(mounted.at("f")).expect_err("no good copy");
    assert_eq!(e.raw_os_error(), Some(Errno::IO.raw_os_error()));
    assert_eq!(mounted.end(), Ok(()));
}
