//! Signals.

use super::time::timespec;
use super::{Args, Entry, full};
use crate::base::wait::{Ended, How, Waiter};
use crate::base::{Errno, Result, time};
use crate::mm::{Packer, Unpacker};
use crate::task::signal::{Action, NSIG, SI_TKILL, SI_USER, SigInfo, SigSet, UNSTOPPABLE, bit};
use crate::task::{Ctx, Pid, deliver, kernel, pidfd, send, signalfd};
use std::sync::atomic::Ordering;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_rt_sigaction, "rt_sigaction", sigaction),
    full(libc::SYS_rt_sigprocmask, "rt_sigprocmask", sigprocmask),
    full(libc::SYS_rt_sigreturn, "rt_sigreturn", |ctx, _| {
        if deliver::sigreturn(ctx).is_err() {
            ctx.die(libc::SIGSEGV);
        }
        Ok(0)
    }),
    full(libc::SYS_rt_sigpending, "rt_sigpending", |ctx, [at, size, ..]| {
        if size > 8 {
            return Err(Errno::EINVAL);
        }
        let own = ctx.task.pending.lock().set();
        let shared = ctx.task.process.shared.lock().set();
        let set = (own | shared) & ctx.task.blocked();
        ctx.put(at, &set.to_le_bytes()[..size as usize])?;
        Ok(0)
    }),
    full(libc::SYS_rt_sigsuspend, "rt_sigsuspend", |ctx, [at, size, ..]| {
        let mask = read_set(ctx, at, size)?;
        swap_mask(ctx, mask);
        let _ = Waiter::new().wait(How::default(), || None::<()>);
        Err(Errno::ERESTARTNOHAND)
    }),
    full(libc::SYS_pause, "pause", |_, _| {
        let _ = Waiter::new().wait(How::default(), || None::<()>);
        Err(Errno::ERESTARTNOHAND)
    }),
    full(libc::SYS_rt_sigtimedwait, "rt_sigtimedwait", sigtimedwait),
    full(libc::SYS_rt_sigqueueinfo, "rt_sigqueueinfo", |ctx, [pid, signo, info, ..]| {
        let info = read_info(ctx, info, signo as i32)?;
        check_info(ctx, &info, pid as Pid)?;
        signal_process(ctx, pid as Pid, info)
    }),
    full(libc::SYS_rt_tgsigqueueinfo, "rt_tgsigqueueinfo", |ctx, [pid, tid, signo, info, ..]| {
        let info = read_info(ctx, info, signo as i32)?;
        check_info(ctx, &info, pid as Pid)?;
        signal_thread(ctx, Some(pid as Pid), tid as Pid, info)
    }),
    full(libc::SYS_kill, "kill", kill),
    full(libc::SYS_tkill, "tkill", |ctx, [tid, signo, ..]| {
        let info = own_info(ctx, signo as i32, SI_TKILL);
        signal_thread(ctx, None, tid as Pid, info)
    }),
    full(libc::SYS_tgkill, "tgkill", |ctx, [pid, tid, signo, ..]| {
        let info = own_info(ctx, signo as i32, SI_TKILL);
        if pid as Pid <= 0 {
            return Err(Errno::EINVAL);
        }
        signal_thread(ctx, Some(pid as Pid), tid as Pid, info)
    }),
    full(libc::SYS_sigaltstack, "sigaltstack", sigaltstack),
    full(libc::SYS_pidfd_send_signal, "pidfd_send_signal", |ctx, [fd, signo, info, flags, ..]| {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let pid = pidfd::process_of(&*ctx.any_file(fd)?)?.pid;
        let info = if info == 0 {
            own_info(ctx, signo as i32, SI_USER)
        } else {
            let info = read_info(ctx, info, signo as i32)?;
            if info.signo != signo as i32 {
                return Err(Errno::EINVAL);
            }
            check_info(ctx, &info, pid)?;
            info
        };
        signal_process(ctx, pid, info)
    }),
    full(libc::SYS_pidfd_open, "pidfd_open", |ctx, [pid, flags, ..]| {
        if flags & !(libc::O_NONBLOCK as u64) != 0 || pid as Pid <= 0 {
            return Err(Errno::EINVAL);
        }
        let process = match kernel().table.process(pid as Pid) {
            Some(process) => process,
            None if kernel().table.task(pid as Pid).is_some() => return Err(Errno::EINVAL),
            None => return Err(Errno::ESRCH),
        };
        let file = pidfd::open(&process, crate::fs::OpenFlags::from_bits_retain(flags as u32));
        ctx.files.add(file, true).map(|fd| fd as u64)
    }),
    full(libc::SYS_signalfd, "signalfd", |ctx, [fd, mask, size, ..]| signalfd(ctx, fd, mask, size, 0)),
    full(libc::SYS_signalfd4, "signalfd4", |ctx, [fd, mask, size, flags, ..]| {
        signalfd(ctx, fd, mask, size, flags)
    }),
    full(libc::SYS_restart_syscall, "restart_syscall", |ctx, _| {
        use crate::task::ctx::Restart;
        match ctx.restart {
            Some(Restart::Sleep(deadline, remainder)) => super::time::sleep(ctx, deadline, remainder),
            Some(Restart::CpuSleep(clock, due, remainder)) => {
                super::time::cpu_sleep(ctx, clock, due, remainder)
            }
            Some(Restart::Futex(addr, op, value, deadline)) => {
                super::futex::restart(ctx, addr, op, value, deadline)
            }
            Some(Restart::Poll(fds, n, deadline)) => super::poll::poll_restarting(ctx, fds, n, deadline),
            None => Err(Errno::EINTR),
        }
    }),
];

fn signalfd(ctx: &mut Ctx, fd: u64, mask: u64, size: u64, flags: u64) -> Result<u64> {
    let (open, cloexec) = super::events::descriptor_flags(flags as u32)?;
    let mask = read_set(ctx, mask, size)?;
    if fd as i32 == -1 {
        return ctx.files.add(signalfd::open(mask, open), cloexec).map(|fd| fd as u64);
    }
    let file = ctx.file(fd)?;
    file.ops_as::<signalfd::SignalFd>().ok_or(Errno::EINVAL)?.set_mask(mask);
    Ok(fd)
}

/// A signal set in the guest's memory.
pub(super) fn read_set(ctx: &Ctx, at: u64, size: u64) -> Result<SigSet> {
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    ctx.u64(at)
}

/// Blocks another set until the call is over and its signals are delivered.
pub(super) fn swap_mask(ctx: &mut Ctx, mask: SigSet) {
    ctx.saved_mask = Some(ctx.task.blocked());
    ctx.task.change_blocked(mask);
}

/// Takes [`swap_mask`] back, for calls that were not interrupted.
pub(super) fn restore_mask(ctx: &mut Ctx) {
    if let Some(old) = ctx.saved_mask.take() {
        ctx.task.change_blocked(old);
    }
}

fn sigaction(ctx: &mut Ctx, [signo, new, old, size, ..]: Args) -> Result<u64> {
    let signo = signo as i32;
    if size != 8 || !(1..=NSIG).contains(&signo) || (new != 0 && bit(signo) & UNSTOPPABLE != 0) {
        return Err(Errno::EINVAL);
    }
    let wanted = if new != 0 {
        let mut bytes = [0; 32];
        ctx.read(new, &mut bytes)?;
        let mut u = Unpacker(&bytes);
        let action =
            Action { handler: u.u64(), flags: u.u64(), restorer: u.u64(), mask: u.u64() & !UNSTOPPABLE };
        Some(action)
    } else {
        None
    };
    let actions = ctx.task.process.actions.lock().clone();
    let before = {
        let mut actions = actions.lock();
        let before = actions[signo as usize - 1];
        if let Some(action) = wanted {
            actions[signo as usize - 1] = action;
        }
        before
    };
    if wanted.is_some_and(|a| a.ignores(signo)) {
        // What is ignored from now on does not wait any longer either.
        ctx.task.process.shared.lock().discard(bit(signo));
        for task in kernel().table.threads(ctx.task.process.pid) {
            task.pending.lock().discard(bit(signo));
        }
    }
    if old != 0 {
        let bytes = Packer::new().u64(before.handler).u64(before.flags).u64(before.restorer).u64(before.mask);
        ctx.put(old, &bytes.0)?;
    }
    Ok(0)
}

fn sigprocmask(ctx: &mut Ctx, [how, new, old, size, ..]: Args) -> Result<u64> {
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let before = ctx.task.blocked();
    if new != 0 {
        let set = ctx.u64(new)?;
        let after = match how as i32 {
            libc::SIG_BLOCK => before | set,
            libc::SIG_UNBLOCK => before & !set,
            libc::SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        ctx.task.change_blocked(after);
    }
    if old != 0 {
        ctx.put(old, &before.to_le_bytes())?;
    }
    Ok(0)
}

fn sigtimedwait(ctx: &mut Ctx, [set, info, timeout, size, ..]: Args) -> Result<u64> {
    let set = read_set(ctx, set, size)? & !UNSTOPPABLE;
    let deadline = match timeout {
        0 => None,
        at => Some(time::now().saturating_add(timespec(ctx, at)?.nanos())),
    };
    let task = ctx.task.clone();
    task.waited_for.store(set, Ordering::SeqCst);
    let take = || {
        let own = task.pending.lock().take(set);
        own.or_else(|| task.process.shared.lock().take(set))
    };
    // Sending wakes the fiber by interrupting it; what is not for us ends the wait.
    let result = Waiter::new().wait(How { uninterruptible: false, deadline }, take);
    task.waited_for.store(0, Ordering::SeqCst);
    let found = match result {
        Ok(found) => found,
        Err(Ended::TimedOut) => return Err(Errno::EAGAIN),
        Err(Ended::Interrupted) => match take() {
            Some(found) => found,
            None => return Err(Errno::EINTR),
        },
    };
    if info != 0 {
        ctx.put(info, &found.to_bytes())?;
    }
    Ok(found.signo as u64)
}

fn own_info(ctx: &Ctx, signo: i32, code: i32) -> SigInfo {
    SigInfo::user(signo, code, ctx.task.process.pid, ctx.creds().uid)
}

fn read_info(ctx: &Ctx, at: u64, signo: i32) -> Result<SigInfo> {
    let mut bytes = [0; 128];
    ctx.read(at, &mut bytes)?;
    let mut info = SigInfo::from_bytes(&bytes);
    info.signo = signo;
    Ok(info)
}

/// Only the kernel says "by the kernel"; a process may say anything to itself.
fn check_info(ctx: &Ctx, info: &SigInfo, pid: Pid) -> Result<()> {
    let forged = info.code >= 0 || info.code == SI_TKILL;
    if forged && pid != ctx.task.process.pid { Err(Errno::EPERM) } else { Ok(()) }
}

fn valid(signo: i32) -> Result<()> {
    if (0..=NSIG).contains(&signo) { Ok(()) } else { Err(Errno::EINVAL) }
}

fn session(ctx: &Ctx) -> Pid {
    kernel().table.group_and_session(ctx.task.process.pid).map_or(0, |(_, s)| s)
}

fn signal_process(ctx: &Ctx, pid: Pid, info: SigInfo) -> Result<u64> {
    valid(info.signo)?;
    let process = kernel().table.process(pid).ok_or(Errno::ESRCH)?;
    if let Some(task) = kernel().table.threads(pid).first() {
        send::check(&ctx.creds(), session(ctx), task, info.signo)?;
    }
    // The kernel in init's place takes none.
    if pid != 1 || process.is_init() {
        send::to_process(&process, info);
    }
    Ok(0)
}

fn signal_thread(ctx: &Ctx, pid: Option<Pid>, tid: Pid, info: SigInfo) -> Result<u64> {
    valid(info.signo)?;
    if tid <= 0 {
        return Err(Errno::EINVAL);
    }
    let task = kernel().table.task(tid).ok_or(Errno::ESRCH)?;
    if pid.is_some_and(|p| p != task.process.pid) {
        return Err(Errno::ESRCH);
    }
    send::check(&ctx.creds(), session(ctx), &task, info.signo)?;
    send::to_task(&task, info);
    Ok(0)
}

fn kill(ctx: &mut Ctx, [pid, signo, ..]: Args) -> Result<u64> {
    let (pid, signo) = (pid as Pid, signo as i32);
    valid(signo)?;
    let info = own_info(ctx, signo, SI_USER);
    if pid > 0 {
        return signal_process(ctx, pid, info);
    }
    let own = ctx.task.process.pid;
    let (group, sid) = kernel().table.group_and_session(own).unwrap_or((0, 0));
    let targets: Vec<_> = match pid {
        0 => kernel().table.group(group),
        -1 => {
            let table = kernel().table.lock();
            let others = table
                .processes
                .values()
                .filter(|e| e.process.pid != own && e.process.pid != 1 && e.zombie.is_none());
            others.map(|e| e.process.clone()).collect()
        }
        i32::MIN => return Err(Errno::ESRCH),
        g => kernel().table.group(-g),
    };
    if targets.is_empty() {
        return Err(Errno::ESRCH);
    }
    let creds = ctx.creds();
    let mut result = Err(Errno::EPERM);
    for process in targets {
        let leader = kernel().table.threads(process.pid).first().cloned();
        let allowed = leader.is_none_or(|t| send::check(&creds, sid, &t, signo).is_ok());
        if allowed {
            send::to_process(&process, info);
            result = Ok(0);
        }
    }
    result
}

fn sigaltstack(ctx: &mut Ctx, [new, old, ..]: Args) -> Result<u64> {
    const ONSTACK: i32 = 1;
    const DISABLE: i32 = 2;
    const AUTODISARM: i32 = 1 << 31;
    const MINSIGSTKSZ: u64 = 2048;
    let (stack, size, flags) = ctx.task.inner.lock().altstack;
    let sp = ctx.regs.rsp;
    let on = size > 0 && flags & AUTODISARM == 0 && sp > stack && sp - stack <= size;
    let mut wanted = None;
    if new != 0 {
        let mut bytes = [0; 24];
        ctx.read(new, &mut bytes)?;
        let mut u = Unpacker(&bytes);
        let (addr, f, _, len) = (u.u64(), u.i32(), u.u32(), u.u64());
        if on {
            return Err(Errno::EPERM);
        }
        wanted = Some(match f & !AUTODISARM {
            DISABLE => (0, 0, DISABLE),
            0 | ONSTACK if len < MINSIGSTKSZ => return Err(Errno::ENOMEM),
            0 | ONSTACK => (addr, len, f & AUTODISARM),
            _ => return Err(Errno::EINVAL),
        });
    }
    if old != 0 {
        let state = if size == 0 { DISABLE } else { flags | if on { ONSTACK } else { 0 } };
        ctx.put(old, &Packer::new().u64(stack).i32(state).u32(0).u64(size).0)?;
    }
    if let Some(wanted) = wanted {
        ctx.task.inner.lock().altstack = wanted;
    }
    Ok(0)
}
