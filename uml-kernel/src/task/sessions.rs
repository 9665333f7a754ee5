//! What terminals ask about sessions, answered from the table.

use super::signal::{SigInfo, bit};
use super::{kernel, send};
use crate::fs::tty::{Sessions, Who};
use crate::fs::{Cap, Path};

/// The task layer's answers.
#[derive(Debug)]
pub struct Table;

impl Sessions for Table {
    fn current(&self) -> Option<Who> {
        let task = super::current()?;
        let pid = task.process.pid;
        let (pgid, sid) = kernel().table.group_and_session(pid)?;
        let is_admin = task.inner.lock().creds.has(Cap::SysAdmin);
        Some(Who { pid, pgid, sid, is_leader: pid == sid, is_admin })
    }

    fn signal(&self, pgid: i32, signo: i32) {
        let _ = send::to_group(pgid, SigInfo::kernel(signo));
    }

    fn signal_process(&self, pid: i32, signo: i32) {
        if let Some(process) = kernel().table.process(pid) {
            send::to_process(&process, SigInfo::kernel(signo));
        }
    }

    fn user(&self) -> (u32, u32) {
        super::current().map_or((0, 0), |task| {
            let inner = task.inner.lock();
            (inner.creds.fsuid, inner.creds.fsgid)
        })
    }

    fn cross(&self, place: Path) -> Path {
        let fs = super::current().and_then(|task| task.inner.lock().fs.clone());
        match fs {
            Some(fs) => {
                let ns = fs.inner.lock().ns.clone();
                ns.cross(place)
            }
            None => place,
        }
    }

    fn is_deaf(&self, signo: i32) -> bool {
        let Some(task) = super::current() else { return true };
        task.blocked() & bit(signo) != 0 || task.process.action(signo).handler == super::signal::SIG_IGN
    }

    fn is_orphaned(&self, pgid: i32) -> bool {
        kernel().table.lock().is_orphaned(pgid)
    }

    fn session_of_group(&self, pgid: i32) -> Option<i32> {
        kernel().table.lock().processes.values().find(|e| e.pgid == pgid).map(|e| e.sid)
    }
}
