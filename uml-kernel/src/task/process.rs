//! Processes and tasks: what the kernel knows of each.

use super::max_rss::MaxRss;
use super::signal::{Action, Actions, Queue, SigInfo, SigSet, UNSTOPPABLE};
use crate::base::fiber::Fiber;
use crate::base::wait::WaitQueue;
use crate::base::{Mutex, Rank};
use crate::fs::{Creds, FdTable, Namespace, Path};
use crate::mm::Mm;
use crate::platform::Kicker;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Number of a process, thread, group or session.
pub type Pid = i32;

/// A thread group.
#[derive(Debug)]
pub struct Process {
    /// The number of its first thread.
    pub pid: Pid,
    /// Signals for any of its threads.
    pub shared: Mutex<Queue>,
    /// What is done with signals.
    pub actions: Mutex<Actions>,
    /// Those who wait for its children.
    pub child_events: WaitQueue,
    /// Those who wait to go on after a stop, and those who read signalfds.
    pub signal_events: WaitQueue,
    /// Told when it has ended (pidfd).
    pub end_events: WaitQueue,
    /// What all its threads end with, once that is decided; `NOT_EXITING` before.
    pub group_exit: AtomicI32,
    /// The signal that has stopped it, 0 if none.
    pub stopped: AtomicI32,
    /// Limits on resources.
    pub limits: Mutex<[(u64, u64); 16]>,
    /// CPU times of all its threads, and of waited-for children: user, system; ns.
    pub times: Times,
    /// What is due on its CPU clocks.
    pub cpu_due: Mutex<super::cpu_clock::Due>,
    /// The CPU time of all its threads at which to look whether something is.
    pub cpu_next: AtomicU64,
    /// When it began.
    pub start: u64,
    /// Its timers.
    pub timers: Mutex<super::timers::ProcessTimers>,
    /// Signal its parent gets when it ends; 0 for none.
    pub exit_signal: AtomicI32,
    /// Whether execve has been called since fork (setpgid's EACCES).
    pub has_execed: AtomicBool,
    /// PR_SET_CHILD_SUBREAPER.
    pub subreaper: AtomicBool,
    /// PR_SET_DUMPABLE.
    pub dumpable: AtomicU32,
    /// oom_score_adj.
    pub oom_score_adj: AtomicI32,
    /// PR_SET_PERSONALITY.
    pub personality: AtomicU32,
    /// Who has logged in.
    pub login: super::login::Login,
}

/// CPU times, in nanoseconds.
#[derive(Debug, Default)]
pub struct Times {
    /// In the guest.
    pub user: AtomicU64,
    /// In the kernel.
    pub system: AtomicU64,
    /// Of children that were waited for, in the guest.
    pub child_user: AtomicU64,
    /// And in the kernel.
    pub child_system: AtomicU64,
    /// Peak resident size in KiB.
    pub max_rss: MaxRss,
    /// That of children.
    pub child_max_rss: MaxRss,
}

/// No group exit is under way.
pub const NOT_EXITING: i32 = i32::MIN;

impl Process {
    /// A new one with these actions and limits.
    pub fn new(pid: Pid, actions: Actions, limits: [(u64, u64); 16], exit_signal: i32) -> Arc<Process> {
        Arc::new(Process {
            pid,
            shared: Mutex::new(Rank::Signal, Queue::default()),
            actions: Mutex::new(Rank::Leaf, actions),
            child_events: WaitQueue::new(),
            signal_events: WaitQueue::new(),
            end_events: WaitQueue::new(),
            group_exit: AtomicI32::new(NOT_EXITING),
            stopped: AtomicI32::new(0),
            limits: Mutex::new(Rank::Leaf, limits),
            times: Times::default(),
            cpu_due: Mutex::new(Rank::Timer, Default::default()),
            // Looked at soon: the limit on CPU time may be one of the parent's.
            cpu_next: AtomicU64::new(0),
            start: crate::base::time::now(),
            timers: Mutex::new(Rank::Signal, super::timers::ProcessTimers::default()),
            exit_signal: AtomicI32::new(exit_signal),
            has_execed: AtomicBool::new(false),
            subreaper: AtomicBool::new(false),
            dumpable: AtomicU32::new(1),
            oom_score_adj: AtomicI32::new(0),
            personality: AtomicU32::new(0),
            login: Default::default(),
        })
    }

    /// The action of a signal.
    pub fn action(&self, signo: i32) -> Action {
        let actions = self.actions.lock().clone();

        actions.lock()[signo as usize - 1]
    }

    /// Whether it is the guest's own init. A guest of `run` has none: there the kernel takes its place.
    pub fn is_init(&self) -> bool {
        self.pid == 1 && super::kernel().first.get() == Some(&1)
    }

    /// Whether its threads are ending, and with what.
    pub fn exiting(&self) -> Option<i32> {
        let code = self.group_exit.load(Ordering::SeqCst);
        (code != NOT_EXITING).then_some(code)
    }

    /// A soft limit, by `RLIMIT_` number.
    pub fn limit(&self, which: u32) -> u64 {
        self.limits.lock()[which as usize & 15].0
    }
}

/// Empty actions.
pub fn no_actions() -> Actions {
    Arc::new(Mutex::new(Rank::Leaf, [Action::default(); 64]))
}

/// Working directory, root and umask of a task, shared by CLONE_FS.
#[derive(Debug)]
pub struct FsContext {
    /// The three.
    pub inner: Mutex<FsInner>,
}

impl FsContext {
    /// One of the same directories, to go its own ways.
    pub fn copy(&self) -> Arc<FsContext> {
        let inner = self.inner.lock().clone();
        Arc::new(FsContext { inner: Mutex::new(Rank::Files, inner) })
    }
}

/// What [`FsContext`] holds.
#[derive(Debug, Clone)]
pub struct FsInner {
    /// Mounts.
    pub ns: Arc<Namespace>,
    /// `/`.
    pub root: Path,
    /// `.`.
    pub cwd: Path,
    /// Bits that new files do not get.
    pub umask: u32,
}

/// A thread.
#[derive(Debug)]
pub struct Task {
    /// Its number.
    pub tid: Pid,
    /// Its group.
    pub process: Arc<Process>,
    /// Its kernel side.
    pub fiber: OnceLock<Arc<Fiber>>,
    /// How to take the CPU from it.
    pub kicker: Mutex<Option<Kicker>>,
    /// Odd while it is in the guest, another number each time.
    visit: AtomicU32,
    /// Blocked signals, while it is not.
    blocked: AtomicU64,
    /// What sigtimedwait waits for.
    pub waited_for: AtomicU64,
    /// Signals for this thread.
    pub pending: Mutex<Queue>,
    /// Name, credentials and shared parts.
    pub inner: Mutex<TaskInner>,
    /// CPU times of this thread: user, system; ns.
    pub times: Times,
    /// When it began.
    pub start: u64,
    /// What it does in the kernel, for /proc/PID/wchan and the state letter.
    pub sleeping: AtomicBool,
    /// The system call it is in, or -1.
    pub in_syscall: AtomicI32,
    /// Asked to stop its thread by an exec of another.
    pub die: AtomicBool,
    /// PR_SET_PDEATHSIG.
    pub pdeath_signal: AtomicI32,
    /// Timer slack.
    pub timer_slack: AtomicU64,
    /// Whether its system calls are looked at first (seccomp).
    pub filtered: AtomicBool,
}

/// What others may look at under a lock.
#[derive(Debug, Clone)]
pub struct TaskInner {
    /// Name, at most 15 bytes.
    pub comm: Vec<u8>,
    /// Who it is.
    pub creds: Arc<Creds>,
    /// Descriptors; `None` once it has ended.
    pub files: Option<Arc<FdTable>>,
    /// Directories.
    pub fs: Option<Arc<FsContext>>,
    /// Memory.
    pub mm: Option<Arc<Mm>>,
    /// Where to clear the thread id at the end.
    pub clear_child_tid: u64,
    /// Head of the robust futex list.
    pub robust_list: u64,
    /// Alternate signal stack: address, size, flags.
    pub altstack: (u64, u64, i32),
    /// Mode and nodes of set_mempolicy(2).
    pub memory_policy: (u32, u64),
    /// How it wishes to be scheduled.
    pub policy: super::policy::Policy,
    /// Which system calls it may make.
    pub seccomp: super::seccomp::Seccomp,
}

impl Task {
    /// A new thread of a process.
    pub fn new(tid: Pid, process: Arc<Process>, blocked: SigSet, inner: TaskInner) -> Arc<Task> {
        let filtered = inner.seccomp.mode() != 0;
        Arc::new(Task {
            tid,
            process,
            fiber: OnceLock::new(),
            kicker: Mutex::new(Rank::Leaf, None),
            visit: AtomicU32::new(0),
            blocked: AtomicU64::new(blocked),
            waited_for: AtomicU64::new(0),
            pending: Mutex::new(Rank::Signal, Queue::default()),
            inner: Mutex::new(Rank::Leaf, inner),
            times: Times::default(),
            start: crate::base::time::now(),
            sleeping: AtomicBool::new(false),
            in_syscall: AtomicI32::new(-1),
            die: AtomicBool::new(false),
            pdeath_signal: AtomicI32::new(0),
            timer_slack: AtomicU64::new(50_000),
            filtered: AtomicBool::new(filtered),
        })
    }

    /// Who it is.
    pub fn creds(&self) -> Arc<Creds> {
        self.inner.lock().creds.clone()
    }

    /// Whether it is the one that this vCPU runs.
    pub fn is_current(&self) -> bool {
        super::current().is_some_and(|t| std::ptr::eq(&raw const *t, self))
    }

    /// Whether it is in the guest.
    pub fn in_guest(&self) -> bool {
        self.visit.load(Ordering::SeqCst) % 2 == 1
    }

    /// It goes to the guest, or has come from there.
    pub fn set_in_guest(&self, inside: bool) {
        if self.in_guest() != inside {
            self.visit.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Its blocked signals. In the guest the stub may change them meanwhile.
    pub fn blocked(&self) -> SigSet {
        loop {
            let visit = self.visit.load(Ordering::SeqCst);
            let kicker = if visit % 2 == 1 { self.kicker.lock().clone() } else { None };
            let Some(kicker) = kicker else { return self.blocked.load(Ordering::SeqCst) };
            let mask = kicker.mask();
            // One of an earlier visit says nothing: the kernel may have changed it since.
            if self.visit.load(Ordering::SeqCst) == visit {
                return mask;
            }
        }
    }

    /// Changes its blocked signals: for itself, outside of the guest.
    pub fn set_blocked(&self, set: SigSet) {
        self.blocked.store(set & !UNSTOPPABLE, Ordering::SeqCst);
    }

    /// Whether no signal waits for it, not even a blocked one.
    pub fn nothing_pending(&self) -> bool {
        self.pending.lock().is_empty() && self.process.shared.lock().is_empty()
    }

    /// Changes its blocked signals, and has it look at those that wait and are not blocked any more.
    pub fn change_blocked(&self, set: SigSet) {
        self.set_blocked(set);
        if self.has_deliverable() {
            self.interrupt();
        }
    }

    /// Takes it out of the guest, if it is there.
    pub fn kick(&self) {
        if self.in_guest()
            && let Some(kicker) = self.kicker.lock().as_ref()
        {
            kicker.kick();
        }
    }

    /// Whether a signal waits that it would take.
    pub fn has_deliverable(&self) -> bool {
        let open = !self.blocked();
        // One after the other: they are of one rank.
        let own = self.pending.lock().set();
        let shared = self.process.shared.lock().set();
        (own | shared) & open != 0
    }

    /// Makes it look at signals, stops and ends: wakes it from an interruptible sleep, takes it out of the guest.
    pub fn interrupt(&self) {
        if let Some(fiber) = self.fiber.get() {
            fiber.set_interrupted(true);
        }
        self.kick();
    }

    /// Queues a signal for this thread alone, without a look at actions.
    pub fn queue(&self, info: SigInfo) {
        self.pending.lock().push(info);
    }
}
