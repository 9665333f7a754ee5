//! Locks. They protect short sections between vCPU threads; a fiber never sleeps while it holds one.
//!
//! Each lock has a rank, and a thread takes locks in rising rank only: debug builds check both rules.

use std::ops::{Deref, DerefMut};

/// The order of locks, lowest first. Two locks of one rank are held together only by [`Mutex::lock_two`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rank {
    /// Moving names between directories, whose file systems ask for all the others.
    Renames,
    /// The table of processes, and the links between them.
    Processes,
    /// One process, one task.
    Task,
    /// Terminals and sessions.
    Tty,
    /// An address space.
    Mm,
    /// File tables and open files.
    Files,
    /// A file's position, held while it is read or written.
    Position,
    /// Mounts and dentries.
    Dentry,
    /// Inodes of layered file systems, which call others.
    UpperInode,
    /// Inodes.
    Inode,
    /// Pipes, sockets, and what else holds data.
    Buffer,
    /// Event polls.
    Event,
    /// Signal state.
    Signal,
    /// Timers.
    Timer,
    /// Ready lists, which those who wake others add to.
    Ready,
    /// Wait queues.
    Wait,
    /// Run queues.
    Run,
    /// Logs, counters.
    Leaf,
}

/// A mutual exclusion lock with a rank.
#[derive(Debug)]
pub struct Mutex<T: ?Sized> {
    rank: Rank,
    inner: parking_lot::Mutex<T>,
}

/// What [`Mutex::lock`] gives.
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized> {
    inner: parking_lot::MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Mutex<T> {
    /// A lock of the given rank.
    pub const fn new(rank: Rank, value: T) -> Mutex<T> {
        Mutex { rank, inner: parking_lot::Mutex::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = Held::take(self.rank, false);
        MutexGuard { inner: self.inner.lock(), _held: held }
    }

    /// Takes the lock whatever else is held, if it can be had in time: for a kernel that panics.
    pub fn look(&self, patience: std::time::Duration) -> Option<parking_lot::MutexGuard<'_, T>> {
        self.inner.try_lock_for(patience)
    }

    /// Takes two locks of one rank, in the order of their addresses; `None` for the second if they are the same.
    #[track_caller]
    pub fn lock_two<'a>(a: &'a Mutex<T>, b: &'a Mutex<T>) -> (MutexGuard<'a, T>, Option<MutexGuard<'a, T>>) {
        let (pa, pb) = ((&raw const *a).cast::<()>(), (&raw const *b).cast::<()>());
        if pa == pb {
            return (a.lock(), None);
        }
        let first = if pa < pb { a } else { b };
        let second = if pa < pb { b } else { a };
        let held = Held::take(first.rank, false);
        let one = MutexGuard { inner: first.inner.lock(), _held: held };
        let held = Held::take(second.rank, true);
        let two = MutexGuard { inner: second.inner.lock(), _held: held };
        if pa < pb { (one, Some(two)) } else { (two, Some(one)) }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// A lock held, in the books of this thread (debug builds).
#[derive(Debug)]
struct Held {
    #[cfg(debug_assertions)]
    rank: Rank,
}

#[cfg(debug_assertions)]
thread_local! {
    static HELD: std::cell::RefCell<Vec<Rank>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Held {
    #[cfg(debug_assertions)]
    #[track_caller]
    fn take(rank: Rank, same: bool) -> Held {
        let at = std::panic::Location::caller();
        HELD.with_borrow_mut(|held| {
            if let Some(&top) = held.iter().max() {
                let ordered = top < rank || (same && top == rank);
                assert!(ordered, "lock order: {rank:?} taken at {at} while {top:?} is held");
            }
            held.push(rank);
        });
        Held { rank }
    }

    #[cfg(not(debug_assertions))]
    fn take(_: Rank, _: bool) -> Held {
        Held {}
    }
}

#[cfg(debug_assertions)]
impl Drop for Held {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|r| *r == self.rank) {
                held.remove(at);
            }
        });
    }
}

/// Panics in debug builds if this thread holds a lock: called where a fiber goes to sleep.
#[track_caller]
pub fn assert_no_lock() {
    #[cfg(debug_assertions)]
    HELD.with_borrow(|held| assert!(held.is_empty(), "sleeping while holding {held:?}"));
}
