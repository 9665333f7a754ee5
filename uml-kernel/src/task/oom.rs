//! `mem=`: what the stubs really hold is looked at while guests run, and who holds too much is ended.

use super::process::Task;
use super::signal::SigInfo;
use super::{kernel, send};
use crate::base::time;
use crate::mm::Mm;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Time between two looks.
const INTERVAL: u64 = 100_000_000;

/// Bytes that a stub holds on the host: its private and shared pages, without those of mapped files.
fn held_by(mm: &Mm) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/statm", mm.stub().pid())).unwrap_or_default();
    let mut fields = text.split(' ').skip(1).map(|f| f.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
    resident.saturating_sub(shared) * 4096
}

/// Adds up what the guest holds now: each address space with one of its tasks.
pub fn survey() -> Vec<(u64, Arc<Task>)> {
    let tasks: Vec<Arc<Task>> = kernel().table.lock().tasks.values().cloned().collect();
    let mut spaces: HashMap<u64, (Arc<Mm>, Arc<Task>)> = HashMap::new();
    for task in tasks {
        let mm = task.inner.lock().mm.clone();
        if let Some(mm) = mm {
            spaces.entry(mm.id()).or_insert((mm, task));
        }
    }
    let found: Vec<(u64, Arc<Task>)> = spaces.into_values().map(|(mm, task)| (held_by(&mm), task)).collect();
    kernel().usage.set_held(found.iter().map(|(n, _)| n).sum());
    found
}

/// Looks, if it is time to; ends the process that holds most when there is too much.
pub fn look() {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = time::now();
    let last = LAST.load(Ordering::Relaxed);
    if now < last + INTERVAL
        || LAST.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
    {
        return;
    }
    let found = survey();
    let usage = &kernel().usage;
    let total = usage.held() + crate::fs::tmpfs::HELD.load(Ordering::Relaxed);
    if total <= usage.limit() {
        return;
    }
    // As Linux weighs it: a thousandth of all memory for each point of oom_score_adj, never at -1000.
    let badness = |(held, task): &(u64, Arc<Task>)| {
        let adj = task.process.oom_score_adj.load(Ordering::Relaxed);
        let weighed = *held as i64 + i64::from(adj) * (usage.limit() / 1000) as i64;
        if adj == -1000 { i64::MIN } else { weighed }
    };
    let alive = found.iter().filter(|(_, t)| t.process.exiting().is_none());
    if let Some((held, task)) = alive.max_by_key(|e| badness(e)) {
        let comm = task.inner.lock().comm.clone();
        let (pid, kib) = (task.process.pid, held >> 10);
        crate::log!(
            "Out of memory: Killed process {pid} ({}) anon-rss:{kib}kB",
            String::from_utf8_lossy(&comm)
        );
        send::to_process(&task.process, SigInfo::kernel(libc::SIGKILL));
    }
}
