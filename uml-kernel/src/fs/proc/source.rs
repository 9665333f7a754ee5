//! What procfs asks the rest of the kernel. The task layer answers; nothing here names it.
//!
//! Times are nanoseconds, sizes are bytes, unless said otherwise. Answers are copies: no lock is held between two questions.

use crate::base::{Errno, Result};
use crate::fs::{Creds, File, Namespace, Path};
use crate::mm::UserMemory;
use std::sync::Arc;

pub use super::task::*;

/// The kernel as a whole.
pub trait System: Send + Sync {
    /// Ids of all processes, rising.
    fn pids(&self) -> Vec<i32>;
    /// The process with this id, or the thread: Linux answers for /proc/TID, too, though it does not list it.
    fn process(&self, pid: i32) -> Option<Arc<dyn Process>>;
    /// Process and thread id of the task that asks; `None` if no task does.
    fn current(&self) -> Option<(i32, i32)>;
    /// As whom it asks.
    fn creds(&self) -> Arc<Creds>;

    /// Memory of the machine.
    fn memory(&self) -> Memory;
    /// What each vCPU has spent its time with.
    fn cpu_times(&self) -> Vec<CpuTimes>;
    /// Time since boot.
    fn uptime(&self) -> u64;
    /// Load averages and the number of tasks.
    fn load(&self) -> Load;
    /// What is counted since boot.
    fn counters(&self) -> Counters;
    /// What uname(2) tells.
    fn uts(&self) -> Uts;
    /// sethostname(2), without a check of privileges.
    fn set_hostname(&self, name: &[u8]);
    /// setdomainname(2), likewise.
    fn set_domainname(&self, name: &[u8]);
    /// The kernel's command line.
    fn command_line(&self) -> String;
    /// Random, new with each boot.
    fn boot_id(&self) -> [u8; 16];
    /// One above the largest process id.
    fn pid_max(&self) -> i32;
    /// Changes that; EINVAL.
    fn set_pid_max(&self, _value: i32) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// A sysctl was changed to this text; its name is as in "vm/overcommit_memory". An error refuses the change.
    fn sysctl_changed(&self, _name: &str, _value: &str) -> Result<()> {
        Ok(())
    }
    /// Types of file systems that can be mounted; true for those that need a block device.
    fn file_systems(&self) -> Vec<(&'static str, bool)> {
        let nodev = ["sysfs", "tmpfs", "proc", "devtmpfs", "devpts", "mqueue", "overlay", "hostfs"];
        let mut all: Vec<_> = nodev.iter().map(|name| (*name, false)).collect();
        all.extend([("ext3", true), ("ext2", true), ("ext4", true)]);
        all
    }
    /// Block devices, in the order in which they were found.
    fn block_devices(&self) -> Vec<BlockDevice> {
        Vec::new()
    }
    /// Network interfaces.
    fn interfaces(&self) -> Vec<Interface> {
        vec![Interface { name: "lo".into(), ..Interface::default() }]
    }
    /// The lines below the head line of a table of /proc/net, each with its newline.
    fn net_table(&self, _table: NetTable) -> String {
        String::new()
    }
    /// The lines below the head line of a table of /proc/sysvipc, each with its newline.
    fn ipc_table(&self, _table: IpcTable) -> String {
        String::new()
    }
    /// What is swapped to, in the order in which it is filled.
    fn swaps(&self) -> Vec<Swap> {
        Vec::new()
    }
    /// The lines of /proc/locks.
    fn locks(&self) -> String {
        String::new()
    }
    /// sysrq(Documentation/admin-guide/sysrq.rst): one key. The caller has checked privileges.
    fn sysrq(&self, _key: u8) {}
}

/// A process, or a thread of one: most questions have an answer for both, and where they differ (times, signals, faults), each gives its
/// own. The answers of one that has ended are those of a zombie.
pub trait Process: Send + Sync {
    /// Its id: a process's, or a thread's.
    fn pid(&self) -> i32;
    /// Id of the process it belongs to.
    fn tgid(&self) -> i32;
    /// Whether it has been reaped: whoever still has it open finds ESRCH.
    fn is_gone(&self) -> bool;

    /// The name, at most 15 bytes.
    fn comm(&self) -> Vec<u8>;
    /// Changes it.
    fn set_comm(&self, comm: &[u8]);
    /// Arguments, each with its NUL. Empty for a zombie.
    fn cmdline(&self) -> Vec<u8>;
    /// Environment, each string with its NUL.
    fn environ(&self) -> Vec<u8>;
    /// The auxiliary vector, as on the stack, with AT_NULL.
    fn auxv(&self) -> Vec<u8>;
    /// The program; `None` for a zombie, and for kernel threads.
    fn exe(&self) -> Option<Path>;
    /// Working directory.
    fn cwd(&self) -> Option<Path>;
    /// Root directory.
    fn root(&self) -> Option<Path>;
    /// The mounts that it sees.
    fn namespace(&self) -> Option<Arc<Namespace>>;
    /// Open descriptors, rising.
    fn fds(&self) -> Vec<(i32, Arc<File>)>;
    /// One of them.
    fn fd(&self, fd: i32) -> Option<Arc<File>> {
        self.fds().into_iter().find(|(n, _)| *n == fd).map(|(_, file)| file)
    }

    /// Whether a descriptor is closed by execve.
    fn fd_cloexec(&self, _fd: i32) -> bool {
        false
    }

    /// Thread ids, rising; the first thread's is the process's.
    fn threads(&self) -> Vec<i32>;
    /// A thread of this process.
    fn thread(&self, tid: i32) -> Option<Arc<dyn Process>>;
    /// Processes that this thread has made.
    fn children(&self) -> Vec<i32>;

    /// State and place among the others.
    fn status(&self) -> Status;
    /// Time and faults.
    fn usage(&self) -> Usage;
    /// Signals.
    fn signals(&self) -> Signals;
    /// Who it is.
    fn creds(&self) -> Arc<Creds>;
    /// PR_SET_DUMPABLE: whether others of the same user may look into it.
    fn dumpable(&self) -> bool {
        true
    }
    /// Size of its address space; `None` for a zombie, and for kernel threads.
    fn memory(&self) -> Option<MemoryUse>;
    /// Mappings, rising.
    fn maps(&self) -> Vec<MapLine>;
    /// Its memory; `None` as for `memory`.
    fn user_memory(&self) -> Option<UserMemory>;
    /// Writes its memory as a debugger does, also where it is read-only.
    fn poke(&self, address: u64, from: &[u8]) -> Result<usize> {
        self.user_memory().ok_or(Errno::EIO)?.write_some(address, from)
    }
    /// Resource limits, soft and hard, by the numbers of getrlimit(2).
    fn limits(&self) -> [(u64, u64); 16];
    /// What it has read and written.
    fn io(&self) -> Io {
        Io::default()
    }
    /// The kernel function it sleeps in; empty if it runs.
    fn wchan(&self) -> &'static str {
        ""
    }
    /// Number and arguments of the system call it is in, stack and instruction pointer; `None` while it runs.
    fn syscall(&self) -> Option<[u64; 9]> {
        None
    }
    /// Values that are kept for it.
    fn tunables(&self) -> Tunables;
    /// Changes one of them. The caller has checked range and privileges.
    fn set_tunable(&self, _what: Tunable) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Inode numbers of its namespaces, by the names in /proc/PID/ns.
    fn ns_ids(&self) -> Vec<(&'static str, u32)> {
        INITIAL_NAMESPACES.to_vec()
    }
    /// Its control group.
    fn cgroup(&self) -> String {
        "/".into()
    }
    /// POSIX timers, as the lines of /proc/PID/timers.
    fn timers(&self) -> String {
        String::new()
    }
}

/// The namespaces that everything starts in (linux/proc_ns.h; mount namespaces have no fixed number, this is the usual one).
pub const INITIAL_NAMESPACES: [(&str, u32); 10] = [
    ("cgroup", 0xeffffffb),
    ("ipc", 0xefffffff),
    ("mnt", 0xeffffff8),
    ("net", 0xeffffff9),
    ("pid", 0xeffffffc),
    ("pid_for_children", 0xeffffffc),
    ("time", 0xeffffffa),
    ("time_for_children", 0xeffffffa),
    ("user", 0xeffffffd),
    ("uts", 0xeffffffe),
];

/// Memory of the machine, bytes.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Memory {
    pub total: u64,
    pub free: u64,
    pub available: u64,
    pub buffers: u64,
    pub cached: u64,
    pub anonymous: u64,
    pub mapped: u64,
    pub shmem: u64,
    pub dirty: u64,
    pub writeback: u64,
    pub slab: u64,
    pub locked: u64,
    pub kernel_stacks: u64,
    pub page_tables: u64,
    pub swap_total: u64,
    pub swap_free: u64,
    /// Since boot, in pages.
    pub swapped_in: u64,
    pub swapped_out: u64,
    pub commit_limit: u64,
    pub committed: u64,
}

/// A swap area.
#[derive(Debug, Clone, Default)]
pub struct Swap {
    /// The path that it was given by.
    pub name: Vec<u8>,
    /// Whether it is a regular file.
    pub file: bool,
    /// Bytes that it can hold.
    pub size: u64,
    /// Bytes that it holds.
    pub used: u64,
    /// Those of higher priority are filled first.
    pub priority: i32,
}

/// What a CPU has spent its time with.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct CpuTimes {
    pub user: u64,
    pub nice: u64,
    pub system: u64,
    pub idle: u64,
    pub iowait: u64,
    pub irq: u64,
    pub softirq: u64,
}

/// Load of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Averages over 1, 5 and 15 minutes, in units of 1/2048 task (`FSHIFT`).
    pub averages: [u64; 3],
    /// Tasks that run or could.
    pub running: u64,
    /// Tasks that wait for a disk.
    pub blocked: u64,
    /// All tasks.
    pub tasks: u64,
    /// The last process id that was given.
    pub last_pid: i32,
}

/// Counted since boot.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// Context switches.
    pub switches: u64,
    /// Tasks made.
    pub forks: u64,
    /// Interrupts: timer ticks and I/O.
    pub interrupts: u64,
    /// Page faults.
    pub faults: u64,
    /// Page faults that needed a disk.
    pub major_faults: u64,
    /// Time of boot, seconds since 1970.
    pub boot_time: u64,
    /// Open files.
    pub files: u64,
    /// Inodes in use, and of these unused.
    pub inodes: (u64, u64),
}

/// What uname(2) tells.
#[derive(Debug, Clone, Default)]
pub struct Uts {
    /// "Linux".
    pub sysname: String,
    /// The host name.
    pub nodename: Vec<u8>,
    /// As "6.18.0".
    pub release: String,
    /// As "#1 SMP ...".
    pub version: String,
    /// "x86_64".
    pub machine: String,
    /// The NIS domain.
    pub domainname: Vec<u8>,
}

/// A block device, or a partition of one.
#[derive(Debug, Clone, Default)]
pub struct BlockDevice {
    /// Its name, as "ubda".
    pub name: String,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Bytes.
    pub size: u64,
    /// Cannot be written.
    pub read_only: bool,
    /// The figures of /proc/diskstats (Documentation/admin-guide/iostats.rst), in their order.
    pub stats: [u64; 17],
    /// Requests under way.
    pub in_flight: u64,
    /// What it is a partition of; `None` for a disk.
    pub part: Option<Partition>,
    /// Bytes that direct I/O is a multiple of.
    pub logical_block: u32,
    /// Whether space can be given back.
    pub discards: bool,
    /// Bytes that are read ahead.
    pub read_ahead: u64,
    /// What its driver has in sysfs: a directory's name, and its files with their texts.
    pub driver: Option<(&'static str, Vec<(&'static str, String)>)>,
}

/// A partition's place.
#[derive(Debug, Clone, Default)]
pub struct Partition {
    /// The disk's name.
    pub disk: String,
    /// From 1.
    pub number: u32,
    /// First byte on the disk.
    pub start: u64,
    /// PARTUUID, if its table has one.
    pub uuid: String,
    /// Its name in the table.
    pub label: String,
}

/// A network interface: its name, and the sixteen figures of /proc/net/dev.
#[derive(Debug, Clone, Default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Bytes, packets, errors, drops, fifo, frame, compressed, multicast.
    pub received: [u64; 8],
    /// Bytes, packets, errors, drops, fifo, collisions, carrier, compressed.
    pub sent: [u64; 8],
}

/// A table of /proc/net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NetTable {
    Arp,
    IfInet6,
    Netlink,
    Packet,
    Raw,
    Raw6,
    Route,
    Tcp,
    Tcp6,
    Udp,
    Udp6,
    Unix,
}

/// A table of /proc/sysvipc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum IpcTable {
    Msg,
    Sem,
    Shm,
}
