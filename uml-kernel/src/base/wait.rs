//! Wait queues: the one way in which a task blocks.

use super::fiber::{self, Fiber};
use super::sync::{Mutex, Rank};
use super::time::{Instant, now};
use super::timer::{self, Expire};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

bitflags::bitflags! {
    /// What has happened, or is waited for: the bits of poll(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Events: u32 {
        /// Readable.
        const IN = 0x1;
        /// Urgent data.
        const PRI = 0x2;
        /// Writable.
        const OUT = 0x4;
        /// Error; always waited for.
        const ERR = 0x8;
        /// Hung up; always waited for.
        const HUP = 0x10;
        /// Readable, by another name.
        const RDNORM = 0x40;
        /// Out-of-band data readable.
        const RDBAND = 0x80;
        /// Writable, by another name.
        const WRNORM = 0x100;
        /// Writable out of band.
        const WRBAND = 0x200;
        /// The peer has shut down its writing half.
        const RDHUP = 0x2000;
    }
}

impl Events {
    /// Readable, by both names.
    pub const READ: Events = Events::IN.union(Events::RDNORM);
    /// Writable, by both names.
    pub const WRITE: Events = Events::OUT.union(Events::WRNORM);
}

/// What is told that something has happened.
pub trait Wake: Send + Sync {
    /// Something of `events` has happened. Called without the queue's lock, so it may wake other queues, but must not wait. It may
    /// come once more after the place in the queue was given back.
    fn wake(&self, events: Events);
    /// False once it no longer cares: its places in queues are dropped then, without being given back one by one.
    fn alive(&self) -> bool {
        true
    }
}

impl Wake for FiberWaker {
    fn wake(&self, _: Events) {
        self.0.wake();
    }
}

struct FiberWaker(Arc<Fiber>);

impl Expire for FiberWaker {
    fn expire(&self) {
        self.0.wake();
    }
}

struct Entry {
    id: u64,
    events: Events,
    exclusive: bool,
    wake: Arc<dyn Wake>,
}

/// Those who wait for something.
pub struct WaitQueue {
    entries: Mutex<Vec<Entry>>,
}

impl std::fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WaitQueue")
    }
}

impl Default for WaitQueue {
    fn default() -> WaitQueue {
        WaitQueue::new()
    }
}

/// A place in a queue. Give it back with [`WaitQueue::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

static IDS: AtomicU64 = AtomicU64::new(1);

/// Why a wait ended before what it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A signal is pending.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
}

impl From<Ended> for super::Errno {
    /// The usual errors: restart after a signal, EAGAIN after a time-out.
    fn from(e: Ended) -> super::Errno {
        match e {
            Ended::Interrupted => super::Errno::ERESTARTSYS,
            Ended::TimedOut => super::Errno::EAGAIN,
        }
    }
}

/// How to wait.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// A pending signal does not end the wait.
    pub uninterruptible: bool,
    /// When to give up.
    pub deadline: Option<Instant>,
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> WaitQueue {
        WaitQueue { entries: Mutex::new(Rank::Wait, Vec::new()) }
    }

    /// Adds someone to tell about `events`. An exclusive one is told alone, and then it is another's turn.
    pub fn add(&self, wake: Arc<dyn Wake>, events: Events, exclusive: bool) -> Place {
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock();
        // The dead are swept out whenever the list would grow, so there are never more of them than of the living and a few.
        if entries.len() == entries.capacity() {
            entries.retain(|e| e.wake.alive());
        }
        entries.push(Entry { id, events, exclusive, wake });
        Place(id)
    }

    /// Takes someone out.
    pub fn remove(&self, place: Place) {
        self.entries.lock().retain(|e| e.id != place.0);
    }

    /// Tells everyone who waits for any of `events` (and one of the exclusive ones).
    pub fn wake(&self, events: Events) {
        let mut entries = self.entries.lock();
        if entries.is_empty() {
            return;
        }
        let mut turn = None;
        // Told after the lock is released: an epoll passes the news on to its own queue. Few wait on one queue, mostly.
        let mut few: [Option<Arc<dyn Wake>>; 4] = [const { None }; 4];
        let mut many = Vec::new();
        let mut told = 0;
        let mut dead = false;
        for (n, entry) in entries.iter().enumerate() {
            if entry.events.intersects(events) {
                if !entry.wake.alive() {
                    dead = true;
                    continue;
                }
                if entry.exclusive {
                    if turn.is_some() {
                        continue;
                    }
                    turn = Some(n);
                }
                match few.get_mut(told) {
                    Some(slot) => *slot = Some(entry.wake.clone()),
                    None => many.push(entry.wake.clone()),
                }
                told += 1;
            }
        }
        if let Some(n) = turn {
            let entry = entries.remove(n);
            entries.push(entry);
        }
        if dead {
            entries.retain(|e| e.wake.alive());
        }
        drop(entries);
        for wake in few.into_iter().flatten().chain(many) {
            wake.wake(events);
        }
    }

    /// Tells everyone.
    pub fn wake_all(&self) {
        self.wake(Events::all());
    }

    /// Waits until `condition` gives something. It is asked after each wake-up, without locks.
    #[track_caller]
    pub fn wait<T>(&self, how: How, condition: impl FnMut() -> Option<T>) -> Result<T, Ended> {
        wait_any(&[(self, Events::all())], how, condition)
    }

    /// Waits for `events`, until `condition` gives something.
    #[track_caller]
    pub fn wait_for<T>(
        &self,
        events: Events,
        how: How,
        condition: impl FnMut() -> Option<T>,
    ) -> Result<T, Ended> {
        wait_any(&[(self, events)], how, condition)
    }
}

/// Waits on several queues at once, until `condition` gives something.
#[track_caller]
pub fn wait_any<T>(
    queues: &[(&WaitQueue, Events)],
    how: How,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T, Ended> {
    // Most waits are over before they begin.
    if let Some(value) = condition() {
        return Ok(value);
    }
    let mut waiter = Waiter::new();
    for (queue, events) in queues {
        waiter.add(queue, *events);
    }
    let result = waiter.wait(how, condition);
    for ((queue, _), place) in queues.iter().zip(waiter.places) {
        queue.remove(place);
    }
    result
}

/// A fiber that waits on queues it collects one after the other, as poll(2) does.
pub struct Waiter {
    fiber: Option<Arc<Fiber>>,
    places: Vec<Place>,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiter")
    }
}

impl Default for Waiter {
    fn default() -> Waiter {
        Waiter::new()
    }
}

impl Waiter {
    /// For the fiber that runs.
    pub fn new() -> Waiter {
        Waiter { fiber: fiber::current(), places: Vec::new() }
    }

    /// Queues up. The caller takes the place back when the wait is over.
    pub fn add(&mut self, queue: &WaitQueue, events: Events) -> Option<Place> {
        let fiber = self.fiber.clone()?;
        let place = queue.add(Arc::new(FiberWaker(fiber)), events, false);
        self.places.push(place);
        Some(place)
    }

    /// Waits until `condition` gives something.
    #[track_caller]
    pub fn wait<T>(&self, how: How, mut condition: impl FnMut() -> Option<T>) -> Result<T, Ended> {
        let Some(fiber) = &self.fiber else {
            // Not in a fiber: only the kernel's own start and end, where nothing has to be waited for.
            return condition().ok_or(Ended::TimedOut);
        };
        fiber.waits_at(std::panic::Location::caller());
        let mut timer = None;
        loop {
            fiber.prepare();
            if let Some(value) = condition() {
                fiber.unprepare();
                return Ok(value);
            }
            if !how.uninterruptible && fiber.is_interrupted() {
                fiber.unprepare();
                return Err(Ended::Interrupted);
            }
            if let Some(deadline) = how.deadline {
                if now() >= deadline {
                    fiber.unprepare();
                    return Err(Ended::TimedOut);
                }
                if timer.is_none() {
                    timer = Some(timer::set(deadline, Arc::new(FiberWaker(fiber.clone()))));
                }
            }
            fiber::sleep();
        }
    }
}

/// Sleeps until `deadline`, or a signal.
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Result<(), Ended> {
    let how = How { deadline: Some(deadline), ..How::default() };
    match Waiter::new().wait(how, || None::<()>) {
        Err(Ended::TimedOut) | Ok(()) => Ok(()),
        Err(e) => Err(e),
    }
}
