//! Making, running, ending and awaiting processes.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::fs::PATH_EMPTY;
use crate::mm::{Packer, Strings, UserMemory};
use crate::task::exec::{self, MAX_ARG};
use crate::task::exit::{self, Waited, Which};
use crate::task::fork::{self, CloneArgs};
use crate::task::{Ctx, kernel};

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_fork, "fork", |ctx, _| {
        fork::clone(ctx, &CloneArgs { exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() })
    }),
    full(libc::SYS_vfork, "vfork", |ctx, _| {
        let flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
        fork::clone(ctx, &CloneArgs { flags, exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() })
    }),
    partial(libc::SYS_clone, "clone", "namespaces", clone),
    partial(libc::SYS_clone3, "clone3", "namespaces, cgroups, set_tid", clone3),
    full(libc::SYS_execve, "execve", |ctx, [path, argv, envp, ..]| {
        execve(ctx, libc::AT_FDCWD, path, argv, envp, 0)
    }),
    full(libc::SYS_execveat, "execveat", |ctx, [fd, path, argv, envp, flags, _]| {
        execve(ctx, fd as i32, path, argv, envp, flags as i32)
    }),
    full(libc::SYS_exit, "exit", |ctx, [code, ..]| {
        ctx.exit = Some((code as i32 & 0xff) << 8);
        Ok(0)
    }),
    full(libc::SYS_exit_group, "exit_group", |ctx, [code, ..]| {
        exit::begin_group_exit(&ctx.task.process, (code as i32 & 0xff) << 8);
        Ok(0)
    }),
    full(libc::SYS_wait4, "wait4", wait4),
    full(libc::SYS_waitid, "waitid", waitid),
    full(libc::SYS_set_tid_address, "set_tid_address", |ctx, [at, ..]| {
        ctx.task.inner.lock().clear_child_tid = at;
        Ok(ctx.task.tid as u64)
    }),
];

fn clone(ctx: &mut Ctx, [flags, stack, parent_tid, child_tid, tls, _]: Args) -> Result<u64> {
    let signal = flags & 0xff;
    let flags = flags & !0xff & 0xffff_ffff;
    fork::clone(
        ctx,
        &CloneArgs { flags, pidfd: parent_tid, child_tid, parent_tid, exit_signal: signal, stack, tls },
    )
}

fn clone3(ctx: &mut Ctx, [at, size, ..]: Args) -> Result<u64> {
    const VER0: u64 = 64;
    if size < VER0 {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0; size as usize];
    ctx.read(at, &mut bytes)?;
    if bytes.iter().skip(88).any(|b| *b != 0) {
        return Err(Errno::E2BIG);
    }
    let mut u = crate::mm::Unpacker(&bytes);
    let (flags, pidfd, child_tid, parent_tid, exit_signal) = (u.u64(), u.u64(), u.u64(), u.u64(), u.u64());
    let (stack, stack_size, tls) = (u.u64(), u.u64(), u.u64());
    let (set_tid, set_tid_size) = (u.u64(), u.u64());
    // The flags of linux/sched.h, without CLONE_DETACHED, which this call does not have.
    const KNOWN: u64 = 0x3_ffff_ff80 & !(libc::CLONE_DETACHED as u64);
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    if set_tid != 0 || set_tid_size != 0 || (stack == 0) != (stack_size == 0) || flags & 0xff != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & (libc::CLONE_THREAD | libc::CLONE_PARENT) as u64 != 0 && exit_signal != 0 {
        return Err(Errno::EINVAL);
    }
    let stack = stack.checked_add(stack_size).ok_or(Errno::EINVAL)?;
    fork::clone(ctx, &CloneArgs { flags, pidfd, child_tid, parent_tid, exit_signal, stack, tls })
}

/// Reads a NULL-terminated array of strings.
fn strings(memory: &UserMemory, at: u64, room: &mut usize) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    if at == 0 {
        return Ok(out);
    }
    // The pointers in blocks; a block may reach beyond what is mapped.
    let mut next = at;
    let mut texts = Strings::of(memory.clone());
    loop {
        let mut block = [0; 512];
        let to_page_end = 4096 - (next as usize & 4095);
        let len = block.len().min(to_page_end.max(8));
        let got = memory.read_some(next, &mut block[..len])?;
        if got < 8 {
            return Err(Errno::EFAULT);
        }
        for word in block[..got].chunks_exact(8) {
            let p = u64::from_le_bytes(word.try_into().map_err(|_| Errno::EFAULT)?);
            if p == 0 {
                return Ok(out);
            }
            let s = texts
                .string(p, MAX_ARG)
                .map_err(|e| if e == Errno::ENAMETOOLONG { Errno::E2BIG } else { e })?;
            *room = room.checked_sub(s.len() + 9).ok_or(Errno::E2BIG)?;
            out.push(s);
            next += 8;
        }
    }
}

fn execve(ctx: &mut Ctx, dirfd: i32, path: u64, argv: u64, envp: u64, flags: i32) -> Result<u64> {
    let memory = ctx.memory();
    let name = ctx.path(path)?;
    if name.is_empty() && flags & libc::AT_EMPTY_PATH == 0 {
        return Err(Errno::ENOENT);
    }
    if flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let lookup = ctx.lookup(libc::AT_FDCWD)?;
    let path = if name.is_empty() && flags & PATH_EMPTY != 0 {
        ctx.any_file(dirfd as u64)?.path().clone()
    } else {
        ctx.find(dirfd, &name, flags & libc::AT_SYMLINK_NOFOLLOW == 0)?
    };
    if path.inode().attr()?.kind() == crate::fs::kind::LNK {
        return Err(Errno::ELOOP);
    }
    let mut room = 6 << 20;
    let mut args = strings(&memory, argv, &mut room)?;
    let env = strings(&memory, envp, &mut room)?;
    if args.is_empty() {
        args.push(Vec::new());
    }
    let name = match (name.first(), dirfd) {
        (Some(b'/'), _) | (_, libc::AT_FDCWD) => name,
        (None, fd) => format!("/dev/fd/{fd}").into_bytes(),
        (_, fd) => [format!("/dev/fd/{fd}/").as_bytes(), &name].concat(),
    };
    let by_descriptor = name.starts_with(b"/dev/fd/") && dirfd != libc::AT_FDCWD;
    let unreachable = by_descriptor && ctx.files.cloexec(dirfd) == Ok(true);
    exec::exec(ctx, exec::Request { lookup, path, name, unreachable, args, env })?;
    Ok(0)
}

/// `struct rusage`.
pub(super) fn rusage(user: u64, system: u64, rss: u64) -> Vec<u8> {
    let time = |p: Packer, ns: u64| p.u64(ns / 1_000_000_000).u64(ns % 1_000_000_000 / 1000);
    time(time(Packer::new(), user), system).u64(rss).pad(144).0
}

fn put_rusage(ctx: &mut Ctx, at: u64, waited: &Waited) -> Result<()> {
    if at == 0 {
        return Ok(());
    }
    let (user, system) = waited.usage;
    let times = &waited.process.times;
    let rss = times.max_rss.kib().max(times.child_max_rss.kib());
    ctx.put(at, &rusage(user, system, rss))
}

fn wait4(ctx: &mut Ctx, [pid, status, options, usage, ..]: Args) -> Result<u64> {
    let options = options as i32;
    let known = libc::WNOHANG
        | libc::WUNTRACED
        | libc::WCONTINUED
        | libc::__WALL
        | libc::__WCLONE
        | libc::__WNOTHREAD;
    if options & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let which = match pid as i32 {
        i32::MIN => return Err(Errno::ESRCH),
        -1 => Which::Any,
        0 => Which::Group(own_group(ctx)),
        p if p < 0 => Which::Group(-p),
        p => Which::Pid(p),
    };
    let Some(waited) = exit::wait(ctx, &which, options | libc::WEXITED)? else { return Ok(0) };
    if status != 0 {
        ctx.put(status, &waited.status.to_le_bytes())?;
    }
    put_rusage(ctx, usage, &waited)?;
    Ok(waited.pid as u64)
}

fn own_group(ctx: &Ctx) -> i32 {
    kernel().table.group_and_session(ctx.task.process.pid).map_or(0, |(g, _)| g)
}

fn waitid(ctx: &mut Ctx, [kind, id, info, options, usage, _]: Args) -> Result<u64> {
    let options = options as i32;
    let events = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED;
    let known = events | libc::WNOHANG | libc::WNOWAIT | libc::__WALL | libc::__WCLONE | libc::__WNOTHREAD;
    if options & !known != 0 || options & events == 0 {
        return Err(Errno::EINVAL);
    }
    let which = match kind as u32 {
        libc::P_ALL => Which::Any,
        libc::P_PID if id as i32 > 0 => Which::Pid(id as i32),
        libc::P_PGID if id as i32 > 0 => Which::Group(id as i32),
        libc::P_PGID if id as i32 == 0 => Which::Group(own_group(ctx)),
        libc::P_PIDFD => Which::Pid(crate::task::pidfd::process_of(&*ctx.any_file(id)?)?.pid),
        _ => return Err(Errno::EINVAL),
    };
    let waited = exit::wait(ctx, &which, options)?;
    if info != 0 {
        let bytes = waited.as_ref().map_or([0; 128], |w| {
            let mut i = w.info;
            i.signo = libc::SIGCHLD;
            i.to_bytes()
        });
        ctx.memory().write(info, &bytes[..if waited.is_some() { 128 } else { 24 }])?;
    }
    if let Some(waited) = waited {
        put_rusage(ctx, usage, &waited)?;
    }
    Ok(0)
}
