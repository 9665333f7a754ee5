//! `hostfs-mirror import` and `hostfs-mirror export`: into a set with what is there, and out of it again

use super::work::{Context, leg, open, remember};
use crate::options::{Export, Import};
use crate::registry;
use anyhow::bail;
use cli_common::Outcome;
use hostfs_mirror::set;
use hostfs_mirror::set::cold::Cold;
use hostfs_mirror::state::Role;
use std::path::Path;

pub(crate) fn import(o: &Import) -> anyhow::Result<Outcome> {
    if o.name.is_empty() || o.name.contains('/') || o.name.len() > 255 {
        bail!("\"{}\" is no name for a set: it may not be empty, and have no / in it", o.name);
    }
    let first = leg(&o.dir)?;
    // Killed before, it goes on with the set that it made.
    if let Some(known) = registry::all()?.remove(&o.name)
        && registry::peek(&o.dir).map(|s| s.set).ok() != Some(known.set)
    {
        bail!("there is a set \"{}\" already (hostfs-mirror status \"{}\")", o.name, o.name);
    }
    if registry::peek(&o.dir).is_err() {
        set::create(&o.name, std::slice::from_ref(&first), 1)?;
    }
    let mut legs = vec![first];
    for path in &o.legs {
        if registry::peek(path).is_ok() {
            legs.push(leg(path)?);
        }
    }
    let mut cold = Cold::open(legs)?;
    remember(&cold)?;
    let mut cx = Context::new(&o.name, &o.work)?;
    // What is there is right: its checksums are taken.
    let result = cold.scrub(Path::new(""), true, o.work.rate, &cx.reporter);
    let report = match cx.done(result)? {
        Ok(report) => report,
        Err(outcome) => return Ok(outcome),
    };
    cx.report("adopted", &report)?;
    for path in &o.legs {
        let known = registry::peek(path).ok().map(|s| s.leg).filter(|l| cold.leg(*l).is_some());
        let new = match known {
            Some(known) => known,
            None => cold.add(leg(path)?, Role::Normal, false)?,
        };
        remember(&cold)?;
        let result = cold.resync(new, o.work.rate, &cx.reporter);
        let report = match cx.done(result)? {
            Ok(report) => report,
            Err(outcome) => return Ok(outcome),
        };
        cx.report("copied", &report)?;
    }
    Ok(Outcome::Success)
}

pub(crate) fn export(o: &Export) -> anyhow::Result<Outcome> {
    let (named, cold) = open(&o.set)?;
    let live = cold.dissolve()?;
    registry::forget(&named.name)?;
    let mut out = cli_common::Output::new(cli_common::Format::Human);
    for path in live {
        out.line(format_args!("{} has everything, and is a plain directory", path.display()));
    }
    Ok(Outcome::Success)
}
