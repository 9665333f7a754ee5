//! Waiting for files; pipes.

use super::signal::{read_set, restore_mask, swap_mask};
use super::time::timespec;
use super::{Entry, full};
use crate::base::wait::Events;
use crate::base::{Errno, Result, Timespec, time};
use crate::fs::poll::poll_files;
use crate::fs::{OpenFlags, pipe};
use crate::mm::Packer;
use crate::task::Ctx;
use crate::task::ctx::Restart;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_poll, "poll", |ctx, [fds, n, timeout, ..]| {
        let deadline = match timeout as i32 {
            t if t < 0 => None,
            0 => Some(0),
            t => Some(time::now() + t as u64 * 1_000_000),
        };
        poll_restarting(ctx, fds, n, deadline)
    }),
    full(libc::SYS_ppoll, "ppoll", |ctx, [fds, n, timeout, mask, size, _]| {
        let deadline = deadline_of(ctx, timeout)?;
        with_mask(ctx, mask, size, |ctx| poll(ctx, fds, n, deadline), timeout, deadline)
    }),
    full(libc::SYS_select, "select", |ctx, [n, r, w, e, timeout, _]| {
        let deadline = match timeout {
            0 => None,
            at => {
                let mut b = [0; 16];
                ctx.read(at, &mut b)?;
                let mut u = crate::mm::Unpacker(&b);
                let (s, us) = (u.i64(), u.i64());
                if s < 0 || us < 0 {
                    return Err(Errno::EINVAL);
                }
                let ns =
                    (s as u64).saturating_mul(1_000_000_000).saturating_add((us as u64).saturating_mul(1000));
                Some(if ns == 0 { 0 } else { time::now().saturating_add(ns) })
            }
        };
        let result = select(ctx, n, [r, w, e], deadline)
            .map_err(|e| if e == Errno::ERESTARTNOHAND { Errno::ERESTARTNOHAND } else { e });
        if timeout != 0 {
            let left = deadline.unwrap_or(0).saturating_sub(time::now());
            let bytes = Packer::new().u64(left / 1_000_000_000).u64(left % 1_000_000_000 / 1000);
            let _ = ctx.put(timeout, &bytes.0);
        }
        result
    }),
    full(libc::SYS_pselect6, "pselect6", |ctx, [n, r, w, e, timeout, packed]| {
        let deadline = deadline_of(ctx, timeout)?;
        let (mut mask, mut size) = (0, 0);
        if packed != 0 {
            let mut b = [0; 16];
            ctx.read(packed, &mut b)?;
            let mut u = crate::mm::Unpacker(&b);
            (mask, size) = (u.u64(), u.u64());
        }
        with_mask(ctx, mask, size, |ctx| select(ctx, n, [r, w, e], deadline), timeout, deadline)
    }),
    full(libc::SYS_pipe, "pipe", |ctx, [at, ..]| make_pipe(ctx, at, 0)),
    full(libc::SYS_pipe2, "pipe2", |ctx, [at, flags, ..]| make_pipe(ctx, at, flags as u32)),
];

fn make_pipe(ctx: &mut Ctx, at: u64, flags: u32) -> Result<u64> {
    let flags = OpenFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if !(flags - (OpenFlags::CLOEXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT)).is_empty() {
        return Err(Errno::EINVAL);
    }
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    let creds = ctx.creds();
    let (reader, writer) = pipe::pipe(flags - OpenFlags::CLOEXEC, creds.fsuid, creds.fsgid)?;
    let one = ctx.files.add(reader, cloexec)?;
    let two = match ctx.files.add(writer, cloexec) {
        Ok(fd) => fd,
        Err(e) => {
            drop(ctx.files.remove(one));
            return Err(e);
        }
    };
    if let Err(e) = ctx.put(at, &Packer::new().i32(one).i32(two).0) {
        drop((ctx.files.remove(one), ctx.files.remove(two)));
        return Err(e);
    }
    Ok(0)
}

fn deadline_of(ctx: &Ctx, timeout: u64) -> Result<Option<u64>> {
    if timeout == 0 {
        return Ok(None);
    }
    Ok(Some(match timespec(ctx, timeout)?.nanos() {
        0 => 0,
        ns => time::now().saturating_add(ns),
    }))
}

/// Runs a wait with another signal mask, and writes back what is left of its time.
fn with_mask(
    ctx: &mut Ctx,
    mask: u64,
    size: u64,
    wait: impl FnOnce(&mut Ctx) -> Result<u64>,
    timeout: u64,
    deadline: Option<u64>,
) -> Result<u64> {
    if mask != 0 {
        let set = read_set(ctx, mask, size)?;
        swap_mask(ctx, set);
    }
    let result = wait(ctx);
    if timeout != 0 {
        let left = Timespec::from_nanos(deadline.unwrap_or(0).saturating_sub(time::now()));
        let _ = ctx.put(timeout, &Packer::new().i64(left.sec).i64(left.nsec).0);
    }
    if result != Err(Errno::ERESTARTNOHAND) {
        restore_mask(ctx);
        return result;
    }
    Err(Errno::ERESTARTNOHAND)
}

fn poll(ctx: &mut Ctx, fds: u64, n: u64, deadline: Option<u64>) -> Result<u64> {
    if n > ctx.task.process.limit(libc::RLIMIT_NOFILE) {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; n as usize * 8];
    ctx.read(fds, &mut bytes)?;
    let mut files = Vec::new();
    let mut places = Vec::new();
    let mut ready = 0;
    for (n, entry) in bytes.chunks_exact_mut(8).enumerate() {
        let fd = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let wanted = Events::from_bits_truncate(u16::from_le_bytes([entry[4], entry[5]]).into());
        entry[6..8].fill(0);
        if fd < 0 {
            continue;
        }
        match ctx.file(fd as u64) {
            Ok(file) => {
                files.push((file, wanted));
                places.push(n);
            }
            Err(_) => {
                entry[6] = 0x20; // POLLNVAL
                ready += 1;
            }
        }
    }
    ctx.stub.flush()?;
    let deadline = if ready > 0 { Some(0) } else { deadline };
    let found = poll_files(&files, deadline)?;
    for (at, events) in places.into_iter().zip(found) {
        if !events.is_empty() {
            ready += 1;
            bytes[at * 8 + 6..at * 8 + 8].copy_from_slice(&(events.bits() as u16).to_le_bytes());
        }
    }
    if !bytes.is_empty() {
        ctx.put(fds, &bytes)?;
    }
    Ok(ready)
}

/// poll(2), which goes on after a signal without a handler.
pub(super) fn poll_restarting(ctx: &mut Ctx, fds: u64, n: u64, deadline: Option<u64>) -> Result<u64> {
    match poll(ctx, fds, n, deadline) {
        Err(Errno::ERESTARTNOHAND) => {
            ctx.restart = Some(Restart::Poll(fds, n, deadline));
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
        other => other,
    }
}

fn select(ctx: &mut Ctx, n: u64, sets: [u64; 3], deadline: Option<u64>) -> Result<u64> {
    let n = n as i32;
    if n < 0 {
        return Err(Errno::EINVAL);
    }
    let n = (n as usize).min(ctx.task.process.limit(libc::RLIMIT_NOFILE) as usize);
    let bytes = n.div_ceil(64) * 8;
    let mut wanted = [const { Vec::new() }; 3];
    for (set, at) in wanted.iter_mut().zip(sets) {
        *set = vec![0u8; bytes];
        if at != 0 && bytes > 0 {
            ctx.read(at, set)?;
        }
    }
    let classes = [Events::READ | Events::RDBAND, Events::WRITE | Events::WRBAND, Events::PRI];
    let told = [Events::HUP | Events::ERR, Events::ERR, Events::empty()];
    let has = |set: &[u8], fd: usize| set[fd / 8] >> (fd % 8) & 1 != 0;
    let mut files = Vec::new();
    let mut fds = Vec::new();
    for fd in 0..n {
        let mut events = Events::empty();
        for (set, class) in wanted.iter().zip(classes) {
            if has(set, fd) {
                events |= class;
            }
        }
        if !events.is_empty() {
            files.push((ctx.file(fd as u64)?, events));
            fds.push(fd);
        }
    }
    ctx.stub.flush()?;
    let found = poll_files(&files, deadline)?;
    let mut count = 0;
    let mut out = [const { Vec::new() }; 3];
    for (c, set) in out.iter_mut().enumerate() {
        *set = vec![0u8; bytes];
        for (fd, ready) in fds.iter().zip(&found) {
            if has(&wanted[c], *fd) && ready.intersects(classes[c] | told[c]) {
                set[fd / 8] |= 1 << (fd % 8);
                count += 1;
            }
        }
    }
    for (set, at) in out.iter().zip(sets) {
        if at != 0 && bytes > 0 {
            ctx.put(at, set)?;
        }
    }
    Ok(count)
}
