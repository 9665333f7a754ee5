//! For tests: fibers that may block, and a `PollTable` to look at.

use crate::base::{fiber::Fiber, sched};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::sync::{Once, mpsc};
use std::time::Duration;

/// Between its fork and its exec a program that a test starts holds all that other tests have open on the host: what these close, or
/// what they measure of its life, would not be as they expect.
static PROGRAMS: RwLock<()> = RwLock::new(());

/// Held by a test that compares with the host's own descriptors.
pub(crate) fn no_programs() -> RwLockReadGuard<'static, ()> {
    PROGRAMS.read()
}

/// Held while a test starts a program.
pub(crate) fn programs() -> RwLockWriteGuard<'static, ()> {
    PROGRAMS.write()
}

/// Runs `f` in a fiber of its own and returns where its result will come.
pub(crate) fn start<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    static VCPU: Once = Once::new();
    VCPU.call_once(|| sched::start(1, &[0]).unwrap());
    let (send, receive) = mpsc::channel();
    let fiber = Fiber::new(move || {
        let _ = send.send(f());
    })
    .unwrap();
    sched::enqueue(fiber.clone());
    Task { fiber, receive }
}

/// A fiber of a test.
pub(crate) struct Task<T> {
    pub(crate) fiber: std::sync::Arc<Fiber>,
    receive: mpsc::Receiver<T>,
}

impl<T> Task<T> {
    /// Its result; panics if it does not come in time.
    pub(crate) fn join(self) -> T {
        self.receive.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

/// Runs `f` in a fiber and waits for it.
pub(crate) fn run_in_fiber<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    start(f).join()
}

/// A small generator (xorshift) for seeded tests.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}
