//! How a task wishes to be scheduled (sched(7)): kept and checked. The scheduler is round-robin and obeys none of it.

use super::kernel;
use super::process::{Process, Task};
use crate::base::{Errno, Result};
use crate::fs::{Cap, Creds};
use std::sync::Arc;

/// SCHED_OTHER.
pub const OTHER: u32 = 0;
/// SCHED_FIFO.
pub const FIFO: u32 = 1;
/// SCHED_RR.
pub const RR: u32 = 2;
/// SCHED_BATCH.
pub const BATCH: u32 = 3;
/// SCHED_IDLE.
pub const IDLE: u32 = 5;
/// SCHED_DEADLINE.
pub const DEADLINE: u32 = 6;

/// The wishes of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// One of the policies.
    pub kind: u32,
    /// Real-time priority: 1 to 99 for FIFO and RR, else 0.
    pub priority: u32,
    /// -20 to 19.
    pub nice: i32,
    /// Children begin with nothing that puts them before others.
    pub reset_on_fork: bool,
    /// Runtime, deadline, period of SCHED_DEADLINE, ns.
    pub deadline: [u64; 3],
    /// CPUs it may run on, by bits.
    pub cpus: u64,
    /// I/O priority: class and level; 0 if none was set.
    pub io: u16,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { kind: OTHER, priority: 0, nice: 0, reset_on_fork: false, deadline: [0; 3], cpus: !0, io: 0 }
    }
}

impl Policy {
    /// What a child begins with.
    pub fn forked(self) -> Policy {
        if !self.reset_on_fork {
            return self;
        }
        let urgent = self.is_real_time() || self.kind == DEADLINE;
        let (kind, nice) = if urgent { (OTHER, 0) } else { (self.kind, self.nice.max(0)) };
        Policy { kind, priority: 0, nice, reset_on_fork: false, deadline: [0; 3], ..self }
    }

    /// FIFO or RR.
    pub fn is_real_time(&self) -> bool {
        matches!(self.kind, FIFO | RR)
    }

    /// EINVAL for what contradicts itself.
    pub fn check(&self) -> Result<()> {
        let fits = match self.kind {
            FIFO | RR => (1..=99).contains(&self.priority),
            OTHER | BATCH | IDLE => self.priority == 0,
            DEADLINE => {
                // A time of less than this is lost in the clock's grain; the highest bit would overflow.
                const LEAST: u64 = 1024;
                let [runtime, deadline, period] = self.deadline;
                let period = if period == 0 { deadline } else { period };
                deadline != 0
                    && runtime >= LEAST
                    && (deadline | period) >> 63 == 0
                    && runtime <= deadline
                    && deadline <= period
                    && self.priority == 0
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

/// Whether a task may have this nice value, by right or by RLIMIT_NICE.
pub fn may_be_nice(creds: &Creds, process: &Process, nice: i32) -> bool {
    (20 - nice) as i64 as u64 <= process.limit(libc::RLIMIT_NICE) || creds.has(Cap::SysNice)
}

/// Whether `creds` may change what belongs to a task.
pub fn same_owner(creds: &Creds, target: &Task) -> bool {
    let theirs = target.creds();
    creds.euid == theirs.euid || creds.euid == theirs.uid || creds.has(Cap::SysNice)
}

/// EPERM unless `creds` may give `target` these wishes (sched(7), "Privileges and resource limits").
pub fn may_set(creds: &Creds, target: &Arc<Task>, new: &Policy) -> Result<()> {
    if creds.has(Cap::SysNice) {
        return Ok(());
    }
    let old = target.inner.lock().policy;
    let process = &target.process;
    let limit = process.limit(libc::RLIMIT_RTPRIO);
    let allowed = match new.kind {
        DEADLINE => false,
        FIFO | RR => {
            (new.kind == old.kind || limit > 0)
                && (new.priority <= old.priority || u64::from(new.priority) <= limit)
        }
        _ => new.nice >= old.nice || may_be_nice(creds, process, new.nice),
    };
    // Out of SCHED_IDLE only as far as the nice value could be had, too.
    let leaves_idle = old.kind == IDLE && new.kind != IDLE;
    if !allowed
        || leaves_idle && !may_be_nice(creds, process, old.nice)
        || !same_owner(creds, target)
        || old.reset_on_fork && !new.reset_on_fork
    {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Whom a priority is asked or set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// One thread, 0 for the caller.
    Thread(i32),
    /// The processes of a group, 0 for the caller's.
    Group(i32),
    /// The processes of a user, 0 for the caller's.
    User(u32),
}

/// The tasks meant; none if there are no such.
pub fn tasks(asking: &Arc<Task>, whose: Whose) -> Vec<Arc<Task>> {
    let uid = asking.creds().uid;
    let table = kernel().table.lock();
    match whose {
        Whose::Thread(0) => vec![asking.clone()],
        Whose::Thread(tid) => table.tasks.get(&tid).cloned().into_iter().collect(),
        Whose::Group(0) => {
            let own = table.processes.get(&asking.process.pid).map_or(0, |e| e.pgid);
            table.processes.values().filter(|e| e.pgid == own).flat_map(|e| e.threads.clone()).collect()
        }
        Whose::Group(g) => {
            table.processes.values().filter(|e| e.pgid == g).flat_map(|e| e.threads.clone()).collect()
        }
        Whose::User(user) => {
            let user = if user == 0 { uid } else { user };
            // The kernel's own init is nobody's to look at.
            let theirs = table.processes.values().filter(|e| e.uid == user && e.process.pid != 1);
            theirs.flat_map(|e| e.threads.clone()).collect()
        }
    }
}
