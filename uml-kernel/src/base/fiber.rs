//! Fibers: the kernel side of a task, with a stack of its own, that any vCPU thread can run.
//!
//! The only module outside the platform with `unsafe`: stacks are switched here.

#![allow(unsafe_code)]

use super::sync::assert_no_lock;
use super::time::now;
use super::{heap, sched};
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::Location;
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// Why a fiber stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It sleeps, unless it was woken meanwhile.
    Sleep,
    /// It gives way to others.
    Yield,
    /// It has ended.
    End,
}

type Body = Coroutine<(), Stop, (), DefaultStack>;

const RUNNING: u8 = 0;
const PREPARED: u8 = 1;
const ASLEEP: u8 = 2;

/// The kernel side of a task.
pub struct Fiber {
    state: AtomicU8,
    interrupted: AtomicBool,
    body: parking_lot::Mutex<Option<Body>>,
    yielder: AtomicPtr<Yielder<(), Stop>>,
    /// When it stopped running; 0 before it has run at all.
    stopped: AtomicU64,
    /// Nanoseconds since its start in which it did not run.
    off: AtomicU64,
    /// Bytes of the kernel's heap that it took, less those that it gave back.
    heap: AtomicI64,
    /// What it is the kernel side of, for the layers above.
    pub owner: parking_lot::RwLock<Option<Arc<dyn std::any::Any + Send + Sync>>>,
    /// Where it waited last.
    place: AtomicPtr<Location<'static>>,
    /// It runs only to say where it is.
    asked: AtomicBool,
    stack: parking_lot::Mutex<Option<Backtrace>>,
}

// SAFETY: the coroutine is touched by one vCPU thread at a time (its lock is held while it runs), and what lives on its stack is `Send`,
// because `spawn` asks for it; thread-locals are never kept across a suspension (see `current`).
unsafe impl Send for Fiber {}
// SAFETY: as above.
unsafe impl Sync for Fiber {}

impl std::fmt::Debug for Fiber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fiber").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Bytes of a kernel stack.
const STACK: usize = if cfg!(debug_assertions) { 512 << 10 } else { 128 << 10 };

thread_local! {
    static CURRENT: Cell<*const Fiber> = const { Cell::new(null()) };
}

static STACKS: parking_lot::Mutex<Vec<DefaultStack>> = parking_lot::Mutex::new(Vec::new());

impl Fiber {
    /// Makes a fiber that will run `body`. It does not run before [`sched::enqueue`].
    pub fn new(body: impl FnOnce() + Send + 'static) -> std::io::Result<Arc<Fiber>> {
        let pooled = STACKS.lock().pop();
        let stack = match pooled {
            Some(stack) => stack,
            None => DefaultStack::new(STACK)?,
        };
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), Stop>, ()| {
            if let Some(me) = current_ref() {
                me.yielder.store(std::ptr::from_ref(yielder).cast_mut(), Ordering::Relaxed);
            }
            body();
        });
        Ok(Arc::new(Fiber {
            state: AtomicU8::new(RUNNING),
            interrupted: AtomicBool::new(false),
            body: parking_lot::Mutex::new(Some(coroutine)),
            yielder: AtomicPtr::default(),
            stopped: AtomicU64::new(0),
            off: AtomicU64::new(0),
            heap: AtomicI64::new(0),
            owner: parking_lot::RwLock::new(None),
            place: AtomicPtr::default(),
            asked: AtomicBool::new(false),
            stack: parking_lot::Mutex::new(None),
        }))
    }

    /// Runs it on this thread until it stops.
    pub(super) fn run(self: &Arc<Fiber>) -> Stop {
        let mut body = self.body.lock();
        let Some(coroutine) = body.as_mut() else { return Stop::End };
        let stopped = self.stopped.load(Ordering::Relaxed);
        if stopped != 0 {
            self.off.fetch_add(now().saturating_sub(stopped), Ordering::Relaxed);
        }
        CURRENT.set(Arc::as_ptr(self));
        let before = heap::net_of_thread();
        let result = coroutine.resume(());
        self.heap.fetch_add(heap::net_of_thread() - before, Ordering::Relaxed);
        CURRENT.set(null());
        self.stopped.store(now(), Ordering::Relaxed);
        match result {
            CoroutineResult::Yield(stop) => stop,
            CoroutineResult::Return(()) => {
                if let Some(done) = body.take() {
                    let mut stacks = STACKS.lock();
                    if stacks.len() < 64 {
                        stacks.push(done.into_stack());
                    }
                }
                Stop::End
            }
        }
    }

    /// Notes where in the kernel it waits.
    pub(super) fn waits_at(&self, place: &'static Location<'static>) {
        self.place.store(std::ptr::from_ref(place).cast_mut(), Ordering::Relaxed);
    }

    /// Where in the kernel it sleeps; `None` if it does not.
    pub fn sleeps_at(&self) -> Option<&'static Location<'static>> {
        let asleep = self.state.load(Ordering::SeqCst) == ASLEEP;
        // SAFETY: null, or stored by `waits_at` from a reference that is valid for ever.
        unsafe { self.place.load(Ordering::Relaxed).as_ref() }.filter(|_| asleep)
    }

    /// The stack of one that sleeps; `None` if it does not, or cannot be had within `patience`.
    pub fn stack(self: &Arc<Fiber>, patience: Duration) -> Option<Backtrace> {
        let mut body = self.body.try_lock_for(patience)?;
        // One that was stopped stands in `stop`, whatever has become of its sleep; it looks around there and stops again.
        if self.stopped.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let coroutine = body.as_mut()?;
        let before = CURRENT.replace(Arc::as_ptr(self));
        self.asked.store(true, Ordering::Relaxed);
        coroutine.resume(());
        CURRENT.set(before);
        self.stack.lock().take()
    }

    /// From now on a wake-up is not lost: the next [`sleep`] returns at once if one came.
    pub fn prepare(&self) {
        self.state.store(PREPARED, Ordering::SeqCst);
    }

    /// Takes back [`Fiber::prepare`].
    pub fn unprepare(&self) {
        self.state.store(RUNNING, Ordering::SeqCst);
    }

    /// Called when the fiber's stack is left: true if it sleeps now, false if it was woken before.
    pub(super) fn fall_asleep(&self) -> bool {
        self.state.compare_exchange(PREPARED, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Wakes it, if it sleeps or is about to.
    pub fn wake(self: &Arc<Fiber>) {
        if self.state.swap(RUNNING, Ordering::SeqCst) == ASLEEP {
            sched::enqueue(self.clone());
        }
    }

    /// Nanoseconds in which it slept, or could have run and did not.
    pub fn off(&self) -> u64 {
        self.off.load(Ordering::Relaxed)
    }

    /// Bytes of the kernel's heap that it took, less those that it gave back.
    pub fn heap(&self) -> i64 {
        self.heap.load(Ordering::Relaxed)
    }

    /// Whether interruptible waits end.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Sets that; a sleeping fiber is woken to see it.
    pub fn set_interrupted(self: &Arc<Fiber>, value: bool) {
        if self.interrupted.swap(value, Ordering::SeqCst) != value && value {
            self.wake();
        }
    }
}

// Not inlined: a fiber may go on in another thread after a suspension, where the address of a thread-local is another.
#[inline(never)]
fn current_ref<'a>() -> Option<&'a Fiber> {
    // SAFETY: set by `run` for as long as the fiber runs on this thread; `run` holds an `Arc`.
    unsafe { CURRENT.get().as_ref() }
}

/// The fiber that runs here has waited for the host, and so not had its CPU, for so many nanoseconds.
pub(super) fn was_off(nanos: u64) {
    if let Some(me) = current_ref() {
        me.off.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// The fiber that runs on this thread.
#[inline(never)]
pub fn current() -> Option<Arc<Fiber>> {
    let p = CURRENT.get();
    if p.is_null() {
        return None;
    }
    // SAFETY: the pointer comes from `Arc::as_ptr` of an `Arc` that `run` holds.
    unsafe {
        Arc::increment_strong_count(p);
        Some(Arc::from_raw(p))
    }
}

fn stop(why: Stop) {
    assert_no_lock();
    let Some(me) = current_ref() else { return };
    // SAFETY: stored at the fiber's start, and valid while its body runs, which is now.
    if let Some(yielder) = unsafe { me.yielder.load(Ordering::Relaxed).as_ref() } {
        yielder.suspend(why);
        while me.asked.swap(false, Ordering::Relaxed) {
            *me.stack.lock() = Some(Backtrace::force_capture());
            yielder.suspend(why);
        }
    }
}

/// Sleeps until [`Fiber::wake`]; after [`Fiber::prepare`].
pub fn sleep() {
    stop(Stop::Sleep);
}

/// Lets others run.
pub fn give_way() {
    stop(Stop::Yield);
}
