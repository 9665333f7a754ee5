//! `hostfs-mirror explain`: which leg is right at a path, and why. Nothing is changed, and the set may be mounted.

use super::work::{in_tree, leg};
use crate::options::Explain;
use crate::registry;
use cli_common::{Format, Outcome, Output};
use hostfs_mirror::set::explain::{Opinion, explain};

pub(crate) fn run(o: &Explain) -> anyhow::Result<Outcome> {
    let named = registry::find(&o.set)?;
    let path = in_tree(&o.path)?;
    let legs = named.legs.iter().map(|p| leg(p)).collect::<anyhow::Result<Vec<_>>>()?;
    let explained = explain(&legs, &path)?;
    let mut out = Output::new(if o.json { Format::Json } else { Format::Human });
    if o.json {
        out.json(&explained);
        return Ok(Outcome::Success);
    }
    out.line(format_args!("{}: {}", o.path.display(), explained.verdict));
    for copy in &explained.copies {
        let what = match copy.opinion {
            Opinion::Missing => "is not there",
            Opinion::Right => "has the bytes that its checksums say",
            Opinion::Wrong => "has other bytes than its checksums say",
            Opinion::Unknown => "has no checksums that are valid",
            Opinion::NoFile => "is no regular file",
        };
        let mut notes = vec![what.to_owned()];
        notes.extend(copy.missed.then(|| "missed a write to it".to_owned()));
        notes.extend(copy.marked.then(|| "may be in the middle of a write".to_owned()));
        let first = explained.copies.first().map(|c| &c.leg);
        if !copy.differences.is_empty() && Some(&copy.leg) != first {
            let all: Vec<_> = copy.differences.iter().map(ToString::to_string).collect();
            notes.push(format!("differs from the first in: {}", all.join(", ")));
        }
        out.line(format_args!("  {} ({}): {}", copy.leg.display(), copy.claim_text(), notes.join("; ")));
    }
    Ok(Outcome::Success)
}
