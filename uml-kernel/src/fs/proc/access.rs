//! Who may look into a process (ptrace(2), "Ptrace access mode checking", PTRACE_MODE_READ_FSCREDS).

use super::source::{Process, System};
use crate::base::{Errno, Result};
use crate::fs::{Cap, Creds};

/// EACCES unless the task that asks may look into `process`.
pub(super) fn may_look(system: &dyn System, process: &dyn Process) -> Result<()> {
    if system.current().is_some_and(|(tgid, _)| tgid == process.tgid()) {
        return Ok(());
    }
    let (asks, target) = (system.creds(), process.creds());
    if asks.has(Cap::SysPtrace) || (same_user(&asks, &target) && process.dumpable() && covers(&asks, &target))
    {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

fn same_user(asks: &Creds, target: &Creds) -> bool {
    [target.uid, target.euid, target.suid].iter().all(|uid| *uid == asks.fsuid)
        && [target.gid, target.egid, target.sgid].iter().all(|gid| *gid == asks.fsgid)
}

fn covers(asks: &Creds, target: &Creds) -> bool {
    target.permitted & !asks.effective == 0
}

/// Owner and group of the files of a process: its own, but root's where others of its user may not look (`task_dump_owner`).
/// Directories that everyone can list stay its own.
pub(super) fn owner(process: &dyn Process, listed: bool) -> (u32, u32) {
    if !listed && !process.dumpable() {
        return (0, 0);
    }
    let creds = process.creds();
    (creds.euid, creds.egid)
}
