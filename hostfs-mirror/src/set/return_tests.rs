//! Whole sets that crash, and legs that come back: old, after a crash, under load, with others' data, after going on alone.

#![allow(clippy::expect_used)]

use super::testing::look;
use super::*;
use crate::leg::{Leg, Local};
use block_device::Unobserved;
use rustix::fs::Mode;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Directories that are legs of a set.
struct Disks(tempfile::TempDir);

impl Disks {
    fn new(n: usize) -> Disks {
        // As the program does.
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current = limit.maximum;
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("a limit");
        let disks = Disks(tempfile::tempdir().expect("a directory"));
        let legs: Vec<_> = (0..n).map(|i| disks.add(i)).collect();
        create("set", &legs, 1).expect("made");
        disks
    }

    fn add(&self, i: usize) -> Arc<dyn Leg> {
        std::fs::create_dir_all(self.path(i)).expect("made");
        self.leg(i)
    }

    fn path(&self, i: usize) -> PathBuf {
        self.0.path().join(i.to_string())
    }

    fn leg(&self, i: usize) -> Arc<dyn Leg> {
        Arc::new(Local::open(&self.path(i)).expect("a leg"))
    }

    fn open(&self, legs: &[usize]) -> std::result::Result<Tree, OpenError> {
        let until = Instant::now() + std::time::Duration::from_secs(20);
        loop {
            match Set::open(legs.iter().map(|i| self.leg(*i)).collect(), Options::default()) {
                // The last thread of the set that was closed has not quite gone yet.
                Err(OpenError::Leg { source: crate::state::Error::InUse, .. }) if Instant::now() < until => {
                    std::thread::yield_now();
                }
                opened => return opened.map(Tree),
            }
        }
    }

    /// A leg as it is now, somewhere else: what a crash, or a backup, leaves.
    fn image(&self, from: usize, to: usize) {
        let _ = std::fs::remove_dir_all(self.path(to));
        let done = Command::new("cp").arg("-a").arg(self.path(from)).arg(self.path(to)).status();
        assert!(done.expect("cp runs").success());
    }

    fn assert_equal(&self, legs: &[usize]) {
        let first = look(&self.path(legs[0]));
        for leg in &legs[1..] {
            let other = look(&self.path(*leg));
            let keys = |l: &std::collections::BTreeMap<PathBuf, _>| l.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&first), keys(&other), "names on {leg}");
            for (path, seen) in &first {
                assert_eq!(seen, &other[path], "{} on {leg}", path.display());
            }
        }
    }
}

/// A set, used as a caller does.
struct Tree(Arc<Set>);

impl Tree {
    fn find(&self, path: &str) -> Arc<Node> {
        let mut node = self.0.root().clone();
        for name in Path::new(path) {
            let mut found = None;
            self.0.lookup(&node, name, |r| found = Some(r));
            let next = found.expect("an answer").expect("found").node;
            self.forget(&node);
            node = next;
        }
        node
    }

    /// As the kernel does with what it does not need any more.
    fn forget(&self, node: &Node) {
        self.0.forget(node.number(), 1);
    }

    fn make(&self, parent: &str, name: &str, what: What<'_>) -> Arc<Node> {
        let mut made = None;
        let parent = self.find(parent);
        self.0.make(&parent, OsStr::new(name), what, Mode::empty(), None, |r| made = Some(r));
        self.forget(&parent);
        made.expect("an answer").expect("made").node
    }

    fn dir(&self, parent: &str, name: &str) {
        let made =
            self.make(parent, name, What::Other(crate::leg::Make::Directory(Mode::from_raw_mode(0o755))));
        self.forget(&made);
    }

    fn file(&self, parent: &str, name: &str, bytes: &[u8]) {
        let node = self.make(parent, name, What::File(Mode::from_raw_mode(0o644)));
        self.write_node(&node, bytes);
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        self.write_node(&self.find(path), bytes);
    }

    fn write_node(&self, node: &Arc<Node>, bytes: &[u8]) {
        let mut wrote = None;
        self.0.write(node, 0, bytes, false, |r| wrote = Some(r));
        assert_eq!(wrote.expect("an answer"), Ok(bytes.len()));
        self.forget(node);
    }

    fn close(self) {
        self.0.close().expect("closed");
    }
}

fn fill(tree: &Tree) {
    tree.dir("", "d");
    tree.dir("d", "e");
    for i in 0..10 {
        tree.file("d", &format!("f{i}"), &vec![i; 1000 * usize::from(i)]);
        tree.file("d/e", &format!("g{i}"), &vec![i; 70_000]);
    }
}

/// The legs are imaged while the set is in use, each at another moment: what a crash leaves. Opening makes them equal.
#[test]
fn a_set_that_crashed_is_made_equal_when_it_is_opened() {
    let disks = Disks::new(2);
    let tree = disks.open(&[0, 1]).expect("opened");
    fill(&tree);
    disks.image(1, 3);
    tree.write("d/f3", b"more");
    tree.file("d/e", "late", b"late");
    disks.image(0, 2);
    let crashed = disks.open(&[2, 3]).expect("opened after a crash");
    assert!(crashed.0.status().events.iter().any(|e| e.text.contains("not unmounted in order")));
    disks.assert_equal(&[2, 3]);
    assert_eq!(&std::fs::read(disks.path(3).join("d/f3")).expect("read")[..4], b"more");
    crashed.close();
    assert!(disks.open(&[2, 3]).expect("opened").0.status().events.is_empty(), "nothing to recover");
    tree.close();
}

/// A leg is away, others write; it is brought up to date while somebody goes on writing, and has everything then.
#[test]
fn a_leg_comes_back_under_load() {
    let disks = Disks::new(2);
    let tree = disks.open(&[0, 1]).expect("opened");
    fill(&tree);
    tree.0.fence_leg(1).expect("fenced");
    for i in 0..200 {
        tree.file("d", &format!("new{i}"), &vec![i as u8; 3000]);
    }
    tree.write("d/e/g3", &vec![9; 70_000]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (tree, stop) = (&tree, &stop);
        scope.spawn(move || {
            for i in 0..3000 {
                tree.write(&format!("d/new{}", i % 200), format!("again {i}").as_bytes());
                tree.file("d/e", &format!("during{i}"), b"during");
                if stop.load(Ordering::Acquire) {
                    return;
                }
            }
        });
        let report = tree.0.take_in(1, None, None, &Unobserved);
        stop.store(true, Ordering::Release);
        assert!(report.expect("taken in").objects > 200);
    });
    tree.file("d", "after", b"after");
    let status = tree.0.status();
    assert!(status.legs.iter().all(|l| l.standing == crate::state::Standing::Live), "{status:?}");
    tree.close();
    disks.assert_equal(&[0, 1]);
    assert!(disks.path(1).join("d/after").exists());
    let again = disks.open(&[0, 1]).expect("opened");
    assert!(again.0.status().legs.iter().all(|l| l.standing == crate::state::Standing::Live));
}

/// A leg that was not there while the set was in use, and one that comes back from a backup.
#[test]
fn a_leg_that_is_old_is_never_taken_for_right() {
    let disks = Disks::new(2);
    let tree = disks.open(&[0, 1]).expect("opened");
    fill(&tree);
    tree.close();
    disks.image(1, 5);
    // Away for one use.
    let tree = disks.open(&[0]).expect("opened");
    tree.write("d/f5", b"without it");
    tree.close();
    // As itself; as what the backup has, without and after being taken in again.
    for round in 0..3 {
        if round > 0 {
            disks.image(5, 1);
        }
        let tree = disks.open(&[0, 1]).expect("opened");
        assert_eq!(tree.0.status().legs[1].standing, crate::state::Standing::Stale, "round {round}");
        tree.write("d/f6", format!("round {round}").as_bytes());
        tree.0.take_in(1, None, None, &Unobserved).expect("taken in");
        tree.close();
        disks.assert_equal(&[0, 1]);
    }
}

#[test]
fn a_leg_of_another_set_is_refused() {
    let (disks, others) = (Disks::new(2), Disks::new(1));
    let legs = vec![disks.leg(0), others.leg(0)];
    assert!(matches!(Set::open(legs, Options::default()), Err(OpenError::Foreign { .. })));
}

#[test]
fn two_that_went_on_alone_are_not_mounted() {
    let disks = Disks::new(2);
    disks.open(&[0, 1]).expect("opened").close();
    for leg in 0..2 {
        let tree = disks.open(&[leg]).expect("opened alone");
        tree.file("", &format!("only{leg}"), b"x");
        tree.close();
    }
    assert!(matches!(disks.open(&[0, 1]), Err(OpenError::SplitBrain { .. })));
}

/// The leg has lost what it had promised: its last writes, and that it was unmounted in order.
#[test]
fn a_leg_that_lost_its_last_writes_is_found_out() {
    let disks = Disks::new(2);
    let tree = disks.open(&[0, 1]).expect("opened");
    fill(&tree);
    disks.image(1, 4);
    tree.write("d/f7", b"lost on one");
    tree.close();
    disks.image(4, 1);
    let tree = disks.open(&[0, 1]).expect("opened");
    assert_eq!(tree.0.status().legs[1].standing, crate::state::Standing::Stale);
    tree.0.take_in(1, None, None, &Unobserved).expect("taken in");
    tree.close();
    disks.assert_equal(&[0, 1]);
}
