//! One stub thread: stopped in a trap, ordered to make host calls, sent back to the guest.

use super::handoff::HandOff;
use super::kicker::Kicker;
use super::ops::Op;
use super::process::{Platform, Stub};
use super::window::Window;
use super::x86_64::layout::*;
use super::x86_64::patch::{Alias, Patches};
use super::x86_64::{Regs, WORDS, frame, stub::Sites};
use super::{Dead, sys};
use std::io::{Error, Result};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Why a stub thread stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// A system call; its number is in `rax`, `rip` is behind it.
    Syscall,
    /// A system call by an entry for 32-bit programs.
    Syscall32,
    /// A fault or trap of the CPU.
    Fault(HostSignal),
    /// The CPU was taken away.
    Preempted,
    /// A call ordered with the last return to the guest failed with this error number; the guest has not run.
    OrderFailed(i32),
    /// Its process has ended.
    Dead,
}

/// The host signal by which a fault showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostSignal {
    /// SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGTRAP.
    pub signo: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub addr: u64,
    /// The CPU's trap number.
    pub trapno: u64,
    /// The CPU's error code.
    pub error: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// In the trampoline or before the first instruction: the registers are in the window.
    Fast,
    /// In the signal handler: they are in the frame at this window offset.
    Frame(usize),
}

/// A stub thread while the kernel holds it.
#[derive(Debug)]
pub struct StubThread {
    pub(super) stub: Arc<Stub>,
    pub(super) window: Arc<Window>,
    pub(super) tid: i32,
    pub(super) stopped: Stopped,
    /// The frame that will be returned through, if it is not the one the thread stopped in.
    pub(super) orders: Vec<Op>,
    /// Bytes of the exchange page that pending orders use.
    pub(super) data: usize,
    pub(super) cpu: Option<usize>,
    /// What the stub has read ahead for the call it stopped in.
    prefetched: Prefetched,
    pub(super) saves_extended: bool,
    /// Its window is a parked thread's now.
    pub(super) keeps_window: bool,
    pub(super) hand_off: HandOff,
    /// A bit for each call that slept the last time.
    pub(super) sleepers: [u64; 8],
    /// Where it stopped, if that was in the thunk of a patched site.
    pub(super) alias: Alias,
}

/// Guest memory that came with a trap: copied once, like any other.
#[derive(Debug, Clone)]
struct Prefetched {
    from: u64,
    len: usize,
    bytes: [u8; PREFETCH],
}

impl Default for Prefetched {
    fn default() -> Prefetched {
        Prefetched { from: 0, len: 0, bytes: [0; PREFETCH] }
    }
}

impl StubThread {
    pub(super) fn new(stub: Arc<Stub>, window: Arc<Window>, tid: i32) -> StubThread {
        StubThread {
            stub,
            window,
            tid,
            stopped: Stopped::Fast,
            orders: Vec::new(),
            data: 0,
            cpu: None,
            prefetched: Prefetched::default(),
            saves_extended: false,
            keeps_window: false,
            hand_off: HandOff::default(),
            sleepers: [0; 8],
            alias: Alias::default(),
        }
    }

    /// The same place in a clone of its process.
    pub(super) fn twin(&self, stub: Arc<Stub>, window: Arc<Window>, tid: i32) -> StubThread {
        let (stopped, cpu, alias, sleepers) = (self.stopped, self.cpu, self.alias, self.sleepers);
        let mut twin = StubThread::new(stub, window, tid);
        (twin.stopped, twin.cpu, twin.alias, twin.sleepers) = (stopped, cpu, alias, sleepers);
        twin
    }

    /// Its process.
    pub fn stub(&self) -> &Arc<Stub> {
        &self.stub
    }

    /// The host's thread id.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// What another thread needs to interrupt this one while it runs.
    pub fn kicker(&self) -> Kicker {
        Kicker { stub: self.stub.clone(), window: self.window.clone(), tid: self.tid }
    }

    /// Puts the thread on a CPU.
    pub fn move_to(&mut self, cpu: usize) {
        if self.cpu != Some(cpu) {
            let _ = self.stub.pid().with(|_| sys::pin(self.tid, &[cpu]));
            self.cpu = Some(cpu);
        }
    }

    /// Adds a call to be made before the guest goes on.
    pub fn order(&mut self, op: Op) -> Result<()> {
        if self.orders.len() == MAX_OPS {
            self.flush()?;
        }
        self.orders.push(op);
        Ok(())
    }

    /// Orders bytes to be copied to the guest's memory before it goes on. False if they are too many.
    pub fn order_copy(&mut self, to: u64, bytes: &[u8]) -> bool {
        if self.orders.len() == MAX_OPS || self.data + bytes.len() > W_DATA_SIZE {
            return false;
        }
        let at = W_DATA + self.data;
        self.window.write(at, bytes);
        self.data = (self.data + bytes.len()).next_multiple_of(8);
        let from = self.window.guest_address() + at as u64;
        self.orders.push(Op::copy(to, from, bytes.len() as u64));
        true
    }

    /// Whether anything is ordered and not made yet.
    pub fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Has the pending orders made now.
    pub fn flush(&mut self) -> Result<()> {
        if self.orders.is_empty() {
            return Ok(());
        }
        self.call(&[]).map(drop)
    }

    /// Has calls made now, after those pending; their results. The first that fails ends the list, with its error.
    pub fn call(&mut self, ops: &[Op]) -> Result<Vec<u64>> {
        let mut all = std::mem::take(&mut self.orders);
        self.data = 0;
        let pending = all.len();
        all.extend(ops);
        let mut results = Vec::with_capacity(all.len());
        for chunk in all.chunks(MAX_OPS) {
            results.extend(self.run(chunk)?);
        }
        Ok(results.split_off(pending))
    }

    pub(super) fn put_ops(&self, ops: &[Op], report: bool) {
        for (n, op) in ops.iter().enumerate() {
            let at = W_OPS + n * OP_SIZE;
            self.window.set_u64(at, op.nr);
            for (i, arg) in op.args.iter().enumerate() {
                self.window.set_u64(at + 8 + i * 8, *arg);
            }
        }
        self.window.set_u32(W_OPS_REPORT, report.into());
        self.window.set_u32(W_NOPS, ops.len() as u32);
    }

    fn run(&mut self, ops: &[Op]) -> Result<Vec<u64>> {
        if self.stub.is_dead() {
            return Err(Dead.into());
        }
        self.put_ops(ops, true);
        self.hand_off.give(&self.window);
        // A guest that keeps its stub from answering has lost it.
        const PATIENCE: Duration = Duration::from_secs(10);
        if !self.hand_off.taken(&self.window, &self.stub, Some(PATIENCE)) {
            self.stub.kill();
            return Err(Dead.into());
        }
        if self.stub.is_dead() {
            return Err(Dead.into());
        }
        match self.window.u64(W_KIND) {
            TRAP_OPS_DONE => Ok((0..ops.len()).map(|n| self.window.u64(W_OPS + n * OP_SIZE + 56)).collect()),
            TRAP_OP_FAILED => Err(Error::from_raw_os_error(self.failure())),
            _ => {
                self.stub.kill();
                Err(Dead.into())
            }
        }
    }

    /// The error number of the call that failed; the guest may have forged it.
    fn failure(&self) -> i32 {
        let at = self.window.u64(W_OP_FAILED).wrapping_sub(self.window.guest_address());
        let inside =
            at >= W_OPS as u64 && at <= (W_OPS + (MAX_OPS - 1) * OP_SIZE) as u64 && at.is_multiple_of(8);
        let result = if inside { self.window.u64(at as usize + 56) as i64 } else { 0 };
        if (-4095..0).contains(&result) { -result as i32 } else { libc::EFAULT }
    }

    /// Forgets interruptions so far. One that comes after this ends the next stay in the guest, however short.
    pub fn arm(&self) {
        self.window.set_u32(W_KICK, 0);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// The mask of blocked signals that the guest goes on with, and may change.
    pub fn set_mask(&self, mask: u64) {
        self.window.set_u64(W_MASK, mask);
    }

    /// What has become of it: anything.
    pub fn mask(&self) -> u64 {
        self.window.u64(W_MASK)
    }

    /// Whether the stub may change the mask by itself.
    pub fn free_mask(&self, free: bool) {
        self.window.set_u32(W_MASK_FREE, free.into());
    }

    /// Lets the stub answer rt_sigprocmask, while it is free to.
    pub fn answer_mask(&self) {
        self.window.set_u8(W_ANSWER_INDEX + libc::SYS_rt_sigprocmask as usize, ANSWER_MASK);
    }

    /// Sends the thread back to the guest. The registers that a system call destroys (`rcx`, `r11`) may be lost.
    pub fn enter(&mut self, regs: &Regs) {
        let regs = &Regs { rip: self.alias.resume(regs.rip), ..*regs };
        match self.stopped {
            Stopped::Fast => {
                for (n, word) in regs.to_words().into_iter().enumerate() {
                    self.window.set_u64(W_REGS + n * 8, word);
                }
                self.window.set_u64(W_RESUME, 0);
            }
            Stopped::Frame(uc) => {
                frame::write_regs(&self.window, uc, regs);
                self.window.set_u64(W_RESUME, self.window.guest_address() + uc as u64);
            }
        }
        let orders = std::mem::take(&mut self.orders);
        self.data = 0;
        self.put_ops(&orders, false);
        self.orders = orders;
        self.orders.clear();
        self.hand_off.give(&self.window);
    }

    /// Sees to it that the next `enter` restores every register, the extended ones as given (or as they are).
    pub fn restore_all(&mut self, regs: &Regs, fpstate: Option<&[u8]>, platform: &Platform) -> Result<()> {
        let current;
        let state = match (fpstate, self.stopped) {
            (Some(state), _) => state,
            (None, Stopped::Frame(_)) => return Ok(()),
            (None, Stopped::Fast) => {
                current = self.fpstate(platform)?;
                &current
            }
        };
        let uc = frame::build(&self.window, regs, Some(state));
        self.stopped = Stopped::Frame(uc);
        Ok(())
    }

    /// The extended registers in the form of a signal frame.
    pub fn fpstate(&mut self, platform: &Platform) -> Result<Vec<u8>> {
        match self.stopped {
            Stopped::Frame(uc) => Ok(frame::fpstate(&self.window, uc).unwrap_or_default()),
            Stopped::Fast => {
                if !self.saves_extended {
                    self.call(&[Op { nr: OP_XSAVE, args: [0; 6] }])?;
                    // Who takes one signal takes more: from now on the trampoline saves them, which costs less than to ask.
                    self.saves_extended = true;
                    self.window.set_u32(W_SAVE_EXTENDED, 1);
                }
                Ok(frame::xsave_to_fpstate(&self.window, platform.xstate()))
            }
        }
    }

    /// Waits for the thread to come back from the guest; `None` if the time is over first.
    pub fn wait(&mut self, timeout: Option<Duration>, sites: &Sites) -> Option<(Regs, Trap)> {
        if !self.hand_off.taken(&self.window, &self.stub, timeout) {
            return None;
        }
        if self.stub.is_dead() {
            return Some((Regs::default(), Trap::Dead));
        }
        let (mut regs, trap) = self.stopped_in(sites);
        self.alias = self.stub.out_of_thunk(&mut regs.rip);
        Some((regs, trap))
    }

    fn regs_in(&self, stopped: Stopped) -> Regs {
        match stopped {
            Stopped::Fast => self.window_regs(),
            Stopped::Frame(uc) => frame::read_regs(&self.window, uc),
        }
    }

    fn window_regs(&self) -> Regs {
        let mut words = [0; WORDS];
        for (n, word) in words.iter_mut().enumerate() {
            *word = self.window.u64(W_REGS + n * 8);
        }
        Regs::from_words(words)
    }

    /// Lets the stub read ahead from the first (5), second (4) or third (3) argument of a system call.
    pub fn read_ahead(&self, nr: usize, register: u8) {
        self.window.set_u8(W_PREFETCH + nr, register);
    }

    /// Tells the stub whether a call is likely to sleep: then it need not wait awake for its turn.
    pub fn likely_sleeps(&mut self, nr: u64, sleeps: bool) {
        let Some(known) = self.sleepers.get_mut(nr as usize / 64) else { return };
        let bit = 1 << (nr % 64);
        if (*known & bit != 0) != sleeps {
            *known ^= bit;
            let at = W_PREFETCH + nr as usize;
            let register = self.window.u8(at) & !PREFETCH_SLEEPS;
            self.window.set_u8(at, register | if sleeps { PREFETCH_SLEEPS } else { 0 });
        }
    }

    /// The bytes at `from` that came with the trap.
    pub fn prefetched(&self, from: u64) -> &[u8] {
        let p = &self.prefetched;
        let offset = from.wrapping_sub(p.from);
        if p.len > 0 && offset < p.len as u64 { &p.bytes[offset as usize..p.len] } else { &[] }
    }

    fn take_prefetched(&mut self) {
        let len = (self.window.u64(W_PREFETCH_LEN) as usize).min(PREFETCH);
        self.prefetched.len = len;
        if len > 0 {
            self.prefetched.from = self.window.u64(W_PREFETCH_FROM);
            if self.prefetched.from >= TASK_SIZE - PREFETCH as u64 {
                // Of the stub's own: nothing that a system call may be given.
                self.prefetched.len = 0;
            }
            self.window.read_into(W_PREFETCHED, &mut self.prefetched.bytes);
        }
    }

    fn stopped_in(&mut self, sites: &Sites) -> (Regs, Trap) {
        self.prefetched.len = 0;
        match self.window.u64(W_KIND) {
            TRAP_SYSCALL => {
                self.take_prefetched();
                self.stopped = Stopped::Fast;
                (self.window_regs(), Trap::Syscall)
            }
            TRAP_SIGNAL => self.stopped_by_signal(sites),
            TRAP_OP_FAILED => {
                let errno = self.failure();
                (self.regs_in(self.stopped), Trap::OrderFailed(errno))
            }
            TRAP_KICKED => (self.regs_in(self.stopped), Trap::Preempted),
            TRAP_ANSWERED => {
                self.stopped = Stopped::Fast;
                (self.window_regs(), Trap::Preempted)
            }
            _ => (self.window_regs(), Trap::Dead),
        }
    }

    fn stopped_by_signal(&mut self, sites: &Sites) -> (Regs, Trap) {
        let Some(uc) = frame::offset_in_window(&self.window, self.window.u64(W_FRAME)) else {
            return (Regs::default(), Trap::Dead);
        };
        let before = std::mem::replace(&mut self.stopped, Stopped::Frame(uc));
        let mut regs = frame::read_regs(&self.window, uc);
        let signo = self.window.u64(W_SIGNO) as i32;
        let info = self.window.u64(W_INFO).wrapping_sub(self.window.guest_address());
        let info = if info < WINDOW_SIZE - 128 { info as usize & !7 } else { W_MSG };
        if (sites.resume..sites.end).contains(&regs.rip) {
            // On its way back to the guest: the registers to be are still where they were given.
            regs = self.regs_in(before);
            if before != Stopped::Fast {
                self.stopped = before;
            }
        } else if signo == libc::SIGSEGV && (sites.tramp..sites.resume).contains(&regs.rip) {
            // The trampoline has no window, because the guest has changed gs: the call it carries, taken plainly.
            regs.rip = regs.rcx;
            return (regs, Trap::Syscall);
        }
        let trap = match signo {
            libc::SIGSYS if self.window.u32(info + 28) == 0xc000_003e => {
                self.take_prefetched();
                Trap::Syscall
            }
            libc::SIGSYS => Trap::Syscall32,
            SIG_PREEMPT => Trap::Preempted,
            libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGTRAP | libc::SIGFPE => {
                let (error, trapno, _) = frame::fault(&self.window, uc);
                let code = self.window.u32(info + 8) as i32;
                let addr = self.window.u64(info + 16);
                Trap::Fault(HostSignal { signo, code, addr, trapno, error })
            }
            // The host sends no others: the window lies.
            _ => Trap::Dead,
        };
        (regs, trap)
    }

    /// An order to take `n` descriptors that were sent.
    pub fn receive(&self, n: usize) -> Op {
        let base = self.window.guest_address() + W_MSG as u64;
        let control = 16 + n * 4;
        // struct msghdr, struct iovec, the control buffer, one byte of data.
        let words = [0, 0, base + 56, 1, base + 72, control as u64, 0, base + 112, 1];
        for (i, word) in words.into_iter().enumerate() {
            self.window.set_u64(W_MSG + i * 8, word);
        }
        Op::new(libc::SYS_recvmsg, &[FD_SOCKET as u64, base, 0])
    }

    /// Maps a file into the guest, by orders made at once: the descriptor is in the stub for that long.
    pub fn map_file(&mut self, file: BorrowedFd<'_>, op: Op) -> Result<()> {
        let stub = self.stub.clone();
        let _passing = stub.passing();
        self.stub.send(&[file])?;
        let receive = self.receive(1);
        let result = self.call(&[receive, op, Op::close(FD_PASSED)]);
        if let Err(e) = result {
            let _ = self.call(&[Op::close(FD_PASSED)]);
            return Err(e);
        }
        Ok(())
    }

    /// Orders maps of up to two files ([`Op::of_file`]) in a stub whose descriptors nobody else uses.
    pub fn order_maps(&mut self, files: &[BorrowedFd<'_>], maps: &[Op]) -> Result<()> {
        self.stub.send(files)?;
        self.order(self.receive(files.len()))?;
        for op in maps {
            self.order(*op)?;
        }
        for number in 0..files.len() {
            self.order(Op::close(FD_PASSED + number as i32))?;
        }
        Ok(())
    }

    /// Lets the stub answer a system call itself, or no longer.
    pub fn answer(&self, nr: usize, slot: u8, value: Option<u64>) {
        if let Some(value) = value {
            self.window.set_u64(W_ANSWERS + slot as usize * 8, value);
        }
        self.window.set_u8(W_ANSWER_INDEX + nr, if value.is_some() { slot } else { 0 });
    }

    /// Patches the call site that has just trapped, if it is of a kind that can be. No other thread may run in this memory.
    pub fn patch(&mut self, patches: &mut Patches, rip: u64, sites: &Sites) -> Result<()> {
        patches.patch(self, rip, sites)
    }
}

impl Drop for StubThread {
    fn drop(&mut self) {
        if !self.keeps_window {
            self.stub.free_window(self.window.slot());
        }
    }
}
