//! Reading and writing.

use super::{Args, Entry, full, partial};
use crate::base::wait::Events;
use crate::base::{Errno, Result};
use crate::fs::inotify::Mask;
use crate::fs::stream::StreamFile;
use crate::fs::{File, OpenFlags, kind};
use crate::mm::{PAGE, Unpacker, UserMemory};
use crate::task::Ctx;
use crate::task::signal::{SI_USER, SigInfo};
use std::sync::Arc;

/// Most that one call moves (MAX_RW_COUNT).
const MAX_RW: u64 = 0x7fff_f000;
/// Bytes moved at a time through the kernel.
const PIECE: usize = 256 << 10;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_read, "read", |ctx, [fd, at, len, ..]| {
        let file = ctx.file(fd)?;
        read_into(ctx, &file, &[(at, len)], None)
    }),
    full(libc::SYS_write, "write", |ctx, [fd, at, len, ..]| {
        let file = ctx.file(fd)?;
        write_from(ctx, &file, &[(at, len)], None)
    }),
    full(libc::SYS_pread64, "pread64", |ctx, [fd, at, len, offset, ..]| {
        let file = positioned(ctx, fd, offset)?;
        read_into(ctx, &file, &[(at, len)], Some(offset))
    }),
    full(libc::SYS_pwrite64, "pwrite64", |ctx, [fd, at, len, offset, ..]| {
        let file = positioned(ctx, fd, offset)?;
        write_from(ctx, &file, &[(at, len)], Some(offset))
    }),
    full(libc::SYS_readv, "readv", |ctx, [fd, iov, n, ..]| {
        let file = ctx.file(fd)?;
        let iov = vector(&ctx.memory(), iov, n)?;
        read_into(ctx, &file, &iov, None)
    }),
    full(libc::SYS_writev, "writev", |ctx, [fd, iov, n, ..]| {
        let file = ctx.file(fd)?;
        let iov = vector(&ctx.memory(), iov, n)?;
        write_from(ctx, &file, &iov, None)
    }),
    full(libc::SYS_preadv, "preadv", |ctx, [fd, iov, n, offset, ..]| {
        let file = positioned(ctx, fd, offset)?;
        let iov = vector(&ctx.memory(), iov, n)?;
        read_into(ctx, &file, &iov, Some(offset))
    }),
    full(libc::SYS_pwritev, "pwritev", |ctx, [fd, iov, n, offset, ..]| {
        let file = positioned(ctx, fd, offset)?;
        let iov = vector(&ctx.memory(), iov, n)?;
        write_from(ctx, &file, &iov, Some(offset))
    }),
    partial(
        libc::SYS_preadv2,
        "preadv2",
        "RWF flags have no effect",
        |ctx, [fd, iov, n, offset, _, flags]| {
            if flags & !0x1f != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            let at = (offset as i64 != -1).then_some(offset);
            let file = match at {
                Some(offset) => positioned(ctx, fd, offset)?,
                None => ctx.file(fd)?,
            };
            let iov = vector(&ctx.memory(), iov, n)?;
            const NOWAIT: u64 = 8;
            let ready = file.ops().poll(&file, None).intersects(Events::READ | Events::HUP);
            if flags & NOWAIT != 0 && !ready {
                return Err(Errno::EAGAIN);
            }
            read_into(ctx, &file, &iov, at)
        },
    ),
    partial(
        libc::SYS_pwritev2,
        "pwritev2",
        "RWF_HIPRI and RWF_NOWAIT have no effect",
        |ctx, [fd, iov, n, offset, _, flags]| {
            if flags & !0x1f != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            let at = (offset as i64 != -1).then_some(offset);
            let file = match at {
                Some(offset) => positioned(ctx, fd, offset)?,
                None => ctx.file(fd)?,
            };
            let iov = vector(&ctx.memory(), iov, n)?;
            const APPEND: u64 = 0x10;
            const DURABLE: u64 = 2 | 4;
            let done = if flags & APPEND != 0 && file.ops().seekable() {
                append(ctx, &file, &iov, at.is_none())?
            } else {
                write_pieces(ctx, &file, &iov, at)?
            };
            settled(&file, done, flags & DURABLE != 0)
        },
    ),
    full(libc::SYS_lseek, "lseek", lseek),
    full(libc::SYS_sendfile, "sendfile", |ctx, [out, input, offset_at, count, ..]| {
        let (input, out) = (ctx.file(input)?, ctx.file(out)?);
        input.check_read()?;
        out.check_write()?;
        if out.flags().contains(OpenFlags::APPEND) {
            return Err(Errno::EINVAL);
        }
        if !input.ops().seekable() || input.attr()?.is_dir() {
            return Err(Errno::EINVAL);
        }
        let offset = if offset_at == 0 { None } else { Some(ctx.memory().u64(offset_at)?) };
        if offset.is_some_and(|o| (o as i64) < 0) {
            return Err(Errno::EINVAL);
        }
        let (moved, end) = copy(ctx, &input, offset, &out, None, count)?;
        if offset_at != 0 {
            ctx.put(offset_at, &end.to_le_bytes())?;
        }
        Ok(moved)
    }),
    full(libc::SYS_copy_file_range, "copy_file_range", copy_file_range),
    full(libc::SYS_fsync, "fsync", |ctx, [fd, ..]| {
        let file = ctx.file(fd)?;
        file.ops().sync(&file, false).map(|()| 0)
    }),
    full(libc::SYS_fdatasync, "fdatasync", |ctx, [fd, ..]| {
        let file = ctx.file(fd)?;
        file.ops().sync(&file, true).map(|()| 0)
    }),
    partial(
        libc::SYS_sync_file_range,
        "sync_file_range",
        "the whole file is written",
        |ctx, [fd, at, len, flags, ..]| {
            let file = ctx.file(fd)?;
            if flags & !7 != 0 || (at as i64) < 0 || (len as i64) < 0 {
                return Err(Errno::EINVAL);
            }
            if !file.ops().seekable() {
                return Err(Errno::ESPIPE);
            }
            file.ops().sync(&file, true).map(|()| 0)
        },
    ),
    full(libc::SYS_sync, "sync", |ctx, _| {
        let ns = ctx.fs.inner.lock().ns.clone();
        // Their mounts are not kept meanwhile: they would be busy.
        let all: Vec<_> = ns.mounts().iter().map(|m| m.fs().clone()).collect();
        for fs in all {
            let _ = fs.sync();
        }
        crate::block::flush_all();
        Ok(0)
    }),
    full(libc::SYS_syncfs, "syncfs", |ctx, [fd, ..]| ctx.file(fd)?.inode().file_system().sync().map(|()| 0)),
    full(libc::SYS_fadvise64, "fadvise64", |ctx, [fd, _, len, advice, ..]| {
        let file = ctx.file(fd)?;
        if !file.ops().seekable() {
            return Err(Errno::ESPIPE);
        }
        if advice > 5 || (len as i64) < 0 { Err(Errno::EINVAL) } else { Ok(0) }
    }),
    full(libc::SYS_readahead, "readahead", |ctx, [fd, ..]| {
        let file = ctx.file(fd)?;
        file.check_read()?;
        if file.attr()?.kind() == kind::REG { Ok(0) } else { Err(Errno::EINVAL) }
    }),
    full(libc::SYS_fallocate, "fallocate", |ctx, [fd, mode, at, len, ..]| {
        let file = ctx.file(fd)?;
        file.check_write()?;
        if (at as i64) < 0 || (len as i64) <= 0 {
            return Err(Errno::EINVAL);
        }
        if at.checked_add(len).is_none_or(|e| e > i64::MAX as u64) {
            return Err(Errno::EFBIG);
        }
        match file.attr()?.kind() {
            kind::REG | kind::BLK => {
                file.ops().allocate(&file, mode as u32, at, len)?;
                file.tell(Mask::MODIFY);
                Ok(0)
            }
            kind::DIR => Err(Errno::EISDIR),
            kind::FIFO => Err(Errno::ESPIPE),
            _ => Err(Errno::ENODEV),
        }
    }),
];

fn positioned(ctx: &Ctx, fd: u64, offset: u64) -> Result<Arc<File>> {
    if (offset as i64) < 0 {
        return Err(Errno::EINVAL);
    }
    let file = ctx.file(fd)?;
    if !file.ops().seekable() {
        return Err(Errno::ESPIPE);
    }
    // No byte can be there.
    if offset == i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    Ok(file)
}

/// A vector of buffers in the guest's memory.
pub(super) fn vector(memory: &UserMemory, at: u64, n: u64) -> Result<Vec<(u64, u64)>> {
    if n > 1024 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; n as usize * 16];
    memory.read(at, &mut bytes)?;
    let mut u = Unpacker(&bytes);
    let mut total = 0u64;
    let mut out = Vec::with_capacity(n as usize);
    let mut unreachable = false;
    for _ in 0..n {
        let (base, len) = (u.u64(), u.u64());
        if len as i64 >= 0 {
            total = total.saturating_add(len);
        } else {
            return Err(Errno::EINVAL);
        }
        out.push((base, len));
        unreachable |= reachable(&out[out.len() - 1..]).is_err();
    }
    if unreachable {
        return Err(Errno::EFAULT);
    }
    if total > i64::MAX as u64 { Err(Errno::EINVAL) } else { Ok(out) }
}

/// Reads a file into guest buffers; `at` for positioned reads, which leave the position.
pub(super) fn read_into(ctx: &mut Ctx, file: &Arc<File>, iov: &[(u64, u64)], at: Option<u64>) -> Result<u64> {
    file.check_read()?;
    // What goes through here may block: what the guest is to see of this call so far, it sees now.
    ctx.stub.flush()?;
    reachable(iov)?;
    check_direct(file, iov)?;
    check_sink(ctx, file, iov)?;
    // The position moves by what has reached the guest.
    let follows = at.is_none() && file.ops().seekable() && !file.ops().stays_at_zero();
    let start = if follows { Some(*file.pos().lock()) } else { at };
    let result = read_pieces(ctx, file, iov, start);
    if result.is_ok_and(|n| n > 0) {
        file.tell(Mask::ACCESS);
    }
    if let (true, Some(start), Ok(n)) = (follows, start, &result) {
        *file.pos().lock() = start + n;
    }
    result
}

/// What a stream gives is gone from it: a buffer that can take none of it is refused before.
pub(super) fn check_sink(ctx: &Ctx, file: &File, iov: &[(u64, u64)]) -> Result<()> {
    // The host's own streams may not be readable at all: they are asked.
    if file.ops().seekable() || file.ops_as::<StreamFile>().is_some() {
        return Ok(());
    }
    let Some((base, _)) = iov.iter().find(|(_, len)| *len > 0) else { return Ok(()) };
    if ctx.mm.takes(*base) {
        return Ok(());
    }
    // Without data it is the stream that answers: by waiting, EAGAIN, or its end.
    let events = file.ops().poll(file, None);
    let data = events.intersects(Events::IN) && !events.intersects(Events::HUP | Events::RDHUP);
    if data { Err(Errno::EFAULT) } else { Ok(()) }
}

/// EFAULT for buffers that no address space has.
fn reachable(iov: &[(u64, u64)]) -> Result<()> {
    const END: u64 = 1 << 47;
    let fits = |(base, len): &(u64, u64)| base.checked_add(*len).is_some_and(|end| end <= END);
    if iov.iter().all(fits) { Ok(()) } else { Err(Errno::EFAULT) }
}

/// EINVAL for buffers that direct I/O cannot use.
fn check_direct(file: &File, iov: &[(u64, u64)]) -> Result<()> {
    if !file.flags().contains(OpenFlags::DIRECT) {
        return Ok(());
    }
    let unit = file.ops().direct_unit(file);
    let fits = |(base, len): &(u64, u64)| (base | len).is_multiple_of(unit);
    if iov.iter().all(fits) { Ok(()) } else { Err(Errno::EINVAL) }
}

fn read_pieces(ctx: &mut Ctx, file: &Arc<File>, iov: &[(u64, u64)], at: Option<u64>) -> Result<u64> {
    let mut done = 0;
    for (base, len) in iov {
        let len = (*len).min(MAX_RW - done);
        let mut got = 0;
        loop {
            if got > 0 && got < len && !ctx.goes_on() {
                return Ok(done + got);
            }
            let mut buffer = vec![0; ((len - got) as usize).min(PIECE)];
            if buffer.is_empty() && (len > 0 || done > 0) {
                break;
            }
            let result = match at {
                Some(offset) => file.ops().read(file, &mut buffer, offset + done + got),
                None => file.read(&mut buffer),
            };
            let n = match result {
                Ok(n) => n,
                Err(_) if done + got > 0 => return Ok(done + got),
                Err(e) => return Err(e),
            };
            if n > 0 {
                match put_some(ctx, base + got, &buffer[..n]) {
                    Ok(m) if m == n => {}
                    Ok(m) => return Ok(done + got + m as u64),
                    Err(_) if done + got > 0 => return Ok(done + got),
                    Err(e) => return Err(e),
                }
            }
            got += n as u64;
            if n < buffer.len() || len == 0 {
                return Ok(done + got);
            }
            // A stream has given what it had; asking again might block.
            if !file.ops().seekable() && got < len && n < PIECE {
                return Ok(done + got);
            }
        }
        done += got;
    }
    Ok(done)
}

/// Copies as much to the guest as it can take; EFAULT if that is nothing.
fn put_some(ctx: &mut Ctx, at: u64, bytes: &[u8]) -> Result<usize> {
    match ctx.put(at, bytes) {
        Ok(()) => Ok(bytes.len()),
        Err(_) => ctx.memory().write_some(at, bytes),
    }
}

/// Writes guest buffers to a file. SIGPIPE goes with EPIPE.
pub(super) fn write_from(
    ctx: &mut Ctx,
    file: &Arc<File>,
    iov: &[(u64, u64)],
    at: Option<u64>,
) -> Result<u64> {
    let done = write_pieces(ctx, file, iov, at)?;
    settled(file, done, false)
}

/// What has been written to a regular file is durable, if it was opened with O_DSYNC (which is a part of O_SYNC), or if `asked`.
fn settled(file: &File, done: u64, asked: bool) -> Result<u64> {
    if done > 0 {
        file.tell(Mask::MODIFY);
    }
    if done > 0 && (asked || file.flags().contains(OpenFlags::DSYNC)) && file.attr()?.kind() == kind::REG {
        file.ops().sync(file, true)?;
    }
    Ok(done)
}

fn write_pieces(ctx: &mut Ctx, file: &Arc<File>, iov: &[(u64, u64)], at: Option<u64>) -> Result<u64> {
    file.check_write()?;
    reachable(iov)?;
    check_direct(file, iov)?;
    ctx.stub.flush()?;
    let limit = ctx.task.process.limit(libc::RLIMIT_FSIZE);
    let memory = ctx.memory();
    // A write of several buffers to a stream is one write, as pipes and terminals show.
    let total: u64 = iov.iter().map(|(_, l)| *l).sum();
    if iov.len() > 1 && total <= PIECE as u64 {
        let mut joined = Vec::with_capacity(total as usize);
        for (base, len) in iov {
            let start = joined.len();
            joined.resize(start + *len as usize, 0);
            match memory.read_some(*base, &mut joined[start..]) {
                Ok(n) if n == *len as usize => {}
                // What comes before the fault is written.
                Ok(n) => {
                    joined.truncate(start + n);
                    break;
                }
                Err(_) if start > 0 => {
                    joined.truncate(start);
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        let kept = before_fault(file, joined.len(), total as usize)?;
        return write_bytes(ctx, file, &joined[..kept], at, limit).map(|n| n as u64);
    }
    let mut done = 0;
    for (base, len) in iov {
        let len = (*len).min(MAX_RW - done);
        let mut put = 0;
        loop {
            if put > 0 && put < len && !ctx.goes_on() {
                return Ok(done + put);
            }
            let mut buffer = vec![0; ((len - put) as usize).min(PIECE)];
            if buffer.is_empty() && (len > 0 || done > 0) {
                break;
            }
            match read_some(ctx, base + put, &mut buffer) {
                Ok(n) => buffer.truncate(before_fault(file, n, buffer.len())?),
                Err(_) if done + put > 0 => return Ok(done + put),
                Err(e) => return Err(e),
            }
            let n = match write_bytes(ctx, file, &buffer, at.map(|a| a + done + put), limit) {
                Ok(n) => n,
                Err(_) if done + put > 0 => return Ok(done + put),
                Err(e) => return Err(e),
            };
            put += n as u64;
            if n < buffer.len() || len == 0 {
                return Ok(done + put);
            }
        }
        done += put;
    }
    Ok(done)
}

/// How much is written of a buffer of which `got` bytes of `wanted` could be read: streams take whole pages, or all.
fn before_fault(file: &File, got: usize, wanted: usize) -> Result<usize> {
    if got == wanted || file.ops().seekable() {
        return Ok(got);
    }
    let pages = got / PAGE as usize * PAGE as usize;
    if pages == 0 { Err(Errno::EFAULT) } else { Ok(pages) }
}

fn read_some(ctx: &Ctx, at: u64, into: &mut [u8]) -> Result<usize> {
    let here = ctx.stub.prefetched(at);
    if here.len() >= into.len() {
        into.copy_from_slice(&here[..into.len()]);
        return Ok(into.len());
    }
    ctx.memory().read_some(at, into)
}

fn write_bytes(ctx: &Ctx, file: &Arc<File>, bytes: &[u8], at: Option<u64>, limit: u64) -> Result<usize> {
    let mut bytes = bytes;
    if limit != u64::MAX && file.ops().seekable() && file.attr()?.kind() == kind::REG {
        let start = match at {
            Some(at) => at,
            None if file.flags().contains(OpenFlags::APPEND) => file.attr()?.size,
            None => *file.pos().lock(),
        };
        if start >= limit && !bytes.is_empty() {
            ctx.signal_self(SigInfo::user(libc::SIGXFSZ, SI_USER, ctx.task.process.pid, 0));
            return Err(Errno::EFBIG);
        }
        bytes = &bytes[..bytes.len().min(limit.saturating_sub(start) as usize)];
    }
    let result = match at {
        Some(_) if file.flags().contains(OpenFlags::APPEND) => file.ops().append(file, bytes).map(|(n, _)| n),
        Some(offset) => file.ops().write(file, bytes, offset),
        None => file.write(bytes),
    };
    if result == Err(Errno::EPIPE) {
        ctx.signal_self(SigInfo::user(libc::SIGPIPE, SI_USER, ctx.task.process.pid, ctx.creds().uid));
    }
    result
}

/// A write at the end, wherever the position is; that moves behind it if `moves`.
fn append(ctx: &mut Ctx, file: &Arc<File>, iov: &[(u64, u64)], moves: bool) -> Result<u64> {
    file.check_write()?;
    ctx.stub.flush()?;
    let mut done = 0;
    for (base, len) in iov {
        let mut put = 0;
        while put < *len {
            let mut buffer = vec![0; ((len - put) as usize).min(PIECE)];
            let written = read_some(ctx, base + put, &mut buffer).and_then(|n| {
                let end = file.attr()?.size;
                write_bytes(ctx, file, &buffer[..n], Some(end), ctx.task.process.limit(libc::RLIMIT_FSIZE))
            });
            match written {
                Ok(n) => put += n as u64,
                Err(_) if done + put > 0 => return Ok(done + put),
                Err(e) => return Err(e),
            }
        }
        done += put;
    }
    if moves {
        *file.pos().lock() = file.attr()?.size;
    }
    Ok(done)
}

fn lseek(ctx: &mut Ctx, [fd, offset, whence, ..]: Args) -> Result<u64> {
    let file = ctx.file(fd)?;
    if file.ops().stays_at_zero() {
        return Ok(0);
    }
    if !file.ops().seekable() {
        return Err(Errno::ESPIPE);
    }
    let offset = offset as i64;
    let mut pos = file.pos().lock();
    let to = match whence as i32 {
        libc::SEEK_SET => offset,
        libc::SEEK_CUR => (*pos as i64).checked_add(offset).ok_or(Errno::EOVERFLOW)?,
        libc::SEEK_END if !file.ops().has_end() => return Err(Errno::EINVAL),
        libc::SEEK_END => (file.ops().end(&file)? as i64).checked_add(offset).ok_or(Errno::EOVERFLOW)?,
        libc::SEEK_DATA | libc::SEEK_HOLE => {
            if offset < 0 {
                return Err(Errno::ENXIO);
            }
            file.ops().seek_data(&file, offset as u64, whence as i32 == libc::SEEK_DATA)? as i64
        }
        _ => return Err(Errno::EINVAL),
    };
    if to < 0 || file.ops().farthest(&file).is_some_and(|end| to as u64 > end) {
        return Err(Errno::EINVAL);
    }
    *pos = to as u64;
    Ok(to as u64)
}

/// Moves bytes from file to file; how many, and the input's offset behind them.
fn copy(
    ctx: &Ctx,
    input: &Arc<File>,
    from: Option<u64>,
    out: &Arc<File>,
    to: Option<u64>,
    count: u64,
) -> Result<(u64, u64)> {
    let count = count.min(MAX_RW);
    let start = from.unwrap_or(*input.pos().lock());
    let mut done = 0;
    let mut buffer = vec![0; PIECE.min(count as usize)];
    while done < count {
        if done > 0 && !ctx.goes_on() {
            break;
        }
        let want = ((count - done) as usize).min(PIECE);
        let n = match input.ops().read(input, &mut buffer[..want], start + done) {
            Ok(0) => break,
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        let mut put = 0;
        while put < n {
            match write_bytes(ctx, out, &buffer[put..n], to.map(|t| t + done + put as u64), u64::MAX) {
                Ok(0) => break,
                Ok(m) => put += m,
                Err(_) if done + put as u64 > 0 => break,
                Err(e) => return Err(e),
            }
        }
        done += put as u64;
        if put < n {
            break;
        }
    }
    if from.is_none() {
        *input.pos().lock() = start + done;
    }
    if done > 0 {
        input.tell(Mask::ACCESS);
    }
    settled(out, done, false)?;
    Ok((done, start + done))
}

fn copy_file_range(ctx: &mut Ctx, [fd_in, in_at, fd_out, out_at, len, flags]: Args) -> Result<u64> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (input, out) = (ctx.file(fd_in)?, ctx.file(fd_out)?);
    let (in_attr, out_attr) = (input.attr()?, out.attr()?);
    if in_attr.is_dir() || out_attr.is_dir() {
        return Err(Errno::EISDIR);
    }
    input.check_read()?;
    out.check_write()?;
    if out.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EBADF);
    }
    if in_attr.kind() != kind::REG || out_attr.kind() != kind::REG {
        return Err(Errno::EINVAL);
    }
    let from = if in_at == 0 { None } else { Some(ctx.memory().u64(in_at)?) };
    let to = if out_at == 0 { None } else { Some(ctx.memory().u64(out_at)?) };
    if from.or(to).is_some_and(|o| (o as i64) < 0) || to.is_some_and(|o| (o as i64) < 0) {
        return Err(Errno::EOVERFLOW);
    }
    let start = from.unwrap_or(*input.pos().lock());
    let target = to.unwrap_or(*out.pos().lock());
    let same = in_attr.ino == out_attr.ino && in_attr.dev == out_attr.dev;
    if same && start < target.saturating_add(len) && target < start.saturating_add(len) {
        return Err(Errno::EINVAL);
    }
    let (moved, end) = copy(ctx, &input, from, &out, to, len)?;
    if in_at != 0 {
        ctx.put(in_at, &end.to_le_bytes())?;
    }
    if let Some(to) = to {
        ctx.put(out_at, &(to + moved).to_le_bytes())?;
    }
    Ok(moved)
}
