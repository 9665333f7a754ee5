//! Tasks: processes, threads, signals, scheduling of them, waiting for them.

pub mod access;
mod build;
pub mod cpu_clock;
pub mod ctx;
pub mod deliver;
pub mod dump;
mod elf;
mod end;
pub mod exec;
pub mod exit;
pub mod fork;
pub mod futex;
pub mod futex_pi;
pub mod keys;
mod login;
mod max_rss;
pub mod oom;
pub mod pidfd;
pub mod policy;
pub mod process;
pub mod procfs;
pub mod robust;
pub mod rseq;
pub mod seccomp;
pub mod send;
pub mod sessions;
pub mod signal;
pub mod signalfd;
pub mod swap;
pub mod table;
pub mod timers;
pub mod vdso;

use crate::base::{Mutex, Rank};
use crate::mm::Usage;
use crate::platform::Platform;
use parking_lot::Condvar;
use std::sync::{Arc, OnceLock};

pub use ctx::Ctx;
pub use end::End;
pub use process::{FsContext, FsInner, Pid, Process, Task};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Trace system calls: all, or those of a family.
    pub strace: Option<String>,
    /// The kernel's own command line, for /proc/cmdline.
    pub cmdline: String,
}

/// The kernel: what there is one of.
#[derive(Debug)]
pub struct Kernel {
    /// How guest code runs.
    pub platform: Arc<Platform>,
    /// Memory in use.
    pub usage: Usage,
    /// Processes.
    pub table: table::Table,
    /// Host name and domain name.
    pub names: Mutex<(Vec<u8>, Vec<u8>)>,
    /// What the command line says.
    pub options: Options,
    /// The process whose end is the guest's.
    pub first: OnceLock<Pid>,
    /// How the guest has ended, once it has.
    pub ended: parking_lot::Mutex<Option<End>>,
    /// Told then.
    pub ended_cond: Condvar,
    /// The vDSO's object.
    pub vdso: bool,
}

/// The host name until somebody sets another.
const DEFAULT_NAME: &[u8] = b"uml";

static KERNEL: OnceLock<Kernel> = OnceLock::new();

impl Kernel {
    /// Makes the kernel; once.
    pub fn start(platform: Arc<Platform>, options: Options) -> &'static Kernel {
        let vdso = vdso::park(&platform, crate::platform::x86_64::layout::HOST_VDSO).is_ok();
        KERNEL.get_or_init(|| Kernel {
            platform,
            vdso,
            usage: Usage::new(),
            table: table::Table::default(),
            names: Mutex::new(Rank::Leaf, (DEFAULT_NAME.to_vec(), b"(none)".to_vec())),
            options,
            first: OnceLock::new(),
            ended: parking_lot::Mutex::new(None),
            ended_cond: Condvar::new(),
        })
    }
}

/// The kernel.
///
/// # Panics
/// Before it is started.
pub fn kernel() -> &'static Kernel {
    match KERNEL.get() {
        Some(kernel) => kernel,
        None => panic!("the kernel is not started"),
    }
}

/// The guest's host name; the one it begins with while the kernel is not started.
pub fn nodename() -> Vec<u8> {
    KERNEL.get().map_or_else(|| DEFAULT_NAME.to_vec(), |kernel| kernel.names.lock().0.clone())
}

/// The task that runs on this vCPU: for file systems that answer by who asks.
pub fn current() -> Option<Arc<Task>> {
    let owner = crate::base::fiber::current()?.owner.read().clone()?;
    owner.downcast::<Task>().ok()
}
