//! `hostfs-mirror resync`

use super::work::{Context, open};
use crate::options::Resync;
use crate::registry;
use crate::socket::{Request, ask};
use cli_common::Outcome;
use hostfs_mirror::set::split::Claim;
use std::path::Path;

pub(crate) fn run(o: &Resync) -> anyhow::Result<Outcome> {
    let named = registry::find(&o.set)?;
    let mut cx = Context::new(&named.name, &o.work)?;
    if let Some(status) = ask(named.set, &Request::Status)? {
        return mounted(&mut cx, &named, &status, o);
    }
    let (_, mut cold) = open(&o.set)?;
    let result = cold.recover(&cx.reporter);
    match cx.done(result)? {
        Ok(Some(report)) => cx.report("recovered", &report)?,
        Ok(None) => {}
        Err(outcome) => return Ok(outcome),
    }
    let legs = match &o.leg {
        Some(leg) => vec![cold.find(leg)?.leg],
        None => {
            let behind = |l: &&hostfs_mirror::set::cold::ColdLeg| {
                matches!(l.claim, Claim::Behind | Claim::Old | Claim::Fenced)
            };
            cold.legs().iter().filter(behind).map(|l| l.uuid()).collect()
        }
    };
    for leg in legs {
        let result = cold.resync(leg, o.work.rate, &cx.reporter);
        let report = match cx.done(result)? {
            Ok(report) => report,
            Err(outcome) => return Ok(outcome),
        };
        cx.report("resynced", &report)?;
        let place = cold.leg(leg).map(|l| l.path()).unwrap_or_default();
        cx.event("live", &place, Path::new(""));
    }
    Ok(Outcome::Success)
}

/// The process that serves it does it, while others work.
fn mounted(
    cx: &mut Context,
    named: &registry::Named,
    status: &serde_json::Value,
    o: &Resync,
) -> anyhow::Result<Outcome> {
    let none = Vec::new();
    let legs = status["legs"].as_array().unwrap_or(&none);
    let behind = legs.iter().filter(|l| l["standing"] != "live" && l["present"] != false);
    let behind: Vec<String> = match &o.leg {
        Some(leg) => vec![leg.clone()],
        None => behind.map(|l| l["number"].to_string()).collect(),
    };
    for leg in behind {
        if let Some(status) = ask(named.set, &Request::Online { leg: leg.clone(), rate: o.work.rate })? {
            cx.event("live", Path::new(&leg), Path::new(""));
            if cx.out.is_json() {
                cx.out.json(&status);
            } else {
                cx.out.line(format_args!("leg {leg} is live"));
            }
        }
    }
    Ok(Outcome::Success)
}
