//! `hostfs-mirror split-brain`

use super::work::{in_tree, open};
use crate::options::SplitBrain;
use cli_common::{Format, Outcome, Output, plural, size};
use hostfs_mirror::set::choose::Disputed;
use std::path::Path;

pub(crate) fn run(o: &SplitBrain) -> anyhow::Result<Outcome> {
    match o {
        SplitBrain::List(o) => list(&o.set, o.json),
        SplitBrain::Choose { set, path, leg, json } => choose(set, path, leg, *json),
    }
}

/// Ends with 1 if there is something to be decided.
fn list(set: &Path, json: bool) -> anyhow::Result<Outcome> {
    let (named, cold) = open(set)?;
    let mut out = Output::new(if json { Format::Json } else { Format::Human });
    if !cold.is_split() {
        if !json {
            out.line(format_args!("{}: no leg was changed without the others", named.name));
        }
        return Ok(Outcome::Success);
    }
    let disputed = cold.disputed()?;
    for d in &disputed {
        if json { out.json(d) } else { out.line(text(d)) }
    }
    if !json {
        let count = plural(disputed.len() as u64, "path differs", "paths differ");
        out.line(format_args!(
            "{count}; hostfs-mirror split-brain choose \"{}\" PATH LEG decides one, / all",
            named.name
        ));
    }
    Ok(Outcome::Code(1))
}

fn text(d: &Disputed) -> String {
    let mut lines = vec![format!("/{}{}", d.path.display(), if d.subtree { " and all beneath" } else { "" })];
    for c in &d.copies {
        let what = match c.there {
            true => format!("{}, modified {}", size(c.size), c.mtime / 1_000_000_000),
            false => "not there".to_owned(),
        };
        lines.push(format!("    {}: {what}", c.leg.display()));
    }
    lines.join("\n")
}

fn choose(set: &Path, path: &Path, leg: &str, json: bool) -> anyhow::Result<Outcome> {
    let (_, mut cold) = open(set)?;
    let split = cold.is_split();
    let leg = cold.find(leg)?.leg;
    let (report, left) = cold.choose(&in_tree(path)?, leg, &block_device::Unobserved)?;
    let mut out = Output::new(if json { Format::Json } else { Format::Human });
    match (json, left) {
        (true, _) => {
            out.json(&serde_json::json!({ "changed": report.changed + report.removed, "left": left }))
        }
        (false, _) if !split => {
            let changed = report.changed + report.removed;
            out.line(format_args!(
                "{} made like the leg that was chosen",
                plural(changed, "object", "objects")
            ));
        }
        (false, 0) => out.line("nothing is left to decide: the legs are one set again"),
        (false, left) => out.line(format_args!("{} left to decide", plural(left as u64, "path", "paths"))),
    }
    Ok(Outcome::Success)
}
