//! New tasks: fork, vfork, clone, clone3.

use super::ctx::Ctx;
use super::process::{Process, Task};
use super::{Pid, kernel, table};
use crate::base::fiber::Fiber;
use crate::base::wait::{How, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result, sched};
use crate::fs::{Cap, Creds};
use crate::mm::Mm;
use crate::platform::x86_64::layout::TASK_SIZE;
use crate::platform::{Regs, StubThread};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments of clone3(2), and of the older calls in its form.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneArgs {
    /// `CLONE_` flags.
    pub flags: u64,
    /// Where to store a pidfd.
    pub pidfd: u64,
    /// CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID.
    pub child_tid: u64,
    /// CLONE_PARENT_SETTID.
    pub parent_tid: u64,
    /// Signal for the parent at the end.
    pub exit_signal: u64,
    /// The child's stack pointer, 0 for the parent's.
    pub stack: u64,
    /// CLONE_SETTLS.
    pub tls: u64,
}

/// Says when a vfork child has left its parent's memory.
#[derive(Debug, Default)]
pub struct VforkDone {
    done: AtomicBool,
    queue: WaitQueue,
}

impl VforkDone {
    /// It has.
    pub fn finish(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.queue.wake_all();
    }
}

const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

fn check(args: &CloneArgs) -> Result<()> {
    let has = |f: i32| args.flags & f as u64 != 0;
    if has(libc::CLONE_THREAD) && !has(libc::CLONE_SIGHAND)
        || has(libc::CLONE_SIGHAND) && !has(libc::CLONE_VM)
        || has(libc::CLONE_NEWNS) && has(libc::CLONE_FS)
        || has(libc::CLONE_PIDFD) && has(libc::CLONE_DETACHED)
        || args.exit_signal > 64
    {
        return Err(Errno::EINVAL);
    }
    if args.stack >= TASK_SIZE || (has(libc::CLONE_SETTLS) && args.tls >= TASK_SIZE) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// EAGAIN if the user has as many tasks as RLIMIT_NPROC allows, or the kernel as many as it can.
fn check_limit(ctx: &Ctx, creds: &Creds) -> Result<()> {
    let limit = ctx.task.process.limit(libc::RLIMIT_NPROC);
    let exempt = limit == libc::RLIM_INFINITY
        || creds.uid == 0
        || creds.has(Cap::SysResource)
        || creds.has(Cap::SysAdmin);
    let table = kernel().table.lock();
    if table.tasks.len() >= table::PID_MAX as usize / 2 {
        return Err(Errno::EAGAIN);
    }
    if exempt {
        return Ok(());
    }
    let own = table.processes.values().filter(|e| e.uid == creds.uid);
    // A zombie counts until it is waited for.
    let tasks: u64 = own.map(|e| (e.threads.len() as u64).max(1)).sum();
    if tasks >= limit { Err(Errno::EAGAIN) } else { Ok(()) }
}

/// Makes a task; its number.
pub fn clone(ctx: &mut Ctx, args: &CloneArgs) -> Result<u64> {
    check(args)?;
    let has = |f: i32| args.flags & f as u64 != 0;
    let thread = has(libc::CLONE_THREAD);
    let creds = ctx.creds();
    if has(NAMESPACES) && !has(libc::CLONE_NEWUSER) {
        creds.need(Cap::SysAdmin)?;
    }
    if has(NAMESPACES) {
        // There is one of each kind.
        return Err(Errno::EINVAL);
    }
    check_limit(ctx, &creds)?;
    let tid = kernel().table.lock().new_pid()?;
    let files = if has(libc::CLONE_FILES) { ctx.files.clone() } else { ctx.files.copy() };
    let fs = if has(libc::CLONE_FS) { ctx.fs.clone() } else { ctx.fs.copy() };
    let mut regs = ctx.regs;
    regs.rax = 0;
    regs.rcx = regs.rip;
    regs.r11 = regs.rflags;
    if args.stack != 0 {
        regs.rsp = args.stack;
    }
    let fs_base = if has(libc::CLONE_SETTLS) { args.tls } else { ctx.fs_base };
    let process = if thread { ctx.task.process.clone() } else { new_process(ctx, tid, args) };
    // All that can fail comes before the task is in the table: one that never ran could never end.
    let unborn = Unborn::new()?;
    let pidfd = if has(libc::CLONE_PIDFD) {
        let file = super::pidfd::open(&process, crate::fs::OpenFlags::empty());
        Some(ctx.files.add(file, true)?)
    } else {
        None
    };
    // The child exists on the host from here on, stopped.
    let (stub, mm) = match new_stub(ctx, args, &regs, fs_base) {
        Ok(new) => new,
        Err(e) => {
            pidfd.map(|fd| ctx.files.remove(fd));
            return Err(e);
        }
    };
    let mut inner = ctx.task.inner.lock().clone();
    inner.files = Some(files.clone());
    inner.fs = Some(fs.clone());
    inner.mm = Some(mm.clone());
    inner.clear_child_tid = if has(libc::CLONE_CHILD_CLEARTID) { args.child_tid } else { 0 };
    inner.robust_list = 0;
    inner.policy = inner.policy.forked();
    if has(libc::CLONE_VM) && !has(libc::CLONE_VFORK) {
        inner.altstack = (0, 0, 2);
    }
    let task = Task::new(tid, process, ctx.task.blocked(), inner);
    *task.kicker.lock() = Some(stub.kicker());
    if has(libc::CLONE_PARENT_SETTID) {
        let _ = ctx.memory().put_u32(args.parent_tid, tid as u32);
    }
    let vfork = has(libc::CLONE_VFORK).then(|| Arc::new(VforkDone::default()));
    {
        let mut table = kernel().table.lock();
        if thread {
            table.add_thread(&task);
        } else {
            let own = table.processes.get(&ctx.task.process.pid).map(|e| (e.parent, e.pgid, e.sid));
            let (grandparent, pgid, sid) = own.unwrap_or((1, tid, tid));
            let parent = if has(libc::CLONE_PARENT) { grandparent } else { ctx.task.process.pid };
            table.add_process(&task, parent, pgid, sid);
        }
    }
    let mut child = Ctx {
        fs_base,
        gs_base: ctx.gs_base,
        rseq: ctx.rseq.filter(|_| !has(libc::CLONE_VM)),
        vfork: vfork.clone(),
        ..Ctx::new(task.clone(), stub, regs, mm, files, fs)
    };
    if has(libc::CLONE_CHILD_SETTID) {
        let number = (tid as u32).to_le_bytes();
        // In memory of its own there is nobody to see it before the child does.
        let _ = match has(libc::CLONE_VM) {
            true => child.memory().write(args.child_tid, &number),
            false => child.put(args.child_tid, &number),
        };
    }
    child.publish_answers();
    if let Some(fd) = pidfd {
        let _ = ctx.memory().put_u32(args.pidfd, fd as u32);
    }
    unborn.start(child);
    if let Some(done) = vfork {
        let how = How { uninterruptible: true, deadline: None };
        let process = ctx.task.process.clone();
        let _ = done
            .queue
            .wait(how, || (done.done.load(Ordering::SeqCst) || process.exiting().is_some()).then_some(()));
    }
    Ok(tid as u64)
}

/// The stub thread of a new task, and its memory.
fn new_stub(ctx: &mut Ctx, args: &CloneArgs, regs: &Regs, fs_base: u64) -> Result<(StubThread, Arc<Mm>)> {
    let has = |f: i32| args.flags & f as u64 != 0;
    if has(libc::CLONE_VM) {
        let fresh = has(libc::CLONE_THREAD) && args.stack != 0;
        let stub = ctx.stub.spawn(regs, fs_base, fresh, &kernel().platform)?;
        return Ok((stub, ctx.mm.clone()));
    }
    ctx.stub.flush()?;
    let mm = ctx.mm.clone();
    let (mut stub, mm) = mm.fork(|| Ok(kernel().platform.fork(&mut ctx.stub)?))?;
    if ctx.mm.swap().is_enabled() {
        // At once: what is swapped out is out of the child's reach, too.
        mm.swap().enable(super::swap::janitor(&mut stub, regs)?)?;
    }
    if fs_base != ctx.fs_base {
        stub.order(crate::platform::Op::set_fs(fs_base))?;
    }
    Ok((stub, mm))
}

/// A fiber that waits for its task.
#[derive(Debug)]
struct Unborn {
    fiber: Arc<Fiber>,
    task: Arc<parking_lot::Mutex<Option<Ctx>>>,
}

impl Unborn {
    fn new() -> Result<Unborn> {
        let task = Arc::new(parking_lot::Mutex::new(None::<Ctx>));
        let theirs = task.clone();
        let fiber = Fiber::new(move || {
            let ctx = theirs.lock().take();
            if let Some(ctx) = ctx {
                ctx.run();
            }
        })?;
        Ok(Unborn { fiber, task })
    }

    fn start(self, ctx: Ctx) {
        let task = ctx.task.clone();
        *self.task.lock() = Some(ctx);
        *self.fiber.owner.write() = Some(task.clone());
        let _ = task.fiber.set(self.fiber.clone());
        // A group exit or stop may have been decided before there was a fiber to interrupt.
        self.fiber.set_interrupted(true);
        sched::enqueue(self.fiber);
    }
}

/// Lets a task run.
pub fn start(ctx: Ctx) -> Result<()> {
    Unborn::new()?.start(ctx);
    Ok(())
}

fn new_process(ctx: &Ctx, pid: Pid, args: &CloneArgs) -> Arc<Process> {
    let parent = &ctx.task.process;
    let actions = parent.actions.lock().clone();
    let actions = if args.flags & libc::CLONE_SIGHAND as u64 != 0 {
        actions
    } else {
        const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
        let mut copy = *actions.lock();
        if args.flags & CLEAR_SIGHAND != 0 {
            for action in copy.iter_mut().filter(|a| a.handler > 1) {
                *action = super::signal::Action::default();
            }
        }
        Arc::new(Mutex::new(Rank::Leaf, copy))
    };
    let limits = *parent.limits.lock();
    // A sibling's parent has not asked for anything, and could be killed by what it is told: it hears what it does of the caller.
    let exit_signal = match args.flags & libc::CLONE_PARENT as u64 {
        0 => args.exit_signal as i32,
        _ => parent.exit_signal.load(Ordering::Relaxed),
    };
    let process = Process::new(pid, actions, limits, exit_signal);
    process.login.inherit(&parent.login);
    process.oom_score_adj.store(parent.oom_score_adj.load(Ordering::Relaxed), Ordering::Relaxed);
    process.personality.store(parent.personality.load(Ordering::Relaxed), Ordering::Relaxed);
    process
}
