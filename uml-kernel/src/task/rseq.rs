//! Restartable sequences (rseq(2)): the number of the CPU where the guest can read it without a call, and short pieces of code
//! that begin anew when something comes between.
//!
//! A vCPU runs one thread at a time, so its number is as good as a CPU's. What comes between shows here: the CPU was taken away, the
//! thread goes on elsewhere, or a signal is delivered.

use super::ctx::Ctx;
use super::signal::SigInfo;
use crate::base::{Errno, Result, sched};
use crate::mm::{Packer, Unpacker};
use crate::platform::x86_64::layout::TASK_SIZE;

/// Bytes of `struct rseq` as its first version has it.
pub const SIZE: u64 = 32;
/// Bytes of it that are in use: AT_RSEQ_FEATURE_SIZE.
pub const USED: u64 = 28;
// Its fields.
const CPU_IDS: u64 = 0;
const SECTION: u64 = 8;
const NODE: u64 = 20;
/// No thread runs there: what the CPU's number is after the end of a registration.
const NO_CPU: u32 = u32::MAX;

/// The registration of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rseq {
    at: u64,
    len: u64,
    signature: u32,
    /// The CPU that is written there.
    cpu: Option<usize>,
}

impl Rseq {
    /// A checked registration.
    pub fn new(at: u64, len: u64, signature: u32) -> Rseq {
        Rseq { at, len, signature, cpu: None }
    }

    /// Whether this is the place; EPERM for the place with another signature.
    pub fn is(&self, at: u64, len: u64, signature: u32) -> Result<bool> {
        match (self.at, self.len) == (at, len) {
            true if self.signature != signature => Err(Errno::EPERM),
            same => Ok(same),
        }
    }
}

/// Writes the CPU's number, and the number of the thread among the running ones of its memory: the same, here.
fn put_ids(ctx: &mut Ctx, at: u64, cpu: u32, shown: u32) -> Result<()> {
    let ids = Packer::new().u32(cpu).u32(shown).0;
    // On the way to the guest together with what else is ordered.
    ctx.put(at + CPU_IDS, &ids)?;
    ctx.put(at + NODE, &Packer::new().u32(0).u32(cpu).0)
}

/// Begins a registration.
pub fn register(ctx: &mut Ctx, rseq: Rseq) -> Result<()> {
    ctx.put(rseq.at + SECTION, &[0; 8])?;
    let cpu = sched::this_cpu();
    put_ids(ctx, rseq.at, cpu as u32, cpu as u32)?;
    ctx.rseq = Some(Rseq { cpu: Some(cpu), ..rseq });
    Ok(())
}

/// Ends it.
pub fn unregister(ctx: &mut Ctx, rseq: Rseq) -> Result<()> {
    put_ids(ctx, rseq.at, 0, NO_CPU)?;
    ctx.rseq = None;
    Ok(())
}

/// Before the guest goes on.
pub fn before_guest(ctx: &mut Ctx) {
    let Some(rseq) = ctx.rseq else { return };
    let cpu = sched::this_cpu();
    let moved = rseq.cpu != Some(cpu);
    if !moved && !ctx.disturbed {
        return;
    }
    leave_section(ctx);
    if moved && let Some(rseq) = &mut ctx.rseq {
        rseq.cpu = Some(cpu);
        let at = rseq.at;
        if put_ids(ctx, at, cpu as u32, cpu as u32).is_err() {
            fail(ctx);
        }
    }
    ctx.disturbed = false;
}

/// Something came between: a thread in a critical section goes on at its abort address.
pub fn leave_section(ctx: &mut Ctx) {
    let Some(rseq) = ctx.rseq else { return };
    if abort(ctx, &rseq).is_err() {
        fail(ctx);
    }
}

/// The guest has broken the contract: no registration any more, and SIGSEGV.
fn fail(ctx: &mut Ctx) {
    ctx.rseq = None;
    super::deliver::force(ctx, SigInfo::kernel(libc::SIGSEGV));
    ctx.task.interrupt();
}

fn abort(ctx: &mut Ctx, rseq: &Rseq) -> Result<()> {
    let memory = ctx.memory();
    let section = memory.u64(rseq.at + SECTION)?;
    if section == 0 {
        return Ok(());
    }
    let mut bytes = [0; 32];
    memory.read(section, &mut bytes)?;
    let mut u = Unpacker(&bytes);
    let (version, flags, start, len, target) = (u.u32(), u.u32(), u.u64(), u.u64(), u.u64());
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    if version != 0 || start >= TASK_SIZE || end > TASK_SIZE || !(4..TASK_SIZE).contains(&target) {
        return Err(Errno::EINVAL);
    }
    if (start..end).contains(&target) || memory.u32(target - 4)? != rseq.signature {
        return Err(Errno::EINVAL);
    }
    // Left by the guest before, or now: it is of no use any more.
    let inside = (start..end).contains(&ctx.regs.rip);
    if inside && flags != 0 {
        return Err(Errno::EINVAL);
    }
    memory.put_u64(rseq.at + SECTION, 0)?;
    if inside {
        ctx.regs.rip = target;
    }
    Ok(())
}
