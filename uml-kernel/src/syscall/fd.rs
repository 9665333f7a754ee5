//! Descriptors: duplicating, flags, locks, ioctl.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::fs::locks::{self, Lock, Owner, Space};
use crate::fs::tty::{MasterFile, TIOCGPTPEER};
use crate::fs::{File, OpenFlags};
use crate::mm::{Backing, Packer, Unpacker};
use crate::task::{Ctx, kernel};
use std::sync::Arc;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_dup, "dup", |ctx, [fd, ..]| {
        let file = ctx.any_file(fd)?;
        ctx.files.add(file, false).map(|n| n as u64)
    }),
    full(libc::SYS_dup2, "dup2", |ctx, [old, new, ..]| {
        if old as i32 == new as i32 {
            return ctx.any_file(old).map(|_| new as u32 as u64);
        }
        dup_to(ctx, old, new, false)
    }),
    full(libc::SYS_dup3, "dup3", |ctx, [old, new, flags, ..]| {
        if flags & !(OpenFlags::CLOEXEC.bits() as u64) != 0 || old as i32 == new as i32 {
            return Err(Errno::EINVAL);
        }
        dup_to(ctx, old, new, flags != 0)
    }),
    partial(libc::SYS_fcntl, "fcntl", "leases, dnotify, write hints", fcntl),
    full(libc::SYS_flock, "flock", |ctx, [fd, op, ..]| {
        let file = ctx.file(fd)?;
        let owner = locks::file_owner(&file);
        let wait = op as i32 & libc::LOCK_NB == 0;
        let write = match op as i32 & !libc::LOCK_NB {
            libc::LOCK_SH => false,
            libc::LOCK_EX => true,
            libc::LOCK_UN => return locks::unset(&file, Space::Whole, owner, 0, u64::MAX).map(|()| 0),
            _ => return Err(Errno::EINVAL),
        };
        locks::set(&file, Space::Whole, Lock { owner, write, start: 0, end: u64::MAX }, wait).map(|()| 0)
    }),
    partial(libc::SYS_ioctl, "ioctl", "what the file's driver knows", ioctl),
];

fn dup_to(ctx: &mut Ctx, old: u64, new: u64, cloexec: bool) -> Result<u64> {
    let file = ctx.any_file(old)?;
    if let Some(before) = ctx.files.put(new as i32, file, cloexec)? {
        let _ = super::open::close(ctx, &before);
    }
    Ok(new as u32 as u64)
}

/// Closing any descriptor of a file gives back all POSIX locks that the process has on it.
pub(super) fn release_posix_locks(ctx: &Ctx, file: &Arc<File>) {
    if locks::any() {
        let _ = locks::unset(file, Space::Ranges, process_owner(ctx), 0, u64::MAX);
    }
}

fn process_owner(ctx: &Ctx) -> Owner {
    Owner::Process(Arc::as_ptr(&ctx.files) as usize, ctx.task.process.pid)
}

const F_DUPFD_CLOEXEC: i32 = 1030;
const F_SETPIPE_SZ: i32 = 1031;
const F_GETPIPE_SZ: i32 = 1032;
const F_GETOWN_EX: i32 = 16;
const F_SETOWN_EX: i32 = 15;
const F_SETSIG: i32 = 10;
const F_GETSIG: i32 = 11;
const F_GETLEASE: i32 = 1025;

fn fcntl(ctx: &mut Ctx, [fd, command, arg, ..]: Args) -> Result<u64> {
    let file = ctx.any_file(fd)?;
    let command = command as i32;
    let path_only = file.flags().contains(OpenFlags::PATH);
    let allowed = [libc::F_DUPFD, F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];
    if path_only && !allowed.contains(&command) {
        return Err(Errno::EBADF);
    }
    match command {
        libc::F_DUPFD | F_DUPFD_CLOEXEC => {
            if arg as i32 >= 0 && arg < ctx.task.process.limit(libc::RLIMIT_NOFILE) {
                ctx.files.add_from(arg as usize, file, command == F_DUPFD_CLOEXEC).map(|n| n as u64)
            } else {
                Err(Errno::EINVAL)
            }
        }
        libc::F_GETFD => ctx.files.cloexec(fd as i32).map(u64::from),
        libc::F_SETFD => ctx.files.set_cloexec(fd as i32, arg & 1 != 0).map(|()| 0),
        libc::F_GETFL => {
            Ok((file.flags().bits() | if path_only { 0 } else { OpenFlags::LARGEFILE.bits() }).into())
        }
        libc::F_SETFL => {
            let settable = OpenFlags::APPEND
                | OpenFlags::NONBLOCK
                | OpenFlags::ASYNC
                | OpenFlags::DIRECT
                | OpenFlags::NOATIME;
            let wanted = OpenFlags::from_bits_truncate(arg as u32) & settable;
            file.set_flags((file.flags() - settable) | wanted);
            Ok(0)
        }
        libc::F_GETLK
        | libc::F_SETLK
        | libc::F_SETLKW
        | libc::F_OFD_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW => lock(ctx, &file, command, arg),
        libc::F_GETOWN => Ok(file.owner.lock().0 as u64),
        libc::F_SETOWN => {
            file.owner.lock().0 = arg as i32;
            Ok(0)
        }
        F_GETOWN_EX => {
            let owner = file.owner.lock().0;
            let (kind, pid) = if owner < 0 { (2, -owner) } else { (1, owner) };
            ctx.put(arg, &Packer::new().i32(kind).i32(pid).0)?;
            Ok(0)
        }
        F_SETOWN_EX => {
            let mut bytes = [0; 8];
            ctx.read(arg, &mut bytes)?;
            let mut u = Unpacker(&bytes);
            let (kind, pid) = (u.i32(), u.i32());
            if !(0..=2).contains(&kind) {
                return Err(Errno::EINVAL);
            }
            file.owner.lock().0 = if kind == 2 { -pid } else { pid };
            Ok(0)
        }
        F_GETLEASE => Ok(libc::F_UNLCK as u64),
        F_GETSIG => Ok(file.owner.lock().1 as u64),
        F_SETSIG => {
            if arg > 64 {
                return Err(Errno::EINVAL);
            }
            file.owner.lock().1 = arg as i32;
            Ok(0)
        }
        F_SETPIPE_SZ | F_GETPIPE_SZ => {
            crate::fs::special::pipe_size(&file, (command == F_SETPIPE_SZ).then_some(arg))
        }
        libc::F_ADD_SEALS | libc::F_GET_SEALS => {
            if command == libc::F_ADD_SEALS
                && arg as i32 & libc::F_SEAL_WRITE != 0
                && is_mapped_for_writing(&file)
            {
                return Err(Errno::EBUSY);
            }
            crate::fs::special::seals(&file, (command == libc::F_ADD_SEALS).then_some(arg as u32))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn lock(ctx: &mut Ctx, file: &Arc<File>, command: i32, at: u64) -> Result<u64> {
    let mut bytes = [0; 32];
    ctx.read(at, &mut bytes)?;
    let mut u = Unpacker(&bytes);
    let (kind, whence, _) = (u.u16() as i16 as i32, u.u16() as i32, u.u32());
    let (start, len, pid) = (u.i64(), u.i64(), u.i32());
    let ofd = matches!(command, libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW);
    if ofd && pid != 0 {
        return Err(Errno::EINVAL);
    }
    let base = match whence {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => *file.pos().lock() as i64,
        libc::SEEK_END => file.attr()?.size as i64,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match len {
        0 => (start, i64::MAX),
        l if l > 0 => (start, start.checked_add(l - 1).ok_or(Errno::EOVERFLOW)?),
        l => (start.checked_add(l).ok_or(Errno::EINVAL)?, start - 1),
    };
    if start < 0 || end < start {
        return Err(Errno::EINVAL);
    }
    let (start, end) = (start as u64, if end == i64::MAX { u64::MAX } else { end as u64 });
    let owner = if ofd { locks::file_owner(file) } else { process_owner(ctx) };
    let get = matches!(command, libc::F_GETLK | libc::F_OFD_GETLK);
    let write = match kind {
        libc::F_RDLCK => false,
        libc::F_WRLCK => true,
        libc::F_UNLCK if !get => return locks::unset(file, Space::Ranges, owner, start, end).map(|()| 0),
        _ => return Err(Errno::EINVAL),
    };
    let wanted = Lock { owner, write, start, end };
    if get {
        let found = locks::test(file, Space::Ranges, &wanted)?;
        let answer = match found {
            None => Packer::new().u16(libc::F_UNLCK as u16).bytes(&bytes[2..]).0,
            Some(l) => {
                let kind = if l.write { libc::F_WRLCK } else { libc::F_RDLCK };
                let len = if l.end == u64::MAX { 0 } else { l.end - l.start + 1 };
                let pid = if let Owner::Process(_, pid) = l.owner { pid } else { -1 };
                Packer::new().u16(kind as u16).u16(0).u32(0).u64(l.start).u64(len).i32(pid).u32(0).0
            }
        };
        ctx.put(at, &answer)?;
        return Ok(0);
    }
    if write {
        file.check_write()?;
    } else {
        file.check_read()?;
    }
    let wait = matches!(command, libc::F_SETLKW | libc::F_OFD_SETLKW);
    locks::set(file, Space::Ranges, wanted, wait).map(|()| 0)
}

fn ioctl(ctx: &mut Ctx, [fd, command, arg, ..]: Args) -> Result<u64> {
    const FIONBIO: u32 = 0x5421;
    const FIOASYNC: u32 = 0x5452;
    const FIOCLEX: u32 = 0x5451;
    const FIONCLEX: u32 = 0x5450;
    const FIONREAD: u32 = 0x541b;
    const FIGETBSZ: u32 = 2;
    let file = ctx.file(fd)?;
    match command as u32 {
        FIOCLEX => ctx.files.set_cloexec(fd as i32, true).map(|()| 0),
        FIONCLEX => ctx.files.set_cloexec(fd as i32, false).map(|()| 0),
        c @ (FIONBIO | FIOASYNC) => {
            let flag = if c == FIONBIO { OpenFlags::NONBLOCK } else { OpenFlags::ASYNC };
            let on = ctx.memory().u32(arg)? != 0;
            let flags = file.flags();
            file.set_flags(if on { flags | flag } else { flags - flag });
            Ok(0)
        }
        TIOCGPTPEER if file.ops_as::<MasterFile>().is_some() => {
            let flags = OpenFlags::from_bits_truncate(arg as u32);
            let master = file.ops_as::<MasterFile>().ok_or(Errno::ENOTTY)?;
            let peer = master.open_peer(flags - OpenFlags::CLOEXEC)?;
            ctx.files.add(peer, flags.contains(OpenFlags::CLOEXEC)).map(|fd| fd as u64)
        }
        c => match super::block::ioctl(ctx, &file, c, arg) {
            Err(Errno::ENOTTY) if c == FIONREAD && file.attr()?.kind() == crate::fs::kind::REG => {
                let left = file.attr()?.size.saturating_sub(*file.pos().lock());
                ctx.put(arg, &(left as u32).to_le_bytes())?;
                Ok(0)
            }
            Err(Errno::ENOTTY) if c == FIGETBSZ => {
                ctx.put(arg, &4096u32.to_le_bytes())?;
                Ok(0)
            }
            other => other,
        },
    }
}

/// Whether stores to a mapping can reach a file, in any address space.
fn is_mapped_for_writing(file: &Arc<File>) -> bool {
    let tasks: Vec<_> = kernel().table.lock().tasks.values().cloned().collect();
    tasks.iter().any(|task| {
        let Some(mm) = task.inner.lock().mm.clone() else { return false };
        let inner = mm.lock();
        inner.vmas.iter().any(|v| {
            let of_it = matches!(&v.backing, Backing::File(f, _) if Arc::ptr_eq(f.inode(), file.inode()));
            of_it && v.shared && v.max_prot & libc::PROT_WRITE != 0
        })
    })
}
