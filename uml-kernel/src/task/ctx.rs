//! A task's own side: its registers, its stub thread, and the loop between guest and kernel.

use super::process::{FsContext, Task};
use super::seccomp::{self, Verdict};
use super::signal::{SigInfo, SigSet};
use super::{cpu_clock, kernel, rseq, send};
use crate::base::{Errno, Result, fiber, sched, time, timer};
use crate::fs::{Creds, FdTable, File, Lookup, Path, Resolve};
use crate::mm::{Mm, UserMemory};
use crate::platform::x86_64::layout::TASK_SIZE;
use crate::platform::x86_64::patch::Middle;
use crate::platform::{HostSignal, Op, Regs, StubThread, Trap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a call that was interrupted by a signal without a handler goes on with (restart_syscall(2)).
#[derive(Debug, Clone, Copy)]
pub enum Restart {
    /// Sleep until this time of the monotonic clock; remainder to this address.
    Sleep(u64, u64),
    /// Sleep until this time of a clock of CPU time; remainder to this address.
    CpuSleep(i32, u64, u64),
    /// poll(2) with this deadline.
    Poll(u64, u64, Option<u64>),
    /// futex wait with this deadline.
    Futex(u64, u32, u32, Option<u64>),
}

/// The running task.
#[derive(Debug)]
pub struct Ctx {
    /// What others see of it.
    pub task: Arc<Task>,
    /// Its stub thread, stopped.
    pub stub: StubThread,
    /// The guest's registers.
    pub regs: Regs,
    /// Its memory.
    pub mm: Arc<Mm>,
    /// Its descriptors.
    pub files: Arc<FdTable>,
    /// Its directories.
    pub fs: Arc<FsContext>,
    /// Number of the system call, for restarts; `None` outside of one.
    pub orig_rax: Option<u64>,
    /// The mask to go back to after a handler, or without one (sigsuspend, ppoll).
    pub saved_mask: Option<SigSet>,
    /// How an interrupted call goes on.
    pub restart: Option<Restart>,
    /// The thread ends with this status.
    pub exit: Option<i32>,
    /// Thread pointer, as the guest has set it.
    pub fs_base: u64,
    /// Guest's gs base, if it has set one.
    pub gs_base: u64,
    /// Its restartable sequences, if it has registered them.
    pub rseq: Option<rseq::Rseq>,
    /// The CPU was taken away since the last return to the guest.
    pub disturbed: bool,
    /// Up to when its time in the kernel is counted, and how long it had slept then.
    pub counted: (u64, u64),
    /// Told when a vfork child has left its parent's memory.
    pub vfork: Option<Arc<super::fork::VforkDone>>,
    /// The generation of what is swapped out at the last fault that was tried again.
    pub swap_seen: u64,
}

impl Ctx {
    /// Of a task that is about to begin.
    pub fn new(
        task: Arc<Task>,
        stub: StubThread,
        regs: Regs,
        mm: Arc<Mm>,
        files: Arc<FdTable>,
        fs: Arc<FsContext>,
    ) -> Ctx {
        Ctx {
            task,
            stub,
            regs,
            mm,
            files,
            fs,
            orig_rax: None,
            saved_mask: None,
            restart: None,
            exit: None,
            fs_base: 0,
            gs_base: 0,
            rseq: None,
            disturbed: false,
            counted: (0, 0),
            vfork: None,
            swap_seen: 0,
        }
    }

    /// The guest's memory.
    pub fn memory(&self) -> UserMemory {
        self.mm.memory()
    }

    /// Who it is.
    pub fn creds(&self) -> Arc<Creds> {
        self.task.creds()
    }

    /// The file of a descriptor, not an O_PATH one.
    pub fn file(&self, fd: u64) -> Result<Arc<File>> {
        let file = self.files.get(fd as i32)?;
        if file.flags().contains(crate::fs::OpenFlags::PATH) { Err(Errno::EBADF) } else { Ok(file) }
    }

    /// The file of a descriptor, of any kind.
    pub fn any_file(&self, fd: u64) -> Result<Arc<File>> {
        self.files.get(fd as i32)
    }

    /// How paths are resolved, relative ones from `dirfd`.
    pub fn lookup(&self, dirfd: i32) -> Result<Lookup> {
        let (ns, root, cwd) = {
            let fs = self.fs.inner.lock();
            (fs.ns.clone(), fs.root.clone(), fs.cwd.clone())
        };
        let start = if dirfd == libc::AT_FDCWD { cwd } else { self.files.get(dirfd)?.path().clone() };
        Ok(Lookup { ns, root, start, creds: self.creds(), resolve: Resolve::empty() })
    }

    /// What a path names. An absolute one does not look at `dirfd`.
    pub fn find(&self, dirfd: i32, path: &[u8], follow: bool) -> Result<Path> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let dirfd = if path.first() == Some(&b'/') { libc::AT_FDCWD } else { dirfd };
        self.lookup(dirfd)?.find(path, follow)
    }

    /// Reads guest memory: what came with the trap, or else by the host.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<()> {
        let here = self.stub.prefetched(address);
        if here.len() >= into.len() {
            into.copy_from_slice(&here[..into.len()]);
            return Ok(());
        }
        self.memory().read(address, into)
    }

    /// Reads a word of guest memory.
    pub fn u64(&self, address: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a path.
    pub fn path(&self, address: u64) -> Result<Vec<u8>> {
        let here = self.stub.prefetched(address);
        match here.iter().position(|b| *b == 0) {
            Some(end) => Ok(here[..end].to_vec()),
            None => self.memory().path(address),
        }
    }

    /// Copies a small result to the guest: together with the return to it, where that can be foreseen to work.
    pub fn put(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        // What may be swapped out meanwhile is written by who can bring it back.
        if bytes.len() <= 2048
            && !self.mm.swap().is_enabled()
            && self.mm.is_writable(address, bytes.len() as u64)
            && self.stub.order_copy(address, bytes)
        {
            return Ok(());
        }
        self.memory().write(address, bytes)
    }

    /// Puts `new` into a word of the guest's if it is `old`, in one instruction of the guest's CPU; what was there.
    pub fn exchange(&mut self, address: u64, old: u32, new: u32) -> Result<u32> {
        if !address.is_multiple_of(4) || address >= TASK_SIZE {
            return Err(Errno::EFAULT);
        }
        loop {
            let seen = self.mm.swap().generation();
            match self.stub.call(&[Op::exchange(address, old, new)]) {
                Ok(results) => return results.first().map(|word| *word as u32).ok_or(Errno::EFAULT),
                Err(_) if self.mm.swap().settle(address, 4, seen).unwrap_or(false) => {}
                Err(_) => return Err(Errno::EFAULT),
            }
        }
    }

    /// Runs until the task ends.
    pub fn run(mut self) {
        self.counted = (time::now(), self.slept());
        loop {
            if self.before_guest().is_break() {
                break;
            }
            super::swap::before_guest(&mut self);
            self.count_time();
            let trap;
            (trap, self.counted.0) = self.guest(self.counted.0);
            match trap {
                Trap::Syscall => self.syscall(),
                Trap::Syscall32 => self.syscall32(),
                Trap::Fault(signal) => self.fault(signal),
                Trap::Preempted => self.disturbed = true,
                Trap::OrderFailed(errno) => self.regs.rax = -i64::from(errno) as u64,
                Trap::Dead => {
                    if self.task.process.exiting().is_none() {
                        crate::log!("the host process of process {} is gone", self.task.process.pid);
                    }
                    self.die(libc::SIGKILL);
                }
            }
            if sched::need_resched() {
                self.disturbed = true;
                fiber::give_way();
            }
        }
        self.end();
    }

    fn slept(&self) -> u64 {
        self.task.fiber.get().map_or(0, |f| f.off())
    }

    /// Counts the time in the kernel since the last count; not that in which it slept.
    pub fn count_time(&mut self) {
        let (now, slept) = (time::now(), self.slept());
        let off = slept.saturating_sub(self.counted.1);
        let system = now.saturating_sub(self.counted.0).saturating_sub(off);
        self.counted = (now, slept);
        cpu_clock::add(&self.task, 0, system);
    }

    /// Decides that the whole process ends by a signal.
    pub fn die(&mut self, signo: i32) {
        let process = self.task.process.clone();
        super::exit::begin_group_exit(&process, signo);
    }

    /// Goes to the guest, and comes back with why, and when. The time is the task's, from `since` on.
    fn guest(&mut self, mut since: u64) -> (Trap, u64) {
        let platform = &kernel().platform;
        // A call has waited for the host, and another thread is its vCPU now.
        while sched::own().is_none() {
            fiber::give_way();
            since = time::now();
        }
        self.stub.move_to(sched::host_cpu());
        let mask = self.task.blocked();
        self.stub.set_mask(mask);
        self.task.set_in_guest(true);
        self.stub.arm();
        // After that: who makes a signal pending from now on kicks.
        self.stub.free_mask(self.task.nothing_pending());
        if self.task.fiber.get().is_some_and(|f| f.is_interrupted()) {
            self.task.set_in_guest(false);
            return (Trap::Preempted, since);
        }
        sched::set_kicker(self.stub.kicker());
        sched::in_guest(true);
        self.stub.enter(&self.regs);
        let mut patience = 0;
        let (regs, trap) = loop {
            let timeout = match patience {
                0 => sched::guest_time(cpu_clock::left(&self.task.process)),
                _ => Some(std::time::Duration::from_millis(200)),
            };
            match self.stub.wait(timeout, platform.sites()) {
                Some(stopped) => break stopped,
                None => {
                    let now = time::now();
                    cpu_clock::add(&self.task, now.saturating_sub(since), 0);
                    since = now;
                    timer::expire();
                    let short = super::oom::look_beside_guest(now);
                    let wanted = short || self.task.fiber.get().is_some_and(|f| f.is_interrupted());
                    if sched::need_resched() || wanted {
                        // A guest that has blocked the preemption signal, or is not yet ready for it.
                        patience += 1;
                        if patience > 50 {
                            self.stub.stub().kill();
                        }
                        self.stub.kicker().kick();
                    }
                }
            }
        };
        sched::in_guest(false);
        let after = if trap == Trap::Dead { mask } else { self.stub.mask() };
        self.task.set_blocked(after);
        self.task.set_in_guest(false);
        // Posted while it was blocked, or seemed to be.
        if after != mask && self.task.has_deliverable() {
            self.task.interrupt();
        }
        if trap != Trap::Dead {
            self.regs = regs;
        }
        let now = time::now();
        cpu_clock::add(&self.task, now.saturating_sub(since), 0);
        super::oom::look(now);
        (trap, now)
    }

    /// Between the pieces of a long call: lets others run, and looks at what the call has taken; false if the process is to end.
    pub fn goes_on(&self) -> bool {
        timer::expire();
        super::oom::look(time::now());
        if sched::need_resched() {
            fiber::give_way();
        }
        self.task.process.exiting().is_none()
    }

    fn syscall(&mut self) {
        let nr = self.regs.rax;
        let rip = self.regs.rip;
        self.orig_rax = Some(nr);
        self.task.in_syscall.store(nr as i32, Ordering::Relaxed);
        let verdict = match self.task.filtered.load(Ordering::Relaxed) {
            true => seccomp::check(self, nr as u32, seccomp::ARCH),
            false => Verdict::Go,
        };
        let slept = self.slept();
        let result = match verdict {
            Verdict::Go => crate::syscall::dispatch(self, nr),
            Verdict::Result(result) => Some(result),
            Verdict::Skip => None,
        };
        self.stub.likely_sleeps(nr, self.slept() != slept);
        self.task.in_syscall.store(-1, Ordering::Relaxed);
        if let Some(result) = result {
            self.regs.rax = value(result);
            self.regs.rcx = self.regs.rip;
            self.regs.r11 = self.regs.rflags;
        } else {
            self.orig_rax = None;
        }
        if self.regs.rip == rip && self.exit.is_none() {
            self.consider_patching(rip, nr);
        }
    }

    /// Patches the call site that has trapped, if it is hot, and nobody else runs there now.
    fn consider_patching(&mut self, rip: u64, nr: u64) {
        // Of calls that the stub answers itself it lets one in sixteen through.
        let weight = if ANSWERED.contains(&(nr as i64)) { 16 } else { 1 };
        if !self.mm.lock().patches.is_hot(rip, weight) {
            return;
        }
        let threads = kernel().table.threads(self.task.process.pid);
        if threads.iter().all(|t| Arc::ptr_eq(t, &self.task) || !t.in_guest()) {
            let mm = self.mm.clone();
            let _ = self.stub.patch(&mut mm.lock().patches, rip, kernel().platform.sites());
        }
    }

    /// A call by an entry for 32-bit programs: there are none, but filters have their say.
    fn syscall32(&mut self) {
        let none = Err(Errno::ENOSYS);
        let verdict = match self.task.filtered.load(Ordering::Relaxed) {
            true => seccomp::check(self, self.regs.rax as u32, seccomp::ARCH_32),
            false => Verdict::Go,
        };
        match verdict {
            Verdict::Go => self.regs.rax = value(none),
            Verdict::Result(result) => self.regs.rax = value(result),
            Verdict::Skip => {}
        }
    }

    /// A fault of the guest's: its own, or one of a patched call site.
    fn fault(&mut self, host: HostSignal) {
        if host.signo == libc::SIGILL {
            let middle = self.mm.lock().patches.middle(self.regs.rip);
            match middle {
                Some(Middle::Call(behind)) => {
                    self.regs.rip = behind;
                    return self.syscall();
                }
                Some(Middle::Behind(thunk)) => {
                    self.regs.rip = thunk;
                    return;
                }
                None => {}
            }
        }
        self.orig_rax = None;
        let info = match self.swapped_out(&host) {
            Some(Ok(())) => return,
            Some(Err(_)) => SigInfo::fault(libc::SIGBUS, libc::BUS_ADRERR, host.addr),
            None => SigInfo::fault(host.signo, host.code, host.addr),
        };
        super::deliver::force(self, info);
        self.task.interrupt();
    }

    /// Brings back what the guest has touched, if that is why it has faulted.
    fn swapped_out(&mut self, host: &HostSignal) -> Option<Result<()>> {
        if host.signo != libc::SIGSEGV || !self.mm.swap().is_enabled() {
            return None;
        }
        // Another thread may have brought it back since: then this is tried again, once for each time that anything has changed.
        let generation = self.mm.swap().generation();
        let settled = self.mm.swap().settle(host.addr, 1, self.swap_seen);
        self.swap_seen = generation;
        match settled {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(e) => Some(Err(e)),
        }
    }

    /// Signals, stops and ends, before the guest goes on.
    fn before_guest(&mut self) -> ControlFlow<()> {
        loop {
            if self.exit.is_some() || self.task.die.load(Ordering::SeqCst) {
                return ControlFlow::Break(());
            }
            if let Some(status) = self.task.process.exiting() {
                self.exit = Some(status);
                return ControlFlow::Break(());
            }
            let fiber = self.task.fiber.get().cloned();
            let Some(fiber) = fiber else { return ControlFlow::Continue(()) };
            if !fiber.is_interrupted() {
                self.finish_syscall_without_signal();
                rseq::before_guest(self);
                if fiber.is_interrupted() {
                    continue;
                }
                return ControlFlow::Continue(());
            }
            fiber.set_interrupted(false);
            if self.task.process.stopped.load(Ordering::SeqCst) != 0 {
                self.stay_stopped();
                fiber.set_interrupted(true);
                continue;
            }
            if super::deliver::signals(self) {
                fiber.set_interrupted(true);
            }
        }
    }

    fn stay_stopped(&self) {
        let process = &self.task.process;
        let how = crate::base::wait::How { uninterruptible: true, deadline: None };
        let _ = process.signal_events.wait(how, || {
            (process.stopped.load(Ordering::SeqCst) == 0 || process.exiting().is_some()).then_some(())
        });
    }

    /// Restarts a call that was interrupted for nothing.
    fn finish_syscall_without_signal(&mut self) {
        if let Some(nr) = self.orig_rax.take() {
            let error = errno_in(self.regs.rax);
            match error {
                Errno::ERESTARTSYS | Errno::ERESTARTNOINTR | Errno::ERESTARTNOHAND => {
                    self.regs.rax = nr;
                    self.regs.rip -= 2;
                }
                Errno::ERESTART_RESTARTBLOCK => {
                    self.regs.rax = libc::SYS_restart_syscall as u64;
                    self.regs.rip -= 2;
                }
                _ => {}
            }
        }
        if let Some(mask) = self.saved_mask.take() {
            self.task.change_blocked(mask);
        }
    }

    /// Sends a signal to its own thread.
    pub fn signal_self(&self, info: SigInfo) {
        send::to_task(&self.task, info);
    }

    /// Lets the stub answer what it can itself.
    pub fn publish_answers(&self) {
        if kernel().options.strace.is_some() {
            return;
        }
        if self.task.filtered.load(Ordering::Relaxed) {
            // A clone has its parent's answers: filters are to see these calls.
            self.stub.kicker().answer_nothing();
            return;
        }
        let creds = self.creds();
        let parent = kernel().table.parent(self.task.process.pid);
        let answers: [u64; ANSWERED.len()] = [
            self.task.process.pid as u64,
            self.task.tid as u64,
            parent as u64,
            creds.uid.into(),
            creds.euid.into(),
            creds.gid.into(),
            creds.egid.into(),
        ];
        for (register, calls) in READ_AHEAD {
            for nr in *calls {
                self.stub.read_ahead(*nr as usize, *register);
            }
        }
        self.stub.answer_mask();
        for (n, (nr, value)) in ANSWERED.iter().zip(answers).enumerate() {
            self.stub.answer(*nr as usize, n as u8 + 1, Some(value));
        }
    }
}

/// The error that a call has left in `rax`; 0 for none. The guest may have put anything there meanwhile.
pub(super) fn errno_in(rax: u64) -> Errno {
    let value = rax as i64;
    Errno(if (-4095..0).contains(&value) { -value as i32 } else { 0 })
}

/// What a call leaves in `rax`.
fn value(result: Result<u64>) -> u64 {
    match result {
        Ok(value) => value,
        Err(e) => -i64::from(e.0) as u64,
    }
}

/// Calls that the stub answers itself.
const ANSWERED: [i64; 7] = [
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// Calls whose first (5), second (4) or third (3) argument points to something short that is always read.
const READ_AHEAD: &[(u8, &[i64])] = &[
    (
        5,
        &[
            libc::SYS_open,
            libc::SYS_stat,
            libc::SYS_lstat,
            libc::SYS_access,
            libc::SYS_execve,
            libc::SYS_readlink,
            libc::SYS_unlink,
            libc::SYS_rmdir,
            libc::SYS_mkdir,
            libc::SYS_chdir,
            libc::SYS_chmod,
            libc::SYS_rename,
            libc::SYS_statfs,
            libc::SYS_poll,
            libc::SYS_nanosleep,
            libc::SYS_clone3,
            libc::SYS_futex,
        ],
    ),
    (
        4,
        &[
            libc::SYS_openat,
            libc::SYS_newfstatat,
            libc::SYS_faccessat,
            libc::SYS_faccessat2,
            libc::SYS_readlinkat,
            libc::SYS_unlinkat,
            libc::SYS_mkdirat,
            libc::SYS_statx,
            libc::SYS_write,
            libc::SYS_pwrite64,
            libc::SYS_writev,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_fchownat,
            libc::SYS_fchmodat,
        ],
    ),
    (3, &[libc::SYS_utimensat]),
];

/// The answer slot of getppid, which changes when the parent ends.
pub const PPID_SLOT: u8 = 3;
