//! Writes back and commits in the background: some seconds after the first change, and never while there is none. Where others may want the
//! disk, it shows them besides that it is in use, as often as the disk says.

use super::volume::Volume;
use crate::base::blocking::blocking;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How old a change may become (JBD2_DEFAULT_MAX_COMMIT_AGE).
const AGE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct State {
    changed: bool,
    over: bool,
    /// How often others are to be shown that the disk is in use.
    protect: Option<Duration>,
}

/// The thread that commits.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<(Mutex<State>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Committer {
    /// Starts it.
    pub(super) fn start(volume: Arc<Volume>) -> Committer {
        let state = State { protect: volume.protect_every(), ..State::default() };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let theirs = shared.clone();
        let work = move || run(&volume, &theirs);
        let thread = std::thread::Builder::new().name("jbd2".into()).stack_size(256 << 10).spawn(work);
        let thread = thread.map_err(|e| crate::log!("ext: nothing is committed in the background: {e}")).ok();
        Committer { shared, thread: Mutex::new(thread) }
    }

    /// Something has been changed.
    pub(super) fn changed(&self) {
        let (state, cond) = &*self.shared;
        let mut state = state.lock();
        if !state.changed {
            state.changed = true;
            cond.notify_one();
        }
    }

    /// Others are to be shown that the disk is in use, so often, or not any more.
    pub(super) fn protects(&self, every: Option<Duration>) {
        let (state, cond) = &*self.shared;
        state.lock().protect = every;
        cond.notify_one();
    }

    /// Ends it, and waits for that: who unmounts has the disk for himself then.
    pub(super) fn end(&self) {
        let (state, cond) = &*self.shared;
        state.lock().over = true;
        cond.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // If it has panicked, it has said so.
            let _ = blocking(|| thread.join());
        }
    }
}

/// When something is to be done.
#[derive(Debug, Default)]
struct Due {
    commit: Option<Instant>,
    protect: Option<Instant>,
}

impl Due {
    /// Waits until something is due: whether that is a commit, and the protection. `None` if all is over.
    fn wait(&mut self, shared: &(Mutex<State>, Condvar)) -> Option<(bool, bool)> {
        let (state, cond) = shared;
        let mut state = state.lock();
        loop {
            let now = Instant::now();
            if state.over {
                return None;
            }
            if state.changed {
                self.commit.get_or_insert(now + AGE);
            }
            self.protect = state.protect.map(|every| self.protect.unwrap_or(now + every));
            let come = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
            let (commit, protect) = (come(&mut self.commit), come(&mut self.protect));
            if commit || protect {
                state.changed &= !commit;
                return Some((commit, protect));
            }
            match self.commit.into_iter().chain(self.protect).min() {
                Some(next) => drop(cond.wait_until(&mut state, next)),
                None => cond.wait(&mut state),
            }
        }
    }
}

fn run(volume: &Volume, shared: &(Mutex<State>, Condvar)) {
    let (mut failed, mut unseen) = (false, false);
    let mut due = Due::default();
    while let Some((commit, protect)) = due.wait(shared) {
        if volume.is_read_only() {
            continue;
        }
        if protect {
            match volume.protect() {
                Ok(()) => unseen = false,
                Err(_) if volume.has_failed() => return,
                Err(e) if !std::mem::replace(&mut unseen, true) => {
                    crate::log!("{}: others cannot be shown that the disk is in use: {e}", volume.kind);
                }
                Err(_) => {}
            }
        }
        if !commit {
            continue;
        }
        match volume.commit() {
            Ok(()) => failed = false,
            // It has said so.
            Err(_) if volume.has_failed() => return,
            // It has become read-only meanwhile.
            Err(_) if volume.ext().is_read_only() => {}
            Err(e) => {
                // What could not be written still waits: the host's disk may have room later.
                if !std::mem::replace(&mut failed, true) {
                    crate::log!("{}: what has been written does not reach the disk: {e}", volume.kind);
                }
                shared.0.lock().changed = true;
            }
        }
    }
}
