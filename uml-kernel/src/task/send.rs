//! Sending signals (kill(2), and everything in the kernel that sends one).

use super::kernel;
use super::process::{NOT_EXITING, Pid, Process, Task};
use super::signal::{Default_, SIG_DFL, STOPS, SigInfo, bit, default_of};
use crate::base::wait::Events;
use crate::base::{Errno, Result};
use crate::fs::{Cap, Creds};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Sends a signal to a process: any thread that does not block it may take it.
pub fn to_process(process: &Arc<Process>, info: SigInfo) {
    send(process, None, info);
}

/// Sends a signal to one thread.
pub fn to_task(task: &Arc<Task>, info: SigInfo) {
    send(&task.process.clone(), Some(task), info);
}

fn send(process: &Arc<Process>, only: Option<&Arc<Task>>, info: SigInfo) {
    if let Some(posted) = post(process, only, info) {
        posted.tell();
    }
}

/// A signal that is pending, and whom it will interrupt.
struct Posted<'a> {
    process: &'a Process,
    tasks: Vec<Arc<Task>>,
    /// What waiters for signals are told.
    news: Events,
}

impl<'a> Posted<'a> {
    /// The end of a process by a signal.
    fn end(process: &'a Process, threads: Vec<Arc<Task>>, info: &SigInfo) -> Posted<'a> {
        let signo = info.signo;
        if kernel().first.get() == Some(&process.pid) {
            // With it the guest ends, and whoever looks after that wants to know by whom.
            crate::log!("the first process ends by signal {signo}: code {}, {:x?}", info.code, info.fields);
        }
        let _ = process.group_exit.compare_exchange(NOT_EXITING, signo, Ordering::SeqCst, Ordering::SeqCst);
        Posted { process, tasks: threads, news: Events::all() }
    }

    fn tell(self) {
        for task in self.tasks {
            task.interrupt();
        }
        self.process.signal_events.wake(self.news);
    }
}

/// Makes a signal pending, without telling anybody; `None` if it does nothing.
fn post<'a>(process: &'a Arc<Process>, only: Option<&Arc<Task>>, info: SigInfo) -> Option<Posted<'a>> {
    let signo = info.signo;
    if signo == 0 {
        return None;
    }
    let threads = kernel().table.threads(process.pid);
    let blocked_or_waited = |t: &Arc<Task>| {
        t.blocked() & bit(signo) != 0 || t.waited_for.load(Ordering::SeqCst) & bit(signo) != 0
    };
    // Init takes nothing that it has no handler for, and does not wait for (SIGNAL_UNKILLABLE of Linux).
    let deadly = process.is_init() && process.action(signo).handler == SIG_DFL;
    if deadly && !threads.iter().any(blocked_or_waited) {
        return None;
    }
    if bit(signo) & STOPS != 0 {
        discard(process, &threads, bit(libc::SIGCONT));
    }
    if signo == libc::SIGCONT || signo == libc::SIGKILL {
        discard(process, &threads, STOPS);
        continue_(process, signo == libc::SIGCONT);
    }
    if signo == libc::SIGKILL {
        return Some(Posted::end(process, threads, &info));
    }
    let ignored = process.action(signo).ignores(signo);
    // An ignored signal is dropped, unless somebody may want it later.
    let wanted = match only {
        Some(task) => blocked_or_waited(task),
        None => threads.iter().any(blocked_or_waited),
    };
    if ignored && !wanted {
        return None;
    }
    let task = match only {
        Some(task) => {
            task.queue(info);
            let takes =
                !task.blocked() & bit(signo) != 0 || task.waited_for.load(Ordering::SeqCst) & bit(signo) != 0;
            takes.then(|| task.clone())
        }
        None => {
            process.shared.lock().push(info);
            let takes = |t: &&Arc<Task>| {
                t.blocked() & bit(signo) == 0 || t.waited_for.load(Ordering::SeqCst) & bit(signo) != 0
            };
            // The first thread, if it can, as Linux does; else whoever can.
            let first = threads.iter().find(|t| t.tid == process.pid).filter(takes);
            first.or_else(|| threads.iter().find(takes)).cloned()
        }
    };
    // From now on those that block it ask before they change their masks (`StubThread::free_mask`).
    let holders = only.map_or(&threads[..], std::slice::from_ref);
    holders.iter().filter(|t| t.blocked() & bit(signo) != 0).for_each(|t| t.kick());
    // One that ends whoever takes it has ended the process as of now, as complete_signal() of Linux has it: what comes after, a SIGPIPE
    // because others of the pipeline are gone, cannot be what it died of.
    if task.as_ref().is_some_and(|t| !blocked_or_waited(t))
        && process.stopped.load(Ordering::SeqCst) == 0
        && process.action(signo).handler == SIG_DFL
        && default_of(signo) == Default_::End
    {
        return Some(Posted::end(process, threads, &info));
    }
    Some(Posted { process, tasks: task.into_iter().collect(), news: Events::READ })
}

fn discard(process: &Process, threads: &[Arc<Task>], set: u64) {
    process.shared.lock().discard(set);
    for task in threads {
        task.pending.lock().discard(set);
    }
}

/// Lets a stopped process go on.
fn continue_(process: &Arc<Process>, tell: bool) {
    if process.stopped.swap(0, Ordering::SeqCst) == 0 {
        return;
    }
    process.signal_events.wake_all();
    if tell {
        tell_parent(process, libc::CLD_CONTINUED, libc::SIGCONT, 0xffff);
    }
}

/// Tells a parent that its child has stopped or goes on.
pub fn tell_parent(process: &Arc<Process>, code: i32, status: i32, news: i32) {
    let mut table = kernel().table.lock();
    let Some(entry) = table.processes.get_mut(&process.pid) else { return };
    entry.news = Some(news);
    let (parent, uid) = (entry.parent, entry.uid);
    let parent = table.processes.get(&parent).map(|e| e.process.clone());
    drop(table);
    let Some(parent) = parent else { return };
    if parent.action(libc::SIGCHLD).flags & libc::SA_NOCLDSTOP as u64 == 0 {
        to_process(&parent, SigInfo::child(code, process.pid, uid, status, (0, 0)));
    }
    parent.child_events.wake_all();
}

/// Sends to every process of a group; ESRCH if there is none.
pub fn to_group(pgid: Pid, info: SigInfo) -> Result<()> {
    let mut group = kernel().table.group(pgid);
    if group.is_empty() {
        return Err(Errno::ESRCH);
    }
    // All have it before one can act on it, and the youngest first, as on Linux: of a pipeline that is interrupted, the reader must not
    // see the writer's end before its own signal, wherever the two run.
    group.sort_by_key(|process| std::cmp::Reverse(process.pid));
    let posted: Vec<_> = group.iter().filter_map(|process| post(process, None, info)).collect();
    posted.into_iter().for_each(Posted::tell);
    Ok(())
}

/// EPERM unless `creds` may signal a task (kill(2)).
pub fn check(creds: &Creds, session: Pid, target: &Task, signo: i32) -> Result<()> {
    let theirs = target.creds();
    let own = [creds.euid, creds.uid];
    if creds.has(Cap::Kill) || own.contains(&theirs.uid) || own.contains(&theirs.suid) {
        return Ok(());
    }
    if signo == libc::SIGCONT {
        let other = kernel().table.group_and_session(target.process.pid);
        if other.is_some_and(|(_, sid)| sid == session) {
            return Ok(());
        }
    }
    Err(Errno::EPERM)
}
