//! Memory: mmap and its relatives.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::mm::{Backing, MapRequest, PAGE, page_up};
use crate::platform::x86_64::layout::TASK_SIZE;
use crate::task::{Ctx, kernel};

pub(super) const TABLE: &[Entry] = &[
    partial(libc::SYS_mmap, "mmap", "MAP_HUGETLB, MAP_SYNC", mmap),
    full(libc::SYS_munmap, "munmap", |ctx, [addr, len, ..]| {
        let mm = ctx.mm.clone();
        mm.unmap(&mut ctx.stub, addr, len).map(|()| 0)
    }),
    full(libc::SYS_mprotect, "mprotect", mprotect),
    partial(
        libc::SYS_pkey_mprotect,
        "pkey_mprotect",
        "protection keys",
        |ctx, [addr, len, prot, key, ..]| {
            if key as i32 != -1 { Err(Errno::EINVAL) } else { mprotect(ctx, [addr, len, prot, 0, 0, 0]) }
        },
    ),
    full(libc::SYS_brk, "brk", |ctx, [wish, ..]| {
        let limit = ctx.task.process.limit(libc::RLIMIT_DATA);
        let mm = ctx.mm.clone();
        let grows = wish.saturating_sub(mm.lock().brk);
        // A heap that cannot grow stays as it is: that is how brk says no.
        let wish = if room(ctx, grows, true).is_ok() { wish } else { 0 };
        Ok(mm.set_brk(&mut ctx.stub, wish, limit, &kernel().usage))
    }),
    full(libc::SYS_mremap, "mremap", |ctx, [old, old_len, new_len, flags, new, _]| {
        let there = ctx.mm.lock().vmas.find(old).map(|v| (v.end - old, v.is_private_writable()));
        // What is not there fails for that reason, whatever the limits.
        if let Some((len, data)) = there.filter(|(len, _)| *len >= old_len) {
            room(ctx, new_len.saturating_sub(old_len).min(TASK_SIZE - len), data)?;
        }
        let mm = ctx.mm.clone();
        mm.remap(&mut ctx.stub, (old, old_len, new_len), flags as i32, new, &kernel().usage)
    }),
    partial(
        libc::SYS_madvise,
        "madvise",
        "MADV_MERGEABLE, guard regions, memory failure",
        |ctx, [addr, len, advice, ..]| match advice as i32 {
            advice @ (libc::MADV_POPULATE_READ | libc::MADV_POPULATE_WRITE) => {
                populate(ctx, addr, len, advice).map(|()| 0)
            }
            advice => {
                let mm = ctx.mm.clone();
                mm.advise(&mut ctx.stub, addr, len, advice).map(|()| 0)
            }
        },
    ),
    full(libc::SYS_msync, "msync", msync),
    partial(libc::SYS_mlock, "mlock", "the host may still swap them", |ctx, [addr, len, ..]| {
        lock_range(ctx, addr, len, true)
    }),
    partial(libc::SYS_mlock2, "mlock2", "as mlock", |ctx, [addr, len, flags, ..]| {
        if flags & !1 != 0 { Err(Errno::EINVAL) } else { lock_range(ctx, addr, len, true) }
    }),
    full(libc::SYS_munlock, "munlock", |ctx, [addr, len, ..]| lock_range(ctx, addr, len, false)),
    partial(libc::SYS_mlockall, "mlockall", "as mlock", |ctx, [flags, ..]| {
        if flags == 0 || flags & !7 != 0 || flags == 4 {
            return Err(Errno::EINVAL);
        }
        ctx.mm.lock().lock_future = flags & libc::MCL_FUTURE as u64 != 0;
        match flags & libc::MCL_CURRENT as u64 {
            0 => Ok(0),
            _ => ctx.mm.set_locked(0, TASK_SIZE, true).map(|()| 0),
        }
    }),
    full(libc::SYS_munlockall, "munlockall", |ctx, _| {
        ctx.mm.lock().lock_future = false;
        ctx.mm.set_locked(0, TASK_SIZE, false).map(|()| 0)
    }),
    partial(libc::SYS_mincore, "mincore", "pages of files count as resident", mincore),
];

/// Growing is when a look at what is held is due.
fn mmap(ctx: &mut Ctx, [addr, len, prot, flags, fd, offset]: Args) -> Result<u64> {
    crate::task::oom::look(crate::base::time::now());
    let (prot, flags) = (prot as i32, flags as i32);
    if !offset.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let kind = flags & libc::MAP_TYPE;
    if !matches!(kind, libc::MAP_PRIVATE | libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE) {
        return Err(Errno::EINVAL);
    }
    if kind == libc::MAP_SHARED_VALIDATE && flags & libc::MAP_ANONYMOUS != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & libc::MAP_HUGETLB != 0 {
        return Err(Errno::ENOMEM);
    }
    if kind == libc::MAP_SHARED_VALIDATE && flags & libc::MAP_SYNC != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let file = if flags & libc::MAP_ANONYMOUS != 0 {
        None
    } else {
        let file = ctx.file(fd)?;
        page_up(len).and_then(|l| offset.checked_add(l)).ok_or(Errno::EOVERFLOW)?;
        Some((file, offset))
    };
    let data = kind == libc::MAP_PRIVATE && prot & libc::PROT_WRITE != 0;
    room(ctx, len, data)?;
    let request = MapRequest { addr, len, prot: prot & 7, flags, file, name: "" };
    let mm = ctx.mm.clone();
    let at = mm.map(&mut ctx.stub, request, &kernel().usage)?;
    if flags & libc::MAP_POPULATE != 0 && flags & libc::MAP_NONBLOCK == 0 && prot & 7 != 0 {
        // The mapping stands even if there is nothing to fill it with.
        let advice = if data { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
        let _ = populate(ctx, at, len, advice);
    }
    Ok(at)
}

/// Fills a range with pages, in pieces: what is held is looked at between them, and a process that is to end does.
fn populate(ctx: &mut Ctx, addr: u64, len: u64, advice: i32) -> Result<()> {
    const PIECE: u64 = 16 << 20;
    addr.checked_add(len).ok_or(Errno::EINVAL)?;
    let mm = ctx.mm.clone();
    let mut done = 0;
    loop {
        mm.advise(&mut ctx.stub, addr + done, (len - done).min(PIECE), advice)?;
        done += PIECE;
        if done >= len {
            return Ok(());
        }
        if !ctx.goes_on() {
            return Err(Errno::EINTR);
        }
    }
}

/// ENOMEM if `more` bytes do not fit into RLIMIT_AS, or data into RLIMIT_DATA.
fn room(ctx: &Ctx, more: u64, data: bool) -> Result<()> {
    let process = &ctx.task.process;
    let (all, private) = (process.limit(libc::RLIMIT_AS), process.limit(libc::RLIMIT_DATA));
    if more == 0 || all == libc::RLIM_INFINITY && private == libc::RLIM_INFINITY {
        return Ok(());
    }
    // The stack is mapped whole here, and counted as what it begins with.
    const STACK: u64 = 132 << 10;
    let inner = ctx.mm.lock();
    let (mut size, mut held) = (0, 0);
    for vma in inner.vmas.iter() {
        let stack = vma.name == "[stack]";
        size += if stack { STACK.min(vma.len()) } else { vma.len() };
        held += if vma.is_private_writable() && !stack { vma.len() } else { 0 };
    }
    let more = page_up(more).ok_or(Errno::ENOMEM)?;
    let fits = size.saturating_add(more) <= all && (!data || held.saturating_add(more) <= private);
    if fits { Ok(()) } else { Err(Errno::ENOMEM) }
}

fn mprotect(ctx: &mut Ctx, [addr, len, prot, ..]: Args) -> Result<u64> {
    let prot = prot as i32;
    const GROWS: i32 = libc::PROT_GROWSDOWN | libc::PROT_GROWSUP;
    if prot & !(7 | GROWS | 8) != 0 || prot & GROWS == GROWS {
        return Err(Errno::EINVAL);
    }
    if addr.checked_add(len).is_none() {
        return Err(Errno::ENOMEM);
    }
    let mm = ctx.mm.clone();
    // The stack is mapped whole; growing down changes it from its beginning.
    let (addr, len) = match prot & libc::PROT_GROWSDOWN {
        0 => (addr, len),
        _ => {
            let inner = mm.lock();
            let vma = inner.vmas.find(addr).filter(|v| v.name == "[stack]").ok_or(Errno::EINVAL)?;
            (vma.start, len.checked_add(addr - vma.start).ok_or(Errno::ENOMEM)?)
        }
    };
    mm.protect(&mut ctx.stub, addr, len, prot & 7).map(|()| 0)
}

fn checked(ctx: &Ctx, addr: u64, len: u64) -> Result<(u64, u64)> {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let end = page_up(len).and_then(|l| addr.checked_add(l)).ok_or(Errno::ENOMEM)?;
    if !ctx.mm.lock().vmas.covers(addr, end) {
        return Err(Errno::ENOMEM);
    }
    Ok((addr, end))
}

fn msync(ctx: &mut Ctx, [addr, len, flags, ..]: Args) -> Result<u64> {
    let flags = flags as i32;
    let both = libc::MS_ASYNC | libc::MS_SYNC;
    if flags & !(both | libc::MS_INVALIDATE) != 0 || flags & both == both {
        return Err(Errno::EINVAL);
    }
    let (start, end) = checked(ctx, addr, len)?;
    if flags & libc::MS_SYNC != 0 {
        let files: Vec<_> = {
            let inner = ctx.mm.lock();
            let shared = inner.vmas.overlapping(start, end).filter(|v| v.shared);
            shared
                .filter_map(|v| {
                    if let crate::mm::Backing::File(f, _) = &v.backing { Some(f.clone()) } else { None }
                })
                .collect()
        };
        for file in files {
            let _ = file.ops().sync(&file, true);
        }
    }
    Ok(0)
}

fn lock_range(ctx: &mut Ctx, addr: u64, len: u64, lock: bool) -> Result<u64> {
    let start = addr & !(PAGE - 1);
    let len = len.checked_add(addr - start).and_then(page_up).ok_or(Errno::EINVAL)?;
    if len == 0 {
        return Ok(0);
    }
    let (start, end) = checked(ctx, start, len)?;
    ctx.mm.set_locked(start, end, lock)?;
    if !lock {
        return Ok(0);
    }
    // Populated now, as a locked page would be.
    let readable = ctx.mm.lock().vmas.overlapping(start, end).all(|v| v.prot & libc::PROT_READ != 0);
    if readable {
        let _ = populate(ctx, start, end - start, libc::MADV_POPULATE_READ);
    }
    Ok(0)
}

fn mincore(ctx: &mut Ctx, [addr, len, vec, ..]: Args) -> Result<u64> {
    let (start, end) = checked(ctx, addr, len)?;
    // Pages of files are the host's, whose cache has them or gets them.
    let files: Vec<(u64, u64)> = {
        let inner = ctx.mm.lock();
        let of_files = inner.vmas.overlapping(start, end).filter(|v| matches!(v.backing, Backing::File(..)));
        of_files.map(|v| (v.start, v.end)).collect()
    };
    let pages = (end - start) / PAGE;
    const PIECE: u64 = 4096;
    for at in (0..pages).step_by(PIECE as usize) {
        let n = (pages - at).min(PIECE);
        let first = start + at * PAGE;
        let mut resident = ctx.mm.resident_pages(first, n as usize);
        for (n, byte) in resident.iter_mut().enumerate() {
            let page = first + n as u64 * PAGE;
            *byte |= u8::from(files.iter().any(|(start, end)| (*start..*end).contains(&page)));
        }
        ctx.memory().write(vec + at, &resident)?;
    }
    Ok(0)
}
