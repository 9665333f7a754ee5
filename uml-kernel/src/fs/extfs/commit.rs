//! Writes back and commits in the background: some seconds after the first change, and never while there is none.

use super::ExtFs;
use parking_lot::{Condvar, Mutex};
use std::sync::{Arc, Weak};
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
pub(super) struct Committer(Arc<(Mutex<State>, Condvar)>);

impl Committer {
    /// Starts it.
    pub(super) fn start(fs: Weak<ExtFs>) -> Committer {
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let theirs = shared.clone();
        let work = move || run(&fs, &theirs);
        let thread = std::thread::Builder::new().name("jbd2".into()).stack_size(256 << 10).spawn(work);
        if let Err(e) = thread {
            crate::log!("ext: nothing is committed in the background: {e}");
        }
        Committer(shared)
    }

    /// Something has been changed.
    pub(super) fn changed(&self) {
        let (state, cond) = &*self.0;
        let mut state = state.lock();
        if !state.changed {
            state.changed = true;
            cond.notify_one();
        }
    }

    /// Ends it.
    pub(super) fn end(&self) {
        let (state, cond) = &*self.0;
        state.lock().over = true;
        cond.notify_one();
    }
}

fn run(fs: &Weak<ExtFs>, shared: &(Mutex<State>, Condvar)) {
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
        let Some(fs) = fs.upgrade() else { return };
        if fs.is_read_only() {
            continue;
        }
        match fs.commit() {
            Ok(()) => failed = false,
            // It has said so.
            Err(_) if fs.ext().is_read_only() => return,
            Err(e) => {
                // What could not be written still waits: the host's disk may have room later.
                if !std::mem::replace(&mut failed, true) {
                    crate::log!("{}: what has been written does not reach the disk: {e}", fs.kind);
                }
                shared.0.lock().changed = true;
            }
        }
    }
}
