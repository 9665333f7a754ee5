//! The end of threads and processes, and waiting for it.

use super::ctx::{Ctx, PPID_SLOT};
use super::process::{NOT_EXITING, Pid, Process, Task};
use super::signal::{SIG_IGN, SigInfo};
use super::table::Inner;
use super::{End, kernel, send};
use crate::base::wait::How;
use crate::base::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// All threads of a process are to end with this wait status; the first decision holds.
pub fn begin_group_exit(process: &Arc<Process>, status: i32) {
    let _ = process.group_exit.compare_exchange(NOT_EXITING, status, Ordering::SeqCst, Ordering::SeqCst);
    for task in kernel().table.threads(process.pid) {
        task.interrupt();
    }
    process.signal_events.wake_all();
}

impl Ctx {
    /// The task's end: what it holds is let go, and those who wait are told.
    pub fn end(mut self) {
        let task = self.task.clone();
        let _ = self.stub.flush();
        super::robust::exit(&mut self);
        let clear = task.inner.lock().clear_child_tid;
        // Nobody is left to see it in an address space that ends with its task.
        let shared = Arc::strong_count(&self.mm) > 2;
        if let Some(vfork) = self.vfork.take() {
            vfork.finish();
        }
        let status = self.exit.unwrap_or(0);
        // The table's lock is not held while files close: that may call into anything.
        let (files, fs, mm) = {
            let mut inner = task.inner.lock();
            (inner.files.take(), inner.fs.take(), inner.mm.take())
        };
        *task.kicker.lock() = None;
        if Arc::strong_count(&self.mm) <= 2 {
            task.process.times.max_rss.add(self.mm.stub().peak());
        }
        let table = Arc::as_ptr(&self.files) as usize;
        crate::fs::locks::release_process(crate::fs::locks::Owner::Process(table, task.process.pid));
        let Ctx { stub, files: own_files, fs: own_fs, mm: own_mm, .. } = self;
        stub.retire();
        let last = {
            let mut table = kernel().table.lock();
            let process = &task.process;
            if let Some(entry) = table.processes.get_mut(&process.pid) {
                entry.comm = task.inner.lock().comm.clone();
            }
            table.remove_thread(&task)
        };
        // Who joins a thread finds it gone from /proc.
        if clear != 0 && shared && !own_mm.stub().is_dead() && own_mm.memory().put_u32(clear, 0).is_ok() {
            super::futex::wake_address(&own_mm, clear, 1);
        }
        drop((files, own_files));
        drop((fs, own_fs));
        drop((mm, own_mm));
        if last {
            let status = task.process.exiting().unwrap_or(status);
            end_process(&task.process, status);
        } else {
            // Another thread may wait in exec for the others to end.
            task.process.signal_events.wake_all();
        }
    }
}

/// The last thread is gone.
fn end_process(process: &Arc<Process>, status: i32) {
    process.timers.lock().clear();
    let kernel = kernel();
    crate::fs::tty::leader_exits(process.pid);
    let mut signals: Vec<(Arc<Process>, SigInfo)> = Vec::new();
    let mut hangups = Vec::new();
    let mut wake = Vec::new();
    {
        let mut table = kernel.table.lock();
        let Some(entry) = table.processes.get_mut(&process.pid) else { return };
        entry.zombie = Some(status);
        entry.news = None;
        let (parent, uid, pgid, sid) = (entry.parent, entry.uid, entry.pgid, entry.sid);
        let children = std::mem::take(&mut entry.children);
        let reaper = find_reaper(&table, parent);
        for child in children {
            adopt(&mut table, child, reaper, &mut signals, &mut wake);
        }
        // Its group may have lost the parent that kept it from being orphaned: stopped members are told (SIGHUP, SIGCONT).
        let stopped_groups = orphaned_by(&table, process.pid, pgid, sid);
        hangups.extend(stopped_groups);
        tell_or_reap(&mut table, process, parent, uid, status, &mut signals, &mut wake);
    }
    for (to, info) in signals {
        send::to_process(&to, info);
    }
    for pgid in hangups {
        let _ = send::to_group(pgid, SigInfo::kernel(libc::SIGHUP));
        let _ = send::to_group(pgid, SigInfo::kernel(libc::SIGCONT));
    }
    for parent in wake {
        parent.child_events.wake_all();
    }
    process.end_events.wake_all();
    if kernel.first.get() == Some(&process.pid) {
        kernel.finish(match process.is_init() {
            true => End::Panic(format!("Attempted to kill init! exitcode=0x{status:08x}")),
            false => End::Exited(status),
        });
    }
}

/// Whom orphans of a child of `parent` go to: the nearest ancestor that asked for it, or init.
fn find_reaper(table: &Inner, mut parent: Pid) -> Pid {
    while let Some(entry) = table.processes.get(&parent) {
        if entry.process.subreaper.load(Ordering::Relaxed) && entry.zombie.is_none() {
            return parent;
        }
        parent = entry.parent;
    }
    1
}

fn adopt(
    table: &mut Inner,
    child: Pid,
    reaper: Pid,
    signals: &mut Vec<(Arc<Process>, SigInfo)>,
    wake: &mut Vec<Arc<Process>>,
) {
    let Some(entry) = table.processes.get_mut(&child) else { return };
    entry.parent = reaper;
    let zombie = entry.zombie.map(|status| (entry.process.clone(), entry.uid, status));
    let threads = entry.threads.clone();
    if let Some(reaper) = table.processes.get_mut(&reaper) {
        reaper.children.push(child);
    }
    for task in &threads {
        if let Some(kicker) = task.kicker.lock().as_ref() {
            kicker.answer(PPID_SLOT, reaper as u64);
        }
        let signo = task.pdeath_signal.load(Ordering::Relaxed);
        if signo != 0 {
            signals.push((task.process.clone(), SigInfo::user(signo, 0, reaper, 0)));
        }
    }
    if let Some((process, uid, status)) = zombie {
        process.exit_signal.store(libc::SIGCHLD, Ordering::Relaxed);
        tell_or_reap(table, &process, reaper, uid, status, signals, wake);
    }
}

/// Stopped groups that became orphaned because `pid` has ended.
fn orphaned_by(table: &Inner, pid: Pid, pgid: Pid, sid: Pid) -> Vec<Pid> {
    let mut groups: Vec<Pid> = table
        .processes
        .values()
        .filter(|e| e.sid == sid && e.zombie.is_none() && (e.pgid == pgid || e.parent == 1))
        .map(|e| e.pgid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    let has_stopped = |g: Pid| {
        table.processes.values().any(|e| e.pgid == g && e.process.stopped.load(Ordering::Relaxed) != 0)
    };
    groups.retain(|g| *g != pid && table.is_orphaned(*g) && has_stopped(*g));
    groups
}

fn tell_or_reap(
    table: &mut Inner,
    process: &Arc<Process>,
    parent: Pid,
    uid: u32,
    status: i32,
    signals: &mut Vec<(Arc<Process>, SigInfo)>,
    wake: &mut Vec<Arc<Process>>,
) {
    let signo = process.exit_signal.load(Ordering::Relaxed);
    let parent = table.processes.get(&parent).map(|e| e.process.clone());
    // The kernel's own init waits for nothing: it reaps at once.
    let Some(parent) = parent.filter(|p| p.pid != 1 || p.is_init()) else {
        table.reap(process.pid);
        return;
    };
    let action = parent.action(libc::SIGCHLD);
    let ignores = signo == libc::SIGCHLD
        && (action.handler == SIG_IGN || action.flags & libc::SA_NOCLDWAIT as u64 != 0);
    if signo > 0 {
        let mut info = child_info(process, uid, status);
        info.signo = signo;
        signals.push((parent.clone(), info));
    }
    if ignores {
        table.reap(process.pid);
    }
    wake.push(parent);
}

/// What SIGCHLD and waitid say of an ended child.
pub fn child_info(process: &Process, uid: u32, status: i32) -> SigInfo {
    let signo = status & 0x7f;
    let (code, value) = match (signo, status & 0x80) {
        (0, _) => (libc::CLD_EXITED, status >> 8 & 0xff),
        (_, 0) => (libc::CLD_KILLED, signo),
        _ => (libc::CLD_DUMPED, signo),
    };
    let ticks = |ns: u64| ns / 10_000_000;
    let user = ticks(process.times.user.load(Ordering::Relaxed));
    let system = ticks(process.times.system.load(Ordering::Relaxed));
    SigInfo::child(code, process.pid, uid, value, (user, system))
}

/// Which children a wait is for.
#[derive(Debug, Clone)]
pub enum Which {
    /// Any.
    Any,
    /// One process.
    Pid(Pid),
    /// A group.
    Group(Pid),
}

/// What a wait found.
#[derive(Debug, Clone)]
pub struct Waited {
    /// The child.
    pub pid: Pid,
    /// Its wait status.
    pub status: i32,
    /// siginfo of it.
    pub info: SigInfo,
    /// Its times with its waited-for children: user, system in ns, and peak memory in KiB.
    pub usage: (u64, u64),
    /// Who it was.
    pub process: Arc<Process>,
}

/// Waits for a child to end, stop or go on. `None` if nothing has happened and `WNOHANG` is set.
pub fn wait(ctx: &Ctx, which: &Which, options: i32) -> Result<Option<Waited>> {
    let process = ctx.task.process.clone();
    let result = process.child_events.wait(How::default(), || match look(ctx, which, options) {
        Ok(None) if options & libc::WNOHANG == 0 => None,
        other => Some(other),
    });
    match result {
        Ok(found) => found,
        Err(_) => Err(Errno::ERESTARTSYS),
    }
}

fn look(ctx: &Ctx, which: &Which, options: i32) -> Result<Option<Waited>> {
    let own = &ctx.task.process;
    let mut table = kernel().table.lock();
    let Some(children) = table.processes.get(&own.pid).map(|e| e.children.clone()) else {
        return Err(Errno::ECHILD);
    };
    let mut any = false;
    for pid in children {
        let Some(entry) = table.processes.get_mut(&pid) else { continue };
        let fits = match which {
            Which::Any => true,
            Which::Pid(p) => pid == *p,
            Which::Group(g) => entry.pgid == *g,
        };
        let clone_child = entry.process.exit_signal.load(Ordering::Relaxed) != libc::SIGCHLD;
        let kind = options & libc::__WALL != 0 || clone_child == (options & libc::__WCLONE != 0);
        if !fits || !kind {
            continue;
        }
        any = true;
        let keep = options & libc::WNOWAIT != 0;
        if let Some(status) = entry.zombie {
            if options & libc::WEXITED == 0 {
                continue;
            }
            let info = child_info(&entry.process, entry.uid, status);
            let usage = total(&entry.process);
            let process = entry.process.clone();
            if !keep {
                let t = &own.times;
                t.child_user.fetch_add(usage.0, Ordering::Relaxed);
                t.child_system.fetch_add(usage.1, Ordering::Relaxed);
                t.child_max_rss.absorb(&entry.process.times.max_rss);
                t.child_max_rss.absorb(&entry.process.times.child_max_rss);
                table.reap(pid);
            }
            return Ok(Some(Waited { pid, status, info, usage, process }));
        }
        let Some(news) = entry.news else { continue };
        let continued = news == 0xffff;
        if options & (if continued { libc::WCONTINUED } else { libc::WUNTRACED }) == 0 {
            continue;
        }
        if !keep {
            entry.news = None;
        }
        let (code, value) = if continued {
            (libc::CLD_CONTINUED, libc::SIGCONT)
        } else {
            (libc::CLD_STOPPED, news >> 8 & 0xff)
        };
        let info = SigInfo::child(code, pid, entry.uid, value, (0, 0));
        let (usage, process) = (total(&entry.process), entry.process.clone());
        return Ok(Some(Waited { pid, status: news, info, usage, process }));
    }
    if any { Ok(None) } else { Err(Errno::ECHILD) }
}

fn total(process: &Process) -> (u64, u64) {
    let t = &process.times;
    let get = |a: &std::sync::atomic::AtomicU64| a.load(Ordering::Relaxed);
    (get(&t.user) + get(&t.child_user), get(&t.system) + get(&t.child_system))
}

/// Ends all other threads of the caller's process, for exec; waits until they are gone.
pub fn kill_other_threads(ctx: &Ctx) -> Result<()> {
    let process = ctx.task.process.clone();
    let me: &Arc<Task> = &ctx.task;
    for task in kernel().table.threads(process.pid) {
        if !Arc::ptr_eq(&task, me) {
            task.die.store(true, Ordering::SeqCst);
            task.interrupt();
        }
    }
    let how = How { uninterruptible: true, deadline: None };
    process
        .signal_events
        .wait(how, || {
            (kernel().table.threads(process.pid).len() <= 1 || process.exiting().is_some()).then_some(())
        })
        .map_err(|_| Errno::EINTR)
}
