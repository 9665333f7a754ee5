//! Disks by the words of the command line, which the management console takes as well: they come and go while the guest runs.

use super::{Spec, table};
use crate::base::{Errno, Mutex, Rank};
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// What each disk was made of, by its name.
static SOURCES: Mutex<BTreeMap<String, String>> = Mutex::new(Rank::Leaf, BTreeMap::new());

/// Opens a disk and adds it.
pub fn attach(spec: &Spec) -> Result<()> {
    table::add(spec.open()?)?;
    SOURCES.lock().insert(spec.name(), spec.to_string());
    Ok(())
}

/// Opens a disk and takes it in place of the one of its number, if that is not in use.
pub fn replace(spec: &Spec) -> Result<()> {
    if table::all().iter().any(|d| d.name == spec.name()) {
        detach(&spec.name())?;
    }
    attach(spec)
}

/// Takes a disk away: `ubd1`, `ubdb`. Not one that is mounted, or that somebody has open.
pub fn detach(word: &str) -> Result<()> {
    let name = named(word)?;
    let Some(disk) = table::all().into_iter().find(|d| d.name == name) else {
        bail!("{word}: there is no such disk");
    };
    disk.device.flush()?;
    match table::remove(disk.number) {
        Err(Errno::EBUSY) => bail!("{word} is in use: it is mounted, or open"),
        result => result?,
    }
    SOURCES.lock().remove(&name);
    Ok(())
}

/// What a disk was made of.
pub fn shown(word: &str) -> Option<String> {
    SOURCES.lock().get(&named(word).ok()?).cloned()
}

fn named(word: &str) -> Result<String> {
    match Spec::parse(word, "-") {
        Some(spec) => Ok(spec?.name()),
        None => bail!("{word} is no disk"),
    }
}
