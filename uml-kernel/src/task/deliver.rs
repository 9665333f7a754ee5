//! Delivery: default actions, frames for handlers, and the way back (rt_sigreturn).
//!
//! Frame layout: arch/x86/include/asm/sigframe.h, `struct rt_sigframe`: return address, ucontext, siginfo; the extended
//! registers above it, aligned to 64.

use super::ctx::Ctx;
use super::process::NOT_EXITING;
use super::signal::{Action, Default_, SIG_DFL, SIG_IGN, SigInfo, bit, default_of};
use super::{kernel, send};
use crate::base::{Errno, Result};
use crate::mm::{Packer, Unpacker};
use crate::platform::x86_64::frame::{CS_SS, UC_FLAGS};
use crate::platform::x86_64::layout::TASK_SIZE;
use crate::platform::x86_64::{GREGS, USER_FLAGS};
use crate::platform::{Regs, x86_64};
use std::sync::atomic::Ordering;

const SS_ONSTACK: i32 = 1;
const SS_DISABLE: i32 = 2;
const SS_AUTODISARM: i32 = 1 << 31;
/// Bytes below the stack pointer that belong to the interrupted function.
const RED_ZONE: u64 = 128;

/// Takes signals until one has a handler, or none is left. True if there may be more.
pub fn signals(ctx: &mut Ctx) -> bool {
    loop {
        let open = !ctx.task.blocked();
        let own = ctx.task.pending.lock().take(open);
        let info = match own {
            Some(info) => info,
            None => {
                let shared = ctx.task.process.shared.lock().take(open);
                match shared {
                    Some(info) => info,
                    None => return false,
                }
            }
        };
        super::timers::taken(&info);
        let action = ctx.task.process.action(info.signo);
        match action.handler {
            SIG_IGN => continue,
            // What is not a fault of its own; see `send`.
            SIG_DFL if ctx.task.process.is_init() && info.code <= 0 => continue,
            SIG_DFL => match default_of(info.signo) {
                Default_::Ignore => continue,
                Default_::Stop => {
                    if stop(ctx, info.signo) {
                        return true;
                    }
                }
                Default_::End | Default_::Core => {
                    ctx.die(info.signo);
                    return true;
                }
            },
            _ => {
                handle(ctx, &info, &action);
                return true;
            }
        }
    }
}

/// Stops the process; false if it must not be (an orphaned group, and a terminal's stop signal).
fn stop(ctx: &Ctx, signo: i32) -> bool {
    let process = &ctx.task.process;
    if signo != libc::SIGSTOP {
        let table = kernel().table.lock();
        let pgid = table.processes.get(&process.pid).map_or(0, |e| e.pgid);
        if table.is_orphaned(pgid) {
            return false;
        }
    }
    if process.group_exit.load(Ordering::SeqCst) != NOT_EXITING {
        return false;
    }
    process.stopped.store(signo, Ordering::SeqCst);
    for task in kernel().table.threads(process.pid) {
        task.interrupt();
    }
    send::tell_parent(process, libc::CLD_STOPPED, signo, signo << 8 | 0x7f);
    true
}

/// A fault's signal: blocked or ignored, it ends the process all the same.
pub fn force(ctx: &Ctx, info: SigInfo) {
    let process = &ctx.task.process;
    let blocked = ctx.task.blocked() & bit(info.signo) != 0;
    let actions = process.actions.lock().clone();
    let mut actions = actions.lock();
    let action = &mut actions[info.signo as usize - 1];
    if blocked || action.handler == SIG_IGN {
        action.handler = SIG_DFL;
        ctx.task.set_blocked(ctx.task.blocked() & !bit(info.signo));
    }
    drop(actions);
    ctx.task.queue(info);
}

fn handle(ctx: &mut Ctx, info: &SigInfo, action: &Action) {
    restart_or_not(ctx, action);
    super::rseq::leave_section(ctx);
    if let Err(e) = push_frame(ctx, info, action) {
        // No stack to put it on: SIGSEGV, for which there is none either.
        crate::log!("{}: no room for the frame of signal {} ({e:?})", ctx.task.tid, info.signo);
        ctx.die(libc::SIGSEGV);
        return;
    }
    let mut blocked = ctx.task.blocked() | action.mask;
    if action.flags & libc::SA_NODEFER as u64 == 0 {
        blocked |= bit(info.signo);
    }
    ctx.task.set_blocked(blocked);
    if action.flags & libc::SA_RESETHAND as u64 != 0 {
        let actions = ctx.task.process.actions.lock().clone();
        actions.lock()[info.signo as usize - 1].handler = SIG_DFL;
    }
}

/// What becomes of the call that the signal interrupted (signal(7)).
fn restart_or_not(ctx: &mut Ctx, action: &Action) {
    let Some(nr) = ctx.orig_rax.take() else { return };
    let again = match super::ctx::errno_in(ctx.regs.rax) {
        Errno::ERESTARTNOINTR => true,
        Errno::ERESTARTSYS => action.flags & libc::SA_RESTART as u64 != 0,
        Errno::ERESTARTNOHAND | Errno::ERESTART_RESTARTBLOCK => false,
        _ => return,
    };
    if again {
        ctx.regs.rax = nr;
        ctx.regs.rip -= 2;
    } else {
        ctx.regs.rax = -i64::from(libc::EINTR) as u64;
    }
}

fn push_frame(ctx: &mut Ctx, info: &SigInfo, action: &Action) -> Result<()> {
    let old_mask = ctx.saved_mask.take().unwrap_or_else(|| ctx.task.blocked());
    let fpstate = ctx.stub.fpstate(&kernel().platform)?;
    let (stack, size, flags) = ctx.task.inner.lock().altstack;
    let sp = ctx.regs.rsp;
    let on_stack = size > 0 && flags & SS_AUTODISARM == 0 && sp > stack && sp - stack <= size;
    let mut top = sp.wrapping_sub(RED_ZONE);
    if action.flags & libc::SA_ONSTACK as u64 != 0 && size > 0 && !on_stack {
        top = stack + size;
    }
    let fp_at = top.wrapping_sub(fpstate.len() as u64) & !63;
    // As after a call: the stack is 8 off from 16.
    let frame_at = (fp_at.wrapping_sub(8 + 304 + 128) & !15).wrapping_sub(8);
    if frame_at >= TASK_SIZE || fp_at >= TASK_SIZE {
        return Err(Errno::EFAULT);
    }
    let ss_flags = if size == 0 { SS_DISABLE } else { flags | if on_stack { SS_ONSTACK } else { 0 } };
    let mut gregs = [0u64; 23];
    for (word, greg) in ctx.regs.to_words().into_iter().zip(GREGS) {
        gregs[greg] = word;
    }
    gregs[18] = CS_SS;
    if matches!(info.signo, libc::SIGSEGV | libc::SIGBUS) && info.code > 0 {
        gregs[22] = info.fields[0];
        gregs[20] = 14;
        gregs[19] = 4;
    }
    let mut frame =
        Packer::new().u64(action.restorer).u64(UC_FLAGS).u64(0).u64(stack).i32(ss_flags).u32(0).u64(size);
    for greg in gregs {
        frame = frame.u64(greg);
    }
    let frame = frame.u64(fp_at).pad(8 + 296).u64(old_mask).bytes(&info.to_bytes());
    let memory = ctx.memory();
    let all = frame.pad((fp_at - frame_at) as usize).bytes(&fpstate);
    memory.write(frame_at, &all.0)?;
    if flags & SS_AUTODISARM != 0 {
        ctx.task.inner.lock().altstack = (0, 0, SS_DISABLE);
    }
    let mut regs = ctx.regs;
    regs.rsp = frame_at;
    regs.rip = action.handler;
    regs.rdi = info.signo as u64;
    regs.rsi = frame_at + 8 + 304;
    regs.rdx = frame_at + 8;
    regs.rax = 0;
    // Direction, trap and resume flags are clear in a handler.
    regs.rflags &= !0x1_0500;
    if action.handler >= TASK_SIZE {
        return Err(Errno::EFAULT);
    }
    ctx.regs = regs;
    Ok(())
}

/// rt_sigreturn(2): everything back as the frame has it.
pub fn sigreturn(ctx: &mut Ctx) -> Result<()> {
    let uc_at = ctx.regs.rsp;
    // The frame and the extended registers above it, as a rule, in one go.
    let mut bytes = [0; 304 + 128 + 4096];
    let memory = ctx.memory();
    let got = memory.read_some(uc_at, &mut bytes)?;
    if got < 304 {
        return Err(Errno::EFAULT);
    }
    let mut u = Unpacker(&bytes[..304]);
    u.u64();
    u.u64();
    let (stack, ss_flags, _, size) = (u.u64(), u.i32(), u.u32(), u.u64());
    let mut gregs = [0u64; 23];
    for greg in &mut gregs {
        *greg = u.u64();
    }
    let fp_at = u.u64();
    let mask = u64::from_le_bytes(bytes[296..304].try_into().unwrap_or_default());
    let words: [u64; x86_64::WORDS] = std::array::from_fn(|n| gregs[GREGS[n]]);
    let mut regs = Regs::from_words(words);
    regs.rflags = regs.rflags & USER_FLAGS | 0x202;
    if regs.rip >= TASK_SIZE {
        return Err(Errno::EFAULT);
    }
    let platform = &kernel().platform;
    let near = bytes[..got].get(fp_at.wrapping_sub(uc_at) as usize..).unwrap_or_default();
    let state = if fp_at == 0 { Vec::new() } else { read_fpstate(&memory, fp_at, near)? };
    // Of another size than this CPU's: the host would refuse it.
    let state =
        if state.len() == platform.xstate().size + 4 || state.len() == 512 { state } else { Vec::new() };
    ctx.regs = regs;
    ctx.stub.restore_all(&regs, (!state.is_empty()).then_some(&state), platform)?;
    ctx.task.set_blocked(mask);
    if ss_flags & SS_AUTODISARM != 0 {
        ctx.task.inner.lock().altstack = (stack, size, ss_flags & !SS_ONSTACK);
    }
    ctx.orig_rax = None;
    if ctx.task.has_deliverable() {
        ctx.task.interrupt();
    }
    Ok(())
}

/// The extended registers at `at`, of which `near` has the beginning if it was read already.
fn read_fpstate(memory: &crate::mm::UserMemory, at: u64, near: &[u8]) -> Result<Vec<u8>> {
    use x86_64::frame::{MAGIC1, SW_BYTES};
    let mut head = [0; 512];
    match near.get(..512) {
        Some(bytes) => head.copy_from_slice(bytes),
        None => memory.read(at, &mut head)?,
    }
    let word = |n: usize| u32::from_le_bytes(head[n..n + 4].try_into().unwrap_or_default());
    let size = if word(SW_BYTES) == MAGIC1 { word(SW_BYTES + 4) as usize } else { 512 };
    if !(512..=16384).contains(&size) {
        return Err(Errno::EFAULT);
    }
    if let Some(all) = near.get(..size) {
        return Ok(all.to_vec());
    }
    let mut all = vec![0; size];
    memory.read(at, &mut all)?;
    Ok(all)
}
