//! The groups of values that a [`Process`](super::source::Process) tells.

/// State of a task, and its place among the others.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// R, S, D, T, t, Z, X or I.
    pub state: char,
    /// Parent.
    pub ppid: i32,
    /// Process group.
    pub pgid: i32,
    /// Session.
    pub sid: i32,
    /// Controlling terminal, as `new_encode_dev` has it; 0 if none.
    pub tty: u32,
    /// Foreground process group of that; -1 if none.
    pub tpgid: i32,
    /// Who traces it; 0 if nobody.
    pub tracer: i32,
    /// `PF_` flags (linux/sched.h).
    pub flags: u32,
    /// Number of threads.
    pub threads: u32,
    /// As the kernel counts it: 20 is usual, -2 to -100 is real time.
    pub priority: i32,
    /// -20 to 19.
    pub nice: i32,
    /// Real-time priority, 0 to 99.
    pub rt_priority: u32,
    /// Scheduling policy, as sched_setscheduler(2) numbers them.
    pub policy: u32,
    /// When it was started, since boot.
    pub start_time: u64,
    /// The vCPU that ran it last.
    pub cpu: u32,
    /// CPUs that it may run on.
    pub cpus_allowed: u64,
    /// Signal sent to the parent at its end.
    pub exit_signal: i32,
    /// As wait(2) gives it.
    pub exit_code: i32,
    /// umask(2); `None` for a zombie.
    pub umask: Option<u32>,
    /// Slots in the table of descriptors.
    pub fd_slots: u32,
    /// A kernel thread.
    pub kernel_thread: bool,
    /// A seccomp mode: 0, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Number of seccomp filters.
    pub seccomp_filters: u32,
}

/// Time and faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// User time of children waited for.
    pub children_user: u64,
    /// Their system time.
    pub children_system: u64,
    /// Page faults.
    pub faults: u64,
    /// Page faults that needed a disk.
    pub major_faults: u64,
    /// Of children waited for.
    pub children_faults: u64,
    /// Of children waited for.
    pub children_major_faults: u64,
    /// Times it gave the CPU away.
    pub voluntary_switches: u64,
    /// Times the CPU was taken from it.
    pub involuntary_switches: u64,
    /// Time it could have run and did not.
    pub waited: u64,
}

/// Signals: bit n-1 for signal n.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signals {
    /// Pending for the thread.
    pub pending: u64,
    /// Pending for the process.
    pub shared_pending: u64,
    /// Blocked.
    pub blocked: u64,
    /// Ignored.
    pub ignored: u64,
    /// Caught.
    pub caught: u64,
    /// Queued for its user.
    pub queued: u64,
}

/// Sizes of an address space, bytes, and where its parts lie.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct MemoryUse {
    pub size: u64,
    pub peak_size: u64,
    pub resident: u64,
    pub peak_resident: u64,
    pub anonymous: u64,
    pub file: u64,
    pub shmem: u64,
    pub locked: u64,
    /// Private writable mappings.
    pub data: u64,
    pub stack: u64,
    pub text: u64,
    pub libraries: u64,
    pub page_tables: u64,
    pub swapped: u64,
    pub code: (u64, u64),
    pub data_range: (u64, u64),
    pub brk: u64,
    pub stack_start: u64,
    pub args: (u64, u64),
    pub env: (u64, u64),
}

/// A mapping.
#[derive(Debug, Clone, Default)]
pub struct MapLine {
    /// First address.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
    /// `PROT_READ` 1, `PROT_WRITE` 2, `PROT_EXEC` 4.
    pub prot: u32,
    /// Shared.
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// Device of the file.
    pub dev: u64,
    /// Inode of the file.
    pub ino: u64,
    /// Path of the file, or as "\[heap\]"; may be empty.
    pub name: Vec<u8>,
    /// What of it is resident.
    pub resident: u64,
    /// What of that nobody else has mapped.
    pub private: u64,
    /// What of that was written.
    pub dirty: u64,
    /// What of it is not the file's.
    pub anonymous: u64,
    /// What was touched of late.
    pub referenced: u64,
    /// Locked.
    pub locked: bool,
    /// Bytes of it that are swapped out.
    pub swapped: u64,
    /// Two-letter codes beyond those of `prot`, as "gd" (proc_pid_smaps(5)).
    pub flags: Vec<&'static str>,
}

/// What a process has read and written (proc_pid_io(5)).
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Io {
    pub rchar: u64,
    pub wchar: u64,
    pub syscr: u64,
    pub syscw: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub cancelled_write_bytes: u64,
}

/// Values that /proc keeps for a process, and others see the effects of.
#[derive(Debug, Clone, Copy)]
pub struct Tunables {
    /// -1000 to 1000.
    pub oom_score_adj: i32,
    /// How likely it is to be killed for want of memory, 0 to 2000.
    pub oom_score: u32,
    /// Who logged in; u32::MAX if nobody.
    pub loginuid: u32,
    /// Number of the login session; u32::MAX if none.
    pub sessionid: u32,
    /// What core dumps hold.
    pub coredump_filter: u32,
    /// personality(2).
    pub personality: u32,
    /// Timer slack.
    pub timer_slack: u64,
    /// Number and nice value of its scheduling group.
    pub autogroup: (u32, i32),
}

impl Default for Tunables {
    fn default() -> Tunables {
        Tunables {
            oom_score_adj: 0,
            oom_score: 0,
            loginuid: u32::MAX,
            sessionid: u32::MAX,
            coredump_filter: 0x33,
            personality: 0,
            timer_slack: 50_000,
            autogroup: (0, 0),
        }
    }
}

/// A change to one of [`Tunables`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Tunable {
    OomScoreAdj(i32),
    LoginUid(u32),
    CoredumpFilter(u32),
    TimerSlack(u64),
    AutogroupNice(i32),
}
