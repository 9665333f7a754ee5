//! Failpoints: places where a test ends the process, or has the host fail.
//!
//! Every step that changes something durable begins with a [`point`]. Without the feature `failpoints` (and outside
//! this crate's own tests) that is nothing at all. With it, the points that a thread reaches are counted, and a
//! [`Plan`] says what happens at one of them. A process started with `HOSTFS_MIRROR_KILL_AT=N` kills itself
//! at its Nth point, whatever thread reaches it.

use rustix::io::Errno;

#[cfg(any(test, feature = "failpoints"))]
pub use armed::{Plan, arm, reached};

/// A step that may fail.
///
/// # Errors
/// What the test's plan says.
#[cfg(not(any(test, feature = "failpoints")))]
#[inline(always)]
pub fn point(_name: &'static str) -> Result<(), Errno> {
    Ok(())
}

/// A step that may fail.
///
/// # Errors
/// What the test's plan says.
#[cfg(any(test, feature = "failpoints"))]
pub fn point(name: &'static str) -> Result<(), Errno> {
    armed::point(name)
}

#[cfg(any(test, feature = "failpoints"))]
mod armed {
    use super::Errno;
    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// What happens at a point of this thread.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Plan {
        /// Nothing.
        Count,
        /// The Nth (from 1) and every later one fails, as if the process had been killed: nothing changes any more.
        StopAt(u64),
        /// The Nth alone fails.
        FailAt(u64, Errno),
    }

    thread_local! {
        static PLAN: Cell<Plan> = const { Cell::new(Plan::Count) };
        static REACHED: Cell<u64> = const { Cell::new(0) };
    }
    static PROCESS: AtomicU64 = AtomicU64::new(0);

    /// Sets this thread's plan, and begins to count anew.
    pub fn arm(plan: Plan) {
        PLAN.set(plan);
        REACHED.set(0);
    }

    /// How many points this thread has reached since.
    pub fn reached() -> u64 {
        REACHED.get()
    }

    pub(super) fn point(_name: &'static str) -> Result<(), Errno> {
        static KILL_AT: OnceLock<Option<u64>> = OnceLock::new();
        let kill_at = *KILL_AT.get_or_init(|| std::env::var("HOSTFS_MIRROR_KILL_AT").ok()?.parse().ok());
        if let Some(at) = kill_at
            && PROCESS.fetch_add(1, Ordering::Relaxed) + 1 == at
        {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        let n = REACHED.get() + 1;
        REACHED.set(n);
        match PLAN.get() {
            Plan::StopAt(at) if n >= at => Err(Errno::CANCELED),
            Plan::FailAt(at, errno) if n == at => Err(errno),
            _ => Ok(()),
        }
    }
}
