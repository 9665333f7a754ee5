//! `hostfs-mirror add`, `remove` and `replace`

use super::work::{Context, leg, open, remember};
use crate::options::{Add, Remove, Replace};
use cli_common::Outcome;
use hostfs_mirror::set::cold::Cold;
use hostfs_mirror::state::{Role, Uuid};
use std::path::Path;

pub(crate) fn add(o: &Add) -> anyhow::Result<Outcome> {
    let (named, mut cold) = open(&o.set)?;
    let mut cx = Context::new(&named.name, &o.work)?;
    let role = if o.write_mostly { Role::WriteMostly } else { Role::Normal };
    match bring(&mut cx, &mut cold, &o.leg, role, o.overwrite, o.work.rate)? {
        Ok(_) => Ok(Outcome::Success),
        Err(outcome) => Ok(outcome),
    }
}

pub(crate) fn remove(o: &Remove) -> anyhow::Result<Outcome> {
    let (_, mut cold) = open(&o.set)?;
    let leg = cold.find(&o.leg)?.leg;
    cold.remove(leg)?;
    remember(&cold)?;
    Ok(Outcome::Success)
}

pub(crate) fn replace(o: &Replace) -> anyhow::Result<Outcome> {
    let (named, mut cold) = open(&o.set)?;
    let old = cold.find(&o.old)?;
    let (old, role) = (old.leg, old.role);
    let mut cx = Context::new(&named.name, &o.work)?;
    if let Err(outcome) = bring(&mut cx, &mut cold, &o.new, role, false, o.work.rate)? {
        return Ok(outcome);
    }
    cold.remove(old)?;
    remember(&cold)?;
    cx.event("removed", Path::new(&o.old), Path::new(""));
    Ok(Outcome::Success)
}

/// Adds a leg, and gives it everything.
fn bring(
    cx: &mut Context,
    cold: &mut Cold,
    path: &Path,
    role: Role,
    overwrite: bool,
    rate: Option<u64>,
) -> anyhow::Result<Result<Uuid, Outcome>> {
    let new = cold.add(leg(path)?, role, overwrite)?;
    remember(cold)?;
    let result = cold.resync(new, rate, &cx.reporter);
    let report = match cx.done(result)? {
        Ok(report) => report,
        Err(outcome) => return Ok(Err(outcome)),
    };
    cx.report("added", &report)?;
    cx.event("live", path, Path::new(""));
    Ok(Ok(new))
}
