//! The files of `fixtures/`, unpacked.

use crate::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// SHA-256 of what the session files show, as the real `uml_moo` merged it.
pub const MERGED: &str = "f5eaa0727230b1c5ef07e95aa8585763e9005d7a4328cb58d6570809ef8a0de9";
/// SHA-256 of what killed.cow shows, as the real `uml_moo` merged it.
pub const KILLED: &str = "da75eebe6062a597dd70351ebb84cec56cf0670e936ec149e08c570f044c6922";

/// A private copy of the fixtures. The COW files name `/srv/uml/base.img`, which may not be there: `-b base.img`.
#[derive(Debug)]
pub struct Fixture {
    dir: TempDir,
}

impl Fixture {
    /// Unpacks them, with their time stamps.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/uml.tar.xz");
        let tar = ["--extract", "--xz", "--no-same-owner", "--strip-components=1", "--file", archive];
        run(Command::new("tar").args(tar).current_dir(dir.path())).expect(0);
        Self { dir }
    }

    /// Where they are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// One of them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The bytes of one of them.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
}
