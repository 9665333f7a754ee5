#![allow(clippy::expect_used)]
use super::super::copy::Alone;
use super::super::testing::Legs;
use super::*;
use crate::fail::{self, Plan};
use block_device::Unobserved;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn block(n: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(n)).collect()
}

/// Two legs that are equal; then the second is away, and the first changes. What the second missed, as the engine notes it.
fn world() -> (Legs, Vec<Region>) {
    let legs = Legs::new(2);
    legs.on_all(|l| {
        for i in 0..5 {
            l.write(&format!("d/f{i}"), &block(i, 70_000 * usize::from(i)));
        }
        l.write("keep/one", b"one");
        l.write("gone/deep/file", b"x");
        l.write("becomes-dir", b"y");
        l.write("becomes-file/inner", b"z");
        l.write("link/a", b"linked");
        fs::hard_link(l.at("link/a"), l.at("link/b")).expect("linked");
        l.write("unlink/a", b"was one");
        fs::hard_link(l.at("unlink/a"), l.at("unlink/b")).expect("linked");
        symlink("old", l.at("sym")).expect("a link");
    });
    let a = &legs.legs[0];
    a.write("d/f1", b"short now");
    let mut large = a.read("d/f4");
    large[200_000] ^= 1;
    a.write("d/f4", &large);
    a.write("d/new", &block(9, 130_000));
    fs::set_permissions(a.at("d/f2"), fs::Permissions::from_mode(0o640)).expect("mode");
    rustix::fs::setxattr(a.at("d/f2"), "user.k", b"v", rustix::fs::XattrFlags::empty()).expect("xattr");
    fs::remove_dir_all(a.at("gone")).expect("removed");
    fs::remove_file(a.at("becomes-dir")).expect("removed");
    a.write("becomes-dir/x/y", b"inside");
    fs::remove_dir_all(a.at("becomes-file")).expect("removed");
    a.write("becomes-file", b"now a file");
    fs::hard_link(a.at("d/f3"), a.at("link/c")).expect("linked");
    fs::remove_file(a.at("unlink/b")).expect("removed");
    a.write("unlink/b", b"is another");
    fs::remove_file(a.at("sym")).expect("removed");
    symlink("new", a.at("sym")).expect("a link");
    rustix::fs::mkfifoat(rustix::fs::CWD, a.at("fifo"), rustix::fs::Mode::RUSR).expect("a FIFO");
    let file = fs::File::create(a.at("sparse")).expect("made");
    file.set_len(10 << 20).expect("a length");
    let one = [
        "d",
        "d/f1",
        "d/f4",
        "d/new",
        "d/f2",
        "gone",
        "becomes-dir",
        "becomes-file",
        "d/f3",
        "link",
        "link/c",
    ];
    let more = ["unlink", "unlink/b", "sym", "fifo", "sparse", ""];
    let mut missed: Vec<Region> = one.iter().chain(&more).map(|p| Region::one(*p)).collect();
    missed.push(Region::subtree("becomes-dir"));
    (legs, missed)
}

fn resync(legs: &Legs) -> Result<Report> {
    let (a, b) = (&legs.legs[0], &legs.legs[1]);
    let log = MissedLog::open(&a.dir, b.uuid).map_err(|e| a.side().state_failed(e))?;
    let logs = Logs(vec![(a.side(), &a.dir, Mutex::new(log))]);
    let mut limit = Limit::new(&Unobserved, "resync", None, 0);
    run(&work(&[a.side()], b.side(), &Alone), &logs, &mut limit)
}

fn work<'a, 'b>(from: &'b [Side<'a>], to: Side<'a>, hold: &'b dyn Hold) -> Work<'a, 'b> {
    Work { from, to, generation: 2, trust: false, hold, passes: 9 }
}

fn miss(legs: &Legs, missed: &[Region]) {
    let (a, b) = (&legs.legs[0], &legs.legs[1]);
    let mut log = a.log(b);
    log.add(&a.dir, missed).expect("added");
    log.sync().expect("synced");
}

#[test]
fn a_leg_gets_what_it_missed() {
    let (legs, missed) = world();
    miss(&legs, &missed);
    let report = resync(&legs).expect("resynced");
    legs.assert_equal("after resync");
    assert!(report.undecided.is_empty() && report.wrong.is_empty());
    assert!(legs.legs[0].log(&legs.legs[1]).list().is_empty());
    // Only what differs is written: f1, a block of f4, new, x/y, becomes-file, unlink/b; zeros are not.
    assert!(report.bytes_written < 70_000 + 65_536 + 130_000 + 100, "{}", report.bytes_written);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(legs.legs[1].at("sparse")).expect("there").blocks(), 0, "holes stay holes");
    assert_eq!(
        legs.legs[1].known("d/f4").map(|k| k.sums),
        Some(legs.legs[0].read("d/f4").chunks(65_536).map(crate::state::manifest::sum).collect())
    );
    let again = resync(&legs).expect("nothing to do");
    assert_eq!((again.objects, again.changed), (0, 0));
}

#[test]
fn the_whole_tree_by_comparison_comes_to_the_same() {
    let (legs, _) = world();
    miss(&legs, &[Region::whole()]);
    resync(&legs).expect("resynced");
    legs.assert_equal("after a whole comparison");
}

/// What was not missed is not looked at: that is why a resync is quick.
#[test]
fn nothing_else_is_touched() {
    let (legs, missed) = world();
    legs.legs[1].write("keep/one", b"two");
    miss(&legs, &missed);
    let report = resync(&legs).expect("resynced");
    assert_eq!(legs.legs[1].read("keep/one"), b"two");
    assert!(report.objects < 40, "{}", report.objects);
}

/// Killed at every step, and run again: the legs are equal, and the log was never empty before.
#[test]
fn killed_anywhere_it_goes_on() {
    let mut steps = 0;
    for at in 1.. {
        let (mut legs, missed) = world();
        miss(&legs, &missed);
        fail::arm(Plan::StopAt(at));
        let done = resync(&legs).is_ok();
        fail::arm(Plan::Count);
        legs.reopen();
        if done {
            legs.assert_equal("done");
            break;
        }
        steps = at;
        resync(&legs).expect("resynced again");
        legs.assert_equal(&format!("killed at step {at}"));
        assert!(legs.legs[0].log(&legs.legs[1]).list().is_empty());
    }
    println!("a resync was killed at each of its {steps} steps, and went on");
    assert!(steps > 60, "{steps}");
}

/// A leg that fails in the middle has missed everything still, also in the log that is open.
#[test]
fn after_a_failure_nothing_is_taken_for_done() {
    let (legs, missed) = world();
    miss(&legs, &missed);
    let (a, b) = (&legs.legs[0], &legs.legs[1]);
    let logs = Logs(vec![(a.side(), &a.dir, Mutex::new(a.log(b)))]);
    let before = logs.list();
    fail::arm(Plan::FailAt(30, rustix::io::Errno::IO));
    let e = run(&work(&[a.side()], b.side(), &Alone), &logs, &mut Limit::new(&Unobserved, "resync", None, 0));
    fail::arm(Plan::Count);
    assert!(is_of(&e.expect_err("failed"), &b.side()));
    assert_eq!(logs.list(), before);
}

/// Wrong bytes on the leg that is copied from are not copied: another leg has them right, or it is reported.
#[test]
fn wrong_bytes_are_not_spread() {
    let legs = Legs::new(3);
    legs.on_all(|l| l.write("f", &block(3, 200_000)));
    for l in &legs.legs[..2] {
        l.learn("f", 1);
    }
    let right = legs.legs[0].read("f");
    legs.legs[0].rot("f", 100_000);
    legs.legs[2].write("f", b"old");
    let (a, b, c) = (&legs.legs[0], &legs.legs[1], &legs.legs[2]);
    a.log(c).add(&a.dir, &[Region::one("f")]).expect("added");
    let logs = || Logs(vec![(a.side(), &a.dir, Mutex::new(a.log(c)))]);
    let go = |from: &[Side<'_>], logs: &Logs<'_>| {
        let mut limit = Limit::new(&Unobserved, "resync", None, 0);
        run(&work(from, c.side(), &Alone), logs, &mut limit).expect("ran")
    };
    let alone = logs();
    let report = go(&[a.side()], &alone);
    assert_eq!(report.undecided.len(), 1);
    assert_eq!(alone.list(), BTreeSet::from([Region::one("f")]), "it has missed it still");
    let both = logs();
    let report = go(&[a.side(), b.side()], &both);
    assert_eq!(c.read("f"), right);
    assert_eq!((report.wrong.len(), report.wrong[0].offset), (1, 65_536));
    assert!(both.list().is_empty());
}

/// Somebody writes while it is copied: what is noted in the log then is copied too.
#[test]
fn what_is_written_meanwhile_is_copied_again() {
    struct Busy<'a>(Mutex<Option<&'a (dyn Fn() + Sync)>>);
    impl Hold for Busy<'_> {
        fn hold(&self, path: &Path, copy: &mut dyn FnMut()) {
            // Before the second file is copied, the first one is written to once more.
            if path == Path::new("b")
                && let Some(work) = self.0.lock().take()
            {
                work();
            }
            copy();
        }
    }
    let legs = Legs::new(2);
    legs.on_all(|l| ["a", "b"].iter().for_each(|f| l.write(f, b"old")));
    let (a, b) = (&legs.legs[0], &legs.legs[1]);
    a.write("a", b"newer");
    a.write("b", b"newer");
    miss(&legs, &[Region::one("a"), Region::one("b")]);
    let logs = Logs(vec![(a.side(), &a.dir, Mutex::new(a.log(b)))]);
    let again = || {
        a.write("a", b"newest");
        logs.put_back(&Region::one("a")).expect("noted");
    };
    let busy = Busy(Mutex::new(Some(&again)));
    run(&work(&[a.side()], b.side(), &busy), &logs, &mut Limit::new(&Unobserved, "resync", None, 0))
        .expect("resynced");
    assert_eq!((b.read("a"), b.read("b")), (b"newest".to_vec(), b"newer".to_vec()));
    assert!(logs.list().is_empty());
}

#[test]
fn a_resync_that_is_stopped_says_so_and_goes_on() {
    struct Stop;
    impl block_device::Observer for Stop {
        fn progress(&self, _: &'static str, _: u64, _: u64) {}
        fn cancelled(&self) -> bool {
            true
        }
    }
    let (legs, missed) = world();
    miss(&legs, &missed);
    let (a, b) = (&legs.legs[0], &legs.legs[1]);
    let logs = Logs(vec![(a.side(), &a.dir, Mutex::new(a.log(b)))]);
    let e = run(&work(&[a.side()], b.side(), &Alone), &logs, &mut Limit::new(&Stop, "resync", None, 0));
    assert!(matches!(e, Err(Error::Cancelled)));
    drop(logs);
    resync(&legs).expect("resynced");
    legs.assert_equal("after being stopped");
}
