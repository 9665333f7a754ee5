//! Clocks that count CPU time, what is due on them, and RLIMIT_CPU.
//!
//! Time is added to a process when one of its threads goes to the guest or comes back. A guest that runs while something is due
//! is taken back in time (`left`), so that nothing else has to look.

use super::process::{Process, Task};
use super::signal::SigInfo;
use super::{Pid, kernel, send};
use crate::base::timer::Expire;
use crate::base::{Errno, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A clock of CPU time; `user` for time in the guest only.
#[derive(Debug, Clone)]
pub enum CpuClock {
    /// Of all threads of a process.
    Process {
        /// Whose.
        process: Arc<Process>,
        /// In the guest only.
        user: bool,
    },
    /// Of one thread.
    Thread {
        /// Whose.
        task: Arc<Task>,
        /// In the guest only.
        user: bool,
    },
}

fn get(a: &AtomicU64) -> u64 {
    a.load(Ordering::Relaxed)
}

/// CPU times of a process so far: in the guest, and in the kernel.
pub fn times(process: &Process) -> (u64, u64) {
    (get(&process.times.user), get(&process.times.system))
}

impl CpuClock {
    /// The clock of a number that is one of CPU time; `None` for others, EINVAL for one of nobody (clock_getcpuclockid(3)).
    pub fn of(asking: &Arc<Task>, number: i32) -> Result<Option<CpuClock>> {
        let own = asking.process.clone();
        match number {
            libc::CLOCK_PROCESS_CPUTIME_ID => {
                return Ok(Some(CpuClock::Process { process: own, user: false }));
            }
            libc::CLOCK_THREAD_CPUTIME_ID => {
                return Ok(Some(CpuClock::Thread { task: asking.clone(), user: false }));
            }
            n if n >= 0 => return Ok(None),
            _ => {}
        }
        // The lowest two bits say what is counted (3: not CPU time, but a descriptor's clock), the third whether of one thread.
        let (which, thread, pid): (i32, bool, Pid) = (number & 3, number & 4 != 0, !(number >> 3));
        let user = match which {
            0 | 2 => false,
            1 => true,
            _ => return Err(Errno::EINVAL),
        };
        Ok(Some(if thread {
            let task = if pid == 0 { Some(asking.clone()) } else { kernel().table.task(pid) };
            let task = task.filter(|t| Arc::ptr_eq(&t.process, &own)).ok_or(Errno::EINVAL)?;
            CpuClock::Thread { task, user }
        } else {
            let process = if pid == 0 { Some(own) } else { kernel().table.process(pid) };
            CpuClock::Process { process: process.ok_or(Errno::EINVAL)?, user }
        }))
    }

    /// Nanoseconds.
    pub fn now(&self) -> u64 {
        let (times, user) = match self {
            CpuClock::Process { process, user } => (&process.times, *user),
            CpuClock::Thread { task, user } => (&task.times, *user),
        };
        get(&times.user) + if user { 0 } else { get(&times.system) }
    }

    fn process(&self) -> &Arc<Process> {
        match self {
            CpuClock::Process { process, .. } => process,
            CpuClock::Thread { task, .. } => &task.process,
        }
    }

    /// As it is kept in the process's own list, which is not to keep the process.
    fn weak(&self) -> WeakClock {
        match self {
            CpuClock::Process { user, .. } => WeakClock::Process { user: *user },
            CpuClock::Thread { task, user } => WeakClock::Thread { task: Arc::downgrade(task), user: *user },
        }
    }
}

#[derive(Debug)]
enum WeakClock {
    Process { user: bool },
    Thread { task: Weak<Task>, user: bool },
}

/// What is due at some CPU time of a process or its threads.
#[derive(Default)]
pub struct Due {
    set: Vec<(u64, WeakClock, u64, Arc<dyn Expire>)>,
    last_id: u64,
}

impl std::fmt::Debug for Due {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Due").field("set", &self.set.len()).finish()
    }
}

/// Something that is due on a CPU clock; taken back when dropped.
#[derive(Debug)]
pub struct CpuTimer {
    process: Weak<Process>,
    id: u64,
}

impl Drop for CpuTimer {
    fn drop(&mut self) {
        if let Some(process) = self.process.upgrade() {
            let mut due = process.cpu_due.lock();
            let at = due.set.iter().position(|(id, ..)| *id == self.id);
            let gone = at.map(|at| due.set.swap_remove(at));
            drop(due);
            drop(gone);
        }
    }
}

/// Has `what` told when the clock has reached `at`.
pub fn set(clock: &CpuClock, at: u64, what: Arc<dyn Expire>) -> CpuTimer {
    let process = clock.process();
    let mut due = process.cpu_due.lock();
    due.last_id += 1;
    let id = due.last_id;
    due.set.push((id, clock.weak(), at, what));
    drop(due);
    look_again(process);
    CpuTimer { process: Arc::downgrade(process), id }
}

/// What is due, or the limit, has changed: the next look finds out when the one after it has to be.
pub fn look_again(process: &Arc<Process>) {
    process.cpu_next.store(0, Ordering::SeqCst);
    // Threads in the guest were given time by what was due before.
    for task in kernel().table.threads(process.pid) {
        task.kick();
    }
}

/// CPU time that the process may use before something is due.
pub fn left(process: &Process) -> Option<u64> {
    let next = process.cpu_next.load(Ordering::Relaxed);
    let (user, system) = times(process);
    (next != u64::MAX).then(|| next.saturating_sub(user + system))
}

/// Adds time to a task and its process, and sees to what is due.
pub fn add(task: &Arc<Task>, user: u64, system: u64) {
    let process = &task.process;
    for times in [&task.times, &process.times] {
        times.user.fetch_add(user, Ordering::Relaxed);
        times.system.fetch_add(system, Ordering::Relaxed);
    }
    let (user, system) = times(process);
    if user + system >= process.cpu_next.load(Ordering::Relaxed) {
        expire(process, user, user + system);
    }
}

fn expire(process: &Arc<Process>, user: u64, total: u64) {
    let mut told = Vec::new();
    let mut least = u64::MAX;
    process.cpu_next.store(u64::MAX, Ordering::SeqCst);
    let mut due = process.cpu_due.lock();
    let mut n = 0;
    while let Some((_, clock, at, _)) = due.set.get(n) {
        let now = match clock {
            WeakClock::Process { user: true } => Some(user),
            WeakClock::Process { user: false } => Some(total),
            WeakClock::Thread { task, user } => {
                let of = |t: Arc<Task>| get(&t.times.user) + if *user { 0 } else { get(&t.times.system) };
                task.upgrade().map(of)
            }
        };
        match now {
            Some(now) if now < *at => {
                least = least.min(at - now);
                n += 1;
            }
            Some(_) => told.push(due.set.swap_remove(n)),
            // The clock of a thread that has ended stands still.
            None => n += 1,
        }
    }
    drop(due);
    least = least.min(limit(process, total));
    process.cpu_next.fetch_min(total.saturating_add(least), Ordering::SeqCst);
    for (.., what) in told {
        what.expire();
    }
}

/// RLIMIT_CPU: SIGXCPU each second from the soft limit on, SIGKILL at the hard one. What is left to the next of them.
fn limit(process: &Arc<Process>, total: u64) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    const WHICH: usize = libc::RLIMIT_CPU as usize;
    let (soft, hard) = process.limits.lock()[WHICH];
    if hard != libc::RLIM_INFINITY && total >= hard.saturating_mul(SECOND) {
        send::to_process(process, SigInfo::kernel(libc::SIGKILL));
        return u64::MAX;
    }
    if soft == libc::RLIM_INFINITY {
        return u64::MAX;
    }
    let mut next = soft.saturating_mul(SECOND);
    if total >= next {
        send::to_process(process, SigInfo::kernel(libc::SIGXCPU));
        next += SECOND;
        process.limits.lock()[WHICH].0 = soft.saturating_add(1);
    }
    next.min(hard.saturating_mul(SECOND)).saturating_sub(total)
}
