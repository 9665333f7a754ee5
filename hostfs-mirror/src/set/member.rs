//! A leg as a member of a mounted set: what it keeps of itself, and how it stands.

use super::side::Side;
use crate::leg::{Leg, Result};
use crate::state::intent::Marks;
use crate::state::{IntentMap, LegState, Manifest, MissedLog, Role, Slots, StateDir, Uuid};
use cow_fuse::workers::Workers;
use parking_lot::Mutex;
use rustix::io::Errno;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Threads of a leg.
const WORKERS: usize = 8;

/// What is on a leg that was opened for writing.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) dir: StateDir,
    pub(crate) slots: Mutex<Slots>,
    pub(crate) intent: IntentMap,
    /// What the map said when it was opened: where the leg may differ, if it was not unmounted in order.
    pub(crate) marks: Option<Marks>,
    pub(crate) missed: Mutex<HashMap<Uuid, MissedLog>>,
    pub(crate) manifest: Mutex<Manifest>,
}

impl Files {
    /// Opens what is on a leg.
    pub(crate) fn open(leg: &dyn Leg) -> crate::state::Result<Files> {
        let dir = StateDir::open(leg.root())?;
        let slots = Slots::open(&dir)?;
        let marks = IntentMap::read(&dir)?;
        let intent = IntentMap::open(&dir)?;
        let manifest = Manifest::open(&dir)?;
        Ok(Files {
            slots: Mutex::new(slots),
            intent,
            marks,
            missed: Mutex::default(),
            manifest: Mutex::new(manifest),
            dir,
        })
    }

    /// The generation that is durable on it, unless its state is just being written.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.slots.try_lock().map(|slots| slots.state().generation)
    }

    pub(crate) fn state(&self) -> LegState {
        self.slots.lock().state().clone()
    }
}

/// A leg of a set.
#[derive(Debug)]
pub struct Member {
    pub(crate) uuid: Uuid,
    pub(crate) role: Role,
    /// Where it was last found.
    pub(crate) hint: PathBuf,
    /// Not there: nothing of it could be opened.
    pub(crate) leg: Option<Arc<dyn Leg>>,
    pub(crate) files: Option<Arc<Files>>,
    /// Moving average of what a read of content takes, in nanoseconds.
    latency: AtomicU64,
    /// For what waits: fsync, and the state on it.
    pub(crate) workers: Workers,
}

impl Member {
    /// A leg that is not there.
    pub(crate) fn missing(uuid: Uuid, role: Role, hint: PathBuf) -> Member {
        let workers = Workers::new(WORKERS);
        Member { uuid, role, hint, leg: None, files: None, latency: AtomicU64::new(0), workers }
    }

    /// One that is.
    pub(crate) fn present(uuid: Uuid, role: Role, leg: Arc<dyn Leg>, files: Arc<Files>) -> Member {
        let hint = leg.name().to_owned();
        Member { leg: Some(leg), files: Some(files), ..Member::missing(uuid, role, hint) }
    }

    /// What it is, of one that is there.
    pub(crate) fn leg(&self) -> Result<&dyn Leg> {
        self.leg.as_deref().ok_or(Errno::NODEV)
    }

    /// As those see it who make legs equal.
    pub(crate) fn side(&self) -> Result<Side<'_>> {
        Ok(Side { leg: self.leg()?, uuid: self.uuid, manifest: &self.files()?.manifest })
    }

    pub(crate) fn files(&self) -> Result<&Files> {
        self.files.as_deref().ok_or(Errno::NODEV)
    }

    /// A read has taken so long.
    pub(crate) fn took(&self, time: Duration) {
        let (old, new) = (self.latency.load(Ordering::Relaxed), time.as_nanos() as u64);
        self.latency.store(if old == 0 { new } else { old - old / 8 + new / 8 }, Ordering::Relaxed);
    }

    pub(crate) fn latency(&self) -> Duration {
        Duration::from_nanos(self.latency.load(Ordering::Relaxed))
    }
}
