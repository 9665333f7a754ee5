//! A set that is not mounted: its legs, opened by whoever works on them, and what is done with them.
//!
//! What changes who is in the set is written in the order that a mounted set has: what a leg lacks is in the logs first, then it is copied, then it
//! counts as live. Killed in between, the same command goes on from there.

use super::copy::{Alone, Report};
use super::limit::Limit;
use super::resync::Logs;
use super::scrub::Scrub;
use super::split::{Claim, claims, winner};
use super::{Error, Side, recover, resync};
use crate::leg::Leg;
use crate::state::intent::Marks;
use crate::state::{
    self, IntentMap, LegState, Manifest, Member, MissedLog, Region, Role, Slots, Standing, StateDir, Uuid,
};
use block_device::Observer;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why something cannot be done with a set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ColdError {
    /// A leg's state cannot be read or written.
    #[error("\"{}\": {source}", path.display())]
    State {
        /// The leg.
        path: PathBuf,
        /// Why.
        source: state::Error,
    },
    /// A directory is a leg of something else.
    #[error("\"{}\" is a leg of another set, \"{name}\"", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        name: String,
    },
    /// No leg that is there has everything.
    #[error("none of the legs that are there has everything; bring one that has")]
    Hopeless,
    /// It has to be decided first.
    #[error("split brain: legs were changed without each other (hostfs-mirror split-brain list says where)")]
    SplitBrain,
    /// Nobody has such a leg.
    #[error("the set has no leg \"{0}\"")]
    NoSuchLeg(String),
    /// It is the only one that has everything.
    #[error("\"{}\" is the only leg that has everything", .0.display())]
    LastLeg(PathBuf),
    /// What is there would be lost.
    #[error("\"{}\" is not empty (--overwrite makes it like the others)", .0.display())]
    NotEmpty(PathBuf),
    /// Nobody can decide these.
    #[error("{} paths cannot be decided; the first: {}", .0.len(), first(.0))]
    Undecided(Vec<super::Undecided>),
    /// The work itself.
    #[error(transparent)]
    Work(#[from] Error),
}

fn first(all: &[super::Undecided]) -> String {
    all.first().map_or(String::new(), |u| format!("\"{}\": {}", u.path.display(), u.why))
}

type Result<T> = std::result::Result<T, ColdError>;

/// A leg that is there.
pub struct ColdLeg {
    /// The tree.
    pub leg: Arc<dyn Leg>,
    /// The state.
    pub dir: StateDir,
    slots: Slots,
    /// The manifest.
    pub manifest: Mutex<Manifest>,
    /// How it stands to the others.
    pub claim: Claim,
    marks: Option<Marks>,
}

impl ColdLeg {
    fn open(leg: Arc<dyn Leg>) -> Result<Self> {
        let failed = state_failed(&*leg);
        let open = || {
            let dir = StateDir::open(leg.root())?;
            let slots = Slots::open(&dir)?;
            let (marks, manifest) = (IntentMap::read(&dir)?, Mutex::new(Manifest::open(&dir)?));
            Ok((dir, slots, marks, manifest))
        };
        let (dir, slots, marks, manifest) = open().map_err(failed)?;
        Ok(Self { leg, dir, slots, manifest, claim: Claim::Foreign, marks })
    }

    /// What it remembers.
    pub fn state(&self) -> &LegState {
        self.slots.state()
    }

    /// Which.
    pub fn uuid(&self) -> Uuid {
        self.state().leg
    }

    /// As those see it who make legs equal.
    pub fn side(&self) -> Side<'_> {
        Side { leg: &*self.leg, uuid: self.uuid(), manifest: &self.manifest }
    }

    /// What its intent map said when it was opened.
    pub(crate) fn marks(&self) -> Option<&Marks> {
        self.marks.as_ref()
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        absolute(self.leg.name())
    }

    pub(crate) fn failed(&self) -> impl Fn(state::Error) -> ColdError + use<> {
        state_failed(&*self.leg)
    }
}

fn state_failed(leg: &dyn Leg) -> impl Fn(state::Error) -> ColdError + use<> {
    let path = leg.name().to_owned();
    move |source| ColdError::State { path: path.clone(), source }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A set that nobody has mounted: as long as this lives, nobody can.
pub struct Cold {
    legs: Vec<ColdLeg>,
    state: LegState,
}

impl Cold {
    /// Opens the legs that are there; those of another set are refused.
    ///
    /// # Errors
    /// [`ColdError`].
    pub fn open(legs: Vec<Arc<dyn Leg>>) -> Result<Self> {
        let mut opened = legs.into_iter().map(ColdLeg::open).collect::<Result<Vec<_>>>()?;
        let states: Vec<LegState> = opened.iter().map(|l| l.state().clone()).collect();
        let all: Vec<&LegState> = states.iter().collect();
        let state = winner(&all).ok_or(ColdError::Hopeless)?.clone();
        if let Some(other) = opened.iter().find(|l| l.state().set != state.set) {
            return Err(ColdError::Foreign { path: other.path(), name: other.state().name.clone() });
        }
        for (leg, (_, claim)) in opened.iter_mut().zip(claims(&all)) {
            leg.claim = claim;
        }
        let place = |l: &ColdLeg| state.members.iter().position(|m| m.leg == l.uuid());
        opened.sort_by_key(|l| (place(l).is_none(), place(l)));
        Ok(Self { legs: opened, state })
    }

    /// What the leg that is right remembers of the set.
    pub fn state(&self) -> &LegState {
        &self.state
    }

    /// The legs that are there.
    pub fn legs(&self) -> &[ColdLeg] {
        &self.legs
    }

    /// Whether legs went on alone.
    pub fn is_split(&self) -> bool {
        self.legs.iter().any(|l| l.claim == Claim::WentOnAlone)
    }

    /// The legs that have everything, those first that are read from.
    pub fn live(&self) -> Vec<&ColdLeg> {
        let mut live: Vec<_> = self.legs.iter().filter(|l| l.claim == Claim::Current).collect();
        let last = |l: &ColdLeg| self.state.member(l.uuid()).is_some_and(|m| m.role != Role::Normal);
        live.sort_by_key(|l| last(l));
        live
    }

    /// The live legs as those see them who make legs equal.
    pub fn sides(&self) -> Vec<Side<'_>> {
        self.live().into_iter().map(ColdLeg::side).collect()
    }

    /// A leg by its number (from 1), its path or its identity.
    ///
    /// # Errors
    /// [`ColdError::NoSuchLeg`].
    pub fn find(&self, who: &str) -> Result<&Member> {
        let by_number = who.parse::<usize>().ok().and_then(|n| self.state.members.get(n.checked_sub(1)?));
        let path = absolute(Path::new(who));
        let is = |m: &&Member| {
            let place = self.leg(m.leg).map_or_else(|| m.hint.clone(), ColdLeg::path);
            m.leg.to_string() == who || place == path
        };
        by_number
            .or_else(|| self.state.members.iter().find(is))
            .ok_or_else(|| ColdError::NoSuchLeg(who.to_owned()))
    }

    /// A leg that is there.
    pub fn leg(&self, leg: Uuid) -> Option<&ColdLeg> {
        self.legs.iter().find(|l| l.uuid() == leg)
    }

    /// After a crash: makes the live legs equal. Nothing is done for a set that was unmounted in order.
    ///
    /// # Errors
    /// [`ColdError`]; what was done stays done.
    pub fn recover(&mut self, observer: &dyn Observer) -> Result<Option<Report>> {
        if self.is_split() {
            return Err(ColdError::SplitBrain);
        }
        let maps: Vec<_> = self.live().iter().map(|l| l.marks.clone()).collect();
        if maps.is_empty() {
            return Err(ColdError::Hopeless);
        }
        let marked = maps.iter().flatten().any(|m| m.damaged > 0 || !m.regions.is_empty());
        if !marked && (self.state.clean || maps.iter().all(Option::is_some)) {
            return Ok(None);
        }
        let regions = recover::regions(&maps);
        // One that is not there does not take part.
        let absent: Vec<Uuid> =
            self.state.members.iter().map(|m| m.leg).filter(|l| self.leg(*l).is_none()).collect();
        for member in self.state.members.iter_mut() {
            if absent.contains(&member.leg) && member.standing == Standing::Live {
                member.standing = Standing::Stale;
            }
        }
        for away in self.away() {
            self.miss(away, &recover::missed(regions.clone()))?;
        }
        self.write(|_| {})?;
        let report = recover::run(&self.sides(), self.state.generation, &regions, observer)?;
        if !report.undecided.is_empty() {
            return Err(ColdError::Undecided(report.undecided));
        }
        self.clear_marks()?;
        self.write(|state| state.clean = true)?;
        Ok(Some(report))
    }

    /// Legs that were apart are one set again, from this generation on.
    pub(crate) fn rejoin(&mut self, parties: &[Uuid], highest: u64) -> Result<()> {
        self.state.generation = self.state.generation.max(highest);
        let mut others = Vec::new();
        for member in &mut self.state.members {
            if parties.contains(&member.leg) {
                member.standing = Standing::Live;
                continue;
            }
            // What was chosen is in no log of the others.
            others.push(member.leg);
            if member.standing == Standing::Live {
                member.standing = Standing::Stale;
            }
        }
        for leg in self.legs.iter_mut().filter(|l| parties.contains(&l.slots.state().leg)) {
            leg.claim = Claim::Current;
        }
        for other in others {
            self.miss(other, &[Region::whole()])?;
        }
        self.write(|state| state.clean = true)
    }

    /// The live legs, and those that went on alone, are known to be equal.
    pub(crate) fn clear_marks(&mut self) -> Result<()> {
        for leg in self.legs.iter_mut().filter(|l| matches!(l.claim, Claim::Current | Claim::WentOnAlone)) {
            IntentMap::open(&leg.dir).and_then(|map| map.clear()).map_err(leg.failed())?;
            leg.marks = Some(Marks::default());
        }
        Ok(())
    }

    /// The legs that do not have everything.
    pub fn away(&self) -> Vec<Uuid> {
        let live = self.live();
        let is_live = |leg: Uuid| live.iter().any(|l| l.uuid() == leg);
        // One that is not there, and has missed nothing: nothing was written without it.
        let absent = |m: &Member| m.standing == Standing::Live && self.leg(m.leg).is_none();
        self.state.members.iter().filter(|m| !is_live(m.leg) && !absent(m)).map(|m| m.leg).collect()
    }

    /// How many entries the logs of a leg have, all together.
    ///
    /// # Errors
    /// [`ColdError::State`].
    pub fn missed(&self, leg: Uuid) -> Result<usize> {
        let mut all = std::collections::BTreeSet::new();
        for live in self.live() {
            all.extend(MissedLog::read(&live.dir, leg).map_err(live.failed())?.unwrap_or_default());
        }
        Ok(all.len())
    }

    /// Notes on all live legs what one does not have.
    fn miss(&self, leg: Uuid, regions: &[Region]) -> Result<()> {
        for live in self.live() {
            let note = || {
                let mut log = MissedLog::open(&live.dir, leg)?;
                log.add(&live.dir, regions)?;
                log.sync()
            };
            note().map_err(live.failed())?;
        }
        Ok(())
    }

    /// Makes a change of the state durable on the live legs, under a higher generation.
    pub(crate) fn write(&mut self, change: impl FnOnce(&mut LegState)) -> Result<()> {
        change(&mut self.state);
        self.state.generation += 1;
        for member in &mut self.state.members {
            if let Some(leg) = self.legs.iter().find(|l| l.uuid() == member.leg) {
                member.hint = leg.path();
                if leg.claim == Claim::Current {
                    member.seen = leg.state().generation;
                }
            }
        }
        for leg in self.legs.iter_mut().filter(|l| l.claim == Claim::Current) {
            let failed = state_failed(&*leg.leg);
            let own = LegState { leg: leg.slots.state().leg, ..self.state.clone() };
            leg.slots.write(own).map_err(failed)?;
        }
        Ok(())
    }

    /// Brings a leg up to date by what it missed: by comparison of everything, where no log can say that.
    ///
    /// # Errors
    /// [`ColdError`]; what was done stays done, and is not done again.
    pub fn resync(&mut self, leg: Uuid, rate: Option<u64>, observer: &dyn Observer) -> Result<Report> {
        self.recover(observer)?;
        let who = self.leg(leg).ok_or_else(|| ColdError::NoSuchLeg(leg.to_string()))?;
        if who.claim == Claim::Current {
            return Ok(Report::default());
        }
        let has_log = |l: &&ColdLeg| MissedLog::legs(&l.dir).is_ok_and(|all| all.contains(&leg));
        if who.claim != Claim::Behind || !self.live().iter().all(has_log) {
            self.miss(leg, &[Region::whole()])?;
        }
        let mut logs = Vec::new();
        for live in self.live() {
            let log = MissedLog::open(&live.dir, leg).map_err(live.failed())?;
            logs.push((live.side(), &live.dir, Mutex::new(log)));
        }
        let (sides, logs) = (self.sides(), Logs(logs));
        let mut limit = Limit::new(observer, "resync", rate, 0);
        let work = resync::Work {
            from: &sides,
            to: who.side(),
            generation: self.state.generation,
            trust: who.claim != Claim::Fenced,
            hold: &Alone,
            passes: 2,
        };
        let report = resync::run(&work, &logs, &mut limit)?;
        if !report.undecided.is_empty() {
            return Err(ColdError::Undecided(report.undecided));
        }
        drop((sides, logs));
        IntentMap::open(&who.dir).and_then(|map| map.clear()).map_err(who.failed())?;
        self.let_in(leg)?;
        Ok(report)
    }

    /// A leg that has everything is live, and no log of it is needed.
    pub(crate) fn let_in(&mut self, leg: Uuid) -> Result<()> {
        if let Some(member) = self.state.member_mut(leg) {
            member.standing = Standing::Live;
        }
        // It first: should all end here, it knows that the others have everything too.
        for own in self.legs.iter_mut().filter(|l| l.slots.state().leg == leg) {
            let failed = state_failed(&*own.leg);
            let generation = self.state.generation + 1;
            let state = LegState { leg, generation, ..self.state.clone() };
            own.slots.write(state).map_err(failed)?;
            own.claim = Claim::Current;
        }
        self.write(|_| {})?;
        for live in self.live() {
            MissedLog::delete(&live.dir, leg).map_err(live.failed())?;
        }
        Ok(())
    }

    /// Adds a leg, which has nothing yet; [`resync`](Self::resync) gives it everything.
    ///
    /// # Errors
    /// [`ColdError`].
    pub fn add(&mut self, leg: Arc<dyn Leg>, role: Role, overwrite: bool) -> Result<Uuid> {
        self.recover(&block_device::Unobserved)?;
        let failed = state_failed(&*leg);
        if let Ok(dir) = StateDir::open(leg.root())
            && let Ok(other) = Slots::peek(&dir)
        {
            // The same command, killed before: it goes on.
            let own = self.state.member(other.leg).is_some_and(|m| m.standing == Standing::New);
            if other.set != self.state.set || !own {
                return Err(ColdError::Foreign { path: leg.name().to_owned(), name: other.name });
            }
        } else {
            let entries = leg.list(leg.root()).map_err(|errno| {
                failed(state::Error::Io { what: "reading the directory of", file: String::new(), errno })
            })?;
            let empty = entries.iter().all(|e| e.name == "lost+found" || e.name == state::NAME);
            if !empty && !overwrite {
                return Err(ColdError::NotEmpty(leg.name().to_owned()));
            }
            let hint = absolute(leg.name());
            let begun = self.state.members.iter().find(|m| m.standing == Standing::New && m.hint == hint);
            let uuid = begun.map_or_else(Uuid::new_v4, |m| m.leg);
            let member = Member { leg: uuid, seen: 0, role, standing: Standing::New, hint };
            // In the set first: a directory that says it is a leg, and is of none, would be in the way.
            self.write(|state| {
                state.members.retain(|m| m.leg != uuid);
                state.members.push(member);
            })?;
            let own = LegState { leg: uuid, ..self.state.clone() };
            StateDir::create(leg.root()).and_then(|dir| Slots::create(&dir, own)).map_err(&failed)?;
        }
        let mut new = ColdLeg::open(leg)?;
        new.claim = Claim::Old;
        let uuid = new.uuid();
        self.legs.push(new);
        Ok(uuid)
    }

    /// Takes a leg out of the set; its files stay where they are, without the set's state.
    ///
    /// # Errors
    /// [`ColdError::LastLeg`]; [`ColdError`].
    pub fn remove(&mut self, leg: Uuid) -> Result<()> {
        if !self.is_split() {
            self.recover(&block_device::Unobserved)?;
        }
        if self.live().iter().all(|l| l.uuid() == leg) {
            let path = self.leg(leg).map_or_else(PathBuf::new, ColdLeg::path);
            return Err(ColdError::LastLeg(path));
        }
        self.write(|state| {
            state.members.retain(|m| m.leg != leg);
            state.min_legs = state.min_legs.min(state.members.len() as u8);
        })?;
        for live in self.live().into_iter().filter(|l| l.uuid() != leg) {
            MissedLog::delete(&live.dir, leg).map_err(live.failed())?;
        }
        if let Some(at) = self.legs.iter().position(|l| l.uuid() == leg) {
            let gone = self.legs.remove(at);
            StateDir::destroy(gone.leg.root()).map_err(gone.failed())?;
        }
        Ok(())
    }

    /// Makes plain directories of the legs: the set is no more, and each live leg has everything.
    ///
    /// # Errors
    /// [`ColdError`].
    pub fn dissolve(mut self) -> Result<Vec<PathBuf>> {
        self.recover(&block_device::Unobserved)?;
        let live: Vec<PathBuf> = self.live().iter().map(|l| l.path()).collect();
        for leg in &self.legs {
            StateDir::destroy(leg.leg.root()).map_err(leg.failed())?;
        }
        Ok(live)
    }

    /// Reads everything, or what is at a path, and holds it against the checksums; heals what is wrong.
    ///
    /// # Errors
    /// [`ColdError`].
    pub fn scrub(
        &mut self,
        top: &Path,
        heal: bool,
        rate: Option<u64>,
        observer: &dyn Observer,
    ) -> Result<Report> {
        if heal {
            self.recover(observer)?;
        }
        let sides = self.sides();
        let first = sides.first().ok_or(ColdError::Hopeless)?;
        let total = resync::weight(first, &Region::subtree(top))? * sides.len() as u64;
        let mut limit = Limit::new(observer, if heal { "scrubbing" } else { "verifying" }, rate, total);
        let scrub = Scrub { sides: &sides, generation: self.state.generation, heal, hold: &Alone };
        Ok(scrub.run(top, &mut limit)?)
    }
}

#[cfg(test)]
#[path = "cold_tests.rs"]
mod tests;
