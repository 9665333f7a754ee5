//! Scheduling: policies, CPUs.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result, sched};
use crate::mm::{Packer, Unpacker};
use crate::task::policy::{self, DEADLINE, FIFO, Policy, RR};
use crate::task::{Ctx, Task, kernel};
use std::sync::Arc;

const UNUSED: &str = "kept, without effect";

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_sched_yield, "sched_yield", |ctx, _| {
        ctx.stub.flush()?;
        crate::base::fiber::give_way();
        Ok(0)
    }),
    full(libc::SYS_getcpu, "getcpu", |ctx, [cpu, node, ..]| {
        if cpu != 0 {
            ctx.put(cpu, &(sched::this_cpu() as u32).to_le_bytes())?;
        }
        if node != 0 {
            ctx.put(node, &0u32.to_le_bytes())?;
        }
        Ok(0)
    }),
    full(libc::SYS_sched_getaffinity, "sched_getaffinity", |ctx, [pid, len, at, ..]| {
        let cpus = sched::cpus();
        let bytes = cpus.div_ceil(64) * 8;
        if (len as usize) < bytes || !len.is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let allowed = task(ctx, pid)?.inner.lock().policy.cpus;
        let mut mask = vec![0u8; bytes];
        // CPUs beyond the first 64 are never taken from a task.
        let may = |n: &usize| *n >= 64 || allowed >> n & 1 != 0;
        (0..cpus).filter(may).for_each(|n| mask[n / 8] |= 1 << (n % 8));
        ctx.put(at, &mask)?;
        Ok(bytes as u64)
    }),
    partial(libc::SYS_sched_setaffinity, "sched_setaffinity", UNUSED, |ctx, [pid, len, at, ..]| {
        let mut mask = vec![0; (len as usize).min(128)];
        ctx.read(at, &mut mask)?;
        let task = task(ctx, pid)?;
        if !policy::same_owner(&ctx.creds(), &task) {
            return Err(Errno::EPERM);
        }
        let any = (0..sched::cpus()).any(|n| mask.get(n / 8).is_some_and(|b| b >> (n % 8) & 1 != 0));
        if !any {
            return Err(Errno::EINVAL);
        }
        task.inner.lock().policy.cpus = Unpacker(&mask).u64();
        Ok(0)
    }),
    full(libc::SYS_sched_getscheduler, "sched_getscheduler", |ctx, [pid, ..]| {
        let policy = known(ctx, pid)?.inner.lock().policy;
        Ok(u64::from(policy.kind | if policy.reset_on_fork { RESET_ON_FORK } else { 0 }))
    }),
    partial(libc::SYS_sched_setscheduler, "sched_setscheduler", UNUSED, |ctx, [pid, kind, at, ..]| {
        if (kind as i32) < 0 {
            return Err(Errno::EINVAL);
        }
        set_priority(ctx, pid, Some(kind as u32), at)
    }),
    full(libc::SYS_sched_getparam, "sched_getparam", |ctx, [pid, at, ..]| {
        if at == 0 {
            return Err(Errno::EINVAL);
        }
        let policy = known(ctx, pid)?.inner.lock().policy;
        ctx.put(at, &policy.priority.to_le_bytes())?;
        Ok(0)
    }),
    partial(libc::SYS_sched_setparam, "sched_setparam", UNUSED, |ctx, [pid, at, ..]| {
        set_priority(ctx, pid, None, at)
    }),
    full(libc::SYS_sched_getattr, "sched_getattr", getattr),
    partial(libc::SYS_sched_setattr, "sched_setattr", "kept, without effect; utilization clamps", setattr),
    full(libc::SYS_sched_get_priority_max, "sched_get_priority_max", |_, [policy, ..]| match policy as i32 {
        1 | 2 => Ok(99),
        0 | 3 | 5 | 6 | 7 => Ok(0),
        _ => Err(Errno::EINVAL),
    }),
    full(libc::SYS_sched_get_priority_min, "sched_get_priority_min", |_, [policy, ..]| match policy as i32 {
        1 | 2 => Ok(1),
        0 | 3 | 5 | 6 | 7 => Ok(0),
        _ => Err(Errno::EINVAL),
    }),
    full(libc::SYS_sched_rr_get_interval, "sched_rr_get_interval", |ctx, [pid, at, ..]| {
        const RR_SLICE: u64 = 100_000_000;
        let slice = match known(ctx, pid)?.inner.lock().policy.kind {
            FIFO | DEADLINE => 0,
            RR => RR_SLICE,
            _ => sched::SLICE,
        };
        ctx.put(at, &Packer::new().u64(0).u64(slice).0)?;
        Ok(0)
    }),
];

/// In the number of a policy.
const RESET_ON_FORK: u32 = 0x4000_0000;

fn task(ctx: &Ctx, pid: u64) -> Result<Arc<Task>> {
    match pid as i32 {
        0 => Ok(ctx.task.clone()),
        pid => kernel().table.task(pid).ok_or(Errno::ESRCH),
    }
}

/// The same for calls that look at the number first.
fn known(ctx: &Ctx, pid: u64) -> Result<Arc<Task>> {
    if (pid as i32) < 0 { Err(Errno::EINVAL) } else { task(ctx, pid) }
}

fn set(ctx: &Ctx, task: &Arc<Task>, new: Policy) -> Result<u64> {
    new.check()?;
    policy::may_set(&ctx.creds(), task, &new)?;
    task.inner.lock().policy = new;
    Ok(0)
}

/// sched_setscheduler, and without a policy sched_setparam.
fn set_priority(ctx: &mut Ctx, pid: u64, kind: Option<u32>, at: u64) -> Result<u64> {
    if at == 0 || (pid as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    let mut priority = [0; 4];
    ctx.read(at, &mut priority)?;
    let task = task(ctx, pid)?;
    let old = task.inner.lock().policy;
    let mut new = Policy { priority: u32::from_le_bytes(priority), deadline: [0; 3], ..old };
    if let Some(kind) = kind {
        (new.kind, new.reset_on_fork) = (kind & !RESET_ON_FORK, kind & RESET_ON_FORK != 0);
    }
    set(ctx, &task, new)
}

/// Bytes of `struct sched_attr`, and of its first version.
const ATTR: usize = 56;
const FIRST: usize = 48;

fn getattr(ctx: &mut Ctx, [pid, at, size, flags, ..]: Args) -> Result<u64> {
    let size = size as u32 as usize;
    if at == 0 || !(FIRST..=4096).contains(&size) || flags as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let p = known(ctx, pid)?.inner.lock().policy;
    let len = size.min(ATTR);
    let [runtime, deadline, period] = p.deadline;
    let nice = if matches!(p.kind, FIFO | RR | DEADLINE) { 0 } else { p.nice };
    let attr = Packer::new()
        .u32(len as u32)
        .u32(p.kind)
        .u64(p.reset_on_fork.into())
        .i32(nice)
        .u32(p.priority)
        .u64(runtime)
        .u64(deadline)
        .u64(period)
        .pad(ATTR);
    ctx.put(at, &attr.0[..len])?;
    Ok(0)
}

fn setattr(ctx: &mut Ctx, [pid, at, flags, ..]: Args) -> Result<u64> {
    const RESET: u64 = 1;
    const KEEP_POLICY: u64 = 8;
    const KEEP_PARAMS: u64 = 0x10;
    const CLAMPS: u64 = 0x60;
    const ALL: u64 = 0x7f;
    if at == 0 || (pid as i32) < 0 || flags as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let size = match ctx.memory().u32(at)? as usize {
        0 => FIRST,
        n => n,
    };
    let mut bytes = vec![0; size.min(4096)];
    let sane = (FIRST..=4096).contains(&size);
    if sane {
        ctx.read(at, &mut bytes)?;
    }
    if !sane || bytes.iter().skip(ATTR).any(|b| *b != 0) {
        ctx.memory().put_u32(at, ATTR as u32)?;
        return Err(Errno::E2BIG);
    }
    let mut u = Unpacker(&bytes);
    let (_, kind, flags, nice, priority) = (u.u32(), u.u32(), u.u64(), u.i32(), u.u32());
    let deadline = [u.u64(), u.u64(), u.u64()];
    if (kind as i32) < 0 || flags & !ALL != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & CLAMPS != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let task = task(ctx, pid)?;
    let old = task.inner.lock().policy;
    let mut new = Policy { reset_on_fork: flags & RESET != 0, ..old };
    if flags & KEEP_POLICY == 0 {
        new.kind = kind;
    }
    if flags & KEEP_PARAMS == 0 {
        new.priority = priority;
        new.deadline = if new.kind == DEADLINE { deadline } else { [0; 3] };
        if !matches!(new.kind, FIFO | RR | DEADLINE) {
            new.nice = nice.clamp(-20, 19);
        }
    }
    set(ctx, &task, new)
}
