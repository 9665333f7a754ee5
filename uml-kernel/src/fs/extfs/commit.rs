//! Writes back and commits in the background: some seconds after the first change, and never while there is none.

use super::volume::Volume;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How old a change may become (JBD2_DEFAULT_MAX_COMMIT_AGE).
const AGE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct State {
    changed: bool,
    over: bool,
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
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
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

    /// Ends it, and waits for that: who unmounts has the disk for himself then.
    pub(super) fn end(&self) {
        let (state, cond) = &*self.shared;
        state.lock().over = true;
        cond.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // If it has panicked, it has said so.
            let _ = thread.join();
        }
    }
}

fn run(volume: &Volume, shared: &(Mutex<State>, Condvar)) {
    let (state, cond) = shared;
    let mut failed = false;
    loop {
        {
            let mut state = state.lock();
            while !state.changed && !state.over {
                cond.wait(&mut state);
            }
            if !state.over {
                let mut left = AGE;
                while !state.over && !cond.wait_for(&mut state, left).timed_out() {
                    left = Duration::from_secs(1);
                }
            }
            if state.over {
                return;
            }
            state.changed = false;
        }
        if volume.is_read_only() {
            continue;
        }
        match volume.commit() {
            Ok(()) => failed = false,
            // It has said so.
            Err(_) if volume.ext().is_read_only() => return,
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
