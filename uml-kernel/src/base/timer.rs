//! Timers of the kernel, on the guest's monotonic clock.

use super::sync::{Mutex, Rank};
use super::time::{Instant, now};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What happens when a timer is due. Called without locks, on a vCPU thread, outside of any fiber or inside one.
pub trait Expire: Send + Sync {
    /// The time has come.
    fn expire(&self);
}

struct Timers {
    queue: Mutex<BTreeMap<(Instant, u64), Arc<dyn Expire>>>,
    next: AtomicU64,
    id: AtomicU64,
}

static TIMERS: Timers = Timers {
    queue: Mutex::new(Rank::Timer, BTreeMap::new()),
    next: AtomicU64::new(u64::MAX),
    id: AtomicU64::new(0),
};

/// A set timer, taken back when dropped.
#[derive(Debug)]
pub struct Timer {
    key: (Instant, u64),
}

/// Sets a timer.
pub fn set(deadline: Instant, what: Arc<dyn Expire>) -> Timer {
    let key = (deadline, TIMERS.id.fetch_add(1, Ordering::Relaxed));
    let mut queue = TIMERS.queue.lock();
    queue.insert(key, what);
    let earliest = deadline < TIMERS.next.load(Ordering::Relaxed);
    if earliest {
        TIMERS.next.store(deadline, Ordering::SeqCst);
    }
    drop(queue);
    if earliest {
        super::sched::timer_moved();
    }
    Timer { key }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut queue = TIMERS.queue.lock();
        let gone = queue.remove(&self.key);
        set_next(&queue);
        drop(queue);
        drop(gone);
    }
}

fn set_next(queue: &BTreeMap<(Instant, u64), Arc<dyn Expire>>) {
    TIMERS.next.store(queue.keys().next().map_or(u64::MAX, |k| k.0), Ordering::SeqCst);
}

/// When the next timer is due.
pub fn next() -> Option<Instant> {
    let next = TIMERS.next.load(Ordering::Relaxed);
    (next != u64::MAX).then_some(next)
}

/// Runs all timers that are due.
pub fn expire() {
    while next().is_some_and(|next| next <= now()) {
        let mut queue = TIMERS.queue.lock();
        let Some(first) = queue.first_entry() else { return };
        if first.key().0 > now() {
            return;
        }
        let what = first.remove();
        set_next(&queue);
        drop(queue);
        what.expire();
    }
}
