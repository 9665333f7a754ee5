//! Timers of processes: alarm and setitimer, timer_create.

use super::cpu_clock::{self, CpuClock, CpuTimer};
use super::process::{Pid, Process, Task};
use super::signal::{SI_TIMER, SigInfo};
use super::{kernel, send};
use crate::base::time::{Instant, now};
use crate::base::timer::{self, Expire, Timer};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};

/// The timers of a process.
#[derive(Debug, Default)]
pub struct ProcessTimers {
    /// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF: when it is due, the interval, the set timer.
    pub intervals: [Option<(Instant, u64, Armed)>; INTERVALS],
    /// By id.
    pub posix: BTreeMap<i32, Posix>,
    next_id: i32,
}

/// One POSIX timer.
#[derive(Debug)]
pub struct Posix {
    /// `CLOCK_` id.
    pub number: i32,
    /// The clock that it is set on.
    pub clock: Clock,
    /// How it tells: signal (0 for none), value, thread.
    pub signo: i32,
    /// sigev_value.
    pub value: u64,
    /// SIGEV_THREAD_ID.
    pub thread: Option<Weak<Task>>,
    /// When it is due, and the set timer.
    pub armed: Option<(Instant, Armed)>,
    /// Repeats after so many ns; 0 for not.
    pub interval: u64,
    /// Expirations beyond the one that the signal told.
    pub overrun: Arc<AtomicI32>,
}

impl ProcessTimers {
    /// Takes all back.
    pub fn clear(&mut self) {
        *self = ProcessTimers { next_id: self.next_id, ..ProcessTimers::default() };
    }

    /// exec keeps the interval timer, and takes the others back.
    pub fn exec(&mut self) {
        self.posix.clear();
    }

    /// Adds a POSIX timer; its id.
    pub fn add(&mut self, timer: Posix) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        self.posix.insert(id, timer);
        id
    }
}

/// A set timer, on whatever clock.
#[derive(Debug)]
pub enum Armed {
    /// On the monotonic clock.
    Wall(Timer),
    /// On a clock of CPU time.
    Cpu(CpuTimer),
}

/// The clock that a timer is on.
#[derive(Debug, Clone)]
pub enum Clock {
    /// Monotonic: others' times are converted to it.
    Wall,
    /// CPU time.
    Cpu(CpuClock),
}

impl Clock {
    /// Nanoseconds.
    pub fn now(&self) -> u64 {
        match self {
            Clock::Wall => now(),
            Clock::Cpu(clock) => clock.now(),
        }
    }

    fn arm(&self, due: Instant, what: Arc<dyn Expire>) -> Armed {
        match self {
            Clock::Wall => Armed::Wall(timer::set(due, what)),
            Clock::Cpu(clock) => Armed::Cpu(cpu_clock::set(clock, due, what)),
        }
    }

    /// The clock of an interval timer: real, virtual, prof.
    fn of_interval(process: &Arc<Process>, which: usize) -> Clock {
        match which {
            0 => Clock::Wall,
            n => Clock::Cpu(CpuClock::Process { process: process.clone(), user: n == 1 }),
        }
    }
}

/// Numbers of the interval timers.
pub const INTERVALS: usize = 3;
/// What they send.
const SIGNALS: [i32; INTERVALS] = [libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF];

struct Alarm {
    process: Weak<Process>,
    which: usize,
}

impl Alarm {
    fn set(process: &Arc<Process>, which: usize, due: Instant) -> Armed {
        let clock = Clock::of_interval(process, which);
        clock.arm(due, Arc::new(Alarm { process: Arc::downgrade(process), which }))
    }
}

impl Expire for Alarm {
    fn expire(&self) {
        let Some(process) = self.process.upgrade() else { return };
        let old = process.timers.lock().intervals[self.which].take();
        let Some((due, interval, _)) = &old else { return };
        if *interval > 0 {
            let behind = Clock::of_interval(&process, self.which).now().saturating_sub(*due) / interval;
            let next = due.saturating_add((behind + 1).saturating_mul(*interval));
            let armed = Alarm::set(&process, self.which, next);
            process.timers.lock().intervals[self.which] = Some((next, *interval, armed));
        }
        drop(old);
        send::to_process(&process, SigInfo::kernel(SIGNALS[self.which]));
    }
}

/// Sets an interval timer, 0 for off; what was left of the old one, and its interval.
pub fn set_interval(process: &Arc<Process>, which: usize, after: u64, interval: u64) -> (u64, u64) {
    let clock = Clock::of_interval(process, which);
    let new = (after > 0).then(|| {
        let due = clock.now().saturating_add(after);
        (due, interval, Alarm::set(process, which, due))
    });
    let old = std::mem::replace(&mut process.timers.lock().intervals[which], new);
    old.map_or((0, 0), |(due, interval, _)| (due.saturating_sub(clock.now()).max(1), interval))
}

/// What is left of an interval timer, and its interval.
pub fn interval(process: &Arc<Process>, which: usize) -> (u64, u64) {
    let now = Clock::of_interval(process, which).now();
    let timers = process.timers.lock();
    timers.intervals[which].as_ref().map_or((0, 0), |(due, i, _)| (due.saturating_sub(now).max(1), *i))
}

struct PosixDue {
    process: Weak<Process>,
    id: i32,
}

impl Expire for PosixDue {
    fn expire(&self) {
        let Some(process) = self.process.upgrade() else { return };
        let (clock, interval, due) = {
            let timers = process.timers.lock();
            let Some(t) = timers.posix.get(&self.id) else { return };
            (t.clock.clone(), t.interval, t.armed.as_ref().map(|(due, _)| *due))
        };
        let mut next = None;
        let mut missed = 0;
        let now = clock.now();
        let due = due.unwrap_or(now);
        if let Some(times) = now.saturating_sub(due).checked_div(interval) {
            missed = times;
            next = Some(arm(
                &process,
                self.id,
                &clock,
                due.saturating_add((missed + 1).saturating_mul(interval)),
            ));
        }
        let mut timers = process.timers.lock();
        let Some(t) = timers.posix.get_mut(&self.id) else { return };
        t.overrun.fetch_add(missed.min(i32::MAX as u64) as i32, Ordering::Relaxed);
        let old = std::mem::replace(&mut t.armed, next);
        let (signo, thread, value, overrun) = (t.signo, t.thread.clone(), t.value, t.overrun.clone());
        drop(timers);
        drop(old);
        if signo == 0 {
            return;
        }
        let info = SigInfo::timer(signo, self.id, overrun.load(Ordering::Relaxed), value);
        match thread {
            Some(thread) => {
                if let Some(task) = thread.upgrade() {
                    let waits = task.pending.lock().set() & super::signal::bit(signo) != 0;
                    if waits {
                        overrun.fetch_add(1, Ordering::Relaxed);
                    } else {
                        send::to_task(&task, info);
                    }
                }
            }
            None => {
                let waits = process.shared.lock().set() & super::signal::bit(signo) != 0;
                if waits {
                    overrun.fetch_add(1, Ordering::Relaxed);
                } else {
                    send::to_process(&process, info);
                }
            }
        }
    }
}

/// Arms a POSIX timer for a time of its clock.
pub fn arm(process: &Arc<Process>, id: i32, clock: &Clock, due: Instant) -> (Instant, Armed) {
    (due, clock.arm(due, Arc::new(PosixDue { process: Arc::downgrade(process), id })))
}

/// A timer's signal is being taken: its overruns begin anew.
pub fn taken(info: &SigInfo) {
    if info.code != SI_TIMER {
        return;
    }
    let Some(task) = super::current() else { return };
    let id = info.fields[0] as u32 as i32;
    if let Some(t) = task.process.timers.lock().posix.get(&id) {
        t.overrun.store(0, Ordering::Relaxed);
    }
}

/// The pid that timers of a task belong to.
pub fn owner(pid: Pid) -> Option<Arc<Process>> {
    kernel().table.process(pid)
}
