//! Who may look into another task (ptrace(2), "Ptrace access mode checking", with real credentials).

use super::process::Task;
use crate::base::{Errno, Result};
use crate::fs::{Cap, Creds};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// EPERM unless `asking` may read and change what `target` holds.
pub fn may_attach(asking: &Arc<Task>, target: &Arc<Task>) -> Result<()> {
    if Arc::ptr_eq(&asking.process, &target.process) {
        return Ok(());
    }
    let (own, theirs) = (asking.creds(), target.creds());
    let dumpable = target.process.dumpable.load(Ordering::Relaxed) == 1;
    let allowed = same_user(&own, &theirs) && dumpable && theirs.permitted & !own.effective == 0;
    if allowed || own.has(Cap::SysPtrace) { Ok(()) } else { Err(Errno::EPERM) }
}

fn same_user(own: &Creds, theirs: &Creds) -> bool {
    [theirs.uid, theirs.euid, theirs.suid].iter().all(|u| *u == own.uid)
        && [theirs.gid, theirs.egid, theirs.sgid].iter().all(|g| *g == own.gid)
}
