//! Descriptors of events: eventfd, timerfd.

use super::{Entry, full};
use crate::base::{Errno, Result, Timespec};
use crate::fs::OpenFlags;
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
];

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
