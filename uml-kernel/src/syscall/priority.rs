//! Nice values and I/O priorities: of threads, groups, users.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::fs::Cap;
use crate::task::policy::{self, BATCH, IDLE, OTHER, Whose};
use crate::task::{Ctx, Task};
use std::sync::Arc;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_getpriority, "getpriority", |ctx, [which, who, ..]| {
        let tasks = policy::tasks(&ctx.task, whose(which, who, 0)?);
        let best = tasks.iter().map(|t| 20 - t.inner.lock().policy.nice).max();
        best.map(|n| n as u64).ok_or(Errno::ESRCH)
    }),
    partial(libc::SYS_setpriority, "setpriority", "kept, without effect", |ctx, [which, who, nice, ..]| {
        let tasks = policy::tasks(&ctx.task, whose(which, who, 0)?);
        let nice = (nice as i32).clamp(-20, 19);
        let creds = ctx.creds();
        let set = |task: &Arc<Task>| {
            if !policy::same_owner(&creds, task) {
                return Err(Errno::EPERM);
            }
            let lower = nice < task.inner.lock().policy.nice;
            if lower && !policy::may_be_nice(&creds, &task.process, nice) {
                return Err(Errno::EACCES);
            }
            task.inner.lock().policy.nice = nice;
            Ok(())
        };
        every(&tasks, set)
    }),
    full(libc::SYS_ioprio_get, "ioprio_get", |ctx, [which, who, ..]| {
        let whose = whose(which, who, 1)?;
        let tasks = policy::tasks(&ctx.task, whose);
        // Of one thread what was set; of many the best, with what follows from the nice value where nothing was.
        let of = |t: &Arc<Task>| {
            let policy = t.inner.lock().policy;
            if policy.io != 0 || matches!(whose, Whose::Thread(_)) { policy.io } else { effective(&policy) }
        };
        tasks.iter().map(of).min().map(u64::from).ok_or(Errno::ESRCH)
    }),
    partial(libc::SYS_ioprio_set, "ioprio_set", "kept, without effect", ioprio_set),
];

/// Whom `which` and `who` name; `first` is the number of "thread".
fn whose(which: u64, who: u64, first: u32) -> Result<Whose> {
    match (which as u32).wrapping_sub(first) {
        0 => Ok(Whose::Thread(who as i32)),
        1 => Ok(Whose::Group(who as i32)),
        2 => Ok(Whose::User(who as u32)),
        _ => Err(Errno::EINVAL),
    }
}

/// Sets it for all: the last error, if there was one; ESRCH for nobody.
fn every(tasks: &[Arc<Task>], set: impl Fn(&Arc<Task>) -> Result<()>) -> Result<u64> {
    let mut result = Err(Errno::ESRCH);
    for task in tasks {
        match set(task) {
            Ok(()) if result == Err(Errno::ESRCH) => result = Ok(0),
            Ok(()) => {}
            Err(e) => result = Err(e),
        }
    }
    result
}

const CLASS_SHIFT: u16 = 13;
const REAL_TIME: u16 = 1;
const BEST_EFFORT: u16 = 2;
const IDLE_CLASS: u16 = 3;

/// What a task without an I/O priority has, by its nice value (ioprio_set(2)).
fn effective(policy: &policy::Policy) -> u16 {
    let class = match policy.kind {
        IDLE => IDLE_CLASS,
        OTHER | BATCH => BEST_EFFORT,
        _ => REAL_TIME,
    };
    class << CLASS_SHIFT | ((policy.nice + 20) / 5) as u16
}

fn ioprio_set(ctx: &mut Ctx, [which, who, value, ..]: Args) -> Result<u64> {
    let creds = ctx.creds();
    match (value >> CLASS_SHIFT & 7, value & 7) {
        (1, _) if !creds.has(Cap::SysAdmin) && !creds.has(Cap::SysNice) => return Err(Errno::EPERM),
        (1..=3, _) | (0, 0) => {}
        _ => return Err(Errno::EINVAL),
    }
    let tasks = policy::tasks(&ctx.task, whose(which, who, 1)?);
    let set = |task: &Arc<Task>| {
        if !policy::same_owner(&creds, task) {
            return Err(Errno::EPERM);
        }
        task.inner.lock().policy.io = value as u16;
        Ok(())
    };
    match tasks.iter().find_map(|t| set(t).err()) {
        Some(e) => Err(e),
        None if tasks.is_empty() => Err(Errno::ESRCH),
        None => Ok(0),
    }
}
