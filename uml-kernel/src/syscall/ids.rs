//! Who a process is: user, group, capabilities, groups of processes, sessions, limits, priorities.

use super::{Args, Entry, full};
use crate::base::{Errno, Result};
use crate::fs::{ALL_CAPS, Cap, Creds};
use crate::mm::{Packer, Unpacker};
use crate::task::{Ctx, Pid, cpu_clock, kernel};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_getpid, "getpid", |ctx, _| Ok(ctx.task.process.pid as u64)),
    full(libc::SYS_gettid, "gettid", |ctx, _| Ok(ctx.task.tid as u64)),
    full(libc::SYS_getppid, "getppid", |ctx, _| Ok(kernel().table.parent(ctx.task.process.pid) as u64)),
    full(libc::SYS_getuid, "getuid", |ctx, _| Ok(ctx.creds().uid.into())),
    full(libc::SYS_geteuid, "geteuid", |ctx, _| Ok(ctx.creds().euid.into())),
    full(libc::SYS_getgid, "getgid", |ctx, _| Ok(ctx.creds().gid.into())),
    full(libc::SYS_getegid, "getegid", |ctx, _| Ok(ctx.creds().egid.into())),
    full(libc::SYS_getresuid, "getresuid", |ctx, [r, e, s, ..]| {
        let c = ctx.creds();
        put_three(ctx, [(r, c.uid), (e, c.euid), (s, c.suid)])
    }),
    full(libc::SYS_getresgid, "getresgid", |ctx, [r, e, s, ..]| {
        let c = ctx.creds();
        put_three(ctx, [(r, c.gid), (e, c.egid), (s, c.sgid)])
    }),
    full(libc::SYS_setuid, "setuid", |ctx, [uid, ..]| set_uid(ctx, uid as u32)),
    full(libc::SYS_setgid, "setgid", |ctx, [gid, ..]| set_gid(ctx, gid as u32)),
    full(libc::SYS_setreuid, "setreuid", |ctx, [r, e, ..]| set_res_uid(ctx, [r as u32, e as u32, !0], true)),
    full(libc::SYS_setregid, "setregid", |ctx, [r, e, ..]| set_res_gid(ctx, [r as u32, e as u32, !0], true)),
    full(libc::SYS_setresuid, "setresuid", |ctx, [r, e, s, ..]| {
        set_res_uid(ctx, [r as u32, e as u32, s as u32], false)
    }),
    full(libc::SYS_setresgid, "setresgid", |ctx, [r, e, s, ..]| {
        set_res_gid(ctx, [r as u32, e as u32, s as u32], false)
    }),
    full(libc::SYS_setfsuid, "setfsuid", |ctx, [uid, ..]| {
        let (old, uid) = (ctx.creds().fsuid, uid as u32);
        let _ = change(ctx, |c| {
            if [c.uid, c.euid, c.suid, c.fsuid].contains(&uid) || c.has(Cap::Setuid) {
                c.fsuid = uid;
            }
            Ok(())
        });
        Ok(old.into())
    }),
    full(libc::SYS_setfsgid, "setfsgid", |ctx, [gid, ..]| {
        let (old, gid) = (ctx.creds().fsgid, gid as u32);
        let _ = change(ctx, |c| {
            if [c.gid, c.egid, c.sgid, c.fsgid].contains(&gid) || c.has(Cap::Setgid) {
                c.fsgid = gid;
            }
            Ok(())
        });
        Ok(old.into())
    }),
    full(libc::SYS_getgroups, "getgroups", |ctx, [size, list, ..]| {
        let groups = ctx.creds().groups.clone();
        let size = size as i32;
        if size < 0 || (size > 0 && (size as usize) < groups.len()) {
            return Err(Errno::EINVAL);
        }
        if size > 0 {
            let bytes = groups.iter().fold(Packer::new(), |p, g| p.u32(*g));
            ctx.put(list, &bytes.0)?;
        }
        Ok(groups.len() as u64)
    }),
    full(libc::SYS_setgroups, "setgroups", |ctx, [size, list, ..]| {
        ctx.creds().need(Cap::Setgid)?;
        if size > 65536 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = vec![0; size as usize * 4];
        ctx.read(list, &mut bytes)?;
        let mut u = Unpacker(&bytes);
        let mut groups: Vec<u32> = (0..size).map(|_| u.u32()).collect();
        groups.sort_unstable();
        change(ctx, |c| {
            c.groups = groups.into();
            Ok(())
        })
    }),
    full(libc::SYS_capget, "capget", capget),
    full(libc::SYS_capset, "capset", capset),
    full(libc::SYS_getpgid, "getpgid", |ctx, [pid, ..]| group_of(ctx, pid as Pid).map(|(g, _)| g as u64)),
    full(libc::SYS_getpgrp, "getpgrp", |ctx, _| group_of(ctx, 0).map(|(g, _)| g as u64)),
    full(libc::SYS_getsid, "getsid", |ctx, [pid, ..]| group_of(ctx, pid as Pid).map(|(_, s)| s as u64)),
    full(libc::SYS_setpgid, "setpgid", setpgid),
    full(libc::SYS_setsid, "setsid", setsid),
    full(libc::SYS_prlimit64, "prlimit64", prlimit),
    full(libc::SYS_getrlimit, "getrlimit", |ctx, [which, at, ..]| prlimit(ctx, [0, which, 0, at, 0, 0])),
    full(libc::SYS_setrlimit, "setrlimit", |ctx, [which, at, ..]| prlimit(ctx, [0, which, at, 0, 0, 0])),
];

fn put_three(ctx: &mut Ctx, values: [(u64, u32); 3]) -> Result<u64> {
    for (at, value) in values {
        ctx.put(at, &value.to_le_bytes())?;
    }
    Ok(0)
}

/// Changes the caller's credentials.
pub(super) fn change(ctx: &mut Ctx, f: impl FnOnce(&mut Creds) -> Result<()>) -> Result<u64> {
    let mut creds = (*ctx.creds()).clone();
    let old = creds.clone();
    f(&mut creds)?;
    if creds != old {
        // What was dumpable by one user is not by another.
        if creds.euid != old.euid || creds.egid != old.egid {
            ctx.task.process.dumpable.store(0, Ordering::Relaxed);
            ctx.task.pdeath_signal.store(0, Ordering::Relaxed);
        }
        let uid = creds.uid;
        ctx.task.inner.lock().creds = Arc::new(creds);
        if let Some(entry) = kernel().table.lock().processes.get_mut(&ctx.task.process.pid) {
            entry.uid = uid;
        }
        ctx.publish_answers();
    }
    Ok(0)
}

/// What a change of user does to capabilities (capabilities(7), "Effect of user ID changes").
fn fix_caps(old: &Creds, new: &mut Creds) {
    const NO_SETUID_FIXUP: u32 = 1 << 2;
    const KEEP_CAPS: u32 = 1 << 4;
    if old.securebits & NO_SETUID_FIXUP != 0 {
        return;
    }
    let was_root = [old.uid, old.euid, old.suid].contains(&0);
    let is_root = [new.uid, new.euid, new.suid].contains(&0);
    if was_root && !is_root {
        if old.securebits & KEEP_CAPS == 0 {
            new.permitted = 0;
            new.effective = 0;
        }
        new.ambient = 0;
    }
    if old.euid == 0 && new.euid != 0 {
        new.effective = 0;
    } else if old.euid != 0 && new.euid == 0 {
        new.effective = new.permitted;
    }
}

fn set_uid(ctx: &mut Ctx, uid: u32) -> Result<u64> {
    if uid == KEEP {
        return Err(Errno::EINVAL);
    }
    change(ctx, |c| {
        let old = c.clone();
        if c.has(Cap::Setuid) {
            (c.uid, c.suid) = (uid, uid);
        } else if uid != c.uid && uid != c.suid {
            return Err(Errno::EPERM);
        }
        (c.euid, c.fsuid) = (uid, uid);
        fix_caps(&old, c);
        Ok(())
    })
}

fn set_gid(ctx: &mut Ctx, gid: u32) -> Result<u64> {
    if gid == KEEP {
        return Err(Errno::EINVAL);
    }
    change(ctx, |c| {
        if c.has(Cap::Setgid) {
            (c.gid, c.sgid) = (gid, gid);
        } else if gid != c.gid && gid != c.sgid {
            return Err(Errno::EPERM);
        }
        (c.egid, c.fsgid) = (gid, gid);
        Ok(())
    })
}

const KEEP: u32 = !0;

/// The rules that setreuid and setresuid share: who is not privileged moves among the ids it has.
fn pick(now: [u32; 3], want: [u32; 3], privileged: bool, re: bool) -> Result<[u32; 3]> {
    let mut new = now;
    for (n, id) in want.into_iter().enumerate() {
        if id == KEEP {
            continue;
        }
        let allowed = if re && n == 0 { [now[0], now[1], now[1]] } else { now };
        if !privileged && !allowed.contains(&id) {
            return Err(Errno::EPERM);
        }
        new[n] = id;
    }
    if re && (want[0] != KEEP || want[1] != KEEP && want[1] != now[0]) {
        new[2] = new[1];
    }
    Ok(new)
}

fn set_res_uid(ctx: &mut Ctx, want: [u32; 3], re: bool) -> Result<u64> {
    change(ctx, |c| {
        let old = c.clone();
        [c.uid, c.euid, c.suid] = pick([c.uid, c.euid, c.suid], want, c.has(Cap::Setuid), re)?;
        c.fsuid = c.euid;
        fix_caps(&old, c);
        Ok(())
    })
}

fn set_res_gid(ctx: &mut Ctx, want: [u32; 3], re: bool) -> Result<u64> {
    change(ctx, |c| {
        [c.gid, c.egid, c.sgid] = pick([c.gid, c.egid, c.sgid], want, c.has(Cap::Setgid), re)?;
        c.fsgid = c.egid;
        Ok(())
    })
}

const CAP_V1: u32 = 0x1998_0330;
const CAP_V2: u32 = 0x2007_1026;
const CAP_V3: u32 = 0x2008_0522;

/// The header: version and pid; how many 32-bit halves there are.
fn cap_header(ctx: &mut Ctx, at: u64, data: u64) -> Result<Option<(Pid, usize)>> {
    let mut head = [0; 8];
    ctx.read(at, &mut head)?;
    let mut u = Unpacker(&head);
    let (version, pid) = (u.u32(), u.i32());
    match version {
        CAP_V1 => Ok(Some((pid, 1))),
        CAP_V2 | CAP_V3 => Ok(Some((pid, 2))),
        _ => {
            ctx.memory().put_u32(at, CAP_V3)?;
            if data == 0 { Ok(None) } else { Err(Errno::EINVAL) }
        }
    }
}

fn capget(ctx: &mut Ctx, [at, data, ..]: Args) -> Result<u64> {
    let Some((pid, halves)) = cap_header(ctx, at, data)? else { return Ok(0) };
    if pid < 0 {
        return Err(Errno::EINVAL);
    }
    let task = if pid == 0 { ctx.task.clone() } else { kernel().table.task(pid).ok_or(Errno::ESRCH)? };
    let c = task.creds();
    if data == 0 {
        return Ok(0);
    }
    let half = |v: u64, n: usize| (v >> (32 * n)) as u32;
    let bytes = (0..halves).fold(Packer::new(), |p, n| {
        p.u32(half(c.effective, n)).u32(half(c.permitted, n)).u32(half(c.inheritable, n))
    });
    ctx.put(data, &bytes.0)?;
    Ok(0)
}

fn capset(ctx: &mut Ctx, [at, data, ..]: Args) -> Result<u64> {
    let Some((pid, halves)) = cap_header(ctx, at, data)? else { return Err(Errno::EINVAL) };
    if pid != 0 && pid != ctx.task.tid {
        return Err(Errno::EPERM);
    }
    let mut bytes = vec![0; halves * 12];
    ctx.read(data, &mut bytes)?;
    let mut u = Unpacker(&bytes);
    let (mut effective, mut permitted, mut inheritable) = (0, 0, 0);
    for n in 0..halves {
        effective |= u64::from(u.u32()) << (32 * n);
        permitted |= u64::from(u.u32()) << (32 * n);
        inheritable |= u64::from(u.u32()) << (32 * n);
    }
    let (effective, permitted, inheritable) =
        (effective & ALL_CAPS, permitted & ALL_CAPS, inheritable & ALL_CAPS);
    change(ctx, |c| {
        let may_inherit = c.inheritable | c.permitted;
        let bounded = c.inheritable | c.bounding;
        if permitted & !c.permitted != 0
            || effective & !permitted != 0
            || (inheritable & !may_inherit != 0 && !c.has(Cap::Setpcap))
            || inheritable & !bounded != 0
        {
            return Err(Errno::EPERM);
        }
        (c.effective, c.permitted, c.inheritable) = (effective, permitted, inheritable);
        c.ambient &= permitted & inheritable;
        Ok(())
    })
}

fn group_of(ctx: &Ctx, pid: Pid) -> Result<(Pid, Pid)> {
    let pid = if pid == 0 { ctx.task.process.pid } else { pid };
    kernel().table.group_and_session(pid).ok_or(Errno::ESRCH)
}

fn process(ctx: &Ctx, pid: Pid) -> Result<Arc<crate::task::Process>> {
    if pid == 0 {
        return Ok(ctx.task.process.clone());
    }
    kernel().table.process(pid).ok_or(Errno::ESRCH)
}

fn setpgid(ctx: &mut Ctx, [pid, pgid, ..]: Args) -> Result<u64> {
    let own = ctx.task.process.pid;
    let pid = if pid as Pid == 0 { own } else { pid as Pid };
    let pgid = if pgid as Pid == 0 { pid } else { pgid as Pid };
    if pgid < 0 {
        return Err(Errno::EINVAL);
    }
    let mut table = kernel().table.lock();
    let session = table.processes.get(&own).map_or(0, |e| e.sid);
    let target = table.processes.get(&pid).filter(|e| e.zombie.is_none()).ok_or(Errno::ESRCH)?;
    if pid != own {
        if target.parent != own {
            return Err(Errno::ESRCH);
        }
        if target.sid != session {
            return Err(Errno::EPERM);
        }
        if target.process.has_execed.load(Ordering::SeqCst) {
            return Err(Errno::EACCES);
        }
    }
    if target.sid == pid {
        return Err(Errno::EPERM);
    }
    if pgid != pid && !table.processes.values().any(|e| e.pgid == pgid && e.sid == session) {
        return Err(Errno::EPERM);
    }
    if let Some(target) = table.processes.get_mut(&pid) {
        target.pgid = pgid;
    }
    Ok(0)
}

fn setsid(ctx: &mut Ctx, _: Args) -> Result<u64> {
    let pid = ctx.task.process.pid;
    let mut table = kernel().table.lock();
    if table.processes.values().any(|e| e.pgid == pid) {
        return Err(Errno::EPERM);
    }
    if let Some(entry) = table.processes.get_mut(&pid) {
        (entry.pgid, entry.sid) = (pid, pid);
    }
    Ok(pid as u64)
}

fn prlimit(ctx: &mut Ctx, [pid, which, new, old, ..]: Args) -> Result<u64> {
    let process = process(ctx, pid as Pid)?;
    if which >= 16 {
        return Err(Errno::EINVAL);
    }
    let which = which as usize;
    if process.pid != ctx.task.process.pid {
        let theirs = kernel().table.threads(process.pid).first().map(|t| t.creds()).ok_or(Errno::ESRCH)?;
        let c = ctx.creds();
        let same = [theirs.uid, theirs.euid, theirs.suid].iter().all(|u| *u == c.uid)
            && [theirs.gid, theirs.egid, theirs.sgid].iter().all(|g| *g == c.gid);
        if !same && !c.has(Cap::SysResource) {
            return Err(Errno::EPERM);
        }
    }
    let wanted = if new != 0 {
        let mut bytes = [0; 16];
        ctx.read(new, &mut bytes)?;
        let mut u = Unpacker(&bytes);
        Some((u.u64(), u.u64()))
    } else {
        None
    };
    let now = process.limits.lock()[which];
    if let Some((soft, hard)) = wanted {
        if soft > hard {
            return Err(Errno::EINVAL);
        }
        if hard > now.1 && !ctx.creds().has(Cap::SysResource) {
            return Err(Errno::EPERM);
        }
        if which == libc::RLIMIT_NOFILE as usize {
            if hard > 1 << 20 {
                return Err(Errno::EPERM);
            }
            for task in kernel().table.threads(process.pid) {
                let files = task.inner.lock().files.clone();
                if let Some(files) = files {
                    files.set_limit(soft);
                }
            }
        }
        process.limits.lock()[which] = (soft, hard);
        if which == libc::RLIMIT_CPU as usize {
            cpu_clock::look_again(&process);
        }
    }
    if old != 0 {
        ctx.put(old, &Packer::new().u64(now.0).u64(now.1).0)?;
    }
    Ok(0)
}
