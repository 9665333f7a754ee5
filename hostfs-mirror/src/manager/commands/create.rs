//! `hostfs-mirror create`

use crate::options::Create;
use crate::registry::{self, Known};
use anyhow::{Context as _, bail};
use cli_common::Outcome;
use hostfs_mirror::leg::{Leg, Local};
use hostfs_mirror::set;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) fn run(o: &Create) -> anyhow::Result<Outcome> {
    if o.name.is_empty() || o.name.contains('/') || o.name.len() > 255 {
        bail!("\"{}\" is no name for a set: it may not be empty, and have no / in it", o.name);
    }
    if registry::all()?.contains_key(&o.name) {
        bail!("there is a set \"{}\" already (hostfs-mirror status \"{}\")", o.name, o.name);
    }
    if usize::from(o.min_legs) > o.legs.len() {
        bail!("the set would never have {} live legs: it has {}", o.min_legs, o.legs.len());
    }
    let mut legs: Vec<Arc<dyn Leg>> = Vec::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in &o.legs {
        let context = || format!("\"{}\"", path.display());
        let whole = std::fs::canonicalize(path).with_context(context)?;
        if let Some(other) = paths.iter().find(|p| whole.starts_with(p) || p.starts_with(&whole)) {
            bail!(
                "\"{}\" and \"{}\" are in one another: they cannot both be legs",
                path.display(),
                other.display()
            );
        }
        let leg = Local::open(&whole).with_context(context)?;
        let entries = leg.list(leg.root()).with_context(context)?;
        if entries.iter().any(|entry| entry.name != "lost+found" && entry.name != hostfs_mirror::state::NAME)
        {
            bail!("\"{}\" is not empty: hostfs-mirror import takes what is there into a set", path.display());
        }
        legs.push(Arc::new(leg));
        paths.push(whole);
    }
    let set = set::create(&o.name, &legs, o.min_legs.max(1))?;
    registry::add(&o.name, Known { set, legs: paths })?;
    Ok(Outcome::Success)
}
