//! All processes and tasks by number, and how they are related. One lock: relations span processes.

use super::process::{Pid, Process, Task};
use crate::base::{Errno, Mutex, Rank, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Highest process number, plus one (kernel.pid_max).
pub const PID_MAX: Pid = 32768;

/// The relations of a process.
#[derive(Debug)]
pub struct Entry {
    /// The process.
    pub process: Arc<Process>,
    /// Its parent's number; 0 for the first.
    pub parent: Pid,
    /// Its children.
    pub children: Vec<Pid>,
    /// Its group.
    pub pgid: Pid,
    /// Its session.
    pub sid: Pid,
    /// Its living threads.
    pub threads: Vec<Arc<Task>>,
    /// Wait status, once it has ended: what wait4 stores.
    pub zombie: Option<i32>,
    /// A stop or continuation that the parent has not waited for: wait status.
    pub news: Option<i32>,
    /// Owner, name and the rest that outlive the tasks, for /proc and siginfo.
    pub uid: u32,
    /// Name.
    pub comm: Vec<u8>,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    inner: Mutex<Inner>,
}

/// What the table holds.
#[derive(Debug, Default)]
pub struct Inner {
    /// By process number.
    pub processes: HashMap<Pid, Entry>,
    /// By thread number.
    pub tasks: HashMap<Pid, Arc<Task>>,
    last: Pid,
    /// Processes and threads made so far.
    pub forks: u64,
}

impl Default for Table {
    fn default() -> Table {
        Table { inner: Mutex::new(Rank::Processes, Inner::default()) }
    }
}

impl Table {
    /// Takes the lock.
    pub fn lock(&self) -> crate::base::sync::MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// For a kernel that panics: see [`Mutex::look`].
    pub fn look(&self, patience: std::time::Duration) -> Option<parking_lot::MutexGuard<'_, Inner>> {
        self.inner.look(patience)
    }

    /// A process by number.
    pub fn process(&self, pid: Pid) -> Option<Arc<Process>> {
        self.inner.lock().processes.get(&pid).map(|e| e.process.clone())
    }

    /// A task by number.
    pub fn task(&self, tid: Pid) -> Option<Arc<Task>> {
        self.inner.lock().tasks.get(&tid).cloned()
    }

    /// The threads of a process.
    pub fn threads(&self, pid: Pid) -> Vec<Arc<Task>> {
        self.inner.lock().processes.get(&pid).map(|e| e.threads.clone()).unwrap_or_default()
    }

    /// The processes of a group.
    pub fn group(&self, pgid: Pid) -> Vec<Arc<Process>> {
        let inner = self.inner.lock();
        inner
            .processes
            .values()
            .filter(|e| e.pgid == pgid && e.zombie.is_none())
            .map(|e| e.process.clone())
            .collect()
    }

    /// Group and session of a process.
    pub fn group_and_session(&self, pid: Pid) -> Option<(Pid, Pid)> {
        self.inner.lock().processes.get(&pid).map(|e| (e.pgid, e.sid))
    }

    /// A process's parent.
    pub fn parent(&self, pid: Pid) -> Pid {
        self.inner.lock().processes.get(&pid).map_or(0, |e| e.parent)
    }
}

impl Inner {
    /// A number that names no process, thread, group or session.
    pub fn new_pid(&mut self) -> Result<Pid> {
        for _ in 0..PID_MAX {
            self.last += 1;
            if self.last >= PID_MAX {
                self.last = 300;
            }
            let pid = self.last;
            let taken = self.tasks.contains_key(&pid)
                || self.processes.contains_key(&pid)
                || self.processes.values().any(|e| e.pgid == pid || e.sid == pid);
            if !taken {
                self.forks += 1;
                return Ok(pid);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// The last number given.
    pub fn last_pid(&self) -> Pid {
        self.last
    }

    /// Enters a process with its first task.
    pub fn add_process(&mut self, task: &Arc<Task>, parent: Pid, pgid: Pid, sid: Pid) {
        let process = task.process.clone();
        let pid = process.pid;
        let inner = task.inner.lock();
        let entry = Entry {
            process,
            parent,
            children: Vec::new(),
            pgid,
            sid,
            threads: vec![task.clone()],
            zombie: None,
            news: None,
            uid: inner.creds.uid,
            comm: inner.comm.clone(),
        };
        drop(inner);
        if let Some(parent) = self.processes.get_mut(&parent) {
            parent.children.push(pid);
        }
        self.processes.insert(pid, entry);
        self.tasks.insert(task.tid, task.clone());
    }

    /// Enters another thread of a process.
    pub fn add_thread(&mut self, task: &Arc<Task>) {
        if let Some(entry) = self.processes.get_mut(&task.process.pid) {
            entry.threads.push(task.clone());
        }
        self.tasks.insert(task.tid, task.clone());
    }

    /// Takes a thread out; true if it was the last of its process.
    pub fn remove_thread(&mut self, task: &Task) -> bool {
        self.tasks.remove(&task.tid);
        match self.processes.get_mut(&task.process.pid) {
            Some(entry) => {
                entry.threads.retain(|t| t.tid != task.tid);
                entry.threads.is_empty()
            }
            None => false,
        }
    }

    /// Takes a zombie out for good.
    pub fn reap(&mut self, pid: Pid) -> Option<Entry> {
        let entry = self.processes.remove(&pid)?;
        if let Some(parent) = self.processes.get_mut(&entry.parent) {
            parent.children.retain(|c| *c != pid);
        }
        Some(entry)
    }

    /// Whether a group is orphaned: no member has a parent in another group of the same session.
    pub fn is_orphaned(&self, pgid: Pid) -> bool {
        !self
            .processes
            .values()
            .filter(|e| e.pgid == pgid && e.zombie.is_none())
            .any(|e| self.processes.get(&e.parent).is_some_and(|p| p.sid == e.sid && p.pgid != pgid))
    }
}
