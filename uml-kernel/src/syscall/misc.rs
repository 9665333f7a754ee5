//! What fits nowhere else: names, random bytes, prctl, arch_prctl, sysinfo.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result, time};
use crate::fs::Cap;
use crate::mm::Packer;
use crate::platform::Op;
use crate::platform::x86_64::layout::TASK_SIZE;
use crate::task::{Ctx, kernel};
use std::sync::atomic::Ordering;

/// The version that uname tells: the interface that is implemented.
pub const RELEASE: &str = "6.12.0-uml";

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_uname, "uname", |ctx, [at, ..]| {
        let (host, domain) = kernel().names.lock().clone();
        let version = format!("#1 SMP uml-kernel {}", env!("CARGO_PKG_VERSION"));
        let fields =
            [b"Linux".to_vec(), host, RELEASE.into(), version.into_bytes(), b"x86_64".to_vec(), domain];
        let bytes = fields
            .iter()
            .enumerate()
            .fold(Packer::new(), |p, (n, f)| p.bytes(&f[..f.len().min(64)]).pad((n + 1) * 65));
        ctx.put(at, &bytes.0)?;
        Ok(0)
    }),
    full(libc::SYS_sethostname, "sethostname", |ctx, [at, len, ..]| {
        ctx.creds().need(Cap::SysAdmin)?;
        let name = name(ctx, at, len)?;
        kernel().names.lock().0 = name;
        Ok(0)
    }),
    full(libc::SYS_setdomainname, "setdomainname", |ctx, [at, len, ..]| {
        ctx.creds().need(Cap::SysAdmin)?;
        let name = name(ctx, at, len)?;
        kernel().names.lock().1 = name;
        Ok(0)
    }),
    full(libc::SYS_getrandom, "getrandom", |ctx, [at, len, flags, ..]| {
        if flags & !7 != 0 || flags & 6 == 6 {
            return Err(Errno::EINVAL);
        }
        let mut done = 0;
        let mut block = vec![0; len.min(65536) as usize];
        while done < len {
            let n = (len - done).min(block.len() as u64) as usize;
            rustix::rand::getrandom(&mut block[..n], rustix::rand::GetRandomFlags::empty())?;
            ctx.put(at + done, &block[..n])?;
            done += n as u64;
        }
        Ok(len)
    }),
    full(libc::SYS_sysinfo, "sysinfo", |ctx, [at, ..]| {
        let usage = &kernel().usage;
        let total = usage.limit();
        let free = total.saturating_sub(usage.held());
        let (swap, swap_free) = crate::mm::swap::area::totals();
        let procs = kernel().table.lock().tasks.len() as u16;
        let bytes = Packer::new()
            .u64(time::now() / 1_000_000_000)
            .u64(0)
            .u64(0)
            .u64(0)
            .u64(total)
            .u64(free)
            .u64(0)
            .u64(0)
            .u64(swap)
            .u64(swap_free)
            .u16(procs)
            .u16(0)
            .u32(0)
            .u64(0)
            .u64(0)
            .u32(1)
            .pad(112);
        ctx.put(at, &bytes.0)?;
        Ok(0)
    }),
    partial(libc::SYS_prctl, "prctl", "PR_SET_MM, speculation", prctl),
    full(libc::SYS_arch_prctl, "arch_prctl", arch_prctl),
    partial(libc::SYS_personality, "personality", "no effect", |ctx, [wish, ..]| {
        let p = &ctx.task.process.personality;
        let old = p.load(Ordering::Relaxed);
        if wish as u32 != !0 {
            p.store(wish as u32, Ordering::Relaxed);
        }
        Ok(old.into())
    }),
    partial(libc::SYS_syslog, "syslog", "reading and sizes only", syslog),
];

fn name(ctx: &Ctx, at: u64, len: u64) -> Result<Vec<u8>> {
    if len > 64 {
        return Err(Errno::EINVAL);
    }
    let mut name = vec![0; len as usize];
    ctx.read(at, &mut name)?;
    Ok(name)
}

fn arch_prctl(ctx: &mut Ctx, [code, at, ..]: Args) -> Result<u64> {
    match code {
        0x1002 => {
            if at >= TASK_SIZE {
                return Err(Errno::EPERM);
            }
            ctx.fs_base = at;
            ctx.stub.order(Op::set_fs(at))?;
            Ok(0)
        }
        0x1001 => {
            if at >= TASK_SIZE {
                return Err(Errno::EPERM);
            }
            // The trampoline finds its window by gs: without it, every call is a plain trap.
            ctx.mm.lock().patches.disable();
            ctx.gs_base = at;
            ctx.stub.order(Op::set_gs(at))?;
            Ok(0)
        }
        0x1003 => {
            let base = ctx.fs_base;
            ctx.put(at, &base.to_le_bytes())?;
            Ok(0)
        }
        0x1004 => {
            let base = ctx.gs_base;
            ctx.put(at, &base.to_le_bytes())?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn prctl(ctx: &mut Ctx, [option, arg2, arg3, arg4, arg5, _]: Args) -> Result<u64> {
    const CAP_LAST: u64 = 40;
    const SECURE_ALL_BITS: u32 = 0xff;
    let rest_zero = arg3 == 0 && arg4 == 0 && arg5 == 0;
    let process = ctx.task.process.clone();
    match option as i32 {
        libc::PR_SET_NAME => {
            let mut name = [0; 15];
            let n = ctx.memory().read_some(arg2, &mut name)?;
            let end = name[..n].iter().position(|b| *b == 0).unwrap_or(n);
            ctx.task.inner.lock().comm = name[..end].to_vec();
            Ok(0)
        }
        libc::PR_GET_NAME => {
            let comm = ctx.task.inner.lock().comm.clone();
            ctx.put(arg2, &Packer::new().bytes(&comm).pad(16).0)?;
            Ok(0)
        }
        libc::PR_SET_PDEATHSIG => {
            if arg2 > 64 {
                return Err(Errno::EINVAL);
            }
            ctx.task.pdeath_signal.store(arg2 as i32, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_PDEATHSIG => {
            let value = ctx.task.pdeath_signal.load(Ordering::Relaxed);
            ctx.put(arg2, &value.to_le_bytes())?;
            Ok(0)
        }
        libc::PR_SET_DUMPABLE => {
            if arg2 > 1 {
                return Err(Errno::EINVAL);
            }
            process.dumpable.store(arg2 as u32, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_DUMPABLE => Ok(process.dumpable.load(Ordering::Relaxed).into()),
        libc::PR_SET_CHILD_SUBREAPER => {
            process.subreaper.store(arg2 != 0, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_CHILD_SUBREAPER => {
            let value = i32::from(process.subreaper.load(Ordering::Relaxed));
            ctx.put(arg2, &value.to_le_bytes())?;
            Ok(0)
        }
        libc::PR_SET_NO_NEW_PRIVS => {
            if arg2 != 1 || !rest_zero {
                return Err(Errno::EINVAL);
            }
            super::ids::change(ctx, |c| {
                c.no_new_privs = true;
                Ok(())
            })
        }
        libc::PR_GET_NO_NEW_PRIVS => {
            if arg2 != 0 || !rest_zero {
                Err(Errno::EINVAL)
            } else {
                Ok(ctx.creds().no_new_privs.into())
            }
        }
        libc::PR_CAPBSET_READ => {
            if arg2 > CAP_LAST {
                Err(Errno::EINVAL)
            } else {
                Ok(ctx.creds().bounding >> arg2 & 1)
            }
        }
        libc::PR_CAPBSET_DROP => {
            ctx.creds().need(Cap::Setpcap)?;
            if arg2 > CAP_LAST {
                return Err(Errno::EINVAL);
            }
            super::ids::change(ctx, |c| {
                c.bounding &= !(1 << arg2);
                Ok(())
            })
        }
        libc::PR_CAP_AMBIENT => ambient(ctx, arg2, arg3),
        libc::PR_GET_KEEPCAPS => Ok((ctx.creds().securebits >> 4 & 1).into()),
        libc::PR_SET_KEEPCAPS => {
            if arg2 > 1 {
                return Err(Errno::EINVAL);
            }
            super::ids::change(ctx, |c| {
                c.securebits = c.securebits & !(1 << 4) | (arg2 as u32) << 4;
                Ok(())
            })
        }
        libc::PR_GET_SECUREBITS => Ok(ctx.creds().securebits.into()),
        libc::PR_SET_SECUREBITS => {
            ctx.creds().need(Cap::Setpcap)?;
            if arg2 as u32 & !SECURE_ALL_BITS != 0 {
                return Err(Errno::EPERM);
            }
            super::ids::change(ctx, |c| {
                c.securebits = arg2 as u32;
                Ok(())
            })
        }
        libc::PR_GET_SECCOMP => Ok(ctx.task.inner.lock().seccomp.mode().into()),
        libc::PR_SET_SECCOMP => match arg2 {
            1 => super::seccomp::strict(ctx),
            2 => super::seccomp::filter(ctx, 0, arg3),
            _ => Err(Errno::EINVAL),
        },
        libc::PR_SET_TIMERSLACK => {
            ctx.task.timer_slack.store(if arg2 == 0 { 50_000 } else { arg2 }, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_TIMERSLACK => Ok(ctx.task.timer_slack.load(Ordering::Relaxed)),
        libc::PR_GET_TID_ADDRESS => {
            let at = ctx.task.inner.lock().clear_child_tid;
            ctx.put(arg2, &at.to_le_bytes())?;
            Ok(0)
        }
        libc::PR_GET_TSC => {
            ctx.put(arg2, &1u32.to_le_bytes())?;
            Ok(0)
        }
        libc::PR_SET_THP_DISABLE | libc::PR_SET_VMA => Ok(0),
        libc::PR_GET_THP_DISABLE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

fn ambient(ctx: &mut Ctx, what: u64, cap: u64) -> Result<u64> {
    let creds = ctx.creds();
    if what as i32 != libc::PR_CAP_AMBIENT_CLEAR_ALL && cap > 40 {
        return Err(Errno::EINVAL);
    }
    match what as i32 {
        libc::PR_CAP_AMBIENT_CLEAR_ALL => super::ids::change(ctx, |c| {
            c.ambient = 0;
            Ok(())
        }),
        libc::PR_CAP_AMBIENT_IS_SET => Ok(creds.ambient >> cap & 1),
        libc::PR_CAP_AMBIENT_LOWER => super::ids::change(ctx, |c| {
            c.ambient &= !(1 << cap);
            Ok(())
        }),
        libc::PR_CAP_AMBIENT_RAISE => {
            if creds.permitted & creds.inheritable & 1 << cap == 0 {
                return Err(Errno::EPERM);
            }
            super::ids::change(ctx, |c| {
                c.ambient |= 1 << cap;
                Ok(())
            })
        }
        _ => Err(Errno::EINVAL),
    }
}

fn syslog(ctx: &mut Ctx, [action, at, len, ..]: Args) -> Result<u64> {
    match action {
        0 | 1 | 6 | 7 | 8 => Ok(0),
        3 | 4 => {
            let text: String = crate::base::log::lines()
                .iter()
                .map(|(ns, line)| {
                    format!("<6>[{:5}.{:06}] {line}\n", ns / 1_000_000_000, ns % 1_000_000_000 / 1000)
                })
                .collect();
            let start = text.len().saturating_sub(len as usize);
            ctx.memory().write(at, &text.as_bytes()[start..])?;
            Ok((text.len() - start) as u64)
        }
        9 => Ok(0),
        10 => Ok(1 << 18),
        _ => Err(Errno::EINVAL),
    }
}
