//! A leg that comes back while the set is in use: it gets what it missed while others write, and is live from one moment to the next.

use super::copy::{Alone, Hold, Report};
use super::limit::Limit;
use super::member::{Files, Member};
use super::resync::{self, Missed};
use super::roster::Roster;
use super::split::{Claim, claims};
use super::{Error, Set};
use crate::leg::{Leg, Local};
use crate::state::{self, LegState, MissedLog, Region, Slots, Standing, StateDir, Uuid};
use block_device::Observer;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a leg cannot be taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeInError {
    /// It is there.
    #[error("it is live already")]
    IsLive,
    /// It cannot be opened.
    #[error("\"{}\": {source}", path.display())]
    State {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: state::Error,
    },
    /// Something else is there now.
    #[error("\"{}\" is not that leg", .0.display())]
    Foreign(PathBuf),
    /// It was changed without the others.
    #[error(
        "split brain: it was changed without the others; unmount the set, and hostfs-mirror split-brain list says where"
    )]
    SplitBrain,
    /// Nobody can say which copy of these is right.
    #[error("{0} paths cannot be decided, the first: {1}")]
    Undecided(usize, String),
    /// What failed.
    #[error(transparent)]
    Work(#[from] Error),
    /// Its state, or the others', could not be written.
    #[error("writing the state of the set: {0}")]
    Unwritable(rustix::io::Errno),
}

/// The live legs' logs of what one leg missed.
struct Logs<'a> {
    set: &'a Set,
    leg: Uuid,
}

impl Logs<'_> {
    fn each(&self, mut work: impl FnMut(&Files, &mut MissedLog) -> state::Result<()>) -> Result<(), Error> {
        let roster = self.set.roster();
        for &leg in &roster.live {
            let member = &roster.members[leg];
            let Some(files) = &member.files else { continue };
            if let Some(log) = files.missed.lock().get_mut(&self.leg) {
                let failed = |source| Error::State { leg: roster.name_of(leg).into(), source };
                work(files, log).map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl Missed for Logs<'_> {
    fn list(&self) -> BTreeSet<Region> {
        let mut all = BTreeSet::new();
        // Looking at them does not fail.
        let _ = self.each(|_, log| {
            all.extend(log.list().iter().cloned());
            Ok(())
        });
        all
    }

    fn take(&self, region: &Region) {
        let _ = self.each(|_, log| {
            log.take(region);
            Ok(())
        });
    }

    fn put_back(&self, region: &Region) -> Result<(), Error> {
        self.each(|files, log| log.add(&files.dir, std::slice::from_ref(region)))
    }

    fn settle(&self) -> Result<(), Error> {
        self.each(|files, log| log.settle(&files.dir))
    }
}

impl Hold for Set {
    /// One that somebody knows is locked; while another one is copied, nobody changes anything.
    fn hold(&self, path: &Path, work: &mut dyn FnMut()) {
        let roster = self.roster();
        let node = roster.live.first().and_then(|&leg| {
            let on = roster.members[leg].leg().ok()?;
            let object = on.resolve(path).ok()?;
            self.nodes.of(leg, &on.stat(rustix::fd::AsFd::as_fd(&object)).ok()?)
        });
        match node {
            Some(node) => {
                let _changing = node.changing.lock();
                work();
            }
            None => {
                let _gate = self.gate.write();
                work();
            }
        }
    }
}

impl Set {
    /// Takes a leg in that is away, and is at a path now, or where it was last: copies what it missed, at most `rate` bytes a second.
    ///
    /// # Errors
    /// [`TakeInError`]; what was copied stays copied.
    pub fn take_in(
        &self,
        leg: usize,
        path: Option<&Path>,
        rate: Option<u64>,
        observer: &dyn Observer,
    ) -> Result<Report, TakeInError> {
        let _one = self.taking_in.lock();
        let roster = self.roster();
        if roster.live.contains(&leg) {
            return Err(TakeInError::IsLive);
        }
        let member = self.find_again(&roster, leg, path)?;
        let name = member.leg.as_ref().map_or(member.hint.clone(), |l| l.name().to_owned());
        self.event(format!("leg {} ({}) is being brought up to date", leg + 1, name.display()));
        let result = self.bring_up(leg, &member, rate, observer);
        match &result {
            Ok(report) => self.event(format!(
                "leg {} ({}) is live: {} objects looked at, {} copied",
                leg + 1,
                name.display(),
                report.objects,
                report.changed
            )),
            Err(e) => self.event(format!(
                "leg {} ({}) could not be brought up to date: {e}",
                leg + 1,
                name.display()
            )),
        }
        result
    }

    /// Holds the files of all live legs against their checksums while others work, and heals what is wrong if that is wanted.
    ///
    /// # Errors
    /// A leg's errors.
    pub fn scrub(
        &self,
        top: &Path,
        heal: bool,
        rate: Option<u64>,
        observer: &dyn Observer,
    ) -> Result<Report, Error> {
        // What the manifests do not know yet they learn first.
        self.tidy();
        let roster = self.roster();
        let sides: Vec<_> = roster.live.iter().filter_map(|l| roster.members[*l].side().ok()).collect();
        let mut limit = Limit::new(observer, "scrubbing", rate, 0);
        let scrub = super::scrub::Scrub { sides: &sides, generation: roster.generation, heal, hold: self };
        let report = scrub.run(top, &mut limit)?;
        for w in &report.wrong {
            let healed = if w.healed { "healed" } else { "not healed" };
            let (leg, path) = (w.leg.display(), w.path.display());
            self.event(format!("{leg} had wrong bytes in \"{path}\" at {}: {healed}", w.offset));
        }
        Ok(report)
    }

    /// Opens the leg anew, and asks it how it stands.
    fn find_again(
        &self,
        roster: &Roster,
        leg: usize,
        path: Option<&Path>,
    ) -> Result<Arc<Member>, TakeInError> {
        let old = &roster.members[leg];
        let path = path.map_or_else(|| old.hint.clone(), Path::to_owned);
        let failed = |source| TakeInError::State { path: path.clone(), source };
        let io = |errno| state::Error::Io { what: "opening", file: String::new(), errno };
        let on: Arc<dyn Leg> = Arc::new(Local::open(&path).map_err(io).map_err(failed)?);
        let dir = StateDir::open(on.root()).map_err(failed)?;
        let says = Slots::peek(&dir).map_err(failed)?;
        if says.set != roster.set || says.leg != old.uuid {
            return Err(TakeInError::Foreign(path));
        }
        let live = roster.live.iter().filter_map(|l| roster.members[*l].files.as_ref());
        let states: Vec<LegState> = live.map(|files| files.state()).chain([says]).collect();
        let claims = claims(&states.iter().collect::<Vec<_>>());
        let claim = claims.last().map_or(Claim::Foreign, |(_, c)| *c);
        if claims.iter().any(|(_, c)| *c == Claim::WentOnAlone) {
            return Err(TakeInError::SplitBrain);
        }
        if claim == Claim::Foreign {
            return Err(TakeInError::Foreign(path));
        }
        // Its log says what it lacks, if it is what it was then, and did as it was told.
        let by_log = claim == Claim::Behind && roster.standings[leg] == Standing::Stale;
        if !by_log {
            self.note_of(&[Region::whole()], |m| m.uuid == old.uuid).map_err(TakeInError::Unwritable)?;
        }
        let files = match &old.files {
            Some(files) if old.leg.is_some() && same_place(&**old.leg.as_ref().unwrap_or(&on), &*on) => {
                files.clone()
            }
            _ => Arc::new(Files::open(&*on).map_err(failed)?),
        };
        Ok(Arc::new(Member::present(old.uuid, old.role, on, files)))
    }

    fn bring_up(
        &self,
        leg: usize,
        member: &Arc<Member>,
        rate: Option<u64>,
        observer: &dyn Observer,
    ) -> Result<Report, TakeInError> {
        let logs = Logs { set: self, leg: member.uuid };
        let mut report = self.copy_missed(member, &logs, self, rate, observer)?;
        // What came meanwhile is little, and is copied while nothing else comes.
        self.tidy();
        let _gate = self.gate.write();
        let last = self.copy_missed(member, &logs, &Alone, None, observer)?;
        if let Some(left) = logs.list().first() {
            let first = format!("\"{}\" could not be copied", left.path.display());
            return Err(TakeInError::Undecided(logs.list().len(), first));
        }
        report.objects += last.objects;
        report.changed += last.changed;
        self.let_in(leg, member)?;
        Ok(report)
    }

    fn copy_missed(
        &self,
        member: &Member,
        logs: &Logs<'_>,
        hold: &dyn Hold,
        rate: Option<u64>,
        observer: &dyn Observer,
    ) -> Result<Report, TakeInError> {
        let roster = self.roster();
        let from: Vec<_> = roster.live.iter().filter_map(|l| roster.members[*l].side().ok()).collect();
        let to = member.side().map_err(TakeInError::Unwritable)?;
        let mut limit = Limit::new(observer, "resync", rate, 0);
        let report = {
            let trust = roster.members.iter().position(|m| m.uuid == member.uuid);
            let trust = trust.is_some_and(|leg| roster.standings[leg] != Standing::Fenced);
            let work =
                resync::Work { from: &from, to, generation: roster.generation, trust, hold, passes: 3 };
            resync::run(&work, logs, &mut limit)?
        };
        if let Some(first) = report.undecided.first() {
            let count = report.undecided.len();
            return Err(TakeInError::Undecided(
                count,
                format!("\"{}\": {}", first.path.display(), first.why),
            ));
        }
        Ok(report)
    }

    /// The leg has everything, durably, and nobody changes anything: it is live.
    fn let_in(&self, leg: usize, member: &Arc<Member>) -> Result<(), TakeInError> {
        let _membership = self.membership.lock();
        let mut next = Roster::clone(&self.roster());
        next.see();
        next.members[leg] = member.clone();
        next.standings[leg] = Standing::Live;
        next.generation += 1;
        next.line_up();
        let next = Arc::new(next);
        // Its own marks are of the time when it went away.
        let files = member.files().map_err(TakeInError::Unwritable)?;
        files.intent.clear().map_err(|e| TakeInError::Unwritable(e.errno()))?;
        // It first: should all end here, it knows that the others have everything too.
        let mut told = Roster::clone(&next);
        told.see();
        // Who hangs in it since the leg failed has it.
        let mut slots = files.slots.try_lock().ok_or(TakeInError::Unwritable(rustix::io::Errno::TIMEDOUT))?;
        let own = slots.write(told.state_of(leg, false));
        drop(slots);
        own.map_err(|e| TakeInError::Unwritable(e.errno()))?;
        let failed = self.write_states(&next, false);
        self.nodes.let_go(leg);
        for &l in &next.live {
            if let Some(files) = &next.members[l].files {
                files.missed.lock().remove(&member.uuid);
                // A log that stays is copied once more, no more.
                let _ = MissedLog::delete(&files.dir, member.uuid);
            }
        }
        *self.roster.write() = next;
        // Directories are marked anew, on this leg too, before they are touched.
        self.period.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        drop(_membership);
        self.fence(&failed).map_err(TakeInError::Unwritable)
    }
}

/// Whether two legs are one directory.
fn same_place(a: &dyn Leg, b: &dyn Leg) -> bool {
    let (Ok(a), Ok(b)) = (a.stat(a.root()), b.stat(b.root())) else { return false };
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}
