//! What has been changed becomes durable some seconds later, even if nobody asks for that; and where others may want the disk, it
//! shows that it is in use.

use ext::Ext;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How old a change may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(pub Duration);

impl Default for Interval {
    /// What jbd2 has (JBD2_DEFAULT_MAX_COMMIT_AGE).
    fn default() -> Self {
        Interval(Duration::from_secs(5))
    }
}

#[derive(Debug, Default)]
struct State {
    changed: bool,
    over: bool,
}

/// The thread that commits.
pub(crate) struct Committer {
    shared: Arc<(Mutex<State>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Committer {
    pub(crate) fn start(ext: Arc<Ext>, Interval(age): Interval) -> std::io::Result<Committer> {
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let theirs = shared.clone();
        let thread =
            std::thread::Builder::new().name("jbd2".into()).spawn(move || run(&ext, age, &theirs))?;
        Ok(Committer { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Something has been changed.
    pub(crate) fn changed(&self) {
        let (state, cond) = &*self.shared;
        let mut state = state.lock();
        if !state.changed {
            state.changed = true;
            cond.notify_one();
        }
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        self.shared.0.lock().over = true;
        self.shared.1.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // If it has panicked, it has said so.
            let _ = thread.join();
        }
    }
}

fn run(ext: &Ext, age: Duration, (state, cond): &(Mutex<State>, Condvar)) {
    let mut commit_at = None;
    let mut protect_at = ext.protect_every().map(|every| Instant::now() + every);
    let mut state = state.lock();
    while !state.over {
        let now = Instant::now();
        if state.changed {
            commit_at.get_or_insert(now + age);
        }
        let commit = commit_at.take_if(|at| *at <= now).is_some();
        let protect = protect_at.take_if(|at| *at <= now).is_some();
        if !commit && !protect {
            match commit_at.into_iter().chain(protect_at).min() {
                Some(next) => drop(cond.wait_until(&mut state, next)),
                None => cond.wait(&mut state),
            }
            continue;
        }
        state.changed &= !commit;
        let failed = parking_lot::MutexGuard::unlocked(&mut state, || {
            // Where the disk has been taken by another, or a commit fails for good, `Ext::failure` says so from then on.
            let protected = if protect { ext.protect() } else { Ok(()) };
            protected.and(if commit { ext.sync() } else { Ok(()) }).is_err()
        });
        if protect {
            protect_at = ext.protect_every().map(|every| now + every);
        }
        // What could not be written still waits: the host's disk may have room later.
        state.changed |= failed && commit && !ext.is_read_only();
    }
}
