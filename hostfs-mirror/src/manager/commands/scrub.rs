//! `hostfs-mirror scrub` and `hostfs-mirror verify`

use super::work::{Context, in_tree, open};
use crate::options::Scrub;
use crate::registry;
use crate::socket::{Request, ask};
use cli_common::Outcome;
use hostfs_mirror::set::Report;

/// Ends with 0 if all is right or was healed, with 3 if something is not, and with 2 if nobody can decide something.
pub(crate) fn run(o: &Scrub, heal: bool) -> anyhow::Result<Outcome> {
    let named = registry::find(&o.set)?;
    let path = in_tree(&o.path)?;
    let mut cx = Context::new(&named.name, &o.work)?;
    let request = Request::Scrub { path: path.clone(), heal, rate: o.work.rate };
    let report: Report = match ask(named.set, &request)? {
        Some(report) => serde_json::from_value(report)?,
        None => {
            let (_, mut cold) = open(&o.set)?;
            let result = cold.scrub(&path, heal, o.work.rate, &cx.reporter);
            match cx.done(result)? {
                Ok(report) => report,
                Err(outcome) => return Ok(outcome),
            }
        }
    };
    cx.report(if heal { "scrubbed" } else { "verified" }, &report)?;
    Ok(match () {
        () if !report.undecided.is_empty() => Outcome::Code(2),
        () if report.wrong.iter().any(|w| !w.healed) => Outcome::Code(3),
        () => Outcome::Success,
    })
}
