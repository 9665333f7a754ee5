//! A small disk for the tests of the contract.

use crate::{Ran, Tree, cowtool, run};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use tempfile::TempDir;

/// Bytes that are never zero, and different for each seed.
pub fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let byte = |i: usize| (i as u32).wrapping_mul(2_654_435_761).rotate_left(seed) >> 9;
    (0..len).map(|i| (byte(i) % 255 + 1) as u8).collect()
}

/// Overwrites part of a file.
pub fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

/// An empty ext4 file system, as mke2fs makes it.
static FILES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("files.img");
    let made = Command::new("/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-O", "^has_journal"])
        .arg(&image)
        .arg("1M")
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    fs::read(image).unwrap()
});

/// A directory with one of each: `base.img`, `changed.img` (a changed copy of it), `other.img` (another one),
/// `top.cow` on `base.img` (showing `changed.img`), `layered.cow` on a snapshot `layered.cow.1` on `lbase.img`,
/// `files.cow` on `files.img`, which is an ext4 file system, with a file `/added`.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// Makes it.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let base = pattern(1 << 20, 1);
        for name in ["base.img", "changed.img", "other.img", "lbase.img"] {
            fs::write(place.path(name), &base).unwrap();
        }
        write_at(&place.path("changed.img"), 5 * 512, &pattern(3 * 512, 2));
        write_at(&place.path("changed.img"), 300_000, &pattern(200_000, 3));
        write_at(&place.path("other.img"), 700_000, &pattern(10_000, 4));
        place.cowtool(&["create", "top.cow", "--base", "base.img", "--from", "changed.img"]);
        fs::write(place.path("files.img"), &*FILES).unwrap();
        place.cowtool(&["create", "files.cow", "--base", "files.img"]);
        fs::write(place.path("added"), "added by the session\n").unwrap();
        place.cowtool(&["put", "files.cow", "added", "/added"]);
        fs::remove_file(place.path("added")).unwrap();
        place.cowtool(&["create", "layered.cow", "--base", "lbase.img"]);
        place.cowtool(&["snapshot", "layered.cow"]);
        place
    }

    fn cowtool(&self, args: &[&str]) -> Ran {
        run(cowtool().args(args).current_dir(self.dir())).expect(0)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is there now.
    pub fn tree(&self) -> Tree {
        Tree::of(self.dir())
    }
}
