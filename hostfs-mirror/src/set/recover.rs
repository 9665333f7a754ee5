//! After a crash: what was on its way is carried forward, from the intent maps and nothing else.
//!
//! Each operation is done on the primary first, so the primary has the most of what was on its way, and all of what was acknowledged:
//! in the directories that are marked, the others are made equal to it. Where a checksum says that the primary's bytes are wrong, another leg
//! gives them; where none can, the path is reported and left as it is.

use super::copy::{Copier, Report};
use super::limit::Limit;
use super::side::{Error, Result, Side};
use crate::state::intent::Marks;
use crate::state::{Kind, Region};
use block_device::Observer;
use std::collections::BTreeSet;
use std::path::Path;

/// The regions in which live legs may differ: what any of their maps marks. A map that is missing or damaged is made up for by the others,
/// which have the same marks; where none is whole, it is the whole tree.
pub fn regions(maps: &[Option<Marks>]) -> BTreeSet<Region> {
    let whole = maps.iter().any(|m| m.as_ref().is_some_and(|m| m.damaged == 0));
    if !whole {
        return BTreeSet::from([Region::whole()]);
    }
    let mut all: BTreeSet<Region> = maps.iter().flatten().flat_map(|m| m.regions.iter().cloned()).collect();
    let subtrees: Vec<_> = all.iter().filter(|r| r.kind == Kind::Subtree).map(|r| r.path.clone()).collect();
    let beneath =
        |r: &Region, path: &Path| r.path.starts_with(path) && !(r.kind == Kind::Subtree && r.path == path);
    all.retain(|r| !subtrees.iter().any(|path| beneath(r, path)));
    all
}

/// What a leg may not have that is away now, for what is marked in the maps of the others: what was written to it there may not have been
/// durable yet.
pub fn missed(marks: impl IntoIterator<Item = Region>) -> Vec<Region> {
    let of = |r: Region| if r.kind == Kind::One { Region::entries(r.path) } else { r };
    marks.into_iter().map(of).collect()
}

/// Makes the live legs equal in these regions; the first is the primary. When this returns, all is durable, and the maps may be cleared.
///
/// # Errors
/// A leg's errors, or that it was stopped: done again from the start, it ends the same.
pub fn run(
    sides: &[Side<'_>],
    generation: u64,
    regions: &BTreeSet<Region>,
    observer: &dyn Observer,
) -> Result<Report> {
    let mut report = Report::default();
    let mut limit = Limit::new(observer, "recovering", None, 0);
    for to in 1..sides.len() {
        // The primary, then those that are equal to it already.
        let (from, to) = (&sides[..to], sides[to]);
        let mut copier = Copier::new(from, to, generation, &mut limit, &mut report);
        for region in regions {
            let done = copier.intent(region);
            copier.note(done)?;
        }
    }
    report.undecided.sort_by(|a, b| a.path.cmp(&b.path));
    report.undecided.dedup();
    sides.iter().try_for_each(settle)?;
    limit.finish();
    Ok(report)
}

/// Makes a leg's tree and manifest durable.
pub(crate) fn settle(side: &Side<'_>) -> Result<()> {
    crate::fail::point("copy-sync").map_err(side.failed(Path::new("")))?;
    side.leg.sync_all().map_err(side.failed(Path::new("")))?;
    side.manifest.lock().sync().map_err(|e| side.state_failed(e))
}

/// What the error says of the leg, where it is the leg's: the one to be fenced.
pub fn failed_leg<'a>(e: &Error, sides: &[Side<'a>]) -> Option<Side<'a>> {
    match e {
        Error::Leg { leg, .. } | Error::State { leg, .. } => {
            sides.iter().find(|s| s.leg.name() == leg).copied()
        }
        Error::Undecided { .. } | Error::Cancelled => None,
    }
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
