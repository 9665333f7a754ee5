//! Futexes and robust lists.

use super::time::timespec;
use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result, time};
use crate::task::ctx::Restart;
use crate::task::{Ctx, futex, futex_pi};

pub(super) const TABLE: &[Entry] = &[
    partial(libc::SYS_futex, "futex", "PI: priority decides who is next, but is not lent", futex_call),
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
];

/// When a wait ends: after a time, or at one of the monotonic clock or the time of day.
fn deadline(ctx: &Ctx, at: u64, relative: bool, realtime: bool) -> Result<Option<u64>> {
    if at == 0 {
        return Ok(None);
    }
    let t = timespec(ctx, at)?.nanos();
    Ok(Some(match (relative, realtime) {
        (true, _) => time::now().saturating_add(t),
        (_, true) => time::now().saturating_add(t.saturating_sub(time::real().nanos())),
        _ => t,
    }))
}

fn futex_call(ctx: &mut Ctx, [addr, op, value, timeout, addr2, value3]: Args) -> Result<u64> {
    let private = op as i32 & libc::FUTEX_PRIVATE_FLAG != 0;
    let realtime = op as i32 & libc::FUTEX_CLOCK_REALTIME != 0;
    let command = op as i32 & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    let may_choose =
        matches!(command, libc::FUTEX_WAIT_BITSET | libc::FUTEX_WAIT_REQUEUE_PI | libc::FUTEX_LOCK_PI2);
    if realtime && !may_choose {
        return Err(Errno::ENOSYS);
    }
    ctx.stub.flush()?;
    match command {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => {
            let relative = command == libc::FUTEX_WAIT;
            let deadline = deadline(ctx, timeout, relative, realtime)?;
            let bits = if relative { !0 } else { value3 as u32 };
            match futex::wait(ctx, addr, private, value as u32, bits, deadline) {
                Ok(()) => Ok(0),
                Err(Errno::ERESTARTSYS) if deadline.is_some() && relative => {
                    ctx.restart = Some(Restart::Futex(addr, op as u32, value as u32, deadline));
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
            if futex_pi::is_lock(key) {
                return Err(Errno::EINVAL);
            }
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
            if futex_pi::is_lock(from) {
                return Err(Errno::EINVAL);
            }
            let (woken, moved) = futex::requeue(from, to, value as u32, timeout as u32);
            Ok((woken + moved).into())
        }
        libc::FUTEX_WAKE_OP => {
            let (one, two) = (futex::key(&ctx.mm, addr, private)?, futex::key(&ctx.mm, addr2, private)?);
            let second = futex::operate(ctx, addr2, value3 as u32)?;
            if futex_pi::is_lock(one) || second && futex_pi::is_lock(two) {
                return Err(Errno::EINVAL);
            }
            let mut woken = futex::wake(one, value as u32, !0);
            if second {
                woken += futex::wake(two, timeout as u32, !0);
            }
            Ok(woken.into())
        }
        libc::FUTEX_LOCK_PI | libc::FUTEX_LOCK_PI2 => {
            // The older call knows the time of day only.
            let realtime = realtime || command == libc::FUTEX_LOCK_PI;
            let deadline = deadline(ctx, timeout, false, realtime)?;
            futex_pi::lock(ctx, addr, private, deadline, false).map(|()| 0)
        }
        libc::FUTEX_TRYLOCK_PI => futex_pi::lock(ctx, addr, private, None, true).map(|()| 0),
        libc::FUTEX_UNLOCK_PI => futex_pi::unlock(ctx, addr, private).map(|()| 0),
        libc::FUTEX_WAIT_REQUEUE_PI => {
            let deadline = deadline(ctx, timeout, false, realtime)?;
            futex_pi::wait_requeue(ctx, (addr, addr2), private, value as u32, deadline).map(|()| 0)
        }
        libc::FUTEX_CMP_REQUEUE_PI => {
            // One is woken, no more and no less: it gets the lock.
            if (timeout as i32) < 0 || value as u32 != 1 || addr == addr2 {
                return Err(Errno::EINVAL);
            }
            futex_pi::requeue(ctx, (addr, addr2), private, timeout as u32, value3 as u32)
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
