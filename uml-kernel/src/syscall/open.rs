//! Opening and closing.

use super::{Args, Entry, full};
use crate::base::{Errno, Result};
use crate::fs::vfs::{self, OpenHow};
use crate::fs::{OpenFlags, Resolve};
use crate::mm::Unpacker;
use crate::task::Ctx;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_open, "open", |ctx, [path, flags, mode, ..]| {
        open(ctx, libc::AT_FDCWD, path, flags as u32, mode as u32)
    }),
    full(libc::SYS_openat, "openat", |ctx, [fd, path, flags, mode, ..]| {
        open(ctx, fd as i32, path, flags as u32, mode as u32)
    }),
    full(libc::SYS_openat2, "openat2", openat2),
    full(libc::SYS_creat, "creat", |ctx, [path, mode, ..]| {
        let flags = (OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::TRUNC).bits();
        open(ctx, libc::AT_FDCWD, path, flags, mode as u32)
    }),
    full(libc::SYS_close, "close", |ctx, [fd, ..]| {
        let file = ctx.files.remove(fd as i32)?;
        close(ctx, &file).map(|()| 0)
    }),
    full(libc::SYS_close_range, "close_range", close_range),
];

/// A descriptor of `file` is gone: its locks of this process are, too.
pub(super) fn close(ctx: &Ctx, file: &std::sync::Arc<crate::fs::File>) -> Result<()> {
    super::fd::release_posix_locks(ctx, file);
    file.ops().flush(file)
}

fn umasked(ctx: &Ctx, mode: u32) -> u32 {
    mode & 0o7777 & !ctx.fs.inner.lock().umask
}

fn finish(ctx: &Ctx, dirfd: i32, path: &[u8], how: OpenHow, resolve: Resolve) -> Result<u64> {
    let at = if path.first() == Some(&b'/') && !resolve.contains(Resolve::IN_ROOT) {
        libc::AT_FDCWD
    } else {
        dirfd
    };
    let mut lookup = ctx.lookup(at)?;
    lookup.resolve = resolve;
    let file = vfs::open(&lookup, path, how)?;
    let fd = ctx.files.add(file, how.flags.contains(OpenFlags::CLOEXEC))?;
    Ok(fd as u64)
}

fn open(ctx: &mut Ctx, dirfd: i32, path: u64, flags: u32, mode: u32) -> Result<u64> {
    let path = ctx.path(path)?;
    let flags = OpenFlags::from_bits_truncate(flags);
    let how = OpenHow { flags, mode: umasked(ctx, mode) };
    finish(ctx, dirfd, &path, how, Resolve::empty())
}

fn openat2(ctx: &mut Ctx, [fd, path, how, size, ..]: Args) -> Result<u64> {
    if size < 24 {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0; size as usize];
    ctx.read(how, &mut bytes)?;
    if bytes[24..].iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG);
    }
    let mut u = Unpacker(&bytes);
    let (flags, mode, resolve) = (u.u64(), u.u64(), u.u64());
    let flags = u32::try_from(flags).ok().and_then(OpenFlags::from_bits).ok_or(Errno::EINVAL)?;
    let creates = flags.intersects(OpenFlags::CREAT | OpenFlags::TMPFILE_BIT);
    if mode & !0o7777 != 0 || (mode != 0 && !creates) {
        return Err(Errno::EINVAL);
    }
    let resolve = vfs::known_resolve(resolve)?;
    if resolve.contains(Resolve::BENEATH | Resolve::IN_ROOT) {
        return Err(Errno::EINVAL);
    }
    let with_path = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
    if flags.contains(OpenFlags::PATH) && !(flags - with_path).is_empty() {
        return Err(Errno::EINVAL);
    }
    // Nothing is made or cut from the cache alone.
    let changes = OpenFlags::CREAT | OpenFlags::TRUNC | OpenFlags::TMPFILE_BIT;
    if resolve.contains(Resolve::CACHED) && flags.intersects(changes) {
        return Err(Errno::EAGAIN);
    }
    let path = ctx.path(path)?;
    let how = OpenHow { flags, mode: umasked(ctx, mode as u32) };
    finish(ctx, fd as i32, &path, how, resolve)
}

fn close_range(ctx: &mut Ctx, [first, last, flags, ..]: Args) -> Result<u64> {
    const UNSHARE: u64 = 2;
    const CLOEXEC: u64 = 4;
    let (first, last) = (first as u32, last as u32);
    if first > last || flags & !(UNSHARE | CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & UNSHARE != 0 {
        ctx.files = ctx.files.copy();
        ctx.task.inner.lock().files = Some(ctx.files.clone());
    }
    let inside = |fd: i32| (first..=last).contains(&(fd as u32));
    if flags & CLOEXEC != 0 {
        for (fd, _) in ctx.files.all() {
            if inside(fd) {
                ctx.files.set_cloexec(fd, true)?;
            }
        }
        return Ok(0);
    }
    for file in ctx.files.take_if(|fd, _| inside(fd)) {
        let _ = close(ctx, &file);
    }
    Ok(0)
}
