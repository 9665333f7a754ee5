//! Calls of administrators for which there is little or nothing here: rights and arguments are checked as ever, and then the answer
//! is why not.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::fs::{Cap, kind};
use crate::mm::Unpacker;
use crate::task::{Ctx, End, FsContext, kernel, keys};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_reboot, "reboot", reboot),
    partial(libc::SYS_acct, "acct", "no accounting: ENOSYS", |ctx, [path, ..]| {
        ctx.creds().need(Cap::SysPacct)?;
        if path == 0 {
            return Ok(0);
        }
        match named(ctx, path)?.inode().attr()?.kind() {
            kind::REG => Err(Errno::ENOSYS),
            kind::DIR => Err(Errno::EISDIR),
            _ => Err(Errno::EACCES),
        }
    }),
    partial(libc::SYS_pivot_root, "pivot_root", "the root stays: EINVAL", |ctx, [new, old, ..]| {
        ctx.creds().need(Cap::SysAdmin)?;
        for path in [new, old] {
            if !named(ctx, path)?.inode().attr()?.is_dir() {
                return Err(Errno::ENOTDIR);
            }
        }
        Err(Errno::EINVAL)
    }),
    partial(libc::SYS_setns, "setns", "one namespace of each kind: EINVAL", |ctx, [fd, ..]| {
        ctx.any_file(fd)?;
        Err(Errno::EINVAL)
    }),
    partial(libc::SYS_unshare, "unshare", "namespaces: EINVAL", unshare),
    partial(libc::SYS_vhangup, "vhangup", "a terminal stays: ENOSYS where there is one", |ctx, _| {
        ctx.creds().need(Cap::SysTtyConfig)?;
        let session = kernel().table.group_and_session(ctx.task.process.pid).map_or(0, |(_, s)| s);
        match crate::fs::special::controlling_terminal(session) {
            Some(_) => Err(Errno::ENOSYS),
            None => Ok(0),
        }
    }),
    partial(libc::SYS_ustat, "ustat", "no device has a file system that it knows: EINVAL", |_, _| {
        Err(Errno::EINVAL)
    }),
    partial(libc::SYS_keyctl, "keyctl", "no keyrings: ENOSYS", |_, [command, ..]| {
        // KEYCTL_WATCH_KEY is the last there is (linux/keyctl.h).
        const LAST: u64 = 32;
        Err(if command > LAST { Errno::EOPNOTSUPP } else { Errno::ENOSYS })
    }),
    partial(libc::SYS_pkey_alloc, "pkey_alloc", "no protection keys: ENOSPC", |_, [flags, rights, ..]| {
        Err(if flags != 0 || rights & !3 != 0 { Errno::EINVAL } else { Errno::ENOSPC })
    }),
    full(libc::SYS_pkey_free, "pkey_free", |_, _| Err(Errno::EINVAL)),
    partial(
        libc::SYS_name_to_handle_at,
        "name_to_handle_at",
        "no file system has handles: EOPNOTSUPP",
        |ctx, [dirfd, path, handle, _, flags, _]| {
            const FOLLOW: u64 = libc::AT_SYMLINK_FOLLOW as u64;
            const FID: u64 = 0x200;
            const MAX_HANDLE: u32 = 128;
            if flags & !(FOLLOW | FID | libc::AT_EMPTY_PATH as u64) != 0 {
                return Err(Errno::EINVAL);
            }
            let name = ctx.path(path)?;
            if name.is_empty() && flags & libc::AT_EMPTY_PATH as u64 != 0 {
                ctx.any_file(dirfd)?;
            } else {
                ctx.find(dirfd as i32, &name, flags & FOLLOW != 0)?;
            }
            let mut head = [0; 8];
            ctx.read(handle, &mut head)?;
            Err(if Unpacker(&head).u32() > MAX_HANDLE { Errno::EINVAL } else { Errno::EOPNOTSUPP })
        },
    ),
];

/// The file that a path argument names.
fn named(ctx: &Ctx, at: u64) -> Result<crate::fs::Path> {
    let path = ctx.path(at)?;
    ctx.find(libc::AT_FDCWD, &path, true)
}

fn reboot(ctx: &mut Ctx, [magic, magic2, command, ..]: Args) -> Result<u64> {
    // linux/reboot.h
    const MAGIC: u32 = 0xfee1_dead;
    const MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    const RESTART: u32 = 0x0123_4567;
    const HALT: u32 = 0xcdef_0123;
    const CAD_ON: u32 = 0x89ab_cdef;
    const CAD_OFF: u32 = 0;
    const POWER_OFF: u32 = 0x4321_fedc;
    const RESTART2: u32 = 0xa1b2_c3d4;
    ctx.creds().need(Cap::SysBoot)?;
    if magic as u32 != MAGIC || !MAGIC2.contains(&(magic2 as u32)) {
        return Err(Errno::EINVAL);
    }
    match command as u32 {
        RESTART | RESTART2 | HALT | POWER_OFF => {
            kernel().finish(match command as u32 {
                RESTART | RESTART2 => End::Restart,
                _ => End::Halted,
            });
            // Nothing comes after it.
            ctx.die(libc::SIGKILL);
            Ok(0)
        }
        CAD_ON | CAD_OFF => {
            keys::CTRL_ALT_DEL_RESTARTS.store(command as u32 == CAD_ON, Ordering::Relaxed);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn unshare(ctx: &mut Ctx, [flags, ..]: Args) -> Result<u64> {
    const SHARED: i32 = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    const NAMESPACES: i32 = libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWCGROUP;
    const NEWTIME: i32 = 0x80;
    const OWN: i32 = libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SYSVSEM;
    let known = SHARED | NAMESPACES | NEWTIME | libc::CLONE_NEWUSER | OWN;
    if flags & !(known as u32 as u64) != 0 {
        return Err(Errno::EINVAL);
    }
    let flags = flags as i32;
    if flags & SHARED != 0 && kernel().table.threads(ctx.task.process.pid).len() > 1 {
        return Err(Errno::EINVAL);
    }
    if flags & (NAMESPACES | NEWTIME) != 0 && flags & libc::CLONE_NEWUSER == 0 {
        ctx.creds().need(Cap::SysAdmin)?;
    }
    if flags & (NAMESPACES | NEWTIME | libc::CLONE_NEWUSER) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & libc::CLONE_FS != 0 {
        ctx.fs = FsContext::copy(&ctx.fs);
        ctx.task.inner.lock().fs = Some(ctx.fs.clone());
    }
    if flags & libc::CLONE_FILES != 0 {
        // What was held alone before is copied for nothing; what others hold stays theirs.
        let own = ctx.files.copy();
        let old = std::mem::replace(&mut ctx.files, own);
        let shown = ctx.task.inner.lock().files.replace(ctx.files.clone());
        drop::<(Arc<_>, Option<Arc<_>>)>((old, shown));
    }
    Ok(0)
}
