//! seccomp(2): which system calls a task may make, by its own wish or its parents'.
//!
//! A task without filters pays one load of an atomic a call. One with filters has every call taken to the kernel: the stub
//! answers none itself.

pub mod bpf;

use super::process::Task;
use super::signal::SigInfo;
use super::{Ctx, Pid, kernel};
use crate::base::{Errno, Result};
use bpf::Program;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Ends the process.
pub const KILL_PROCESS: u32 = 0x8000_0000;
/// Ends the thread.
pub const KILL_THREAD: u32 = 0;
/// Sends SIGSYS.
pub const TRAP: u32 = 0x0003_0000;
/// Fails with the error number in the data.
pub const ERRNO: u32 = 0x0005_0000;
/// Asks a listener; there is none here.
pub const USER_NOTIF: u32 = 0x7fc0_0000;
/// Asks a tracer; without one, the call is not there.
pub const TRACE: u32 = 0x7ff0_0000;
/// Allows, and says so in the log.
pub const LOG: u32 = 0x7ffc_0000;
/// Allows.
pub const ALLOW: u32 = 0x7fff_0000;
const ACTION: u32 = 0xffff_0000;
const DATA: u32 = 0xffff;

/// `AUDIT_ARCH_X86_64`.
pub const ARCH: u32 = 0xc000_003e;
/// `AUDIT_ARCH_I386`.
pub const ARCH_32: u32 = 0x4000_0003;

/// Instructions that one call may cost, with some for each filter (MAX_INSNS_PER_PATH).
const MAX_TOTAL: usize = 32768;
const EACH: usize = 4;

/// What a task may do.
#[derive(Debug, Clone, Default)]
pub enum Seccomp {
    /// Everything.
    #[default]
    Off,
    /// read, write, exit, rt_sigreturn.
    Strict,
    /// What these allow; the newest comes last.
    Filters(Arc<[Arc<Filter>]>),
}

/// One filter.
#[derive(Debug)]
pub struct Filter {
    program: Program,
    /// SECCOMP_FILTER_FLAG_LOG.
    log: bool,
}

impl Filter {
    /// A filter of a checked program.
    pub fn new(program: Program, log: bool) -> Arc<Filter> {
        Arc::new(Filter { program, log })
    }
}

impl Seccomp {
    /// The number that PR_GET_SECCOMP and /proc have.
    pub fn mode(&self) -> u8 {
        match self {
            Seccomp::Off => 0,
            Seccomp::Strict => 1,
            Seccomp::Filters(_) => 2,
        }
    }

    /// The filters, oldest first.
    pub fn filters(&self) -> &[Arc<Filter>] {
        if let Seccomp::Filters(filters) = self { filters } else { &[] }
    }

    fn with(&self, filter: Arc<Filter>) -> Result<Seccomp> {
        if matches!(self, Seccomp::Strict) {
            return Err(Errno::EINVAL);
        }
        let old: usize = self.filters().iter().map(|f| f.program.size() + EACH).sum();
        if old + filter.program.size() > MAX_TOTAL {
            return Err(Errno::ENOMEM);
        }
        Ok(Seccomp::Filters(self.filters().iter().cloned().chain([filter]).collect()))
    }

    /// Whether all of this was there before `later` was: a thread of it can go over to that.
    fn came_before(&self, later: &Seccomp) -> bool {
        let (own, later) = (self.filters(), later.filters());
        !matches!(self, Seccomp::Strict)
            && own.len() <= later.len()
            && own.iter().zip(later).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// What becomes of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Go,
    /// It is not, and gives this.
    Result(Result<u64>),
    /// It is not, and the registers stay as they were: a signal or an end comes.
    Skip,
}

/// Looks at a call before it is made.
pub fn check(ctx: &mut Ctx, nr: u32, arch: u32) -> Verdict {
    let seccomp = ctx.task.inner.lock().seccomp.clone();
    let filters = match seccomp {
        Seccomp::Off => return Verdict::Go,
        Seccomp::Strict => {
            let allowed = [libc::SYS_read, libc::SYS_write, libc::SYS_exit, libc::SYS_rt_sigreturn];
            if arch == ARCH && allowed.contains(&nr.into()) {
                return Verdict::Go;
            }
            ctx.exit = Some(libc::SIGKILL);
            return Verdict::Skip;
        }
        Seccomp::Filters(filters) => filters,
    };
    let data = data(ctx, nr, arch);
    let (mut decided, mut log) = (ALLOW, false);
    // The newest is asked first; another is heard only if it is stricter.
    for filter in filters.iter().rev() {
        let said = filter.program.run(&data);
        if ((said & ACTION) as i32) < (decided & ACTION) as i32 {
            (decided, log) = (said, filter.log);
        }
    }
    act(ctx, decided, log, nr, arch)
}

/// `struct seccomp_data` by words: number, architecture, instruction pointer, arguments.
fn data(ctx: &Ctx, nr: u32, arch: u32) -> [u32; 16] {
    let r = &ctx.regs;
    let args = match arch {
        ARCH_32 => [r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp].map(|a| u64::from(a as u32)),
        _ => r.args(),
    };
    let mut words = [0; 16];
    (words[0], words[1]) = (nr, arch);
    for (n, value) in [r.rip].into_iter().chain(args).enumerate() {
        (words[2 + n * 2], words[3 + n * 2]) = (value as u32, (value >> 32) as u32);
    }
    words
}

fn act(ctx: &mut Ctx, decided: u32, log: bool, nr: u32, arch: u32) -> Verdict {
    let (action, value) = (decided & ACTION, decided & DATA);
    let tell = |ctx: &Ctx| {
        let comm = ctx.task.inner.lock().comm.clone();
        let comm = String::from_utf8_lossy(&comm);
        crate::log!("seccomp: {comm}[{}]: system call {nr}, action {action:#x}", ctx.task.tid);
    };
    if log && action != ALLOW {
        tell(ctx);
    }
    const MAX_ERRNO: u32 = 4095;
    match action {
        ALLOW => Verdict::Go,
        LOG => {
            if !log {
                tell(ctx);
            }
            Verdict::Go
        }
        ERRNO if value == 0 => Verdict::Result(Ok(0)),
        ERRNO => Verdict::Result(Err(Errno(value.min(MAX_ERRNO) as i32))),
        TRACE | USER_NOTIF => Verdict::Result(Err(Errno::ENOSYS)),
        TRAP => {
            const SYS_SECCOMP: i32 = 1;
            let fields = [ctx.regs.rip, u64::from(arch) << 32 | u64::from(nr), 0, 0];
            let info = SigInfo { signo: libc::SIGSYS, errno: value as i32, code: SYS_SECCOMP, fields };
            super::deliver::force(ctx, info);
            ctx.task.interrupt();
            Verdict::Skip
        }
        KILL_THREAD if kernel().table.threads(ctx.task.process.pid).len() > 1 => {
            ctx.exit = Some(libc::SIGSYS);
            Verdict::Skip
        }
        // What no kernel knows ends the process, too.
        _ => {
            ctx.die(libc::SIGSYS);
            Verdict::Skip
        }
    }
}

fn install(task: &Arc<Task>, seccomp: Seccomp) {
    task.inner.lock().seccomp = seccomp;
    task.filtered.store(true, Ordering::SeqCst);
    if let Some(kicker) = task.kicker.lock().as_ref() {
        kicker.answer_nothing();
    }
}

/// SECCOMP_SET_MODE_STRICT.
pub fn set_strict(ctx: &Ctx) -> Result<()> {
    if matches!(ctx.task.inner.lock().seccomp, Seccomp::Filters(_)) {
        return Err(Errno::EINVAL);
    }
    install(&ctx.task, Seccomp::Strict);
    Ok(())
}

/// SECCOMP_SET_MODE_FILTER, for the caller alone.
pub fn add(ctx: &Ctx, filter: Arc<Filter>) -> Result<()> {
    let new = ctx.task.inner.lock().seccomp.with(filter)?;
    install(&ctx.task, new);
    Ok(())
}

/// The same for all threads of the process. The number of one that has filters of its own, if there is such, and nothing is
/// changed then.
pub fn add_to_all(ctx: &Ctx, filter: Arc<Filter>) -> Result<Option<Pid>> {
    let own = ctx.task.inner.lock().seccomp.clone();
    let new = own.with(filter)?;
    let threads = kernel().table.threads(ctx.task.process.pid);
    let differs = |t: &&Arc<Task>| !t.inner.lock().seccomp.came_before(&own);
    if let Some(other) = threads.iter().find(differs) {
        return Ok(Some(other.tid));
    }
    let no_new_privs = ctx.creds().no_new_privs;
    for task in &threads {
        if no_new_privs && !task.creds().no_new_privs {
            let mut creds = (*task.creds()).clone();
            creds.no_new_privs = true;
            task.inner.lock().creds = Arc::new(creds);
        }
        install(task, new.clone());
    }
    Ok(None)
}
