//! What threads need that share memory without locks: rseq, membarrier.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::platform::Op;
use crate::platform::x86_64::layout::TASK_SIZE;
use crate::task::Ctx;
use crate::task::rseq::{self, Rseq};

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_rseq, "rseq", |ctx, [at, len, flags, signature, ..]| {
        const UNREGISTER: u64 = 1;
        let (len, flags, signature) = (u64::from(len as u32), u64::from(flags as u32), signature as u32);
        if flags == UNREGISTER {
            return match ctx.rseq {
                Some(rseq) if rseq.is(at, len, signature)? => rseq::unregister(ctx, rseq).map(|()| 0),
                _ => Err(Errno::EINVAL),
            };
        }
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        if let Some(rseq) = ctx.rseq {
            return Err(if rseq.is(at, len, signature)? { Errno::EBUSY } else { Errno::EINVAL });
        }
        if !at.is_multiple_of(rseq::SIZE) || len < rseq::SIZE {
            return Err(Errno::EINVAL);
        }
        if at.checked_add(len).is_none_or(|end| end > TASK_SIZE) {
            return Err(Errno::EFAULT);
        }
        rseq::register(ctx, Rseq::new(at, len, signature)).map(|()| 0)
    }),
    partial(libc::SYS_membarrier, "membarrier", "core serialization, restart of sequences", membarrier),
];

// linux/membarrier.h
const QUERY: u64 = 0;
const GLOBAL: u64 = 1;
const GLOBAL_EXPEDITED: u64 = 2;
const REGISTER_GLOBAL: u64 = 4;
const PRIVATE_EXPEDITED: u64 = 8;
const REGISTER_PRIVATE: u64 = 16;
const GET_REGISTRATIONS: u64 = 512;

fn membarrier(ctx: &mut Ctx, [command, flags, ..]: Args) -> Result<u64> {
    if flags as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let host = |ctx: &mut Ctx, command: u64| {
        ctx.stub.call(&[Op::new(libc::SYS_membarrier, &[command, 0])]).map(drop).map_err(|_| Errno::EINVAL)
    };
    match u64::from(command as u32) {
        QUERY => {
            let private = PRIVATE_EXPEDITED | REGISTER_PRIVATE;
            Ok(GLOBAL | GLOBAL_EXPEDITED | REGISTER_GLOBAL | private | GET_REGISTRATIONS)
        }
        // Threads of all processes: the host's own way to tell is slow, and the same for all.
        GLOBAL | GLOBAL_EXPEDITED => {
            crate::platform::sys::barrier_everywhere()?;
            Ok(0)
        }
        REGISTER_GLOBAL => {
            ctx.mm.lock().barriers |= REGISTER_GLOBAL;
            Ok(0)
        }
        REGISTER_PRIVATE => {
            // The stub's memory is the guest's: the host interrupts those of its threads that run.
            host(ctx, REGISTER_PRIVATE)?;
            ctx.mm.lock().barriers |= REGISTER_PRIVATE;
            Ok(0)
        }
        PRIVATE_EXPEDITED => {
            if ctx.mm.lock().barriers & REGISTER_PRIVATE == 0 {
                return Err(Errno::EPERM);
            }
            if host(ctx, PRIVATE_EXPEDITED).is_err() {
                host(ctx, REGISTER_PRIVATE)?;
                host(ctx, PRIVATE_EXPEDITED)?;
            }
            Ok(0)
        }
        GET_REGISTRATIONS => Ok(ctx.mm.lock().barriers),
        _ => Err(Errno::EINVAL),
    }
}
