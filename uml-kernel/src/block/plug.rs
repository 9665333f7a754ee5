//! Disks that come and go while the guest runs: what the management console asks for.

use super::{DISKS, Disk, Spec};
use anyhow::{Result, bail};
use std::sync::Arc;

/// Opens a disk and takes it in place of the one of its number, if that is not in use; its name.
pub fn replace(spec: &Spec) -> Result<String> {
    let name = spec.name();
    if super::all().iter().any(|d| d.name == name) {
        remove(&name)?;
    }
    super::add(spec.open()?);
    super::populate(&crate::fs::devtmpfs::root()?)?;
    Ok(name)
}

/// Takes a disk away: `ubd1`, `ubdb`. Not one that is mounted, or that somebody has open.
pub fn remove(word: &str) -> Result<()> {
    let name = named(word)?;
    let removed: Disk = {
        let mut disks = DISKS.lock();
        let Some(at) = disks.iter().position(|d| d.name == name) else {
            bail!("{word}: there is no such disk")
        };
        if Arc::strong_count(&disks[at].device) > 1 {
            bail!("{word}: it is mounted, or open");
        }
        disks.remove(at)
    };
    removed.device.flush()?;
    let _ = crate::fs::devtmpfs::root()?.unlink(name.as_bytes());
    Ok(())
}

/// What is set for a disk, in the words of the command line.
pub fn shown(word: &str) -> Option<String> {
    let name = named(word).ok()?;
    super::all().into_iter().find(|d| d.name == name).map(|d| d.source)
}

fn named(word: &str) -> Result<String> {
    match Spec::parse(word, "-") {
        Some(spec) => Ok(spec?.name()),
        None => bail!("Bad configuration option: {word}"),
    }
}
