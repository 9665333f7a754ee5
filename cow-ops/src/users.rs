//! Which COW files stand on a base.

use block_device::HostFile;
use cow_format::{Layer, log};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The COW files found that name `base` as their backing file, other than `except`: among those in the
/// directory of the base and in `dirs`, and those that the base's log knows. Files that cannot be read are
/// passed over: this is a look around, not a proof.
pub fn find_users(base: &Path, dirs: &[&Path], except: &[&Path]) -> Vec<PathBuf> {
    let Ok(target) = fs::metadata(base).map(|m| (m.dev(), m.ino())) else { return Vec::new() };
    let same = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let skip: Vec<_> = except.iter().filter_map(|p| same(p)).collect();
    let mut candidates: Vec<PathBuf> =
        log::read(base).unwrap_or_default().into_iter().map(|entry| entry.cow).collect();
    let base_dir = fs::canonicalize(base).ok().and_then(|p| p.parent().map(Path::to_owned));
    let cow_dirs = dirs.iter().filter_map(|d| fs::canonicalize(d).ok());
    let mut dirs: Vec<PathBuf> = base_dir.into_iter().chain(cow_dirs).collect();
    dirs.sort();
    dirs.dedup();
    for entry in dirs.iter().filter_map(|d| fs::read_dir(d).ok()).flatten().flatten() {
        candidates.push(entry.path());
    }
    candidates.sort();
    candidates.dedup();
    let mut seen = Vec::new();
    candidates.retain(|path| {
        let Some(id) = same(path) else { return false };
        if id == target || skip.contains(&id) || seen.contains(&id) || !stands_on(path, target) {
            return false;
        }
        seen.push(id);
        true
    });
    candidates
}

fn stands_on(path: &Path, base: (u64, u64)) -> bool {
    let Ok(file) = HostFile::open(path, true) else { return false };
    let Ok(layer) = Layer::read(Arc::new(file)) else { return false };
    fs::metadata(layer.backing_path()).is_ok_and(|m| (m.dev(), m.ino()) == base)
}
