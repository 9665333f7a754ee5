//! Futexes and what threads need.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result, Timespec, sched, time};
use crate::mm::Packer;
use crate::task::{Ctx, futex};

pub(super) const TABLE: &[Entry] = &[
    partial(libc::SYS_futex, "futex", "PI operations", futex_call),
    full(libc::SYS_set_robust_list, "set_robust_list", |ctx, [head, len, ..]| {
        if len != 24 {
            return Err(Errno::EINVAL);
        }
        ctx.task.inner.lock().robust_list = head;
        Ok(0)
    }),
    full(libc::SYS_get_robust_list, "get_robust_list", |ctx, [pid, head, len, ..]| {
        let task = match pid as i32 {
            0 => ctx.task.clone(),
            pid => crate::task::kernel().table.task(pid).ok_or(Errno::ESRCH)?,
        };
        let list = task.inner.lock().robust_list;
        ctx.put(len, &24u64.to_le_bytes())?;
        ctx.put(head, &list.to_le_bytes())?;
        Ok(0)
    }),
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

/// A timespec in the guest's memory; EINVAL if it is none.
pub(super) fn timespec(ctx: &Ctx, at: u64) -> Result<Timespec> {
    let mut bytes = [0; 16];
    ctx.read(at, &mut bytes)?;
    let mut u = crate::mm::Unpacker(&bytes);
    let t = Timespec { sec: u.i64(), nsec: u.i64() };
    if t.sec < 0 || !(0..1_000_000_000).contains(&t.nsec) { Err(Errno::EINVAL) } else { Ok(t) }
}

fn futex_call(ctx: &mut Ctx, [addr, op, value, timeout, addr2, value3]: Args) -> Result<u64> {
    let private = op as i32 & libc::FUTEX_PRIVATE_FLAG != 0;
    let realtime = op as i32 & libc::FUTEX_CLOCK_REALTIME != 0;
    let command = op as i32 & 127;
    ctx.stub.flush()?;
    match command {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => {
            let deadline = match timeout {
                0 => None,
                at => {
                    let t = timespec(ctx, at)?.nanos();
                    Some(match command {
                        libc::FUTEX_WAIT => time::now().saturating_add(t),
                        _ if realtime => time::now().saturating_add(t.saturating_sub(time::real().nanos())),
                        _ => t,
                    })
                }
            };
            let bits = if command == libc::FUTEX_WAIT { !0 } else { value3 as u32 };
            match futex::wait(ctx, addr, private, value as u32, bits, deadline) {
                Ok(()) => Ok(0),
                Err(Errno::ERESTARTSYS) if deadline.is_some() && command == libc::FUTEX_WAIT => {
                    ctx.restart =
                        Some(crate::task::ctx::Restart::Futex(addr, op as u32, value as u32, deadline));
                    Err(Errno::ERESTART_RESTARTBLOCK)
                }
                Err(e) => Err(e),
            }
        }
        libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => {
            let bits = if command == libc::FUTEX_WAKE { !0 } else { value3 as u32 };
            if bits == 0 {
                return Err(Errno::EINVAL);
            }
            let key = futex::key(&ctx.mm, addr, private)?;
            Ok(futex::wake(key, value as u32, bits).into())
        }
        libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE => {
            if (value as i32) < 0 || (timeout as i32) < 0 {
                return Err(Errno::EINVAL);
            }
            let (from, to) = (futex::key(&ctx.mm, addr, private)?, futex::key(&ctx.mm, addr2, private)?);
            if command == libc::FUTEX_CMP_REQUEUE && ctx.memory().u32(addr)? != value3 as u32 {
                return Err(Errno::EAGAIN);
            }
            let (woken, moved) = futex::requeue(from, to, value as u32, timeout as u32);
            Ok((woken + moved).into())
        }
        libc::FUTEX_WAKE_OP => {
            let (one, two) = (futex::key(&ctx.mm, addr, private)?, futex::key(&ctx.mm, addr2, private)?);
            let second = futex::operate(&ctx.memory(), addr2, value3 as u32)?;
            let mut woken = futex::wake(one, value as u32, !0);
            if second {
                woken += futex::wake(two, timeout as u32, !0);
            }
            Ok(woken.into())
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Goes on with a futex wait that a signal without a handler interrupted.
pub(super) fn restart(ctx: &mut Ctx, addr: u64, op: u32, value: u32, deadline: Option<u64>) -> Result<u64> {
    let private = op as i32 & libc::FUTEX_PRIVATE_FLAG != 0;
    match futex::wait(ctx, addr, private, value, !0, deadline) {
        Err(Errno::ERESTARTSYS) => Err(Errno::ERESTART_RESTARTBLOCK),
        other => other.map(|()| 0),
    }
}
