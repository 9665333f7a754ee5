//! The beginning and the end of stub threads: clones, parked threads that begin anew, what a new one finds in its window.

use super::ops::Op;
use super::process::{Parked, Platform};
use super::thread::{Stopped, StubThread};
use super::window::Window;
use super::x86_64::layout::*;
use super::x86_64::{Regs, frame, stub::Sites};
use super::{handoff, sys};
use std::io::Result;

impl StubThread {
    /// Lets the thread end, and never hears of it again. A process's first thread stays, parked: the host finds a process's
    /// memory by it.
    pub fn retire(mut self) {
        if self.tid != self.stub.pid().number() && !self.stub.is_dead() {
            self.orders.clear();
            let frame = match self.stopped {
                Stopped::Fast => None,
                Stopped::Frame(uc) => Some(uc),
            };
            let parked = Parked { window: self.window.clone(), tid: self.tid, cpu: self.cpu, frame };
            self.keeps_window = self.stub.park(parked);
            if self.keeps_window {
                return;
            }
            self.put_ops(&[Op::exit_thread()], true);
            self.hand_off.give(&self.window);
        }
    }

    /// Starts another thread in this process, to begin at `regs`. `fresh` if what it has in vector registers is nobody's concern: then
    /// it may be one whose task has ended.
    pub fn spawn(
        &mut self,
        regs: &Regs,
        fs_base: u64,
        fresh: bool,
        platform: &Platform,
    ) -> Result<StubThread> {
        if fresh
            && self.stopped == Stopped::Fast
            && let Some(parked) = self.stub.unpark()
        {
            return self.revive(parked, fs_base);
        }
        let (window, mapped) = self.stub.new_window()?;
        let top = window.guest_address() + WINDOW_SIZE;
        let flags = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM
            | libc::CLONE_CHILD_CLEARTID;
        let alive = window.guest_address() + W_ALIVE as u64;
        let clone = Op::new(libc::SYS_clone, &[flags as u64, top, 0, alive]);
        let mut ops = Vec::new();
        let stub = self.stub.clone();
        let _passing = (!mapped).then(|| stub.passing());
        if !mapped {
            self.flush()?;
            self.stub.send(&[self.stub.windows()])?;
            ops.push(self.receive(1));
            let at = window.guest_address();
            ops.push(Op::map_passed(
                at,
                WINDOW_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                at - WINDOWS,
            ));
            ops.push(Op::close(FD_PASSED));
        }
        handoff::reset(&window);
        window.set_u32(W_READY, 0);
        window.set_u32(W_ALIVE, 1);
        self.hand_down(&window);
        ops.push(clone);
        platform.gate().expect(self.tid);
        let results = self.call(&ops);
        platform.gate().done(self.tid);
        if results.is_err() {
            window.set_u32(W_ALIVE, 0);
            self.stub.free_window(window.slot());
        }
        let tid = *results?.last().unwrap_or(&0) as i32;
        // Another thread of the guest may have written that. It is bound to CPUs, and must be nobody else's than this stub's.
        let own = self.stub.pid().with(|pid| tid > 0 && sys::tgkill(pid, tid, 0).is_ok());
        if own != Some(true) {
            crate::log!("a stub lies about the number of its thread: {tid}");
            self.stub.kill();
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let mut thread = StubThread::new(self.stub.clone(), window, tid);
        thread.cpu = self.cpu;
        if let Stopped::Frame(uc) = self.stopped {
            frame::copy(&self.window, &thread.window, uc);
            frame::write_regs(&thread.window, uc, regs);
            thread.stopped = Stopped::Frame(uc);
        }
        let stack = W_MSG + 128;
        thread.put_altstack(stack);
        thread.order(Op::new(libc::SYS_sigaltstack, &[thread.window.guest_address() + stack as u64, 0]))?;
        thread.order(Op::set_gs(thread.window.guest_address()))?;
        thread.order(Op::set_fs(fs_base))?;
        Ok(thread)
    }

    /// A parked thread begins anew: a clone costs five times as much.
    fn revive(&self, parked: Parked, fs_base: u64) -> Result<StubThread> {
        let mut thread = StubThread::new(self.stub.clone(), parked.window, parked.tid);
        thread.cpu = parked.cpu;
        let window = &thread.window;
        self.hand_down(window);
        // The modes of its floating point are its creator's. Reserved bits, which the guest could have put there, would fault.
        let (mxcsr, fcw) = (self.window.u32(W_CONTROL) & 0xffff, self.window.u32(W_CONTROL + 4) as u16);
        let base = window.guest_address();
        match parked.frame {
            None => {
                window.set_u64(W_CONTROL, u64::from(mxcsr) | u64::from(fcw) << 32);
                thread.order(Op::load_control(base + W_CONTROL as u64))?;
            }
            Some(uc) => {
                frame::set_control(window, uc, fcw, mxcsr);
                thread.stopped = Stopped::Frame(uc);
            }
        }
        thread.order(Op::set_gs(base))?;
        thread.order(Op::set_fs(fs_base))?;
        Ok(thread)
    }

    /// What the window of a new thread has of its creator's: answers, but not what was learned of its calls.
    fn hand_down(&self, window: &Window) {
        window.set_u32(W_SAVE_EXTENDED, 0);
        window.write(W_PREFETCH, &[0; 512]);
        window.write(W_ANSWER_INDEX, &self.window.bytes(W_ANSWER_INDEX, 512));
        window.write(W_ANSWERS, &self.window.bytes(W_ANSWERS, 256));
    }

    fn put_altstack(&self, at: usize) {
        self.window.set_u64(at, self.window.guest_address() + W_ALTSTACK as u64);
        self.window.set_u64(at + 8, 0);
        self.window.set_u64(at + 16, WINDOW_SIZE - W_ALTSTACK as u64);
    }

    /// Copies what a forked stub needs of this thread's window into its own.
    pub(super) fn copy_window(&self, to: &Window) {
        to.write(0, &self.window.bytes(0, W_DATA));
        handoff::reset(to);
        to.set_u32(W_READY, 0);
        to.set_u32(W_NOPS, 0);
        to.set_u32(W_SAVE_EXTENDED, 0);
        // The first thread of a process never leaves it, whatever becomes of its task.
        to.set_u32(W_ALIVE, 1);
        if let Stopped::Frame(uc) = self.stopped {
            frame::copy(&self.window, to, uc);
        }
    }

    /// Installs the signal handlers, the alternate stack, and gs, in the first stub.
    pub(super) fn set_up_signals(&mut self, sites: &Sites) -> Result<()> {
        const SA_RESTORER: u64 = 0x0400_0000;
        let stack = W_MSG + 128;
        self.put_altstack(stack);
        let base = self.window.guest_address();
        let mut ops = vec![Op::new(libc::SYS_sigaltstack, &[base + stack as u64, 0]), Op::set_gs(base)];
        // A fault of the copy for the guest is taken inside another handler; everything else waits.
        let mask = !(1u64 << (libc::SIGSEGV - 1) | 1 << (libc::SIGBUS - 1));
        let flags = libc::SA_SIGINFO as u64 | libc::SA_ONSTACK as u64 | SA_RESTORER | libc::SA_NODEFER as u64;
        for (n, word) in [sites.handler, flags, sites.sigreturn - 7, mask].into_iter().enumerate() {
            self.window.set_u64(W_DATA + n * 8, word);
        }
        let signals = [
            libc::SIGSYS,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGTRAP,
            SIG_PREEMPT,
        ];
        for signal in signals {
            ops.push(Op::new(libc::SYS_rt_sigaction, &[signal as u64, base + W_DATA as u64, 0, 8]));
        }
        self.call(&ops).map(drop)
    }
}
