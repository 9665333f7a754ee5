//! Scheduling: policies, CPUs.

use super::{Entry, full, partial};
use crate::base::{Errno, Result, sched};
use crate::mm::Packer;
use crate::task::Ctx;

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
        task(ctx, pid)?;
        let cpus = sched::cpus();
        let bytes = cpus.div_ceil(64) * 8;
        if (len as usize) < bytes || !len.is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let mut mask = vec![0u8; bytes];
        (0..cpus).for_each(|n| mask[n / 8] |= 1 << (n % 8));
        ctx.put(at, &mask)?;
        Ok(bytes as u64)
    }),
    partial(
        libc::SYS_sched_setaffinity,
        "sched_setaffinity",
        "tasks run on any vCPU",
        |ctx, [pid, len, at, ..]| {
            task(ctx, pid)?;
            let mut mask = vec![0; (len as usize).min(128)];
            ctx.read(at, &mut mask)?;
            let any = (0..sched::cpus()).any(|n| mask.get(n / 8).is_some_and(|b| b >> (n % 8) & 1 != 0));
            if any { Ok(0) } else { Err(Errno::EINVAL) }
        },
    ),
    partial(libc::SYS_sched_getscheduler, "sched_getscheduler", "SCHED_OTHER only", |ctx, [pid, ..]| {
        task(ctx, pid).map(|()| 0)
    }),
    partial(
        libc::SYS_sched_setscheduler,
        "sched_setscheduler",
        "SCHED_OTHER only",
        |ctx, [pid, policy, ..]| {
            task(ctx, pid)?;
            match policy {
                0 | 3 | 5 => Ok(0),
                1 | 2 | 6 => Err(Errno::EPERM),
                _ => Err(Errno::EINVAL),
            }
        },
    ),
    partial(libc::SYS_sched_getparam, "sched_getparam", "SCHED_OTHER only", |ctx, [pid, at, ..]| {
        task(ctx, pid)?;
        ctx.put(at, &0u32.to_le_bytes())?;
        Ok(0)
    }),
    partial(libc::SYS_sched_setparam, "sched_setparam", "SCHED_OTHER only", |ctx, [pid, at, ..]| {
        task(ctx, pid)?;
        if ctx.memory().u32(at)? == 0 { Ok(0) } else { Err(Errno::EINVAL) }
    }),
    partial(
        libc::SYS_sched_getattr,
        "sched_getattr",
        "SCHED_OTHER only",
        |ctx, [pid, at, size, flags, ..]| {
            task(ctx, pid)?;
            if size < 48 || flags != 0 {
                return Err(Errno::EINVAL);
            }
            ctx.put(at, &Packer::new().u32(48).pad(48).0)?;
            Ok(0)
        },
    ),
    partial(libc::SYS_sched_setattr, "sched_setattr", "no effect", |ctx, [pid, at, ..]| {
        task(ctx, pid)?;
        match ctx.memory().u32(at + 4)? {
            0 | 3 | 5 => Ok(0),
            _ => Err(Errno::EPERM),
        }
    }),
    full(libc::SYS_sched_get_priority_max, "sched_get_priority_max", |_, [policy, ..]| match policy {
        1 | 2 => Ok(99),
        0 | 3 | 5 | 6 => Ok(0),
        _ => Err(Errno::EINVAL),
    }),
    full(libc::SYS_sched_get_priority_min, "sched_get_priority_min", |_, [policy, ..]| match policy {
        1 | 2 => Ok(1),
        0 | 3 | 5 | 6 => Ok(0),
        _ => Err(Errno::EINVAL),
    }),
    full(libc::SYS_sched_rr_get_interval, "sched_rr_get_interval", |ctx, [pid, at, ..]| {
        task(ctx, pid)?;
        ctx.put(at, &Packer::new().u64(0).u64(sched::SLICE).0)?;
        Ok(0)
    }),
];

fn task(ctx: &Ctx, pid: u64) -> Result<()> {
    match pid as i32 {
        0 => Ok(()),
        pid if pid == ctx.task.tid => Ok(()),
        pid => crate::task::kernel().table.task(pid).map(drop).ok_or(Errno::ESRCH),
    }
}
