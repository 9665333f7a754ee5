//! The engine: operations on all legs of a set.
//!
//! An operation that changes something goes through [`Set::change`]: the directory's mark is durable in the intent maps, the nodes are
//! locked, and then it is done on one live leg after the other by the thread that has the request ([`flight`]); the answers are judged
//! ([`judge`]), legs that failed are fenced ([`fence`]), and only then the caller hears. What waits for a medium (fsync) goes to all legs at
//! once ([`parallel`]).
//!
//! Lock order: the gate, then nodes by their numbers, then the set's own locks (membership, marks, dirty nodes), then those of a leg's
//! state. The table of nodes is locked last, and nothing is locked under it.

mod attributes;
mod blocks;
pub mod choose;
pub mod cold;
pub mod compare;
mod content;
mod copy;
pub mod explain;
mod fence;
mod flight;
mod judge;
mod limit;
mod links;
mod member;
mod names;
mod node;
mod open;
mod opened;
mod parallel;
pub mod recover;
pub mod resync;
#[cfg(test)]
mod return_tests;
mod roster;
pub mod scrub;
mod side;
pub mod split;
mod status;
mod take_in;
#[cfg(test)]
mod testing;
mod tidy;
mod verify;

pub use attributes::Wanted;
pub use copy::{Alone, Hold, Report, Undecided, Wrong};
pub use limit::Limit;
pub use member::Member;
pub use names::{Listed, What};
pub use node::Node;
pub use open::{OpenError, Options, create};
pub use side::{Error, Side};
pub use status::{Event, LegStatus, Status};
pub use take_in::TakeInError;

use crate::leg::Result;
use crate::state::{Kind, Region};
use flight::{Answers, Route};
use node::Nodes;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use roster::Roster;
use rustix::io::Errno;
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// A set that is open: the tree, and the legs that it is on.
#[derive(Debug)]
pub struct Set {
    options: Options,
    roster: RwLock<Arc<Roster>>,
    /// Held by who changes the roster.
    membership: Mutex<()>,
    nodes: Nodes,
    /// Shared by operations; alone has it who takes a leg in, or begins a new period.
    gate: RwLock<()>,
    /// Rises when marks of the intent maps are about to be cleared: directories are to be marked anew.
    period: AtomicU64,
    /// Directories marked in this period.
    marked: Mutex<HashSet<PathBuf>>,
    /// Nodes changed in this period.
    dirty: Mutex<Vec<Arc<Node>>>,
    /// How many operations hang on each leg.
    hanging: Box<[AtomicU32]>,
    events: Mutex<VecDeque<Event>>,
    tidier: tidy::Tidier,
    /// Held while things are put in order.
    tidying: Mutex<()>,
    /// Held by who takes a leg in.
    taking_in: Mutex<()>,
    begun: Instant,
    /// The primary for which the nodes are known.
    primary: AtomicU64,
}

/// Something that is about to be changed: what it needs is locked, and marked.
pub(crate) struct Change<'a> {
    roster: Arc<Roster>,
    _nodes: [Option<MutexGuard<'a, ()>>; 3],
    _gate: RwLockReadGuard<'a, ()>,
}

impl Set {
    /// The root of the tree.
    pub fn root(&self) -> &Arc<Node> {
        self.nodes.root()
    }

    /// A node by its number.
    ///
    /// # Errors
    /// ESTALE, if nobody knows it.
    pub fn node(&self, number: u64) -> Result<Arc<Node>> {
        self.nodes.get(number).ok_or(Errno::STALE)
    }

    /// The kernel has forgotten a node, so many times of those it was told of it.
    pub fn forget(&self, number: u64, count: u64) {
        self.nodes.forget(number, count);
    }

    pub(crate) fn roster(&self) -> Arc<Roster> {
        self.roster.read().clone()
    }

    fn route<'a>(&'a self, roster: &'a Roster) -> Route<'a> {
        Route { legs: &roster.live, timeout: Some(self.options.timeout), hanging: &self.hanging }
    }

    /// Makes ready to change something of these nodes.
    ///
    /// # Errors
    /// EROFS, if the set is read-only.
    fn change<'a>(&'a self, nodes: &[&'a Arc<Node>]) -> Result<Change<'a>> {
        self.make_room();
        let gate = self.gate.read();
        let roster = self.roster();
        if self.options.read_only || roster.live.len() < usize::from(roster.min_legs.max(1)) {
            return Err(Errno::ROFS);
        }
        let mut order = [None; 3];
        for (slot, node) in order.iter_mut().zip(nodes) {
            *slot = Some(*node);
        }
        order.sort_by_key(|node| node.map_or(0, |n| n.number()));
        let mut locks = [const { None }; 3];
        let mut before = 0;
        for (lock, node) in locks.iter_mut().zip(order) {
            if let Some(node) = node
                && node.number() != before
            {
                before = node.number();
                *lock = Some(node.changing.lock());
            }
        }
        for node in nodes {
            self.mark(&roster, node)?;
            self.is_dirty(node);
        }
        // A leg that could not be marked is no longer of it.
        Ok(Change { roster: self.roster(), _nodes: locks, _gate: gate })
    }

    /// Marks the directory of a node in the intent maps of all live legs, if it is not yet.
    fn mark(&self, roster: &Arc<Roster>, node: &Arc<Node>) -> Result<()> {
        let directory = node.directory();
        let period = self.period.load(Ordering::Acquire);
        if directory.marked.load(Ordering::Acquire) == period {
            return Ok(());
        }
        match directory.is_directory() {
            true => self.mark_path(roster, directory.path(), Kind::One)?,
            // Not by a name that is known.
            false if directory.nameless.load(Ordering::Acquire) => {}
            false => self.mark_path(roster, PathBuf::new(), Kind::Subtree)?,
        }
        directory.marked.store(period, Ordering::Release);
        Ok(())
    }

    fn mark_path(&self, roster: &Arc<Roster>, path: PathBuf, kind: Kind) -> Result<()> {
        self.marked.lock().insert(path.clone());
        let (region, timeout) = (path.clone(), self.options.timeout);
        let answers = parallel::on_each(roster, &roster.live, timeout, move |roster, leg| {
            let files = roster.members[leg].files()?;
            files.intent.mark(&[(&region, kind)]).map_err(|e| e.errno())
        });
        self.settle(answers, || vec![region_of(&path, kind)])?;
        Ok(())
    }

    /// A node has to be looked after before its mark is cleared.
    fn is_dirty(&self, node: &Arc<Node>) {
        if !node.dirty.swap(true, Ordering::AcqRel) {
            self.dirty.lock().push(node.clone());
            self.tidier.something_is_dirty();
        }
    }

    /// From what the legs have answered to what the caller hears. Legs that failed are fenced first; what those that are away miss is noted.
    fn settle<T>(
        &self,
        answers: Answers<T>,
        regions: impl FnOnce() -> Vec<Region>,
    ) -> Result<Vec<(usize, T)>> {
        let verdict = judge::judge(answers);
        let some_failed = !verdict.failed.is_empty();
        if some_failed {
            self.fence(&verdict.failed)?;
        }
        let roster = self.roster();
        if roster.someone_is_away() && (verdict.answer.is_ok() || some_failed) {
            self.note(&regions())?;
        }
        let good = verdict.answer?;
        if roster.live.len() < usize::from(roster.min_legs) {
            return Err(Errno::ROFS);
        }
        Ok(good)
    }
}

fn region_of(path: &Path, kind: Kind) -> Region {
    Region { path: path.to_owned(), kind }
}

/// The path of a name in a directory.
fn path_in(parent: &Node, name: &std::ffi::OsStr) -> PathBuf {
    parent.path().join(name)
}
