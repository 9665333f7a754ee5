//! Descriptors of events: eventfd, timerfd, epoll.

use super::signal::{read_set, restore_mask, swap_mask};
use super::{Entry, full, partial};
use crate::base::{Errno, Result, Timespec, time};
use crate::fs::OpenFlags;
use crate::fs::epoll::{Ctl, Epoll, EpollEvent};
use crate::fs::eventfd::EventFd;
use crate::fs::timerfd::{TimerFd, TimerSpec};
use crate::mm::{Packer, Unpacker};
use crate::task::Ctx;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_eventfd, "eventfd", |ctx, [count, ..]| eventfd(ctx, count, 0)),
    full(libc::SYS_eventfd2, "eventfd2", |ctx, [count, flags, ..]| eventfd(ctx, count, flags as u32)),
    full(libc::SYS_timerfd_create, "timerfd_create", |ctx, [clock, flags, ..]| {
        let (flags, cloexec) = descriptor_flags(flags as u32)?;
        let file = TimerFd::file(clock as i32, flags | OpenFlags::RDWR)?;
        ctx.files.add(file, cloexec).map(|fd| fd as u64)
    }),
    full(libc::SYS_timerfd_settime, "timerfd_settime", |ctx, [fd, flags, new, old, ..]| {
        let mut bytes = [0; 32];
        ctx.read(new, &mut bytes)?;
        let mut u = Unpacker(&bytes);
        let mut time = || Timespec { sec: u.i64(), nsec: u.i64() };
        let new = TimerSpec { interval: time(), value: time() };
        let file = ctx.file(fd)?;
        let before = file.ops_as::<TimerFd>().ok_or(Errno::EINVAL)?.set(flags as u32, new)?;
        if old != 0 {
            ctx.put(old, &spec(before))?;
        }
        Ok(0)
    }),
    full(libc::SYS_timerfd_gettime, "timerfd_gettime", |ctx, [fd, at, ..]| {
        let file = ctx.file(fd)?;
        let now = file.ops_as::<TimerFd>().ok_or(Errno::EINVAL)?.get();
        ctx.put(at, &spec(now))?;
        Ok(0)
    }),
    partial(libc::SYS_memfd_create, "memfd_create", "MFD_HUGETLB", |ctx, [name, flags, ..]| {
        const CLOEXEC: u64 = 1;
        const ALLOW_SEALING: u64 = 2;
        const NOEXEC: u64 = 8;
        const EXEC: u64 = 16;
        if flags & !(CLOEXEC | ALLOW_SEALING | NOEXEC | EXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        let name = ctx
            .memory()
            .string(name, 250)
            .map_err(|e| if e == Errno::ENAMETOOLONG { Errno::EINVAL } else { e })?;
        let creds = ctx.creds();
        let file = crate::fs::special::memfd(
            &name,
            flags & (ALLOW_SEALING | NOEXEC) != 0,
            creds.fsuid,
            creds.fsgid,
        )?;
        ctx.files.add(file, flags & CLOEXEC != 0).map(|fd| fd as u64)
    }),
    full(libc::SYS_epoll_create, "epoll_create", |ctx, [size, ..]| {
        if (size as i32) <= 0 {
            Err(Errno::EINVAL)
        } else {
            ctx.files.add(Epoll::file(), false).map(|fd| fd as u64)
        }
    }),
    full(libc::SYS_epoll_create1, "epoll_create1", |ctx, [flags, ..]| {
        let cloexec = OpenFlags::CLOEXEC.bits() as u64;
        if flags & !cloexec != 0 {
            return Err(Errno::EINVAL);
        }
        ctx.files.add(Epoll::file(), flags & cloexec != 0).map(|fd| fd as u64)
    }),
    full(libc::SYS_epoll_ctl, "epoll_ctl", |ctx, [epfd, op, fd, at, ..]| {
        let op = Ctl::from_number(op as i32)?;
        let mut bytes = [0; 12];
        if op != Ctl::Del {
            ctx.read(at, &mut bytes)?;
        }
        let mut u = Unpacker(&bytes);
        let event = EpollEvent { events: u.u32(), data: u.u64() };
        let (epoll, file) = (ctx.file(epfd)?, ctx.file(fd)?);
        if epfd as i32 == fd as i32 {
            return Err(Errno::EINVAL);
        }
        epoll.ops_as::<Epoll>().ok_or(Errno::EINVAL)?.ctl(op, fd as i32, &file, event)?;
        Ok(0)
    }),
    full(libc::SYS_epoll_wait, "epoll_wait", |ctx, [fd, at, max, timeout, ..]| {
        epoll_wait(ctx, fd, at, max, millis(timeout))
    }),
    full(libc::SYS_epoll_pwait, "epoll_pwait", |ctx, [fd, at, max, timeout, mask, size]| {
        masked(ctx, mask, size, |ctx| epoll_wait(ctx, fd, at, max, millis(timeout)))
    }),
    full(libc::SYS_epoll_pwait2, "epoll_pwait2", |ctx, [fd, at, max, timeout, mask, size]| {
        let deadline = match timeout {
            0 => None,
            t => Some(match super::time::timespec(ctx, t)?.nanos() {
                0 => 0,
                ns => time::now().saturating_add(ns),
            }),
        };
        masked(ctx, mask, size, |ctx| epoll_wait(ctx, fd, at, max, deadline))
    }),
];

fn millis(timeout: u64) -> Option<u64> {
    match timeout as i32 {
        t if t < 0 => None,
        0 => Some(0),
        t => Some(time::now() + t as u64 * 1_000_000),
    }
}

fn masked(ctx: &mut Ctx, mask: u64, size: u64, wait: impl FnOnce(&mut Ctx) -> Result<u64>) -> Result<u64> {
    if mask != 0 {
        let set = read_set(ctx, mask, size)?;
        swap_mask(ctx, set);
    }
    let result = wait(ctx);
    if !matches!(result, Err(Errno::EINTR | Errno::ERESTARTNOHAND)) {
        restore_mask(ctx);
    }
    result
}

fn epoll_wait(ctx: &mut Ctx, fd: u64, at: u64, max: u64, deadline: Option<u64>) -> Result<u64> {
    let max = max as i32;
    if max <= 0 || max > i32::MAX / 12 {
        return Err(Errno::EINVAL);
    }
    let file = ctx.file(fd)?;
    ctx.stub.flush()?;
    let found = file.ops_as::<Epoll>().ok_or(Errno::EINVAL)?.wait(max as usize, deadline)?;
    let bytes = found.iter().fold(Packer::new(), |p, e| p.u32(e.events).u64(e.data));
    ctx.put(at, &bytes.0)?;
    Ok(found.len() as u64)
}

/// `O_CLOEXEC` and `O_NONBLOCK`, which these calls share with open(2).
pub(super) fn descriptor_flags(flags: u32) -> Result<(OpenFlags, bool)> {
    let flags = OpenFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if !(flags - (OpenFlags::CLOEXEC | OpenFlags::NONBLOCK)).is_empty() {
        return Err(Errno::EINVAL);
    }
    Ok((flags - OpenFlags::CLOEXEC, flags.contains(OpenFlags::CLOEXEC)))
}

fn eventfd(ctx: &mut Ctx, count: u64, flags: u32) -> Result<u64> {
    const SEMAPHORE: u32 = 1;
    let (open, cloexec) = descriptor_flags(flags & !SEMAPHORE)?;
    let file = EventFd::file(count as u32, flags & SEMAPHORE != 0, open | OpenFlags::RDWR);
    ctx.files.add(file, cloexec).map(|fd| fd as u64)
}

fn spec(t: TimerSpec) -> Vec<u8> {
    let time = |p: Packer, t: Timespec| p.i64(t.sec).i64(t.nsec);
    time(time(Packer::new(), t.interval), t.value).0
}
