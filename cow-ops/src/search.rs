//! Looking for a base that was moved.

use crate::error::{Error, Result};
use block_device::{HostFile, Observer};
use cow_format::{Chain, Layer, OpenOptions};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders deep that a search goes.
const DEPTH: usize = 32;

/// The one file in `dirs` and below that fits the COW file as its base: by content where its identity is
/// recorded, by size and modification time otherwise.
pub(crate) fn find_base(cow: &Path, dirs: &[PathBuf], observer: &dyn Observer) -> Result<PathBuf> {
    let open = |source| cow_format::Error::Open { path: cow.to_owned(), source };
    let layer = Layer::read(Arc::new(HostFile::open(cow, true).map_err(open)?))?;
    let mut candidates = Vec::new();
    for dir in dirs {
        walk(dir, &layer, DEPTH, &mut candidates).map_err(Error::io("searching", dir))?;
    }
    candidates.sort();
    candidates.dedup();
    let digesting = |done, total| observer.progress("looking at candidates", done, total);
    candidates.retain(|path| {
        let options = OpenOptions {
            unlocked: true,
            backing: Some(path.clone()),
            digesting: Some(&digesting),
            ..OpenOptions::default()
        };
        Chain::open(cow, &options).is_ok()
    });
    match candidates.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::Refused(format!("no file found that fits \"{}\" as its base", cow.display()))),
        many => {
            let names: Vec<_> = many.iter().map(|p| p.display().to_string()).collect();
            Err(Error::Refused(format!("several files fit: {}: say which with --base", names.join(", "))))
        }
    }
}

/// Collects regular files of a size that can be right. Folders that cannot be read are passed over.
fn walk(dir: &Path, layer: &Layer, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let layered = layer.record.valid().is_some_and(|r| r.base_is_cow);
    for entry in fs::read_dir(dir)?.flatten() {
        let (Ok(kind), path) = (entry.file_type(), entry.path()) else { continue };
        if kind.is_dir() && depth > 0 {
            let _ = walk(&path, layer, depth - 1, found);
        } else if kind.is_file() {
            let size = entry.metadata().map_or(0, |m| m.len());
            if layered || size == layer.header.layout.size {
                found.push(fs::canonicalize(path)?);
            }
        }
    }
    Ok(())
}
