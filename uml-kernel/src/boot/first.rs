//! The first task.

use crate::base::{Mutex, Rank};
use crate::fs::{Creds, FdTable, Namespace, Path};
use crate::task::process::{self, TaskInner};
use crate::task::{Ctx, FsContext, FsInner, Pid, Process, Task, exec, kernel};
use anyhow::Result;
use std::sync::Arc;

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

fn inner(comm: Vec<u8>, creds: Creds) -> TaskInner {
    TaskInner {
        comm,
        creds: Arc::new(creds),
        files: None,
        fs: None,
        mm: None,
        clear_child_tid: 0,
        robust_list: 0,
        altstack: (0, 0, 2),
        memory_policy: (0, 0),
        policy: Default::default(),
        seccomp: Default::default(),
    }
}

/// Process 1 of `run`, which is the kernel itself: the parent of orphans.
pub(super) fn kernel_as_init(mem: u64) -> Result<()> {
    let mut table = kernel().table.lock();
    let pid = table.new_pid()?;
    let process = Process::new(pid, process::no_actions(), default_limits(mem), 0);
    let task = Task::new(pid, process, 0, inner(b"init".to_vec(), Creds::user(0, 0, &[])));
    table.add_process(&task, 0, 0, 0);
    Ok(())
}

/// What the first program has around it.
pub(super) struct Around {
    pub(super) mem: u64,
    pub(super) ns: Arc<Namespace>,
    pub(super) root: Path,
    pub(super) cwd: Path,
    pub(super) files: Arc<FdTable>,
}

/// Loads the first program and makes its task: with a session of its own below `parent`, or, without one, as init, in none.
pub(super) fn task(request: exec::Request, around: Around, parent: Option<Pid>) -> Result<Ctx> {
    let name = request.name.clone();
    let comm = name.rsplit(|b| *b == b'/').next().unwrap_or(&name).iter().copied().take(15).collect();
    let (stub, mm, regs, creds) = exec::first(request, 8 << 20)?;
    let Around { mem, ns, root, cwd, files } = around;
    let inside = FsInner { ns, root, cwd, umask: 0o022 };
    let fs = Arc::new(FsContext { inner: Mutex::new(Rank::Files, inside) });
    let mut table = kernel().table.lock();
    let pid = table.new_pid()?;
    let signal = if parent.is_some() { libc::SIGCHLD } else { 0 };
    let process = Process::new(pid, process::no_actions(), default_limits(mem), signal);
    let shown = TaskInner {
        files: Some(files.clone()),
        fs: Some(fs.clone()),
        mm: Some(mm.clone()),
        ..inner(comm, creds)
    };
    let task = Task::new(pid, process, 0, shown);
    *task.kicker.lock() = Some(stub.kicker());
    match parent {
        Some(parent) => table.add_process(&task, parent, pid, pid),
        None => table.add_process(&task, 0, 0, 0),
    }
    drop(table);
    let ctx = Ctx::new(task, stub, regs, mm, files, fs);
    ctx.publish_answers();
    Ok(ctx)
}
