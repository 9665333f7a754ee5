//! Timers of processes: alarm and setitimer, timer_create.

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
    /// ITIMER_REAL: when it is due, the interval, the set timer.
    pub real: Option<(Instant, u64, Timer)>,
    /// By id.
    pub posix: BTreeMap<i32, Posix>,
    next_id: i32,
}

/// One POSIX timer.
#[derive(Debug)]
pub struct Posix {
    /// `CLOCK_` id.
    pub clock: i32,
    /// How it tells: signal (0 for none), value, thread.
    pub signo: i32,
    /// sigev_value.
    pub value: u64,
    /// SIGEV_THREAD_ID.
    pub thread: Option<Weak<Task>>,
    /// When it is due, and the set timer.
    pub armed: Option<(Instant, Timer)>,
    /// Repeats after so many ns; 0 for not.
    pub interval: u64,
    /// Expirations beyond the one that the signal told.
    pub overrun: Arc<AtomicI32>,
}

impl ProcessTimers {
    /// Takes all back.
    pub fn clear(&mut self) {
        self.real = None;
        self.posix.clear();
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

struct Alarm(Weak<Process>);

impl Expire for Alarm {
    fn expire(&self) {
        let Some(process) = self.0.upgrade() else { return };
        let mut timers = process.timers.lock();
        let old = timers.real.take();
        let interval = old.as_ref().map_or(0, |(_, i, _)| *i);
        if interval > 0 {
            let due = old.as_ref().map_or(now(), |(due, _, _)| *due);
            let behind = now().saturating_sub(due).checked_div(interval).unwrap_or(0);
            let next = due + (behind + 1) * interval;
            timers.real = Some((next, interval, timer::set(next, Arc::new(Alarm(self.0.clone())))));
        }
        drop(timers);
        drop(old);
        send::to_process(&process, SigInfo::kernel(libc::SIGALRM));
    }
}

/// Sets ITIMER_REAL, 0 for off; what was left of the old one, and its interval.
pub fn set_real(process: &Arc<Process>, after: u64, interval: u64) -> (u64, u64) {
    let new = (after > 0).then(|| {
        let due = now().saturating_add(after);
        (due, interval, timer::set(due, Arc::new(Alarm(Arc::downgrade(process)))))
    });
    let old = std::mem::replace(&mut process.timers.lock().real, new);
    old.map_or((0, 0), |(due, interval, _)| (due.saturating_sub(now()).max(1), interval))
}

/// What is left of ITIMER_REAL, and its interval.
pub fn real(process: &Process) -> (u64, u64) {
    process.timers.lock().real.as_ref().map_or((0, 0), |(due, i, _)| (due.saturating_sub(now()).max(1), *i))
}

struct PosixDue {
    process: Weak<Process>,
    id: i32,
}

impl Expire for PosixDue {
    fn expire(&self) {
        let Some(process) = self.process.upgrade() else { return };
        let mut timers = process.timers.lock();
        let Some(t) = timers.posix.get_mut(&self.id) else { return };
        let old = t.armed.take();
        if t.interval > 0 {
            let due = old.as_ref().map_or(now(), |(due, _)| *due);
            let missed = now().saturating_sub(due).checked_div(t.interval).unwrap_or(0);
            t.overrun.fetch_add(missed.min(i32::MAX as u64) as i32, Ordering::Relaxed);
            let next = due + (missed + 1) * t.interval;
            t.armed = Some((
                next,
                timer::set(next, Arc::new(PosixDue { process: self.process.clone(), id: self.id })),
            ));
        }
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

/// Arms a POSIX timer for a time of the monotonic clock.
pub fn arm(process: &Arc<Process>, id: i32, due: Instant) -> (Instant, Timer) {
    (due, timer::set(due, Arc::new(PosixDue { process: Arc::downgrade(process), id })))
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
