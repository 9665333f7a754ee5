//! Clocks, sleeping, timers.

use super::{Args, Entry, full, partial};
use crate::base::fiber::{self, Fiber};
use crate::base::timer::Expire;
use crate::base::wait::{Ended, How, Waiter, sleep_until};
use crate::base::{Errno, Result, Timespec, time};
use crate::mm::{Packer, Unpacker};
use crate::task::cpu_clock::{self, CpuClock};
use crate::task::ctx::Restart;
use crate::task::signal::NSIG;
use crate::task::timers::{self, Clock, Posix};
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
    partial(
        libc::SYS_clock_settime,
        "clock_settime",
        "the clock is the host's: EPERM",
        |ctx, [clock, at, ..]| {
            let cpu = CpuClock::of(&ctx.task, clock as i32)?;
            if cpu.is_none() && clock as i32 != libc::CLOCK_REALTIME {
                return Err(Errno::EINVAL);
            }
            timespec(ctx, at)?;
            Err(Errno::EPERM)
        },
    ),
    partial(libc::SYS_settimeofday, "settimeofday", "the clock is the host's: EPERM", |ctx, [tv, tz, ..]| {
        if tv != 0 {
            let mut bytes = [0; 16];
            ctx.read(tv, &mut bytes)?;
            let mut u = Unpacker(&bytes);
            let (sec, usec) = (u.i64(), u.i64());
            if sec < 0 || !(0..=1_000_000).contains(&usec) {
                return Err(Errno::EINVAL);
            }
        }
        if tz != 0 {
            ctx.read(tz, &mut [0; 8])?;
        }
        if tv == 0 && tz == 0 { Ok(0) } else { Err(Errno::EPERM) }
    }),
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
        let (left, _) =
            timers::set_interval(&ctx.task.process, 0, u64::from(seconds as u32) * 1_000_000_000, 0);
        Ok(left.div_ceil(1_000_000_000))
    }),
    full(libc::SYS_setitimer, "setitimer", setitimer),
    full(libc::SYS_getitimer, "getitimer", |ctx, [which, at, ..]| {
        if which as usize >= timers::INTERVALS {
            return Err(Errno::EINVAL);
        }
        let (left, interval) = timers::interval(&ctx.task.process, which as usize);
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
        let (user, system) = cpu_clock::times(&ctx.task.process);
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

/// A clock's time in ns.
fn read(ctx: &mut Ctx, clock: i32) -> Result<u64> {
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
        n => {
            let clock = CpuClock::of(&ctx.task, n)?.ok_or(Errno::EINVAL)?;
            ctx.count_time();
            clock.now()
        }
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
        // Clocks that can be read, and no more.
        libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE => {
            Err(Errno::EOPNOTSUPP)
        }
        _ => Err(Errno::EINVAL),
    }
}

struct Awake(Arc<Fiber>);

impl Expire for Awake {
    fn expire(&self) {
        self.0.wake();
    }
}

/// Sleeps until a time of a clock of CPU time; true if it has come.
fn wait_for_cpu(clock: &CpuClock, due: u64) -> bool {
    let Some(fiber) = fiber::current() else { return true };
    let _timer = cpu_clock::set(clock, due, Arc::new(Awake(fiber)));
    Waiter::new().wait(How::default(), || (clock.now() >= due).then_some(())).is_ok()
}

/// A relative sleep on a clock of CPU time; interrupted, it goes on by restart_syscall.
pub(super) fn cpu_sleep(ctx: &mut Ctx, number: i32, due: u64, remainder: u64) -> Result<u64> {
    let clock = CpuClock::of(&ctx.task, number)?.ok_or(Errno::EINVAL)?;
    ctx.stub.flush()?;
    if wait_for_cpu(&clock, due) {
        return Ok(0);
    }
    if remainder != 0 {
        ctx.count_time();
        ctx.put(remainder, &timespec_bytes(due.saturating_sub(clock.now())))?;
    }
    ctx.restart = Some(Restart::CpuSleep(number, due, remainder));
    Err(Errno::ERESTART_RESTARTBLOCK)
}

/// Clocks of descriptors, of which there are none, can be read and set if at all.
fn check_dynamic(number: i32) -> Result<()> {
    const CLOCKFD: i32 = 3;
    if number < 0 && number & 7 == CLOCKFD { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

/// The clock of CPU time that a task may sleep on: no thread can on its own, which stands still then.
fn sleepable(ctx: &Ctx, number: i32) -> Result<Option<CpuClock>> {
    check_dynamic(number)?;
    let clock = CpuClock::of(&ctx.task, number)?;
    match &clock {
        Some(_) if number == libc::CLOCK_THREAD_CPUTIME_ID => Err(Errno::EOPNOTSUPP),
        Some(CpuClock::Thread { task, .. }) if Arc::ptr_eq(task, &ctx.task) => Err(Errno::EINVAL),
        _ => Ok(clock),
    }
}

fn clock_nanosleep(ctx: &mut Ctx, [clock, flags, at, remainder, ..]: Args) -> Result<u64> {
    let clock = clock as i32;
    let cpu = sleepable(ctx, clock)?;
    if cpu.is_none() {
        absolute(clock, Timespec::default())?;
    }
    let t = timespec(ctx, at)?;
    if let Some(cpu) = cpu {
        if flags as i32 & libc::TIMER_ABSTIME == 0 {
            let due = cpu.now().saturating_add(t.nanos());
            return cpu_sleep(ctx, clock, due, remainder);
        }
        ctx.stub.flush()?;
        return if wait_for_cpu(&cpu, t.nanos()) { Ok(0) } else { Err(Errno::ERESTARTNOHAND) };
    }
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
            Ok((s as u64).saturating_mul(1_000_000_000).saturating_add(us as u64 * 1000))
        };
        interval = tv()?;
        value = tv()?;
    }
    let before = timers::set_interval(&ctx.task.process, which as usize, value, interval);
    if old != 0 {
        ctx.put(old, &itimer_bytes(before.0, before.1))?;
    }
    Ok(0)
}

fn timer_create(ctx: &mut Ctx, [clock, event, id_at, ..]: Args) -> Result<u64> {
    let number = clock as i32;
    check_dynamic(number)?;
    let clock = match CpuClock::of(&ctx.task, number)? {
        Some(clock) => Clock::Cpu(clock),
        None => {
            absolute(number, Timespec::default())?;
            Clock::Wall
        }
    };
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
    let timer = Posix {
        number,
        clock,
        signo,
        value,
        thread,
        armed: None,
        interval: 0,
        overrun: Arc::new(AtomicI32::new(0)),
    };
    let id = ctx.task.process.timers.lock().add(timer);
    if default_value && let Some(t) = ctx.task.process.timers.lock().posix.get_mut(&id) {
        t.value = id as u64;
    }
    ctx.memory().put_u32(id_at, id as u32)?;
    Ok(0)
}

fn itimerspec(t: &Posix) -> Vec<u8> {
    let left = t.armed.as_ref().map_or(0, |(due, _)| due.saturating_sub(t.clock.now()).max(1));
    [timespec_bytes(t.interval), timespec_bytes(left)].concat()
}

fn timer_settime(ctx: &mut Ctx, [id, flags, new, old, ..]: Args) -> Result<u64> {
    let id = id as i32;
    let (interval, value) = (timespec(ctx, new)?, timespec(ctx, new + 16)?);
    let process = ctx.task.process.clone();
    let (number, clock) = {
        let timers = process.timers.lock();
        let t = timers.posix.get(&id).ok_or(Errno::EINVAL)?;
        (t.number, t.clock.clone())
    };
    let due = match value.nanos() {
        0 => None,
        ns if flags as i32 & libc::TIMER_ABSTIME == 0 => Some(clock.now().saturating_add(ns)),
        ns if matches!(clock, Clock::Cpu(_)) => Some(ns),
        _ => Some(absolute(number, value)?),
    };
    let armed = due.map(|due| timers::arm(&process, id, &clock, due));
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
            let (user, system) = cpu_clock::times(&ctx.task.process);
            let rss = t.max_rss.kib().max(ctx.mm.peak_resident() >> 10);
            (user, system, rss)
        }
        libc::RUSAGE_CHILDREN => (
            t.child_user.load(Ordering::Relaxed),
            t.child_system.load(Ordering::Relaxed),
            t.child_max_rss.kib(),
        ),
        libc::RUSAGE_THREAD => {
            let own = &ctx.task.times;
            let rss = t.max_rss.kib().max(ctx.mm.peak_resident() >> 10);
            (own.user.load(Ordering::Relaxed), own.system.load(Ordering::Relaxed), rss)
        }
        _ => return Err(Errno::EINVAL),
    };
    ctx.put(at, &super::process::rusage(user, system, rss))?;
    Ok(0)
}
