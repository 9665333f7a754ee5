//! Host calls that may take long, and who is the vCPU meanwhile.
//!
//! The thread that is about to make one gives its vCPU to another thread first, so that the guest goes on. It keeps the kernel's locks
//! that it holds, and goes on without a vCPU when the call is over: whoever waits for those locks is not kept longer. Where its fiber next
//! goes to the guest, it queues for a vCPU like any other; the thread is a spare one then.

use super::{fiber, sched, time};
use crate::platform::apart;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::thread::Builder;

/// Threads without a vCPU that are kept for the next call.
const KEPT: usize = 16;

/// Bytes of a thread's stack: a fiber has its own.
const STACK: usize = 256 << 10;

struct Spares {
    /// vCPUs that nobody is yet.
    given: VecDeque<usize>,
    waiting: usize,
    over: bool,
}

static SPARES: Mutex<Spares> = Mutex::new(Spares { given: VecDeque::new(), waiting: 0, over: false });
static GIVEN: Condvar = Condvar::new();

/// Makes a call during which other fibers may have this vCPU. The caller may hold locks; it does not sleep in the guest's sense.
pub fn blocking<T>(call: impl FnOnce() -> T) -> T {
    // A thread that is no vCPU, or no longer one, has nothing to give.
    let Some(cpu) = sched::own() else { return call() };
    if !give(cpu) {
        return call();
    }
    let since = time::now();
    let result = call();
    fiber::was_off(time::now().saturating_sub(since));
    result
}

/// Lets another thread be the vCPU of this one; false if there is none to be had.
fn give(cpu: usize) -> bool {
    let mut spares = SPARES.lock();
    if spares.waiting <= spares.given.len() {
        let begun = Builder::new().name(format!("vcpu{cpu}")).stack_size(STACK).spawn(|| {
            next().into_iter().for_each(be);
        });
        if let Err(e) = begun {
            crate::log!("vcpu{cpu}: no thread to go on with while the host is waited for: {e}");
            return false;
        }
    }
    sched::leave();
    apart::leave();
    spares.given.push_back(cpu);
    GIVEN.notify_one();
    true
}

/// The life of a vCPU's thread.
pub(super) fn be(mut cpu: usize) {
    while sched::serve(cpu) {
        match next() {
            Some(next) => cpu = next,
            None => return,
        }
    }
}

/// Waits for a vCPU that another thread has given.
fn next() -> Option<usize> {
    let mut spares = SPARES.lock();
    if spares.waiting >= KEPT && spares.given.is_empty() {
        return None;
    }
    spares.waiting += 1;
    while spares.given.is_empty() && !spares.over {
        GIVEN.wait(&mut spares);
    }
    spares.waiting -= 1;
    spares.given.pop_front()
}

/// No vCPU is given any more.
pub(super) fn stop() {
    SPARES.lock().over = true;
    GIVEN.notify_all();
}

#[cfg(test)]
mod tests {
    use super::super::rwlock;
    use super::*;
    use crate::fs::testing::start;
    use parking_lot::lock_api::RwLock;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// The tests have one vCPU: the first fiber waits for the host with a lock held, the second for the lock, and the third is what they
    /// wait for.
    #[test]
    fn others_go_on_while_one_waits_for_the_host_and_another_for_its_lock() {
        let lock = Arc::new(RwLock::<rwlock::RawRwLock, u32>::new(0));
        let (go, gone) = channel();
        let (began, begins) = channel();
        let (first, second, third) = (lock.clone(), lock.clone(), lock.clone());
        let waits = start(move || {
            let mut value = first.write();
            let _ = began.send(());
            *value = blocking(|| gone.recv_timeout(Duration::from_secs(10)).unwrap_or(0));
            let without = sched::own().is_none();
            drop(value);
            // As a task that goes to its guest does.
            while sched::own().is_none() {
                fiber::give_way();
            }
            without
        });
        begins.recv().unwrap();
        let reads = start(move || *second.read());
        let ends = start(move || {
            let held = third.is_locked();
            let _ = go.send(7);
            held
        });
        assert!(ends.join());
        assert_eq!(reads.join(), 7);
        assert!(waits.join());
    }
}
