#![allow(clippy::expect_used)]
use super::super::testing::look;
use super::*;
use crate::fail::{self, Plan};
use crate::leg::Local;
use block_device::Unobserved;
use std::fs;

struct Disks(tempfile::TempDir);

impl Disks {
    /// A set of so many legs, with something in it.
    fn new(n: usize) -> Disks {
        let disks = Disks(tempfile::tempdir().expect("a directory"));
        let legs: Vec<_> = (0..n).map(|i| disks.leg(i)).collect();
        super::super::create("set", &legs, 1).expect("made");
        for i in 0..n {
            disks.write(i, "d/a", b"first");
            disks.write(i, "d/b", &vec![7; 150_000]);
            disks.write(i, "e", b"e");
        }
        for i in 1..n {
            disks.level(i);
        }
        disks
    }

    fn path(&self, i: usize) -> PathBuf {
        self.0.path().join(i.to_string())
    }

    fn leg(&self, i: usize) -> Arc<dyn Leg> {
        fs::create_dir_all(self.path(i)).expect("made");
        Arc::new(Local::open(&self.path(i)).expect("a leg"))
    }

    fn write(&self, i: usize, path: &str, bytes: &[u8]) {
        let path = self.path(i).join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    fn read(&self, i: usize, path: &str) -> Vec<u8> {
        fs::read(self.path(i).join(path)).expect("read")
    }

    fn level(&self, i: usize) {
        for path in look(&self.path(0)).into_keys().rev() {
            let time = fs::metadata(self.path(0).join(&path)).expect("there").modified().expect("a time");
            fs::File::open(self.path(i).join(&path)).expect("there").set_modified(time).expect("set");
        }
    }

    fn open(&self, legs: &[usize]) -> Cold {
        Cold::open(legs.iter().map(|i| self.leg(*i)).collect()).expect("opened")
    }

    fn assert_equal(&self, a: usize, b: usize, what: &str) {
        let (x, y) = (look(&self.path(a)), look(&self.path(b)));
        assert_eq!(x.keys().collect::<Vec<_>>(), y.keys().collect::<Vec<_>>(), "{what}");
        for (path, seen) in &x {
            assert_eq!(seen, &y[path], "{what}: {}", path.display());
        }
    }

    /// What a mounted set does that goes on without the other leg, and is unmounted.
    fn go_alone(&self, i: usize, work: &[&str]) {
        let mut cold = self.open(&[i]);
        let other = cold.state().members.iter().find(|m| cold.leg(m.leg).is_none()).expect("another").leg;
        cold.write(|state| {
            state.member_mut(other).expect("the other").standing = Standing::Stale;
        })
        .expect("written");
        for path in work {
            self.write(i, path, format!("by {i}").as_bytes());
        }
        let regions: Vec<_> = work.iter().map(Region::one).collect();
        cold.miss(other, &regions).expect("noted");
    }

    fn standings(&self, legs: &[usize]) -> Vec<Claim> {
        self.open(legs).legs().iter().map(|l| l.claim).collect()
    }
}

fn add(disks: &Disks, legs: &[usize], new: usize) -> Result<Report> {
    let mut cold = Cold::open(legs.iter().map(|i| disks.leg(*i)).collect())?;
    let leg = cold.add(disks.leg(new), Role::Normal, false)?;
    cold.resync(leg, None, &Unobserved)
}

#[test]
fn a_new_leg_gets_everything_and_is_live() {
    let disks = Disks::new(2);
    add(&disks, &[0, 1], 2).expect("added");
    disks.assert_equal(0, 2, "added");
    assert_eq!(disks.standings(&[0, 1, 2]), [Claim::Current; 3]);
    assert_eq!(disks.open(&[2]).state().members.len(), 3);
    disks.write(3, "precious", b"x");
    let mut cold = disks.open(&[0, 1, 2]);
    assert!(matches!(cold.add(disks.leg(3), Role::Normal, false), Err(ColdError::NotEmpty(_))));
    assert_eq!(disks.read(3, "precious"), b"x");
}

/// Killed at each step, and the same command again: added once, equal, live.
#[test]
fn adding_goes_on_wherever_it_was_killed() {
    let mut steps = 0;
    for at in 1.. {
        let disks = Disks::new(1);
        fail::arm(Plan::StopAt(at));
        let done = add(&disks, &[0], 1).is_ok();
        fail::arm(Plan::Count);
        if done {
            break;
        }
        steps = at;
        // Wherever the new leg is known by now, it is not taken for right.
        let there: &[usize] =
            if disks.path(1).join(".hostfs-mirror/leg.state").exists() { &[0, 1] } else { &[0] };
        let claims = disks.standings(there);
        assert_eq!(claims[0], Claim::Current, "killed at {at}");
        if claims.get(1) != Some(&Claim::Current) {
            add(&disks, &[0], 1).unwrap_or_else(|e| panic!("killed at {at}: {e}"));
        }
        disks.assert_equal(0, 1, &format!("killed at {at}"));
        assert_eq!(disks.standings(&[0, 1]), [Claim::Current; 2], "killed at {at}");
        assert_eq!(disks.open(&[0, 1]).state().members.len(), 2, "killed at {at}");
    }
    println!("adding a leg was killed at each of its {steps} steps, and went on");
    assert!(steps > 30, "{steps}");
}

#[test]
fn a_leg_that_is_removed_is_a_plain_directory() {
    let disks = Disks::new(2);
    let mut cold = disks.open(&[0, 1]);
    let second = cold.find("2").expect("the second").leg;
    cold.remove(second).expect("removed");
    assert!(!disks.path(1).join(".hostfs-mirror").exists());
    assert_eq!(disks.read(1, "d/a"), b"first");
    let last = cold.find("1").expect("the first").leg;
    assert!(matches!(cold.remove(last), Err(ColdError::LastLeg(_))));
    drop(cold);
    assert_eq!(disks.open(&[0]).state().members.len(), 1);
    let live = disks.open(&[0]).dissolve().expect("dissolved");
    assert_eq!(live, [disks.path(0)]);
    assert!(!disks.path(0).join(".hostfs-mirror").exists());
}

/// The state of the survivor is written before anything is done to the leg that leaves: wherever it stops, the survivor is whole.
#[test]
fn removing_goes_on_wherever_it_was_killed() {
    for at in 1.. {
        let disks = Disks::new(2);
        fail::arm(Plan::StopAt(at));
        let remove = || {
            let mut cold = Cold::open(vec![disks.leg(0), disks.leg(1)])?;
            let leg = cold.find("2")?.leg;
            cold.remove(leg)
        };
        let done = remove().is_ok();
        fail::arm(Plan::Count);
        assert_eq!(disks.open(&[0]).legs()[0].claim, Claim::Current, "killed at {at}");
        disks.assert_equal(0, 1, &format!("killed at {at}"));
        if done {
            break;
        }
    }
}

#[test]
fn a_leg_that_was_away_is_brought_up_to_date() {
    let disks = Disks::new(2);
    disks.go_alone(0, &["d/a", "new"]);
    assert_eq!(disks.standings(&[0, 1]), [Claim::Current, Claim::Behind]);
    let mut cold = disks.open(&[0, 1]);
    let leg = cold.find("2").expect("the second").leg;
    assert_eq!(cold.missed(leg).expect("read"), 2);
    let report = cold.resync(leg, None, &Unobserved).expect("resynced");
    assert_eq!(report.objects, 2, "by the log, and nothing else");
    drop(cold);
    disks.assert_equal(0, 1, "resynced");
    assert_eq!(disks.standings(&[0, 1]), [Claim::Current; 2]);
}

/// Two legs that each went on alone: nothing happens before somebody chooses, path by path.
#[test]
fn a_split_brain_is_decided_path_by_path() {
    let disks = Disks::new(2);
    disks.go_alone(0, &["d/a", "both", "only0/x"]);
    disks.go_alone(1, &["d/a", "both", "e"]);
    let mut cold = disks.open(&[0, 1]);
    assert!(cold.is_split());
    assert!(matches!(cold.recover(&Unobserved), Err(ColdError::SplitBrain)));
    let (first, second) = (cold.find("1").expect("first").leg, cold.find("2").expect("second").leg);
    let paths = |cold: &Cold| -> Vec<String> {
        cold.disputed().expect("listed").iter().map(|d| d.path.display().to_string()).collect()
    };
    assert_eq!(paths(&cold), ["both", "d/a", "e", "only0/x"]);
    let (_, left) = cold.choose(Path::new("both"), second, &Unobserved).expect("chosen");
    assert_eq!(left, 3);
    assert_eq!(disks.read(0, "both"), b"by 1");
    drop(cold);
    // It can be gone on with another time.
    let mut cold = disks.open(&[0, 1]);
    assert_eq!(paths(&cold), ["d/a", "e", "only0/x"]);
    cold.choose(Path::new("e"), first, &Unobserved).expect("chosen");
    assert_eq!(disks.read(1, "e"), b"e");
    let (_, left) = cold.choose(Path::new(""), first, &Unobserved).expect("chosen");
    assert_eq!(left, 0);
    drop(cold);
    disks.assert_equal(0, 1, "decided");
    assert_eq!((disks.read(1, "d/a"), disks.read(1, "only0/x")), (b"by 0".to_vec(), b"by 0".to_vec()));
    assert_eq!(disks.standings(&[0, 1]), [Claim::Current; 2]);
    assert!(disks.open(&[0, 1]).recover(&Unobserved).expect("nothing").is_none());
}

/// Killed at each step of a choice: it is a split brain still, or decided; and the choice made again decides it.
#[test]
fn a_choice_goes_on_wherever_it_was_killed() {
    let mut steps = 0;
    for at in 1.. {
        let disks = Disks::new(2);
        disks.go_alone(0, &["d/a", "both"]);
        disks.go_alone(1, &["both", "e"]);
        let choose = || -> Result<usize> {
            let mut cold = Cold::open(vec![disks.leg(0), disks.leg(1)])?;
            let leg = cold.find("2")?.leg;
            Ok(cold.choose(Path::new(""), leg, &Unobserved)?.1)
        };
        fail::arm(Plan::StopAt(at));
        let done = choose().is_ok();
        fail::arm(Plan::Count);
        if done {
            break;
        }
        steps = at;
        if disks.open(&[0, 1]).is_split() {
            assert_eq!(choose().unwrap_or_else(|e| panic!("killed at {at}: {e}")), 0);
        }
        assert!(disks.standings(&[0, 1]).iter().all(|c| *c != Claim::WentOnAlone), "killed at {at}");
        for path in ["d/a", "both", "e"] {
            assert_eq!(disks.read(0, path), disks.read(1, path), "killed at {at}");
        }
        assert_eq!(disks.read(0, "both"), b"by 1", "killed at {at}");
    }
    println!("a choice was killed at each of its {steps} steps, and went on");
    assert!(steps > 20, "{steps}");
}

/// A third leg that has no part in it has not got what was chosen.
#[test]
fn a_leg_that_was_not_there_when_it_was_decided_is_behind() {
    let disks = Disks::new(3);
    let stale = |i: usize, others: &[usize]| {
        let mut cold = disks.open(&[i]);
        let away: Vec<_> = others.iter().map(|o| cold.state().members[*o].leg).collect();
        cold.write(|s| {
            s.members.iter_mut().filter(|m| away.contains(&m.leg)).for_each(|m| m.standing = Standing::Stale)
        })
        .expect("written");
        disks.write(i, "both", format!("by {i}").as_bytes());
        away.iter().for_each(|leg| cold.miss(*leg, &[Region::one("both")]).expect("noted"));
    };
    stale(0, &[1]);
    stale(1, &[0, 2]);
    let mut cold = disks.open(&[0, 1]);
    let second = cold.find("2").expect("second").leg;
    assert_eq!(cold.choose(Path::new(""), second, &Unobserved).expect("chosen").1, 0);
    drop(cold);
    assert_eq!(disks.standings(&[0, 1, 2]), [Claim::Current, Claim::Current, Claim::Behind]);
    let mut cold = disks.open(&[0, 1, 2]);
    let third = cold.find("3").expect("third").leg;
    cold.resync(third, None, &Unobserved).expect("resynced");
    drop(cold);
    assert_eq!(disks.read(2, "both"), b"by 1");
    disks.assert_equal(0, 2, "resynced");
}

/// What scrub cannot decide somebody can.
#[test]
fn a_file_that_is_wrong_everywhere_is_chosen() {
    let disks = Disks::new(2);
    disks.open(&[0, 1]).scrub(Path::new(""), true, None, &Unobserved).expect("learned");
    for i in 0..2 {
        let path = disks.path(i).join("d/b");
        let time = fs::metadata(&path).expect("there").modified().expect("a time");
        disks.write(i, "d/b", &vec![8 + i as u8; 150_000]);
        fs::File::options().write(true).open(path).expect("opened").set_modified(time).expect("set");
    }
    let mut cold = disks.open(&[0, 1]);
    assert!(!cold.scrub(Path::new(""), true, None, &Unobserved).expect("scrubbed").undecided.is_empty());
    let second = cold.find("2").expect("second").leg;
    cold.choose(Path::new("d/b"), second, &Unobserved).expect("chosen");
    assert_eq!(disks.read(0, "d/b"), vec![9; 150_000]);
    let report = cold.scrub(Path::new(""), true, None, &Unobserved).expect("scrubbed");
    assert!(report.wrong.is_empty() && report.undecided.is_empty(), "{report:?}");
}

#[test]
fn a_leg_of_another_set_is_refused_by_its_name() {
    let (disks, others) = (Disks::new(1), Disks::new(1));
    let opened = Cold::open(vec![disks.leg(0), others.leg(0)]);
    assert!(matches!(opened, Err(ColdError::Foreign { name, .. }) if name == "set"));
}

#[test]
fn one_at_a_time() {
    let disks = Disks::new(1);
    let _first = disks.open(&[0]);
    let second = Cold::open(vec![disks.leg(0)]);
    assert!(matches!(second, Err(ColdError::State { source: state::Error::InUse, .. })));
}
