//! Which names of a tree are one object: hard links, found by a walk that reads names only.

use super::side::{Object, Result, Side};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The names of objects that have more than one.
#[derive(Debug, Default)]
pub(super) struct Links {
    names: Option<HashMap<u64, Vec<PathBuf>>>,
}

impl Links {
    /// All names of an object of a leg, as they are now, the given one among them. The tree is walked when first asked.
    pub(super) fn names_of(&mut self, side: &Side<'_>, path: &Path, object: &Object) -> Result<Vec<PathBuf>> {
        if self.names.is_none() {
            self.names = Some(walk(side)?);
        }
        let found = self.names.as_ref().and_then(|names| names.get(&object.stat.st_ino));
        let mut names = vec![path.to_owned()];
        for name in found.into_iter().flatten().filter(|n| *n != path) {
            if side.find(name)?.is_some_and(|o| o.stat.st_ino == object.stat.st_ino) {
                names.push(name.clone());
            }
        }
        Ok(names)
    }
}

/// By inode number. Twice over the tree: to count is cheap, to remember the path of every file is not.
fn walk(side: &Side<'_>) -> Result<HashMap<u64, Vec<PathBuf>>> {
    let mut counts: HashMap<u64, u32> = HashMap::new();
    each(side, |ino, _| *counts.entry(ino).or_default() += 1)?;
    counts.retain(|_, n| *n > 1);
    let mut names: HashMap<u64, Vec<PathBuf>> = HashMap::new();
    if !counts.is_empty() {
        each(side, |ino, path| {
            if counts.contains_key(&ino) {
                names.entry(ino).or_default().push(path());
            }
        })?;
    }
    Ok(names)
}

fn each(side: &Side<'_>, mut saw: impl FnMut(u64, &dyn Fn() -> PathBuf)) -> Result<()> {
    use rustix::fd::AsFd;
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let Some(directory) = side.find(&path)? else { continue };
        for entry in side.leg.list(directory.fd.as_fd()).map_err(side.failed(&path))? {
            if path.as_os_str().is_empty() && entry.name == crate::state::NAME {
                continue;
            }
            let child = || path.join(&entry.name);
            let kind = match entry.kind {
                rustix::fs::FileType::Unknown => side.find(&child())?.map_or(entry.kind, |o| o.kind()),
                kind => kind,
            };
            if kind == rustix::fs::FileType::Directory {
                todo.push(child());
            } else {
                saw(entry.ino, &child);
            }
        }
    }
    Ok(())
}
