//! Freezing a session and starting a new layer on it, and dropping a layer again.

use crate::base::Base;
use crate::create::shape_of;
use crate::error::{Error, Result};
use crate::users::find_users;
use block_device::sync_parent;
use cow_format::{Chain, NewCow, OpenOptions, Shape, Version, identity, log};
use serde::Serialize;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What became of the layers.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// The COW file that is used from now on.
    pub cow: PathBuf,
    /// The frozen layer that was made, or the one that was taken back.
    pub frozen: Option<PathBuf>,
    /// Layers above the raw base now.
    pub layers: usize,
}

fn open_exclusively(cow: &Path) -> Result<Chain> {
    Ok(Chain::open(cow, &OpenOptions { writable: 1, ..OpenOptions::default() })?)
}

/// Freezes the COW file under the name `frozen` (by default NAME.1, NAME.2, …), read-only, and puts an
/// empty layer on it under the old name, so that whoever opens `cow` goes on where it was.
///
/// At every moment `cow` opens: until the last step it is the old file, which then only has a second name.
///
/// # Errors
/// Any [`Error`].
pub fn snapshot(cow: &Path, frozen: Option<&Path>) -> Result<Snapshot> {
    let chain = open_exclusively(cow)?;
    let frozen = match frozen {
        Some(path) => path.to_owned(),
        None => free_name(cow)?,
    };
    fs::hard_link(cow, &frozen).map_err(Error::io("naming the frozen layer", &frozen))?;
    if let Err(e) = freeze(&chain, cow, &frozen) {
        // The link is all there is so far; the mode goes back with it.
        let _ = fs::remove_file(&frozen);
        let _ = set_writable(cow, true);
        return Err(e);
    }
    drop(chain); // its locks, or the next open would wait for us
    // Losing its old name has changed the frozen file's status time: record the state it has now.
    let mut chain = open_exclusively(cow)?;
    chain.accept_below(0, None, false)?;
    Ok(Snapshot { cow: cow.to_owned(), frozen: Some(frozen), layers: chain.layers.len() })
}

/// All up to the moment when the new layer has the old name.
fn freeze(chain: &Chain, cow: &Path, frozen: &Path) -> Result<()> {
    sync_parent(frozen).map_err(Error::io("syncing the directory of", frozen))?;
    let mode = fs::metadata(cow).map_err(Error::io("stating", cow))?.permissions();
    let top = chain.top();
    let shape = match top.header.version {
        Version::V3 if top.header.record_offset().is_some() => shape_of(top),
        _ => Shape { sector_size: top.header.layout.sector_size, ..Shape::default() },
    };
    let mut spec = Base::at(chain, 1)?.spec(None)?;
    spec.path = fs::canonicalize(frozen).map_err(Error::io("resolving", frozen))?;
    spec.mtime = cow_format::Fingerprint::of(&top.file.file().metadata().map_err(Error::io("stating", cow))?)
        .header_mtime();
    if let Some(record) = &mut spec.record {
        (record.base_is_cow, record.root) = (true, None);
    }
    let new = NewCow::create(cow, shape, &spec)?;
    new.file().file().set_permissions(mode).map_err(Error::io("setting the mode of", cow))?;
    set_writable(frozen, false).map_err(Error::io("freezing", frozen))?;
    new.publish(true)?;
    Ok(())
}

/// Drops what was written since the last snapshot: the frozen layer below takes the COW file's name again.
/// With `empty`, the COW file becomes an empty layer on the same base instead, frozen or raw.
///
/// # Errors
/// [`Error::Refused`] when the base is no layer; [`Error::OtherUsers`] when others stand on the frozen layer
/// and `force` is not set; any other [`Error`].
pub fn revert(cow: &Path, empty: bool, force: bool) -> Result<Snapshot> {
    let chain = open_exclusively(cow)?;
    let below = chain.below(0).path().to_owned();
    if empty {
        let new = NewCow::create(cow, shape_of(chain.top()), &Base::at(&chain, 1)?.spec(None)?)?;
        new.publish(true)?;
        return Ok(Snapshot { cow: cow.to_owned(), frozen: None, layers: chain.layers.len() });
    }
    if chain.layers.len() == 1 {
        return Err(Error::Refused(format!(
            "\"{}\" stands on a raw base, with no snapshot below it: --empty drops everything it holds",
            cow.display()
        )));
    }
    let dir = cow.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let users = find_users(&below, &[dir], &[cow]);
    if !users.is_empty() && !force {
        return Err(Error::OtherUsers { base: below, users });
    }
    let layers = chain.layers.len() - 1;
    fs::rename(&below, cow).map_err(Error::io("putting back", &below))?;
    for kept in [log::log_path(&below), identity::tree_path(&below)] {
        let _ = fs::remove_file(kept); // of a file that is no longer there
    }
    set_writable(cow, true).map_err(Error::io("thawing", cow))?;
    sync_parent(cow).map_err(Error::io("syncing the directory of", cow))?;
    Ok(Snapshot { cow: cow.to_owned(), frozen: Some(below), layers })
}

fn set_writable(path: &Path, writable: bool) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    let mode = if writable { mode | 0o200 } else { mode & !0o222 };
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn free_name(cow: &Path) -> Result<PathBuf> {
    let numbered = |n: u32| {
        let mut name = cow.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let free = (1..10_000).map(numbered).find(|p| fs::symlink_metadata(p).is_err());
    free.ok_or_else(|| Error::Refused(format!("no free name for the frozen layer of \"{}\"", cow.display())))
}
