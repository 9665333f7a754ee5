//! The scheduler: vCPU threads, the run queue, preemption, idling.

use super::fiber::{Fiber, Stop};
use super::{blocking, time, timer};
use crate::base::sync::{Mutex, Rank};
use crate::platform::{Kicker, apart, sys};
use parking_lot::Condvar;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How long a task runs while others wait.
pub const SLICE: u64 = 4_000_000;

/// How often, in nanoseconds, the host may choose anew where a vCPU that wakes goes on: the stub follows, and its cache is cold.
const PLACE: u64 = 100_000_000;

/// One vCPU.
#[derive(Debug)]
struct Cpu {
    /// The host CPU that it is pinned to.
    host_cpu: AtomicUsize,
    /// When the host was last asked for a better one.
    placed: AtomicU64,
    in_guest: AtomicBool,
    need_resched: AtomicBool,
    kicker: parking_lot::Mutex<Option<Kicker>>,
    slice_end: AtomicU64,
    /// Nanoseconds spent with nothing to do.
    idle_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct Idle {
    sleeping: usize,
    stop: bool,
    paused: bool,
}

struct Scheduler {
    run: Mutex<VecDeque<Arc<Fiber>>>,
    runnable: AtomicUsize,
    cpus: std::sync::OnceLock<Vec<Cpu>>,
    /// What they may be moved between, if there are more host CPUs than vCPUs.
    choice: std::sync::OnceLock<Vec<usize>>,
    idle: parking_lot::Mutex<Idle>,
    idle_cond: Condvar,
    /// As in `idle`, to be looked at without its lock.
    paused: AtomicBool,
    switches: AtomicU64,
}

static SCHED: Scheduler = Scheduler {
    run: Mutex::new(Rank::Run, VecDeque::new()),
    runnable: AtomicUsize::new(0),
    cpus: std::sync::OnceLock::new(),
    choice: std::sync::OnceLock::new(),
    idle: parking_lot::Mutex::new(Idle { sleeping: 0, stop: false, paused: false }),
    paused: AtomicBool::new(false),
    idle_cond: Condvar::new(),
    switches: AtomicU64::new(0),
};

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[inline(never)]
fn cpu_index() -> usize {
    CPU.get()
}

fn cpu() -> Option<&'static Cpu> {
    SCHED.cpus.get()?.get(cpu_index())
}

/// Number of vCPUs.
pub fn cpus() -> usize {
    SCHED.cpus.get().map_or(1, Vec::len)
}

/// The number of the vCPU that runs the caller.
pub fn this_cpu() -> usize {
    let index = cpu_index();
    if index == usize::MAX { 0 } else { index }
}

/// The host CPU of the vCPU that runs the caller.
pub fn host_cpu() -> usize {
    cpu().map_or(0, |c| c.host_cpu.load(Ordering::Relaxed))
}

/// Fibers that could run and do not.
pub fn waiting() -> usize {
    SCHED.runnable.load(Ordering::Relaxed)
}

/// Switches of context so far, and for each vCPU the time it was idle.
pub fn statistics() -> (u64, Vec<u64>) {
    let idle = SCHED.cpus.get().into_iter().flatten().map(|c| c.idle_ns.load(Ordering::Relaxed)).collect();
    (SCHED.switches.load(Ordering::Relaxed), idle)
}

/// Lets a fiber run as soon as a vCPU has time.
pub fn enqueue(fiber: Arc<Fiber>) {
    SCHED.run.lock().push_back(fiber);
    SCHED.runnable.fetch_add(1, Ordering::SeqCst);
    if SCHED.idle.lock().sleeping > 0 {
        SCHED.idle_cond.notify_one();
    } else if cpu().is_none() {
        // From a helper thread: no vCPU would look before its guest comes back.
        kick_any();
    }
}

/// Fibers that can run go first from now on, as soon as those that run now can be stopped.
pub fn hurry(fibers: &[Arc<Fiber>]) {
    let mut run = SCHED.run.lock();
    let (mut first, rest): (VecDeque<_>, VecDeque<_>) =
        run.drain(..).partition(|queued| fibers.iter().any(|f| Arc::ptr_eq(f, queued)));
    let some = !first.is_empty();
    first.extend(rest);
    *run = first;
    drop(run);
    if some {
        kick_any();
    }
}

/// Has all guests come to the kernel.
pub fn kick_any() {
    for cpu in SCHED.cpus.get().into_iter().flatten() {
        cpu.need_resched.store(true, Ordering::SeqCst);
        kick(cpu);
    }
}

fn kick(cpu: &Cpu) {
    if cpu.in_guest.load(Ordering::SeqCst)
        && let Some(kicker) = cpu.kicker.lock().as_ref()
    {
        kicker.kick();
    }
}

/// Takes the CPU from the guest of the stub thread `tid`, wherever it runs, so that its kernel side looks around.
pub fn kick_thread(kicker: &Kicker) {
    kicker.kick();
}

/// Starts `n` vCPU threads.
pub fn start(n: usize, host_cpus: &[usize]) -> std::io::Result<()> {
    // From where the host's scheduler has put us on: many guests are not to sit on the same CPU.
    let here = sys::current_cpu();
    let first = host_cpus.iter().position(|c| *c == here).unwrap_or(0);
    if n < host_cpus.len() {
        let _ = SCHED.choice.set(host_cpus.to_vec());
    }
    apart::allow(host_cpus);
    let cpus = (0..n)
        .map(|i| Cpu {
            host_cpu: AtomicUsize::new(host_cpus[(first + i) % host_cpus.len()]),
            placed: AtomicU64::new(0),
            in_guest: AtomicBool::new(false),
            need_resched: AtomicBool::new(false),
            kicker: parking_lot::Mutex::new(None),
            slice_end: AtomicU64::new(0),
            idle_ns: AtomicU64::new(0),
        })
        .collect();
    let _ = SCHED.cpus.set(cpus);
    for i in 0..n {
        std::thread::Builder::new().name(format!("vcpu{i}")).spawn(move || blocking::be(i))?;
    }
    Ok(())
}

/// Ends the vCPU threads once they have nothing to run.
pub fn stop() {
    SCHED.idle.lock().stop = true;
    SCHED.idle_cond.notify_all();
    blocking::stop();
}

/// Stops all tasks where they are, or lets them go on; false if that is how it was.
pub fn pause(yes: bool) -> bool {
    {
        let mut idle = SCHED.idle.lock();
        if idle.paused == yes {
            return false;
        }
        idle.paused = yes;
        SCHED.paused.store(yes, Ordering::SeqCst);
        SCHED.idle_cond.notify_all();
    }
    if yes {
        kick_any();
    }
    true
}

/// Waits until the tasks may go on.
fn wait_while_paused() {
    let mut idle = SCHED.idle.lock();
    while idle.paused && !idle.stop {
        SCHED.idle_cond.wait(&mut idle);
    }
}

fn pick() -> Option<Arc<Fiber>> {
    if SCHED.runnable.load(Ordering::SeqCst) == 0 {
        return None;
    }
    let fiber = SCHED.run.lock().pop_front();
    if fiber.is_some() {
        SCHED.runnable.fetch_sub(1, Ordering::SeqCst);
    }
    fiber
}

/// Is the vCPU `index` on this thread, until the kernel ends, or (true) until the thread has left it.
pub(super) fn serve(index: usize) -> bool {
    CPU.set(index);
    apart::settle(host_cpu());
    let Some(cpu) = cpu() else { return false };
    loop {
        if SCHED.paused.load(Ordering::Relaxed) {
            wait_while_paused();
        }
        timer::expire();
        let Some(fiber) = pick() else {
            if idle(cpu) {
                continue;
            }
            return false;
        };
        apart::busy(true);
        SCHED.switches.fetch_add(1, Ordering::Relaxed);
        cpu.need_resched.store(false, Ordering::Relaxed);
        cpu.slice_end.store(time::now() + SLICE, Ordering::Relaxed);
        match fiber.run() {
            Stop::Sleep if fiber.fall_asleep() => {}
            Stop::Sleep | Stop::Yield => enqueue(fiber),
            Stop::End => {}
        }
        if own().is_none() {
            return true;
        }
        if let Some(kicker) = cpu.kicker.lock().take() {
            kicker.rest();
        }
    }
}

/// The vCPU that this thread is.
#[inline(never)]
pub fn own() -> Option<usize> {
    Some(CPU.get()).filter(|index| *index != usize::MAX)
}

/// This thread is no vCPU any more: another will be.
#[inline(never)]
pub(super) fn leave() {
    if let Some(cpu) = cpu() {
        *cpu.kicker.lock() = None;
    }
    CPU.set(usize::MAX);
}

/// Sleeps until there is something to run or a timer is due; false when the kernel ends.
fn idle(cpu: &Cpu) -> bool {
    let mut idle = SCHED.idle.lock();
    if idle.stop {
        return false;
    }
    if SCHED.runnable.load(Ordering::SeqCst) > 0 {
        return true;
    }
    apart::busy(false);
    let start = time::now();
    idle.sleeping += 1;
    let choice = SCHED.choice.get().filter(|_| start - cpu.placed.load(Ordering::Relaxed) >= PLACE);
    if let Some(choice) = choice {
        let _ = sys::pin(0, choice);
    }
    match timer::next() {
        Some(deadline) => {
            SCHED.idle_cond.wait_for(&mut idle, time::until(deadline));
        }
        None => SCHED.idle_cond.wait(&mut idle),
    }
    idle.sleeping -= 1;
    if choice.is_some() {
        let here = sys::current_cpu();
        apart::settle(here);
        cpu.host_cpu.store(here, Ordering::Relaxed);
        cpu.placed.store(time::now(), Ordering::Relaxed);
    }
    cpu.idle_ns.fetch_add(time::now() - start, Ordering::Relaxed);
    true
}

/// A timer earlier than all before was set: an idle vCPU must look at it.
pub(super) fn timer_moved() {
    let idle = SCHED.idle.lock();
    if idle.sleeping > 0 {
        SCHED.idle_cond.notify_one();
    } else if cpu().is_none() {
        drop(idle);
        kick_any();
    }
}

/// The fiber that runs here is about to enter the guest, or has come from it.
pub fn in_guest(value: bool) {
    if let Some(cpu) = cpu() {
        cpu.in_guest.store(value, Ordering::SeqCst);
    }
}

/// Whom to interrupt when this vCPU is needed.
pub fn set_kicker(kicker: Kicker) {
    if let Some(cpu) = cpu() {
        *cpu.kicker.lock() = Some(kicker);
    }
}

/// Whether the fiber that runs here should give way.
pub fn need_resched() -> bool {
    let Some(cpu) = cpu() else { return false };
    if cpu.need_resched.load(Ordering::Relaxed) {
        return true;
    }
    waiting() > 0 && time::now() >= cpu.slice_end.load(Ordering::Relaxed)
}

static LOOK: AtomicU64 = AtomicU64::new(250_000_000);

/// From now on the kernel looks around at least every `ns` while guests run.
pub fn look_every(ns: u64) {
    LOOK.store(ns, Ordering::Relaxed);
}

/// How long the guest may run before the kernel looks around, at most `most` ns; `None` for as long as it wants.
pub fn guest_time(most: Option<u64>) -> Option<Duration> {
    let cpu = cpu()?;
    let slice = (waiting() > 0).then(|| cpu.slice_end.load(Ordering::Relaxed));
    // And now and then, for what is watched while guests run.
    let mut end = time::now() + LOOK.load(Ordering::Relaxed);
    let used = most.map(|most| time::now().saturating_add(most));
    for due in [slice, timer::next(), used].into_iter().flatten() {
        end = end.min(due);
    }
    Some(time::until(end).max(Duration::from_micros(50)))
}
