//! A stale leg gets what it missed: by the log, and nothing else.
//!
//! A region is taken out of the log in memory, copied, and after the next sync of the leg taken out on the disk: what is written to again
//! meanwhile is in the log again, and a crash forgets nothing. It goes on from where it was, and ends when the log is empty.

use super::copy::{Copier, Hold, Report};
use super::limit::Limit;
use super::recover::settle;
use super::side::{Error, Result, Side};
use crate::state::{self, Kind, MissedLog, Region, StateDir};
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// So many regions are copied between two syncs of the leg.
const BATCH: usize = 256;

/// The logs of what one leg missed, on all legs that were there.
pub trait Missed: Sync {
    /// What they say, all together.
    fn list(&self) -> BTreeSet<Region>;
    /// It is about to be copied.
    fn take(&self, region: &Region);
    /// It could not be copied.
    ///
    /// # Errors
    /// As of a leg's state.
    fn put_back(&self, region: &Region) -> Result<()>;
    /// What was taken is on the leg, durably.
    ///
    /// # Errors
    /// As of a leg's state.
    fn settle(&self) -> Result<()>;
}

/// Logs that nobody else uses: of a set that is not mounted.
pub struct Logs<'a>(pub Vec<(Side<'a>, &'a StateDir, Mutex<MissedLog>)>);

impl Logs<'_> {
    fn each(&self, work: impl Fn(&StateDir, &mut MissedLog) -> state::Result<()>) -> Result<()> {
        self.0.iter().try_for_each(|(s, dir, log)| work(dir, &mut log.lock()).map_err(|e| s.state_failed(e)))
    }
}

impl Missed for Logs<'_> {
    fn list(&self) -> BTreeSet<Region> {
        self.0.iter().flat_map(|(_, _, log)| log.lock().list().clone()).collect()
    }

    fn take(&self, region: &Region) {
        self.0.iter().for_each(|(_, _, log)| log.lock().take(region));
    }

    fn put_back(&self, region: &Region) -> Result<()> {
        self.each(|dir, log| log.add(dir, std::slice::from_ref(region)))
    }

    fn settle(&self) -> Result<()> {
        self.each(|dir, log| log.settle(dir))
    }
}

/// What is resynced.
pub struct Work<'a, 'b> {
    /// The live legs, the primary first.
    pub from: &'b [Side<'a>],
    /// The leg that missed something.
    pub to: Side<'a>,
    /// The set's generation.
    pub generation: u64,
    /// Whether its manifest is believed: a file of which both manifests say the same is not read. Not of a leg that failed.
    pub trust: bool,
    /// Who keeps others away from a file.
    pub hold: &'b dyn Hold,
    /// How often the log is gone through, while others may add to it faster than it can be copied.
    pub passes: usize,
}

/// Copies what a leg missed, until its logs are empty or only hold what nobody can decide, or so many passes are over. Whether it has everything then is for the caller
/// to see, when nobody writes: `missed.list()` is empty.
///
/// # Errors
/// A leg's errors, or that it was stopped; what was done stays done.
pub fn run<'a>(work: &Work<'a, '_>, missed: &dyn Missed, limit: &mut Limit<'a>) -> Result<Report> {
    let Work { from, to, generation, trust, hold, passes } = *work;
    let mut report = Report::default();
    let mut stuck: BTreeSet<Region> = BTreeSet::new();
    let mut copier = Copier { trust, hold, ..Copier::new(from, to, generation, limit, &mut report) };
    for _ in 0..passes {
        let todo: Vec<Region> = missed.list().into_iter().filter(|r| !stuck.contains(r)).collect();
        if todo.is_empty() {
            break;
        }
        for batch in todo.chunks(BATCH) {
            for region in batch {
                copier.limit.more(weight(&from[0], region)?);
            }
            let copied = copy(&mut copier, missed, batch, &mut stuck).and_then(|()| settle(&to));
            if let Err(e) = copied {
                // What is on the leg may be lost again: it has missed all of them still.
                batch.iter().try_for_each(|region| missed.put_back(region))?;
                return Err(e);
            }
            missed.settle()?;
        }
    }
    report.undecided.sort_by(|a, b| a.path.cmp(&b.path));
    report.undecided.dedup();
    limit.finish();
    Ok(report)
}

fn copy(
    copier: &mut Copier<'_, '_>,
    missed: &dyn Missed,
    batch: &[Region],
    stuck: &mut BTreeSet<Region>,
) -> Result<()> {
    for region in batch {
        let before = copier.report.undecided.len();
        missed.take(region);
        let done = copier.region(region);
        copier.note(done)?;
        // Part of a tree may be what nobody can decide: all of it stays in the log.
        if copier.report.undecided.len() > before {
            missed.put_back(region)?;
            stuck.insert(region.clone());
        }
    }
    Ok(())
}

/// Bytes of the files in a region.
pub(crate) fn weight(side: &Side<'_>, region: &Region) -> Result<u64> {
    let (mut bytes, mut todo) = (0, vec![region.path.clone()]);
    while let Some(path) = todo.pop() {
        let Some(object) = side.find(&path)? else { continue };
        if object.is_file() {
            bytes += object.size();
        }
        let enter = region.kind == Kind::Subtree || (region.kind == Kind::Entries && path == region.path);
        if object.is_dir() && enter {
            todo.extend(side.names(&path, &object)?.into_iter().map(|n| path.join(n)));
        }
    }
    Ok(bytes)
}

/// Whether an error is one of the leg that is resynced, and not of one that it is copied from.
pub fn is_of(e: &Error, to: &Side<'_>) -> bool {
    matches!(e, Error::Leg { leg, .. } | Error::State { leg, .. } if leg == to.leg.name())
}

#[cfg(test)]
#[path = "resync_tests.rs"]
mod tests;
