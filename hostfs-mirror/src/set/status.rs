//! What a set says of itself.

use super::Set;
use crate::state::{Role, Standing, Uuid};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// So many events are remembered.
const EVENTS: usize = 100;

/// Something that happened to the set.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub struct Event {
    /// When, in seconds since 1970.
    pub at: u64,
    /// What.
    pub text: String,
}

/// How a set is.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub set: Uuid,
    /// Rises with every leg that fails.
    pub generation: u64,
    /// With fewer live legs nothing can be written.
    pub min_legs: u8,
    /// Nothing can be written.
    pub read_only: bool,
    /// The legs.
    pub legs: Vec<LegStatus>,
    /// Objects that the kernel knows.
    pub nodes: usize,
    /// Objects that are to be put in order yet.
    pub dirty: usize,
    /// Seconds since it was opened.
    pub seconds: u64,
    /// What happened, the last at the end.
    pub events: Vec<Event>,
}

/// How a leg is.
#[derive(Debug, Clone, Serialize)]
pub struct LegStatus {
    /// Its number, from 1.
    pub number: usize,
    /// Where it is, or was last.
    pub path: PathBuf,
    /// Its identity.
    pub leg: Uuid,
    /// What it is for.
    pub role: Role,
    /// How it stands.
    pub standing: Standing,
    /// It is read from first.
    pub primary: bool,
    /// It could be opened.
    pub present: bool,
    /// The generation at which it was last known to have everything.
    pub seen: u64,
    /// How many entries the log of what it missed has.
    pub missed: usize,
    /// Operations that hang on it.
    pub hanging: u32,
    /// What a read takes, in microseconds.
    pub read_us: u64,
}

impl Set {
    /// How it is.
    pub fn status(&self) -> Status {
        let roster = self.roster();
        let log = roster.live.first().and_then(|leg| roster.members[*leg].files.as_ref());
        let missed =
            |leg| log.and_then(|files| Some(files.missed.lock().get(&leg)?.list().len())).unwrap_or(0);
        let leg = |(i, m): (usize, &std::sync::Arc<super::Member>)| LegStatus {
            number: i + 1,
            path: roster.name_of(i).into(),
            leg: m.uuid,
            role: m.role,
            standing: roster.standings[i],
            primary: roster.live.first() == Some(&i),
            present: m.leg.is_some(),
            seen: if roster.live.contains(&i) { roster.generation } else { roster.seen[i] },
            missed: missed(m.uuid),
            hanging: self.hanging[i].load(Ordering::Relaxed),
            read_us: m.latency().as_micros() as u64,
        };
        Status {
            name: roster.name.clone(),
            set: roster.set,
            generation: roster.generation,
            min_legs: roster.min_legs,
            read_only: self.options.read_only || roster.live.len() < usize::from(roster.min_legs.max(1)),
            legs: roster.members.iter().enumerate().map(leg).collect(),
            nodes: self.nodes.len(),
            dirty: self.dirty.lock().len(),
            seconds: self.begun.elapsed().as_secs(),
            events: self.events.lock().iter().cloned().collect(),
        }
    }

    /// A leg by its number (from 1), its path or its identity.
    pub fn find_leg(&self, who: &str) -> Option<usize> {
        self.roster().find(who)
    }

    /// Something has happened that people want to know.
    pub(crate) fn event(&self, text: String) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut events = self.events.lock();
        if events.len() == EVENTS {
            events.pop_front();
        }
        events.push_back(Event { at, text });
    }
}
