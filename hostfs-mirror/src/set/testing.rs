//! What the tests of recovery, resync and scrub share: legs in directories, and a look at them that is none of ours.

use super::side::Side;
use crate::leg::{Leg, Local};
use crate::state::manifest::Entry;
use crate::state::{Manifest, MissedLog, StateDir, Uuid};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(super) struct TestLeg {
    pub(super) path: PathBuf,
    pub(super) leg: Local,
    pub(super) dir: StateDir,
    pub(super) manifest: Mutex<Manifest>,
    pub(super) uuid: Uuid,
}

impl TestLeg {
    pub(super) fn side(&self) -> Side<'_> {
        Side { leg: &self.leg, uuid: self.uuid, manifest: &self.manifest }
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) {
        fs::create_dir_all(self.at(path).parent().expect("a parent")).expect("made");
        fs::write(self.at(path), bytes).expect("written");
    }

    pub(super) fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.at(path)).expect("read")
    }

    /// What a disk does that rots: bytes change, and nothing else.
    pub(super) fn rot(&self, path: &str, at: usize) {
        let mut bytes = self.read(path);
        bytes[at] ^= 4;
        let times = fs::metadata(self.at(path)).expect("there");
        fs::write(self.at(path), bytes).expect("written");
        let file = fs::File::options().write(true).open(self.at(path)).expect("opened");
        file.set_modified(times.modified().expect("a time")).expect("set");
    }

    /// The manifest learns a file as it is.
    pub(super) fn learn(&self, path: &str, generation: u64) {
        let sums =
            self.read(path).chunks(crate::state::manifest::BLOCK).map(crate::state::manifest::sum).collect();
        self.side().learn(Path::new(path), generation, sums).expect("learned");
    }

    pub(super) fn known(&self, path: &str) -> Option<Entry> {
        let side = self.side();
        let object = side.find(Path::new(path)).expect("looked").expect("there");
        side.known(Path::new(path), &object).expect("looked")
    }

    pub(super) fn log(&self, of: &TestLeg) -> MissedLog {
        MissedLog::open(&self.dir, of.uuid).expect("a log")
    }
}

pub(super) struct Legs {
    pub(super) root: tempfile::TempDir,
    pub(super) legs: Vec<TestLeg>,
}

impl Legs {
    pub(super) fn new(n: usize) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let legs = (0..n).map(|i| open(root.path().join(i.to_string()), i)).collect();
        Self { root, legs }
    }

    pub(super) fn sides(&self) -> Vec<Side<'_>> {
        self.legs.iter().map(TestLeg::side).collect()
    }

    /// The same work on every leg.
    pub(super) fn on_all(&self, work: impl Fn(&TestLeg)) {
        self.legs.iter().for_each(work);
        self.level();
    }

    /// What the engine does: times are those of the first leg.
    pub(super) fn level(&self) {
        for path in look(&self.legs[0].path).into_keys().rev() {
            let meta = fs::symlink_metadata(self.legs[0].path.join(&path)).expect("there");
            for other in &self.legs[1..] {
                let target = other.path.join(&path);
                if !meta.is_symlink()
                    && let Ok(file) = fs::File::open(target)
                {
                    let _ = file.set_modified(meta.modified().expect("a time"));
                }
            }
        }
    }

    pub(super) fn reopen(&mut self) {
        let n = self.legs.len();
        self.legs.clear();
        self.legs = (0..n).map(|i| open(self.root.path().join(i.to_string()), i)).collect();
    }

    pub(super) fn assert_equal(&self, what: &str) {
        for other in &self.legs[1..] {
            let (a, b) = (look(&self.legs[0].path), look(&other.path));
            for (path, seen) in &a {
                assert_eq!(Some(seen), b.get(path), "{what}: {} on {}", path.display(), other.path.display());
            }
            let more: Vec<_> = b.keys().filter(|k| !a.contains_key(*k)).collect();
            assert!(more.is_empty(), "{what}: too much on {}: {more:?}", other.path.display());
        }
    }
}

fn open(path: PathBuf, i: usize) -> TestLeg {
    fs::create_dir_all(&path).expect("made");
    let leg = Local::open(&path).expect("a leg");
    let dir = StateDir::create(leg.root()).expect("state");
    let manifest = Mutex::new(Manifest::open(&dir).expect("manifest"));
    TestLeg { path, leg, dir, manifest, uuid: Uuid::from_u128(i as u128 + 1) }
}

/// All that one can see of an object, by the standard library alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    content: Option<Vec<u8>>,
    target: Option<PathBuf>,
    xattrs: Vec<(String, Vec<u8>)>,
    device: u64,
    /// The first name of the same object.
    first_name: Option<PathBuf>,
}

/// The whole tree of a leg, but for its state.
pub(super) fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut all, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let whole = root.join(&path);
        let m = fs::symlink_metadata(&whole).expect("there");
        if m.is_dir() {
            let mut names: Vec<_> =
                fs::read_dir(&whole).expect("read").map(|e| e.expect("entry").file_name()).collect();
            names.retain(|n| !(path.as_os_str().is_empty() && n == ".hostfs-mirror"));
            names.sort();
            todo.extend(names.into_iter().rev().map(|n| path.join(n)));
        }
        let first = (!m.is_dir()).then(|| inodes.entry(m.ino()).or_insert(path.clone()).clone());
        let root_dir = path.as_os_str().is_empty();
        let seen = Seen {
            mode: m.permissions().mode(),
            owner: (m.uid(), m.gid()),
            // The state directory is made in the root, so its time is its own.
            mtime: if root_dir { (0, 0) } else { (m.mtime(), m.mtime_nsec()) },
            content: m.is_file().then(|| fs::read(&whole).expect("read")),
            target: m.is_symlink().then(|| fs::read_link(&whole).expect("a target")),
            xattrs: if m.is_symlink() { Vec::new() } else { xattrs(&whole) },
            device: m.rdev(),
            first_name: first,
        };
        all.insert(path, seen);
    }
    all
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let n = rustix::fs::listxattr(path, &mut names[..]).unwrap_or(0);
    let mut all: Vec<_> = names[..n]
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .map(|name| {
            let name = String::from_utf8_lossy(name).into_owned();
            let mut value = vec![0; 4096];
            let n = rustix::fs::getxattr(path, name.as_str(), &mut value[..]).unwrap_or(0);
            (name, value[..n].to_vec())
        })
        .collect();
    all.sort();
    all
}
