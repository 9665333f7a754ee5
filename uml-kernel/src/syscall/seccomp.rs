//! seccomp(2), and its older form by prctl(2).

use super::{Args, Entry, partial};
use crate::base::{Errno, Result};
use crate::fs::Cap;
use crate::mm::Unpacker;
use crate::task::Ctx;
use crate::task::seccomp::bpf::{Insn, MAX_INSNS, Program};
use crate::task::seccomp::{self, Filter};

pub(super) const TABLE: &[Entry] = &[partial(
    libc::SYS_seccomp,
    "seccomp",
    "user notification; tracers",
    |ctx, [op, flags, at, ..]: Args| {
        const STRICT: u32 = 0;
        const FILTER: u32 = 1;
        const ACTION_AVAIL: u32 = 2;
        match op as u32 {
            STRICT if flags == 0 && at == 0 => strict(ctx),
            FILTER => filter(ctx, flags, at),
            ACTION_AVAIL if flags == 0 => {
                use seccomp::*;
                match ctx.memory().u32(at)? {
                    KILL_PROCESS | KILL_THREAD | TRAP | ERRNO | TRACE | LOG | ALLOW => Ok(0),
                    _ => Err(Errno::EOPNOTSUPP),
                }
            }
            _ => Err(Errno::EINVAL),
        }
    },
)];

/// The strict mode.
pub(super) fn strict(ctx: &mut Ctx) -> Result<u64> {
    seccomp::set_strict(ctx).map(|()| 0)
}

/// Adds the filter at `at`, a `struct sock_fprog`.
pub(super) fn filter(ctx: &mut Ctx, flags: u64, at: u64) -> Result<u64> {
    const TSYNC: u64 = 1;
    const LOG: u64 = 2;
    const SPEC_ALLOW: u64 = 4;
    const TSYNC_ESRCH: u64 = 16;
    if flags & !(TSYNC | LOG | SPEC_ALLOW | TSYNC_ESRCH) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut head = [0; 16];
    ctx.read(at, &mut head)?;
    let mut u = Unpacker(&head);
    let (len, insns) = (usize::from(u.u64() as u16), u.u64());
    if len == 0 || len > MAX_INSNS {
        return Err(Errno::EINVAL);
    }
    let creds = ctx.creds();
    if !creds.no_new_privs && !creds.has(Cap::SysAdmin) {
        return Err(Errno::EACCES);
    }
    let mut bytes = vec![0; len * 8];
    ctx.memory().read(insns, &mut bytes)?;
    let mut u = Unpacker(&bytes);
    let mut insn = || {
        let (code, jumps) = (u.u16(), u.u16());
        Insn { code, jt: jumps as u8, jf: (jumps >> 8) as u8, k: u.u32() }
    };
    let program = Program::new((0..len).map(|_| insn()).collect())?;
    let filter = Filter::new(program, flags & LOG != 0);
    if flags & TSYNC == 0 {
        return seccomp::add(ctx, filter).map(|()| 0);
    }
    match seccomp::add_to_all(ctx, filter)? {
        None => Ok(0),
        Some(_) if flags & TSYNC_ESRCH != 0 => Err(Errno::ESRCH),
        Some(tid) => Ok(tid as u64),
    }
}
