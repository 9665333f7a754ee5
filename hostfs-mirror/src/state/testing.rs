//! What the tests of the state share: a state directory of their own, and files with every kind of damage.

use super::StateDir;
use rustix::fs::OFlags;
use std::os::unix::fs::FileExt;

pub(super) struct Scratch {
    _root: tempfile::TempDir,
    pub(super) dir: StateDir,
}

pub(super) fn scratch() -> Scratch {
    let root = tempfile::tempdir().expect("a directory");
    let dir = StateDir::create(std::fs::File::open(root.path()).expect("its root")).expect("state");
    Scratch { _root: root, dir }
}

impl Scratch {
    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        self.dir.read(name, u64::MAX).expect("reading").expect("the file")
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let file = self.dir.file(name, flags).expect("opening").expect("the file");
        file.write_all_at(bytes, 0).expect("writing");
    }
}

/// The bytes with each bit of them flipped in turn (one bit of each byte, another one in each).
pub(super) fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> + '_ {
    (0..bytes.len()).map(|i| {
        let mut bad = bytes.to_vec();
        bad[i] ^= 1 << (i % 8);
        (i, bad)
    })
}

/// The bytes, cut after each byte in turn.
pub(super) fn cuts(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..bytes.len()).map(|n| &bytes[..n])
}
