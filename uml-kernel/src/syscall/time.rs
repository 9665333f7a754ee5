//! Clocks, sleeping, timers.

use super::{Args, Entry, full, partial};
use crate::base::wait::{Ended, sleep_until};
use crate::base::{Errno, Result, Timespec, time};
use crate::mm::{Packer, Unpacker};
use crate::task::ctx::Restart;
use crate::task::signal::NSIG;
use crate::task::timers::{self, Posix};
use crate::task::{Ctx, kernel};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_clock_gettime, "clock_gettime", |ctx, [clock, at, ..]| {
        let ns = read(ctx, clock as i32)?;
        ctx.put(at, &timespec_bytes(ns))?;
        Ok(0)
    }),
    full(libc::SYS_clock_getres, "clock_getres", |ctx, [clock, at, ..]| {
        read(ctx, clock as i32)?;
        let ns = if matches!(clock as i32, libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE) {
            4_000_000
        } else {
            1
        };
        if at != 0 {
            ctx.put(at, &timespec_bytes(ns))?;
        }
        Ok(0)
    }),
    partial(libc::SYS_clock_settime, "clock_settime", "the clock is the host's", |ctx, _| {
        ctx.creds().need(crate::fs::Cap::SysTime)?;
        Err(Errno::EPERM)
    }),
    partial(libc::SYS_settimeofday, "settimeofday", "the clock is the host's", |_, _| Err(Errno::EPERM)),
    full(libc::SYS_gettimeofday, "gettimeofday", |ctx, [tv, tz, ..]| {
        let now = time::real();
        if tv != 0 {
            ctx.put(tv, &Packer::new().i64(now.sec).i64(now.nsec / 1000).0)?;
        }
        if tz != 0 {
            ctx.put(tz, &[0; 8])?;
        }
        Ok(0)
    }),
    full(libc::SYS_time, "time", |ctx, [at, ..]| {
        let now = time::real().sec as u64;
        if at != 0 {
            ctx.put(at, &now.to_le_bytes())?;
        }
        Ok(now)
    }),
    full(libc::SYS_nanosleep, "nanosleep", |ctx, [at, remainder, ..]| {
        let deadline = time::now().saturating_add(timespec(ctx, at)?.nanos());
        sleep(ctx, deadline, remainder)
    }),
    full(libc::SYS_clock_nanosleep, "clock_nanosleep", clock_nanosleep),
    full(libc::SYS_alarm, "alarm", |ctx, [seconds, ..]| {
        let (left, _) = timers::set_real(&ctx.task.process, (seconds as u32 as u64) * 1_000_000_000, 0);
        Ok(left.div_ceil(1_000_000_000))
    }),
    partial(libc::SYS_setitimer, "setitimer", "ITIMER_VIRTUAL, ITIMER_PROF", setitimer),
    partial(libc::SYS_getitimer, "getitimer", "ITIMER_VIRTUAL, ITIMER_PROF", |ctx, [which, at, ..]| {
        let (left, interval) = match which {
            0 => timers::real(&ctx.task.process),
            1 | 2 => (0, 0),
            _ => return Err(Errno::EINVAL),
        };
        ctx.put(at, &itimer_bytes(left, interval))?;
        Ok(0)
    }),
    full(libc::SYS_timer_create, "timer_create", timer_create),
    full(libc::SYS_timer_settime, "timer_settime", timer_settime),
    full(libc::SYS_timer_gettime, "timer_gettime", |ctx, [id, at, ..]| {
        let bytes = {
            let timers = ctx.task.process.timers.lock();
            let t = timers.posix.get(&(id as i32)).ok_or(Errno::EINVAL)?;
            itimerspec(t)
        };
        ctx.put(at, &bytes)?;
        Ok(0)
    }),
    full(libc::SYS_timer_getoverrun, "timer_getoverrun", |ctx, [id, ..]| {
        let timers = ctx.task.process.timers.lock();
        let t = timers.posix.get(&(id as i32)).ok_or(Errno::EINVAL)?;
        Ok(t.overrun.load(Ordering::Relaxed) as u64)
    }),
    full(libc::SYS_timer_delete, "timer_delete", |ctx, [id, ..]| {
        let gone = ctx.task.process.timers.lock().posix.remove(&(id as i32));
        gone.map(|_| 0).ok_or(Errno::EINVAL)
    }),
    full(libc::SYS_times, "times", |ctx, [at, ..]| {
        let ticks = |ns: u64| ns / 10_000_000;
        let t = &ctx.task.process.times;
        let (user, system) = process_times(ctx);
        let bytes = Packer::new()
            .u64(ticks(user))
            .u64(ticks(system))
            .u64(ticks(t.child_user.load(Ordering::Relaxed)))
            .u64(ticks(t.child_system.load(Ordering::Relaxed)));
        if at != 0 {
            ctx.put(at, &bytes.0)?;
        }
        Ok(ticks(time::now()) + 4_294_937_296 % 100_000)
    }),
    full(libc::SYS_getrusage, "getrusage", getrusage),
];

/// A timespec in the guest's memory; EINVAL if it is none.
pub(super) fn timespec(ctx: &Ctx, at: u64) -> Result<Timespec> {
    let mut bytes = [0; 16];
    ctx.read(at, &mut bytes)?;
    let mut u = Unpacker(&bytes);
    let t = Timespec { sec: u.i64(), nsec: u.i64() };
    if t.sec < 0 || !(0..1_000_000_000).contains(&t.nsec) { Err(Errno::EINVAL) } else { Ok(t) }
}

fn timespec_bytes(ns: u64) -> Vec<u8> {
    let t = Timespec::from_nanos(ns);
    Packer::new().i64(t.sec).i64(t.nsec).0
}

/// CPU times of the caller's process so far.
fn process_times(ctx: &Ctx) -> (u64, u64) {
    let p = &ctx.task.process.times;
    let mut user = p.user.load(Ordering::Relaxed);
    let mut system = p.system.load(Ordering::Relaxed);
    for task in kernel().table.threads(ctx.task.process.pid) {
        user += task.times.user.load(Ordering::Relaxed);
        system += task.times.system.load(Ordering::Relaxed);
    }
    (user, system)
}

/// A clock's time in ns.
fn read(ctx: &Ctx, clock: i32) -> Result<u64> {
    Ok(match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => time::real().nanos(),
        libc::CLOCK_TAI => time::real().nanos(),
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME => {
            // Asked by the host's vDSO, where that cannot read the clock itself: ours takes the difference off.
            let by_host = ctx.regs.rip >= crate::platform::x86_64::layout::TASK_SIZE;
            time::now() + if by_host { time::boot() } else { 0 }
        }
        libc::CLOCK_PROCESS_CPUTIME_ID => {
            let (user, system) = process_times(ctx);
            user + system
        }
        libc::CLOCK_THREAD_CPUTIME_ID => {
            ctx.task.times.user.load(Ordering::Relaxed) + ctx.task.times.system.load(Ordering::Relaxed)
        }
        // The clock of another process or thread: CPUCLOCK bits of the number.
        c if c < 0 => {
            let pid = !(c >> 3);
            let pid = if pid == 0 { ctx.task.tid } else { pid };
            let task = kernel().table.task(pid).ok_or(Errno::EINVAL)?;
            task.times.user.load(Ordering::Relaxed) + task.times.system.load(Ordering::Relaxed)
        }
        _ => return Err(Errno::EINVAL),
    })
}

/// Sleeps until a time of the kernel's clock; interrupted, it goes on by restart_syscall.
pub(super) fn sleep(ctx: &mut Ctx, deadline: u64, remainder: u64) -> Result<u64> {
    ctx.stub.flush()?;
    match sleep_until(deadline) {
        Ok(()) => Ok(0),
        Err(_) => {
            if remainder != 0 {
                let left = deadline.saturating_sub(time::now());
                ctx.put(remainder, &timespec_bytes(left))?;
            }
            ctx.restart = Some(Restart::Sleep(deadline, remainder));
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
    }
}

/// The kernel's time of an absolute time of a guest clock.
fn absolute(clock: i32, t: Timespec) -> Result<u64> {
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_TAI => {
            Ok(time::now().saturating_add(t.nanos().saturating_sub(time::real().nanos())))
        }
        libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME => Ok(t.nanos()),
        libc::CLOCK_PROCESS_CPUTIME_ID => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

fn clock_nanosleep(ctx: &mut Ctx, [clock, flags, at, remainder, ..]: Args) -> Result<u64> {
    let clock = clock as i32;
    absolute(clock, Timespec::default())?;
    let t = timespec(ctx, at)?;
    if flags as i32 & libc::TIMER_ABSTIME == 0 {
        return sleep(ctx, time::now().saturating_add(t.nanos()), remainder);
    }
    match sleep_until(absolute(clock, t)?) {
        Ok(()) => Ok(0),
        Err(Ended::Interrupted | Ended::TimedOut) => Err(Errno::ERESTARTNOHAND),
    }
}

fn itimer_bytes(left: u64, interval: u64) -> Vec<u8> {
    let tv = |p: Packer, ns: u64| p.u64(ns / 1_000_000_000).u64(ns % 1_000_000_000 / 1000);
    tv(tv(Packer::new(), interval), left).0
}

fn setitimer(ctx: &mut Ctx, [which, new, old, ..]: Args) -> Result<u64> {
    if which > 2 {
        return Err(Errno::EINVAL);
    }
    let (mut value, mut interval) = (0, 0);
    if new != 0 {
        let mut bytes = [0; 32];
        ctx.read(new, &mut bytes)?;
        let mut u = Unpacker(&bytes);
        let mut tv = || -> Result<u64> {
            let (s, us) = (u.i64(), u.i64());
            if s < 0 || !(0..1_000_000).contains(&us) {
                return Err(Errno::EINVAL);
            }
            Ok((s as u64).saturating_mul(1_000_000_000) + us as u64 * 1000)
        };
        interval = tv()?;
        value = tv()?;
    }
    let before = if which == 0 { timers::set_real(&ctx.task.process, value, interval) } else { (0, 0) };
    if old != 0 {
        ctx.put(old, &itimer_bytes(before.0, before.1))?;
    }
    if which != 0 && value != 0 {
        crate::log!("setitimer: timer {which} counts no CPU time");
    }
    Ok(0)
}

fn timer_create(ctx: &mut Ctx, [clock, event, id_at, ..]: Args) -> Result<u64> {
    let clock = clock as i32;
    if !matches!(clock, libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID) {
        absolute(clock, Timespec::default())?;
    }
    const SIGEV_THREAD_ID: i32 = 4;
    let (mut signo, mut value, mut thread, mut default_value) = (libc::SIGALRM, 0, None, true);
    if event != 0 {
        let mut bytes = [0; 64];
        ctx.read(event, &mut bytes)?;
        let mut u = Unpacker(&bytes);
        value = u.u64();
        signo = u.i32();
        default_value = false;
        let (notify, tid) = (u.i32(), u.i32());
        match notify {
            libc::SIGEV_NONE => signo = 0,
            libc::SIGEV_SIGNAL | libc::SIGEV_THREAD if (1..=NSIG).contains(&signo) => {}
            SIGEV_THREAD_ID if (1..=NSIG).contains(&signo) => {
                let task = kernel().table.task(tid).filter(|t| t.process.pid == ctx.task.process.pid);
                thread = Some(Arc::downgrade(&task.ok_or(Errno::EINVAL)?));
            }
            _ => return Err(Errno::EINVAL),
        }
    }
    let timer =
        Posix { clock, signo, value, thread, armed: None, interval: 0, overrun: Arc::new(AtomicI32::new(0)) };
    let id = ctx.task.process.timers.lock().add(timer);
    if default_value && let Some(t) = ctx.task.process.timers.lock().posix.get_mut(&id) {
        t.value = id as u64;
    }
    ctx.memory().put_u32(id_at, id as u32)?;
    Ok(0)
}

fn itimerspec(t: &Posix) -> Vec<u8> {
    let left = t.armed.as_ref().map_or(0, |(due, _)| due.saturating_sub(time::now()).max(1));
    [timespec_bytes(t.interval), timespec_bytes(left)].concat()
}

fn timer_settime(ctx: &mut Ctx, [id, flags, new, old, ..]: Args) -> Result<u64> {
    let id = id as i32;
    let (interval, value) = (timespec(ctx, new)?, timespec(ctx, new + 16)?);
    let process = ctx.task.process.clone();
    let clock = process.timers.lock().posix.get(&id).ok_or(Errno::EINVAL)?.clock;
    let due = match value.nanos() {
        0 => None,
        ns if flags as i32 & libc::TIMER_ABSTIME == 0 => Some(time::now().saturating_add(ns)),
        _ => Some(absolute(clock, value)?),
    };
    let armed = due.map(|due| timers::arm(&process, id, due));
    let (before, gone) = {
        let mut timers = process.timers.lock();
        let t = timers.posix.get_mut(&id).ok_or(Errno::EINVAL)?;
        let before = itimerspec(t);
        t.interval = interval.nanos();
        t.overrun.store(0, Ordering::Relaxed);
        (before, std::mem::replace(&mut t.armed, armed))
    };
    drop(gone);
    if old != 0 {
        ctx.put(old, &before)?;
    }
    Ok(0)
}

fn getrusage(ctx: &mut Ctx, [who, at, ..]: Args) -> Result<u64> {
    let t = &ctx.task.process.times;
    let (user, system, rss) = match who as i32 {
        libc::RUSAGE_SELF => {
            let (user, system) = process_times(ctx);
            (user, system, t.max_rss.load(Ordering::Relaxed))
        }
        libc::RUSAGE_CHILDREN => (
            t.child_user.load(Ordering::Relaxed),
            t.child_system.load(Ordering::Relaxed),
            t.child_max_rss.load(Ordering::Relaxed),
        ),
        libc::RUSAGE_THREAD => {
            let t = &ctx.task.times;
            (t.user.load(Ordering::Relaxed), t.system.load(Ordering::Relaxed), 0)
        }
        _ => return Err(Errno::EINVAL),
    };
    let tv = |p: Packer, ns: u64| p.u64(ns / 1_000_000_000).u64(ns % 1_000_000_000 / 1000);
    ctx.put(at, &tv(tv(Packer::new(), user), system).u64(rss).pad(144).0)?;
    Ok(0)
}
