//! Legs that failed. The order is everything: first a higher generation is durable on those that are left, then the leg counts as gone, then
//! the caller hears. So whenever it comes back, it shows that it was not there.

use super::member::Member;
use super::roster::Roster;
use super::{Set, parallel, recover};
use crate::leg::Result;
use crate::state::{MissedLog, Region, Standing};
use rustix::io::Errno;
use std::collections::{BTreeSet, hash_map};
use std::sync::Arc;

/// How a leg stands after it has failed like that: what it has is right but old, or nobody knows.
fn standing_after(errno: Errno) -> Standing {
    match errno {
        Errno::IO | Errno::TIMEDOUT | Errno::UCLEAN | Errno::BADMSG => Standing::Fenced,
        _ => Standing::Stale,
    }
}

impl Set {
    /// Puts legs away that have failed.
    ///
    /// # Errors
    /// EIO, if none is left on which that could be made durable: nothing is changed then.
    pub(crate) fn fence(&self, failed: &[(usize, Errno)]) -> Result<()> {
        self.put_away(failed, standing_after)
    }

    /// The same, of legs whose every write since the last that was synced may be lost.
    pub(crate) fn fence_for_good(&self, failed: &[(usize, Errno)]) -> Result<()> {
        self.put_away(failed, |_| Standing::Fenced)
    }

    fn put_away(&self, failed: &[(usize, Errno)], standing: impl Fn(Errno) -> Standing) -> Result<()> {
        self.line_out(failed, standing)?;
        // What was written there of late may not be durable there: it is what the others still have marked.
        let roster = self.roster();
        let maps = roster.live.iter().filter_map(|leg| roster.members[*leg].files.as_ref());
        let marks: BTreeSet<Region> = maps.flat_map(|files| files.intent.list().regions).collect();
        self.note(&recover::missed(marks))
    }

    fn line_out(&self, failed: &[(usize, Errno)], standing: impl Fn(Errno) -> Standing) -> Result<()> {
        let _membership = self.membership.lock();
        let mut next = Roster::clone(&self.roster());
        // Somebody else may have been faster.
        let mut failed: Vec<_> = failed.iter().copied().filter(|(leg, _)| next.live.contains(leg)).collect();
        while !failed.is_empty() {
            next.see();
            for &(leg, errno) in &failed {
                next.standings[leg] = standing(errno);
            }
            next.line_up();
            if next.live.is_empty() {
                self.event(format!("no leg is left: {}", errno_text(failed[0].1)));
                return Err(Errno::IO);
            }
            next.generation += 1;
            for &(leg, errno) in &failed {
                let (name, why) = (next.name_of(leg), errno_text(errno));
                let how = if next.standings[leg] == Standing::Fenced { "fenced" } else { "stale" };
                self.event(format!(
                    "leg {} ({name}) is {how}: {why}; generation {}",
                    leg + 1,
                    next.generation
                ));
            }
            failed = self.write_states(&Arc::new(next.clone()), false);
        }
        *self.roster.write() = Arc::new(next);
        Ok(())
    }

    /// Makes a roster durable on its live legs: those on which that failed.
    pub(crate) fn write_states(&self, roster: &Arc<Roster>, clean: bool) -> Vec<(usize, Errno)> {
        let mut told = Roster::clone(roster);
        told.see();
        let roster = &Arc::new(told);
        let answers = parallel::on_each(roster, &roster.live, self.options.timeout, move |roster, leg| {
            let files = roster.members[leg].files()?;
            files.slots.lock().write(roster.state_of(leg, clean)).map_err(|e| e.errno())
        });
        answers.into_iter().filter_map(|(leg, answer)| Some((leg, answer.err()?))).collect()
    }

    /// Notes what the legs that are away miss, on all that are there.
    pub(crate) fn note(&self, regions: &[Region]) -> Result<()> {
        self.note_of(regions, |_| true)
    }

    /// The same, of some of them.
    pub(crate) fn note_of(&self, regions: &[Region], of: impl Fn(&Member) -> bool) -> Result<()> {
        loop {
            let roster = self.roster();
            if regions.is_empty() || roster.live.is_empty() {
                return Ok(());
            }
            let note = |leg: usize| {
                let files = roster.members[leg].files()?;
                let mut logs = files.missed.lock();
                for away in roster.away().filter(|m| of(m)) {
                    let log = match logs.entry(away.uuid) {
                        hash_map::Entry::Occupied(known) => known.into_mut(),
                        hash_map::Entry::Vacant(new) => {
                            new.insert(MissedLog::open(&files.dir, away.uuid).map_err(|e| e.errno())?)
                        }
                    };
                    log.add(&files.dir, regions).map_err(|e| e.errno())?;
                }
                Ok(())
            };
            let failed = roster.live.iter().filter_map(|leg| Some((*leg, note(*leg).err()?)));
            let failed: Vec<(usize, Errno)> = failed.collect();
            if failed.is_empty() {
                return Ok(());
            }
            // With one more away, there is more to be noted.
            self.fence(&failed)?;
        }
    }

    /// Puts a leg away because somebody wants that.
    ///
    /// # Errors
    /// EBUSY for the last live one; EINVAL for one that is away.
    pub fn fence_leg(&self, leg: usize) -> Result<()> {
        // Nothing is on its way then: what the leg has is whole.
        let _gate = self.gate.write();
        let roster = self.roster();
        match roster.live.contains(&leg) {
            false => Err(Errno::INVAL),
            true if roster.live.len() == 1 => Err(Errno::BUSY),
            true => self.put_away(&[(leg, Errno::CANCELED)], |_| Standing::Stale),
        }
    }
}

/// What people are told of an errno.
pub(crate) fn errno_text(errno: Errno) -> String {
    match errno {
        Errno::CANCELED => "fenced by hand".into(),
        Errno::TIMEDOUT => "it does not answer".into(),
        e => e.to_string(),
    }
}
