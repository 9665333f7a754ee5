//! Whether a base is, byte for byte, the one that a COW file was made on.

use crate::error::{Error, Result};
use block_device::Observer;
use cow_format::identity::{self, LEAF};
use cow_format::{Chain, OpenOptions, Run};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// What the digest of the whole base says.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// The COW file.
    pub cow: PathBuf,
    /// The base.
    pub base: PathBuf,
    /// Root recorded in the COW file.
    pub recorded: String,
    /// Root of the base's content now.
    pub found: String,
    /// They are the same.
    pub same: bool,
    /// Where the base has changed, in whole MiB, if the old digest tree is still beside it.
    pub changed: Option<Vec<(u64, u64)>>,
}

/// Reads the whole base and holds it against the recorded identity.
///
/// # Errors
/// [`Error::Refused`] where no identity is recorded; any other [`Error`].
pub fn verify_base(cow: &Path, observer: &dyn Observer) -> Result<Verified> {
    // Mismatches are what is looked for, so the open must not end at one.
    let options = OpenOptions { ignore_mismatch: true, ..OpenOptions::default() };
    let chain = Chain::open(cow, &options)?;
    let base = chain.below(0).path().to_owned();
    let Some(recorded) = chain.top().record.valid().and_then(|r| r.root) else {
        let text = format!("no identity is recorded in \"{}\": cowtool identify records one", cow.display());
        return Err(Error::Refused(text));
    };
    let device = chain.device(1)?;
    let mut leaves = Vec::new();
    let found = identity::digest(&*device, |leaf| {
        leaves.push(*leaf);
        observer.progress("verifying", (leaves.len() as u64 * LEAF).min(device.len()), device.len());
        if observer.cancelled() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    })
    .map_err(crate::error::or_cancelled("reading", &base, ""))?;
    let old = identity::kept_leaves(&base, &recorded, device.len()).ok();
    let changed = old.map(|old| ranges(&old, &leaves, device.len()));
    Ok(Verified {
        cow: cow.to_owned(),
        base,
        recorded: recorded.to_string(),
        found: found.to_string(),
        same: found == recorded,
        changed,
    })
}

fn ranges(old: &[[u8; 32]], new: &[[u8; 32]], size: u64) -> Vec<(u64, u64)> {
    let mut runs: Vec<Run> = Vec::new();
    for (i, _) in old.iter().zip(new).enumerate().filter(|(_, (a, b))| a != b) {
        let offset = i as u64 * LEAF;
        let len = LEAF.min(size - offset);
        match runs.last_mut() {
            Some(last) if last.end() == offset => last.len += len,
            _ => runs.push(Run { offset, len }),
        }
    }
    runs.into_iter().map(|r| (r.offset, r.len)).collect()
}
