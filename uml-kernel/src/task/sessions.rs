//! What terminals ask about sessions, answered from the table.

use super::signal::{SigInfo, bit};
use super::{kernel, send};
use crate::fs::tty::{Sessions, Who};

/// The task layer's answers.
#[derive(Debug)]
pub struct Table;

impl Sessions for Table {
    fn current(&self) -> Option<Who> {
        let task = super::current()?;
        let pid = task.process.pid;
        let (pgid, sid) = kernel().table.group_and_session(pid)?;
        Some(Who { pid, pgid, sid, is_leader: pid == sid })
    }

    fn signal(&self, pgid: i32, signo: i32) {
        let _ = send::to_group(pgid, SigInfo::kernel(signo));
    }

    fn is_deaf(&self, signo: i32) -> bool {
        let Some(task) = super::current() else { return true };
        task.blocked() & bit(signo) != 0 || task.process.action(signo).handler == super::signal::SIG_IGN
    }

    fn is_orphaned(&self, pgid: i32) -> bool {
        kernel().table.lock().is_orphaned(pgid)
    }

    fn is_group_of(&self, pgid: i32, sid: i32) -> bool {
        kernel().table.lock().processes.values().any(|e| e.pgid == pgid && e.sid == sid)
    }
}
