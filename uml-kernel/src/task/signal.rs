//! Signals: sets, information, queues, actions (signal(7)).

use crate::base::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// A set of signals; bit n-1 is signal n.
pub type SigSet = u64;

/// The bit of a signal.
pub const fn bit(signo: i32) -> SigSet {
    1 << (signo - 1)
}

/// Number of signals.
pub const NSIG: i32 = 64;
/// First real-time signal.
pub const RTMIN: i32 = 32;
/// Signals that cannot be caught, blocked or ignored.
pub const UNSTOPPABLE: SigSet = crate::platform::x86_64::layout::NEVER_BLOCKED;
/// Signals that stop.
pub const STOPS: SigSet = bit(libc::SIGSTOP) | bit(libc::SIGTSTP) | bit(libc::SIGTTIN) | bit(libc::SIGTTOU);
/// Signals whose default is nothing.
const IGNORED: SigSet = bit(libc::SIGCHLD) | bit(libc::SIGURG) | bit(libc::SIGWINCH) | bit(libc::SIGCONT);
/// Signals whose default ends with a core dump.
const CORE: SigSet = bit(libc::SIGQUIT)
    | bit(libc::SIGILL)
    | bit(libc::SIGTRAP)
    | bit(libc::SIGABRT)
    | bit(libc::SIGBUS)
    | bit(libc::SIGFPE)
    | bit(libc::SIGSEGV)
    | bit(libc::SIGXCPU)
    | bit(libc::SIGXFSZ)
    | bit(libc::SIGSYS);
/// Faults of the running instruction: taken before others.
pub const SYNCHRONOUS: SigSet = bit(libc::SIGSEGV)
    | bit(libc::SIGBUS)
    | bit(libc::SIGILL)
    | bit(libc::SIGTRAP)
    | bit(libc::SIGFPE)
    | bit(libc::SIGSYS);

/// `siginfo_t`: number, code, error, and the fields of its union as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigInfo {
    /// `si_signo`.
    pub signo: i32,
    /// `si_errno`.
    pub errno: i32,
    /// `si_code`.
    pub code: i32,
    /// The union, from offset 16.
    pub fields: [u64; 4],
}

/// `si_code` values (asm-generic/siginfo.h).
pub const SI_USER: i32 = 0;
/// Sent by the kernel.
pub const SI_KERNEL: i32 = 0x80;
/// By sigqueue.
pub const SI_QUEUE: i32 = -1;
/// By a timer.
pub const SI_TIMER: i32 = -2;
/// By tkill.
pub const SI_TKILL: i32 = -6;

impl SigInfo {
    /// By kill(2) and the like.
    pub fn user(signo: i32, code: i32, pid: i32, uid: u32) -> SigInfo {
        let fields = [u64::from(uid) << 32 | u64::from(pid as u32), 0, 0, 0];
        SigInfo { signo, errno: 0, code, fields }
    }

    /// By the kernel.
    pub fn kernel(signo: i32) -> SigInfo {
        SigInfo { signo, errno: 0, code: SI_KERNEL, fields: [0; 4] }
    }

    /// A fault at an address.
    pub fn fault(signo: i32, code: i32, addr: u64) -> SigInfo {
        SigInfo { signo, errno: 0, code, fields: [addr, 0, 0, 0] }
    }

    /// Of a child: what became of it.
    pub fn child(code: i32, pid: i32, uid: u32, status: i32, times: (u64, u64)) -> SigInfo {
        let fields =
            [u64::from(uid) << 32 | u64::from(pid as u32), u64::from(status as u32), times.0, times.1];
        SigInfo { signo: libc::SIGCHLD, errno: 0, code, fields }
    }

    /// Of a POSIX timer.
    pub fn timer(signo: i32, id: i32, overrun: i32, value: u64) -> SigInfo {
        let fields = [u64::from(overrun as u32) << 32 | u64::from(id as u32), value, 0, 0];
        SigInfo { signo, errno: 0, code: SI_TIMER, fields }
    }

    /// As user space has it: 128 bytes.
    pub fn to_bytes(self) -> [u8; 128] {
        let mut out = [0; 128];
        for (n, v) in [self.signo, self.errno, self.code].into_iter().enumerate() {
            out[n * 4..n * 4 + 4].copy_from_slice(&v.to_le_bytes());
        }
        for (n, v) in self.fields.into_iter().enumerate() {
            out[16 + n * 8..24 + n * 8].copy_from_slice(&v.to_le_bytes());
        }
        out
    }

    /// From user space's 128 bytes (rt_sigqueueinfo).
    pub fn from_bytes(b: &[u8; 128]) -> SigInfo {
        let mut u = crate::mm::Unpacker(b);
        let (signo, errno, code) = (u.i32(), u.i32(), u.i32());
        u.u32();
        SigInfo { signo, errno, code, fields: [u.u64(), u.u64(), u.u64(), u.u64()] }
    }
}

/// Signals that wait to be taken.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    infos: VecDeque<SigInfo>,
    set: SigSet,
}

impl Queue {
    /// Adds one. A standard signal that is there already is dropped.
    pub fn push(&mut self, info: SigInfo) {
        if info.signo < RTMIN && self.set & bit(info.signo) != 0 {
            return;
        }
        self.set |= bit(info.signo);
        self.infos.push_back(info);
    }

    /// What is in it.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Number of signals in it.
    pub fn len(&self) -> usize {
        self.infos.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.infos.is_empty()
    }

    /// Takes the next of `wanted`: faults first, then the lowest number.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let ready = self.set & wanted;
        if ready == 0 {
            return None;
        }
        let first = if ready & SYNCHRONOUS != 0 { ready & SYNCHRONOUS } else { ready };
        let signo = first.trailing_zeros() as i32 + 1;
        let at = self.infos.iter().position(|i| i.signo == signo)?;
        let info = self.infos.remove(at);
        if !self.infos.iter().any(|i| i.signo == signo) {
            self.set &= !bit(signo);
        }
        info
    }

    /// Drops all of `which`.
    pub fn discard(&mut self, which: SigSet) {
        if self.set & which != 0 {
            self.infos.retain(|i| bit(i.signo) & which == 0);
            self.set &= !which;
        }
    }
}

/// What is done with a signal: `struct kernel_sigaction`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Action {
    /// Address, 0 default, 1 ignore.
    pub handler: u64,
    /// `SA_` flags.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Blocked while it runs.
    pub mask: SigSet,
}

/// Default action.
pub const SIG_DFL: u64 = 0;
/// Ignored.
pub const SIG_IGN: u64 = 1;

/// What a signal does by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default_ {
    /// Nothing.
    Ignore,
    /// Stops the process.
    Stop,
    /// Ends it.
    End,
    /// Ends it, with a core dump.
    Core,
}

/// The default action of a signal.
pub fn default_of(signo: i32) -> Default_ {
    let b = bit(signo);
    if b & IGNORED != 0 {
        Default_::Ignore
    } else if b & STOPS != 0 {
        Default_::Stop
    } else if b & CORE != 0 {
        Default_::Core
    } else {
        Default_::End
    }
}

impl Action {
    /// Whether the signal does nothing with this action.
    pub fn ignores(&self, signo: i32) -> bool {
        self.handler == SIG_IGN || self.handler == SIG_DFL && default_of(signo) == Default_::Ignore
    }
}

/// The actions of a process, or of several (CLONE_SIGHAND).
pub type Actions = Arc<Mutex<[Action; NSIG as usize]>>;
