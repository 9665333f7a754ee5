//! More threads for a connection whose requests may wait for the disk while others could go on.

use crate::execute::Executor;
use crate::request::Request;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope};

/// Threads of one connection besides its own.
const THREADS: usize = 4;
/// Requests that wait for a thread; at the next one the connection's own thread works, and so receives no more.
const QUEUE: usize = 8;

/// A request with its payload.
pub(crate) struct Job {
    pub(crate) cookie: u64,
    pub(crate) request: Request,
    pub(crate) payload: Vec<u8>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
    failed: Option<io::Error>,
}

/// The threads of a connection. There are none until the first one is needed.
#[derive(Default)]
pub(crate) struct Workers {
    state: Mutex<State>,
    wake: Condvar,
    /// Requests that were handed over and are not answered.
    busy: AtomicUsize,
}

impl Workers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something that was handed over is not answered yet.
    pub(crate) fn are_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) > 0
    }

    /// Hands a request over; gives it back where nobody can take it.
    pub(crate) fn give<'scope>(
        &'scope self,
        job: Job,
        scope: &'scope Scope<'scope, '_>,
        executor: &'scope Executor<'scope>,
    ) -> Result<(), Job> {
        let mut state = self.state();
        if state.idle == 0 && state.threads < THREADS {
            let spawned = Builder::new().name("nbd-worker".into());
            if spawned.spawn_scoped(scope, || self.work(executor)).is_ok() {
                state.threads += 1;
            }
        }
        if state.threads == 0 || state.jobs.len() >= QUEUE {
            return Err(job);
        }
        self.busy.fetch_add(1, Ordering::AcqRel);
        state.jobs.push_back(job);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// No more will come: threads end when nothing is left.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_all();
    }

    /// Why a reply could not be sent, if that happened.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.state().failed.take()
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn work(&self, executor: &Executor<'_>) {
        let mut buf = Vec::new();
        while let Some(job) = self.next() {
            if let Err(e) = executor.run(job.cookie, job.request, &job.payload, &mut buf) {
                self.state().failed.get_or_insert(e);
            }
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
