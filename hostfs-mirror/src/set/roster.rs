//! Who is in the set, and how each stands, at one moment. An operation works with the roster that it began with.

use super::member::Member;
use crate::state::{self, LegState, Standing, Uuid};
use std::path::PathBuf;
use std::sync::Arc;

/// The legs of a set at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Roster {
    pub(crate) members: Vec<Arc<Member>>,
    pub(crate) standings: Vec<Standing>,
    /// The generation that was last known to be durable in each one's own state.
    pub(crate) seen: Vec<u64>,
    /// The live ones, the primary first.
    pub(crate) live: Vec<usize>,
    pub(crate) generation: u64,
    pub(crate) set: Uuid,
    pub(crate) name: String,
    pub(crate) min_legs: u8,
    /// The one that people want to be the primary, while it is live.
    pub(crate) wanted: Option<usize>,
}

impl Roster {
    /// Finds the live ones anew.
    pub(crate) fn line_up(&mut self) {
        let is_live =
            |leg: &usize| self.standings[*leg] == Standing::Live && self.members[*leg].leg.is_some();
        let mut live: Vec<_> = (0..self.members.len()).filter(is_live).collect();
        // One that is written mostly is read only if there is no other; the one that is wanted comes first.
        live.sort_by_key(|leg| (self.is_write_mostly(*leg), Some(*leg) != self.wanted, *leg));
        self.live = live;
    }

    /// Looks up what is durable on the live legs.
    pub(crate) fn see(&mut self) {
        for &leg in &self.live {
            let durable = self.members[leg].files.as_ref().and_then(|files| files.generation());
            self.seen[leg] = durable.unwrap_or(self.seen[leg]);
        }
    }

    /// Legs that do not have everything.
    pub(crate) fn away(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().enumerate().filter(|(leg, _)| !self.live.contains(leg)).map(|(_, member)| member)
    }

    pub(crate) fn is_write_mostly(&self, leg: usize) -> bool {
        self.members[leg].role == state::Role::WriteMostly
    }

    pub(crate) fn someone_is_away(&self) -> bool {
        self.live.len() < self.members.len()
    }

    /// What a live leg is to remember of it.
    pub(crate) fn state_of(&self, leg: usize, clean: bool) -> LegState {
        let member = |(i, m): (usize, &Arc<Member>)| state::Member {
            leg: m.uuid,
            seen: self.seen[i],
            role: m.role,
            standing: self.standings[i],
            hint: m.leg.as_ref().map_or_else(|| m.hint.clone(), |leg| absolute(leg.name())),
        };
        LegState {
            set: self.set,
            leg: self.members[leg].uuid,
            name: self.name.clone(),
            generation: self.generation,
            clean,
            min_legs: self.min_legs,
            members: self.members.iter().enumerate().map(member).collect(),
        }
    }

    /// How people call a leg.
    pub(crate) fn name_of(&self, leg: usize) -> String {
        let member = &self.members[leg];
        member.leg.as_ref().map_or(member.hint.as_path(), |leg| leg.name()).display().to_string()
    }

    /// A leg by its number (from 1), its path or its identity.
    pub(crate) fn find(&self, who: &str) -> Option<usize> {
        let by_number = who.parse::<usize>().ok().filter(|n| (1..=self.members.len()).contains(n));
        by_number.map(|n| n - 1).or_else(|| {
            let path = absolute(std::path::Path::new(who));
            self.members.iter().position(|m| {
                m.uuid.to_string() == who
                    || m.leg.as_ref().is_some_and(|leg| absolute(leg.name()) == path)
                    || m.hint == path
            })
        })
    }
}

fn absolute(path: &std::path::Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
