//! Making a set, and opening one.

use super::member::{Files, Member};
use super::node::Nodes;
use super::opened::raise_limit;
use super::roster::Roster;
use super::split::{Claim, claims, winner};
use super::tidy::Tidier;
use super::{Set, parallel, recover};
use crate::leg::Leg;
use crate::state::{self, LegState, Region, Role, Slots, Standing, StateDir, Uuid};
use parking_lot::{Mutex, RwLock};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// How a set is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// A leg that takes longer hangs, and is fenced.
    pub timeout: Duration,
    /// With fewer live legs nothing can be written; without it, what the set remembers.
    pub min_legs: Option<u8>,
    /// The leg that is read from, by its number from 1.
    pub primary: Option<usize>,
    /// Legs that are read from only when no other is there, by their numbers.
    pub write_mostly: Vec<usize>,
    /// Nothing is written.
    pub read_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        let timeout = Duration::from_secs(10);
        Options { timeout, min_legs: None, primary: None, write_mostly: Vec::new(), read_only: false }
    }
}

/// Why a set cannot be opened, or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A leg's state cannot be read, or written.
    #[error("\"{}\": {source}", path.display())]
    Leg {
        /// The leg.
        path: PathBuf,
        /// Why.
        source: state::Error,
    },
    /// Two legs are of different sets.
    #[error("\"{}\" is a leg of \"{other}\", and not of \"{name}\"", path.display())]
    Foreign {
        /// The leg that does not belong here.
        path: PathBuf,
        /// Its set.
        other: String,
        /// The set of the others.
        name: String,
    },
    /// A directory is a leg already.
    #[error("\"{}\" is a leg of \"{set}\" already", path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
        /// Its set.
        set: String,
    },
    /// Two legs each went on without the other.
    #[error("split brain: \"{}\" and \"{}\" were each changed without the other", a.display(), b.display())]
    SplitBrain {
        /// One.
        a: PathBuf,
        /// The other.
        b: PathBuf,
    },
    /// Every leg that is there knows that it has not got everything.
    #[error("none of the legs that are there has everything; missing: {0}")]
    Hopeless(String),
    /// A number that no leg has.
    #[error("there is no leg {0}: the set has {1}")]
    NoSuchLeg(usize, usize),
    /// After a crash, the legs could not be made equal.
    #[error("after a crash: {0}")]
    Recovery(super::Error),
    /// There can be no thread.
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
    /// No leg's state could be written.
    #[error("the state of the set could not be written on any leg: {0}")]
    Unwritable(rustix::io::Errno),
}

/// Makes legs of a new set from directories. What is in them must be the same already; usually they are empty.
///
/// # Errors
/// [`OpenError::Taken`], if one is a leg; what the host says.
pub fn create(name: &str, legs: &[Arc<dyn Leg>], min_legs: u8) -> Result<Uuid, OpenError> {
    let failed = |leg: &Arc<dyn Leg>| {
        let path = leg.name().to_owned();
        move |source| OpenError::Leg { path, source }
    };
    for leg in legs {
        if let Ok(dir) = StateDir::open(leg.root())
            && let Ok(state) = Slots::peek(&dir)
        {
            return Err(OpenError::Taken { path: leg.name().to_owned(), set: state.name });
        }
    }
    let set = Uuid::new_v4();
    let members: Vec<_> = legs
        .iter()
        .map(|leg| state::Member {
            leg: Uuid::new_v4(),
            seen: 1,
            role: Role::Normal,
            standing: Standing::Live,
            hint: std::path::absolute(leg.name()).unwrap_or_else(|_| leg.name().to_owned()),
        })
        .collect();
    for (leg, member) in legs.iter().zip(&members) {
        let dir = StateDir::create(leg.root()).map_err(failed(leg))?;
        let state = LegState {
            set,
            leg: member.leg,
            name: name.to_owned(),
            generation: 1,
            clean: true,
            min_legs,
            members: members.clone(),
        };
        Slots::create(&dir, state).map_err(failed(leg))?;
    }
    Ok(set)
}

impl Set {
    /// Opens the legs of a set that are there.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is changed then.
    pub fn open(legs: Vec<Arc<dyn Leg>>, options: Options) -> Result<Arc<Set>, OpenError> {
        // Every object that somebody knows is open on every leg.
        raise_limit();
        let mut opened = Vec::new();
        for leg in legs {
            let failed = |source| OpenError::Leg { path: leg.name().to_owned(), source };
            let files = Files::open(&*leg).map_err(failed)?;
            let state = files.state();
            opened.push((leg, Arc::new(files), state));
        }
        let states: Vec<LegState> = opened.iter().map(|(_, _, state)| state.clone()).collect();
        let path = |at: usize| opened[at].0.name().to_owned();
        if let Some(at) = states.iter().position(|state| state.set != states[0].set) {
            let (other, name) = (states[at].name.clone(), states[0].name.clone());
            return Err(OpenError::Foreign { path: path(at), other, name });
        }
        let all: Vec<&LegState> = states.iter().collect();
        let Some(newest) = winner(&all) else { return Err(OpenError::Hopeless(missing(&states))) };
        let claims = claims(&all);
        if let Some(alone) = claims.iter().position(|(_, c)| *c == Claim::WentOnAlone) {
            let first = states.iter().position(|s| s.leg == newest.leg).unwrap_or(0);
            return Err(OpenError::SplitBrain { a: path(first), b: path(alone) });
        }
        if claims.iter().all(|(_, c)| *c != Claim::Current) {
            return Err(OpenError::Hopeless(missing(&states)));
        }
        let claim_of = |leg: Uuid| claims.iter().find(|(l, _)| *l == leg).map(|(_, c)| *c);
        let mut roster = Roster {
            members: Vec::new(),
            standings: Vec::new(),
            seen: newest.members.iter().map(|m| m.seen).collect(),
            live: Vec::new(),
            generation: newest.generation,
            set: newest.set,
            name: newest.name.clone(),
            min_legs: options.min_legs.unwrap_or(newest.min_legs),
            wanted: options.primary.map(|n| n.wrapping_sub(1)),
        };
        let mut just_gone = Vec::new();
        for (i, m) in newest.members.iter().enumerate() {
            let role = if options.write_mostly.contains(&(i + 1)) { Role::WriteMostly } else { m.role };
            let at = states.iter().position(|state| state.leg == m.leg);
            let standing = match m.standing {
                Standing::Live if claim_of(m.leg) != Some(Claim::Current) => {
                    just_gone.push(i);
                    Standing::Stale
                }
                standing => standing,
            };
            roster.standings.push(standing);
            roster.members.push(Arc::new(match at {
                Some(at) => Member::present(m.leg, role, opened[at].0.clone(), opened[at].1.clone()),
                None => Member::missing(m.leg, role, m.hint.clone()),
            }));
        }
        let count = roster.members.len();
        for n in options.primary.iter().chain(&options.write_mostly) {
            if !(1..=count).contains(n) {
                return Err(OpenError::NoSuchLeg(*n, count));
            }
        }
        if !just_gone.is_empty() {
            roster.generation += 1;
        }
        roster.line_up();
        let old: Vec<Uuid> = claims.iter().filter(|(_, c)| *c == Claim::Old).map(|(l, _)| *l).collect();
        let clean = newest.clean;
        let set = Set::new(roster, options);
        set.begin(&just_gone, &old, clean)?;
        Ok(set)
    }

    fn new(roster: Roster, options: Options) -> Arc<Set> {
        let legs = roster.members.len();
        let primary = roster.live.first().map_or(u64::MAX, |leg| *leg as u64);
        Arc::new(Set {
            options,
            roster: RwLock::new(Arc::new(roster)),
            membership: Mutex::default(),
            nodes: Nodes::new(legs),
            gate: RwLock::default(),
            period: AtomicU64::new(1),
            marked: Mutex::default(),
            dirty: Mutex::default(),
            hanging: (0..legs).map(|_| Default::default()).collect(),
            events: Mutex::default(),
            tidier: Tidier::default(),
            tidying: Mutex::default(),
            taking_in: Mutex::default(),
            begun: Instant::now(),
            primary: AtomicU64::new(primary),
        })
    }

    /// It is in use from now on, and knows who is not there.
    fn begin(self: &Arc<Self>, just_gone: &[usize], old: &[Uuid], clean: bool) -> Result<(), OpenError> {
        for &leg in just_gone {
            let (number, name) = (leg + 1, self.roster().name_of(leg));
            self.event(format!("leg {number} ({name}) is stale: it is not there, or was left behind"));
        }
        if self.options.read_only {
            return Ok(());
        }
        let failed = self.write_states(&self.roster(), false);
        self.fence(&failed).map_err(OpenError::Unwritable)?;
        // The logs are there from the beginning, and with them the entries of the last time.
        self.note(&[Region::one("")]).map_err(OpenError::Unwritable)?;
        // No log names what they lack.
        if self.roster().away().any(|m| old.contains(&m.uuid)) {
            self.note_of(&[Region::whole()], |m| old.contains(&m.uuid)).map_err(OpenError::Unwritable)?;
        }
        self.recover(clean)?;
        Tidier::begin(self).map_err(OpenError::Thread)
    }

    /// After a crash: the live legs are made equal where the intent maps say that they may differ.
    fn recover(&self, clean: bool) -> Result<(), OpenError> {
        loop {
            let roster = self.roster();
            let files: Vec<_> =
                roster.live.iter().filter_map(|leg| roster.members[*leg].files.as_ref()).collect();
            let maps: Vec<_> = files.iter().map(|f| f.marks.clone()).collect();
            let marked = maps.iter().flatten().any(|m| m.damaged > 0 || !m.regions.is_empty());
            // A new leg, and one that was never mounted, has no map.
            if !marked && (clean || maps.iter().all(Option::is_some)) {
                return Ok(());
            }
            let regions = recover::regions(&maps);
            self.note(&recover::missed(regions.clone())).map_err(OpenError::Unwritable)?;
            let sides: Vec<_> =
                roster.live.iter().filter_map(|leg| roster.members[*leg].side().ok()).collect();
            match recover::run(&sides, roster.generation, &regions, &block_device::Unobserved) {
                Ok(report) => {
                    let (objects, changed) = (report.objects, report.changed + report.removed);
                    self.event(format!(
                        "it was not unmounted in order: {objects} objects compared, {changed} made equal"
                    ));
                    report
                        .undecided
                        .iter()
                        .for_each(|u| self.event(format!("\"{}\": {}", u.path.display(), u.why)));
                    if report.undecided.is_empty() {
                        files
                            .iter()
                            .try_for_each(|f| f.intent.clear())
                            .map_err(|e| OpenError::Unwritable(e.errno()))?;
                    }
                    return Ok(());
                }
                Err(e) => {
                    let failed = recover::failed_leg(&e, &sides);
                    let leg =
                        failed.and_then(|s| roster.live.iter().find(|l| roster.members[**l].uuid == s.uuid));
                    let Some(&leg) = leg.filter(|_| roster.live.len() > 1) else {
                        return Err(OpenError::Recovery(e));
                    };
                    self.fence(&[(leg, e.errno())]).map_err(OpenError::Unwritable)?;
                }
            }
        }
    }

    /// Puts everything in order, and lets go: the legs are equal then, and say so.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn close(&self) -> Result<(), String> {
        self.tidier.end();
        if self.options.read_only {
            return Ok(());
        }
        // What changes while things are put in order is read times, at most.
        self.tidy();
        let left = self.marked.lock().len();
        if left > 0 {
            return Err(format!(
                "{left} directories could not be put in order; the next mount compares them"
            ));
        }
        let roster = self.roster();
        if roster.live.is_empty() {
            return Err("no leg is left".into());
        }
        let answers = parallel::on_each(&roster, &roster.live, self.options.timeout, |roster, leg| {
            let files = roster.members[leg].files()?;
            files.missed.lock().values().try_for_each(|log| log.sync().map_err(|e| e.errno()))?;
            files.intent.clear().map_err(|e| e.errno())
        });
        let failed: Vec<_> = answers.iter().filter_map(|(leg, a)| Some((*leg, *a.as_ref().err()?))).collect();
        self.fence(&failed).map_err(|e| e.to_string())?;
        let failed = self.write_states(&self.roster(), true);
        self.fence(&failed).map_err(|e| e.to_string())?;
        if failed.is_empty() { Ok(()) } else { Err("a leg failed at the end".into()) }
    }
}

/// The legs that are not there, for people.
fn missing(states: &[LegState]) -> String {
    let there = |leg: Uuid| states.iter().any(|state| state.leg == leg);
    let Some(newest) = states.iter().max_by_key(|state| state.generation) else { return String::new() };
    let missing = newest.members.iter().filter(|m| !there(m.leg)).map(|m| m.hint.display().to_string());
    missing.collect::<Vec<_>>().join(", ")
}
