//! Everything below a directory, to see that nothing has changed.

use crate::run;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of a directory: names, modes, lengths, time stamps and digests of their content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    mode: u32,
    len: u64,
    mtime: (i64, i64),
    content: u64,
}

impl Tree {
    /// What is there now.
    pub fn of(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut todo = vec![dir.to_owned()];
        while let Some(next) = todo.pop() {
            for entry in fs::read_dir(&next).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let mut hasher = DefaultHasher::new();
                if meta.is_file() {
                    fs::read(&path).unwrap_or_default().hash(&mut hasher);
                } else if meta.is_dir() {
                    todo.push(path.clone());
                }
                // The time stamp of a directory says that a file came and went, which is nobody's loss.
                let (len, mtime) = match meta.is_dir() {
                    true => (0, (0, 0)),
                    false => (meta.len(), (meta.mtime(), meta.mtime_nsec())),
                };
                files.insert(path, Entry { mode: meta.mode(), len, mtime, content: hasher.finish() });
            }
        }
        Self(files)
    }

    /// What came, went or changed until `later`, as names with `+`, `-` or `!` in front.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let mut all: Vec<&PathBuf> = self.0.keys().chain(later.0.keys()).collect();
        all.sort();
        all.dedup();
        let name = |p: &Path| p.file_name().unwrap().to_string_lossy().into_owned();
        let what = |p: &PathBuf| match (self.0.get(p), later.0.get(p)) {
            (None, _) => Some(format!("+{}", name(p))),
            (_, None) => Some(format!("-{}", name(p))),
            (a, b) if a != b => Some(format!("!{}", name(p))),
            _ => None,
        };
        all.into_iter().filter_map(what).collect()
    }

    /// Fails the test when anything below `dir` is not what it was.
    #[track_caller]
    pub fn expect_same(&self, dir: &Path, after: &str) {
        let changes = self.changes(&Self::of(dir));
        assert!(changes.is_empty(), "changed by {after}: {changes:?}");
    }
}

/// Digest of a file, by `sha256sum(1)`.
#[track_caller]
pub fn sha256(path: &Path) -> String {
    let ran = run(Command::new("sha256sum").arg(path)).expect(0);
    ran.stdout.trim_start_matches('\\').split(' ').next().unwrap().to_owned()
}
