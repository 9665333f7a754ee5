//! `uml-kernel run`: one command, on a host directory.

use crate::base::{Errno, Mutex, Rank, sched};
use crate::fs::anon::{self, AnonKind};
use crate::fs::stream::{HostStream, StreamFile};
use crate::fs::tty::{self, Tty, TtyFile};
use crate::fs::{Creds, FdTable, File, Lookup, Namespace, OpenFlags, Resolve};
use crate::platform::{Platform, sys};
use crate::task::process::{self, TaskInner};
use crate::task::{Ctx, FsContext, FsInner, Kernel, Options, Process, Task, exec, fork, kernel};
use anyhow::{Context as _, Result};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

/// What `run` was asked for.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Host directory that is the guest's root.
    pub root: PathBuf,
    /// Memory limit in bytes.
    pub mem: u64,
    /// Host directory that keeps what the guest changes; in memory without one.
    pub keep: Option<PathBuf>,
    /// Host directories that the guest may write to.
    pub write: Vec<PathBuf>,
    /// vCPUs.
    pub ncpus: usize,
    /// Command and arguments.
    pub command: Vec<std::ffi::OsString>,
    /// Trace system calls of these families.
    pub strace: Option<String>,
    /// Show the kernel's log.
    pub log: bool,
    /// Disks; the first is the root, if `disk` is set.
    pub disks: Vec<crate::block::Spec>,
    /// The root is on the first disk, not a directory.
    pub disk_root: bool,
}

/// Default limits, as Linux sets them at start; in the order of their `RLIMIT_` numbers.
fn default_limits(mem: u64) -> [(u64, u64); 16] {
    const INF: u64 = u64::MAX;
    let procs = (mem / (64 << 10)).min(16000);
    [
        (INF, INF),
        (INF, INF),
        (INF, INF),
        (8 << 20, INF),
        (0, INF),
        (INF, INF),
        (procs, procs),
        (1024, 1 << 19),
        (8 << 20, 8 << 20),
        (INF, INF),
        (INF, INF),
        (procs, procs),
        (819_200, 819_200),
        (0, 0),
        (0, 0),
        (INF, INF),
    ]
}

/// Runs the command; its wait status.
pub fn run(options: RunOptions) -> Result<i32> {
    sys::tune_heap();
    crate::base::time::boot();
    crate::base::log::to_stderr(options.log);
    // Each stub, and each file that the guest has open, takes descriptors of this process.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: files.maximum, ..files };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, most);
    let host_cpus = sys::allowed_cpus();
    let platform = Platform::start().context("cannot start the first stub")?;
    let cmdline = format!("mem={} ncpus={}", options.mem, options.ncpus);
    let kernel = Kernel::start(platform.clone(), Options { strace: options.strace.clone(), cmdline });
    kernel.usage.set_limit(options.mem);
    crate::task::procfs::register(options.mem);
    super::panic::install(platform.clone());
    super::panic::listen()?;
    let terminal = super::terminal::take()?;
    for major in [5, 136] {
        crate::fs::dev::register(major, Arc::new(tty::open));
    }
    tty::register_sessions(Box::new(crate::task::sessions::Table));
    for spec in &options.disks {
        crate::block::add(spec.open()?)?;
    }
    let ns = super::tree::build(&options)?;
    make_init(options.mem)?;
    let first = first_task(&options, ns, terminal.as_ref().map(super::terminal::Guard::tty))?;
    let _ = kernel.first.set(first.task.process.pid);
    sched::start(options.ncpus, &host_cpus)?;
    let reaper = {
        let platform = platform.clone();
        std::thread::Builder::new()
            .name("reaper".into())
            .stack_size(128 << 10)
            .spawn(move || platform.reap())?
    };
    fork::start(first)?;
    let status = {
        let mut ended = kernel.ended.lock();
        loop {
            if let Some(status) = *ended {
                break status;
            }
            kernel.ended_cond.wait(&mut ended);
        }
    };
    platform.shut_down();
    crate::fs::extfs::unmount_all();
    drop(terminal);
    drop(reaper);
    Ok(status)
}

/// Process 1, which is the kernel itself: the parent of orphans.
fn make_init(mem: u64) -> Result<()> {
    let mut table = kernel().table.lock();
    let pid = table.new_pid()?;
    let process = Process::new(pid, process::no_actions(), default_limits(mem), 0);
    let creds = Arc::new(Creds::user(0, 0, &[]));
    let inner = TaskInner {
        comm: b"init".to_vec(),
        creds,
        files: None,
        fs: None,
        mm: None,
        clear_child_tid: 0,
        robust_list: 0,
        altstack: (0, 0, 2),
        memory_policy: (0, 0),
        policy: Default::default(),
        seccomp: Default::default(),
    };
    let task = Task::new(pid, process, 0, inner);
    table.add_process(&task, 0, 0, 0);
    Ok(())
}

fn first_task(options: &RunOptions, ns: Arc<Namespace>, terminal: Option<&Arc<Tty>>) -> Result<Ctx> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let groups: Vec<u32> = rustix::process::getgroups()?.iter().map(|g| g.as_raw()).collect();
    let creds = Arc::new(Creds::user(uid, gid, &groups));
    let root = ns.root();
    let mut lookup =
        Lookup { ns: ns.clone(), root: root.clone(), start: root.clone(), creds, resolve: Resolve::empty() };
    let cwd =
        std::env::current_dir().map(|d| d.into_os_string().into_vec()).unwrap_or_else(|_| b"/".to_vec());
    let cwd = lookup.find(&cwd, true).unwrap_or(root);
    lookup.start = cwd.clone();
    let args: Vec<Vec<u8>> = options.command.iter().map(|a| a.clone().into_vec()).collect();
    let name = args.first().cloned().context("no command")?;
    let path =
        which(&lookup, &name).map_err(|e| anyhow::anyhow!("{}: {e}", String::from_utf8_lossy(&name)))?;
    let found = lookup.find(&path, true)?;
    let env = std::env::vars_os().map(|(k, v)| [k.into_vec(), v.into_vec()].join(&b'='));
    let request = exec::Request {
        lookup: lookup.clone(),
        path: found,
        name: path.clone(),
        unreachable: false,
        args,
        env: env.collect(),
    };
    let (stub, mm, regs, creds) = exec::first(request, 8 << 20)?;
    let files = Arc::new(FdTable::default());
    for fd in 0..3 {
        use std::os::fd::AsFd as _;
        let host = match fd {
            0 => std::io::stdin().as_fd().try_clone_to_owned(),
            1 => std::io::stdout().as_fd().try_clone_to_owned(),
            _ => std::io::stderr().as_fd().try_clone_to_owned(),
        };
        let Ok(host) = host else { continue };
        if let Some(tty) = terminal.filter(|_| rustix::termios::isatty(&host)) {
            // As an open of the terminal by its name would give it, so that ttyname(3) finds it.
            let path = lookup.find(b"/dev/pts/0", true)?;
            let ops = TtyFile::open(tty.clone())?;
            files.add(File::new(ops, path, OpenFlags::RDWR), false)?;
            continue;
        }
        let kind = if rustix::termios::isatty(&host) { crate::fs::kind::CHR } else { crate::fs::kind::FIFO };
        let path = anon::new_path(AnonKind::Pipe, kind | 0o600, uid, gid);
        // As the host has it: a pipe's end is read from or written to, not both.
        let flags = rustix::fs::fcntl_getfl(&host).map_or(OpenFlags::RDWR, |f| {
            OpenFlags::from_bits_truncate(f.bits()) & (OpenFlags::RDWR | OpenFlags::WRONLY)
        });
        let ops = Arc::new(StreamFile(HostStream::new(host)?));
        files.add(File::new(ops, path, flags), false)?;
    }
    let umask = 0o022;
    let fs =
        Arc::new(FsContext { inner: Mutex::new(Rank::Files, FsInner { ns, root: lookup.root, cwd, umask }) });
    let mut table = kernel().table.lock();
    let pid = table.new_pid()?;
    let process = Process::new(pid, process::no_actions(), default_limits(options.mem), libc::SIGCHLD);
    let inner = TaskInner {
        comm: path.rsplit(|b| *b == b'/').next().unwrap_or(&path).iter().copied().take(15).collect(),
        creds: Arc::new(creds),
        files: Some(files.clone()),
        fs: Some(fs.clone()),
        mm: Some(mm.clone()),
        clear_child_tid: 0,
        robust_list: 0,
        altstack: (0, 0, 2),
        memory_policy: (0, 0),
        policy: Default::default(),
        seccomp: Default::default(),
    };
    let task = Task::new(pid, process, 0, inner);
    *task.kicker.lock() = Some(stub.kicker());
    table.add_process(&task, 1, pid, pid);
    drop(table);
    if let Some(tty) = terminal {
        tty.set_session(pid, pid);
    }
    let ctx = Ctx {
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
        counted: (0, 0),
        rseq: None,
        disturbed: false,
        vfork: None,
    };
    ctx.publish_answers();
    Ok(ctx)
}

/// Finds a command as a shell does.
fn which(lookup: &Lookup, name: &[u8]) -> Result<Vec<u8>, Errno> {
    if name.contains(&b'/') {
        return Ok(name.to_vec());
    }
    let path =
        std::env::var_os("PATH").map(OsStringExt::into_vec).unwrap_or_else(|| b"/usr/bin:/bin".to_vec());
    for dir in path.split(|b| *b == b':') {
        let full = [dir, b"/", name].concat();
        if let Ok(found) = lookup.find(&full, true) {
            let attr = found.inode().attr()?;
            if attr.kind() == crate::fs::kind::REG && lookup.creds.may(&attr, crate::fs::MAY_EXEC).is_ok() {
                return Ok(full);
            }
        }
    }
    Err(Errno::ENOENT)
}
