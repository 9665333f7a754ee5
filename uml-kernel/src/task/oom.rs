//! `mem=`: what the stubs really hold is looked at while guests run, and who holds too much is ended.

use super::process::Task;
use super::signal::SigInfo;
use super::{kernel, send, swap};
use crate::base::{Mutex, Rank, heap, sched, time};
use crate::mm::{Mm, shared};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Time between two looks: as long as a guest that touches memory at this many bytes in a nanosecond needs to take half of what is left.
const RATE: u64 = 4;
const SHORTEST: u64 = 2_000_000;
const LONGEST: u64 = 100_000_000;
/// How often memory is swapped out before a process is ended, as long as that is of use: a fork beside it doubles at once what is
/// counted (MAX_RECLAIM_RETRIES).
const ROUNDS: u32 = 16;
/// How long those that are ending may give nothing back, before another is ended.
const GRACE: u64 = 500_000_000;
/// What a task takes that is in neither: its window, its kernel stack, which is deeper without optimization.
const TASK: u64 = if cfg!(debug_assertions) { 56 << 10 } else { 32 << 10 };

/// What one address space holds on the host.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// Pages of its own.
    private: u64,
    /// All that are in memory, those of files and shared ones among them.
    resident: u64,
}

fn held_by(mm: &Mm) -> Held {
    let (resident, shared) = mm.resident();
    Held { private: resident.saturating_sub(shared), resident }
}

/// A process, as the choice of whom to end sees it.
#[derive(Debug)]
struct Candidate {
    task: Arc<Task>,
    mm: Arc<Mm>,
    held: Held,
    /// Bytes of the kernel's heap that its tasks have taken.
    heap: i64,
}

impl Candidate {
    fn space(&self) -> swap::Space {
        let runs = self.task.in_guest() || self.task.is_current();
        swap::Space { mm: self.mm.clone(), held: self.held.private, runs }
    }
}

/// Adds up what the guest holds now: each address space with one of its tasks.
fn weigh() -> Vec<Candidate> {
    let tasks: Vec<Arc<Task>> = kernel().table.lock().tasks.values().cloned().collect();
    let mut spaces: HashMap<u64, (Arc<Mm>, Arc<Task>, i64)> = HashMap::new();
    let extra = tasks.len() as u64 * TASK;
    for task in tasks {
        let mm = task.inner.lock().mm.clone();
        if let Some(mm) = mm {
            let heap = task.fiber.get().map_or(0, |f| f.heap());
            spaces.entry(mm.id()).or_insert((mm, task, 0)).2 += heap;
        }
    }
    let found: Vec<Candidate> = spaces
        .into_values()
        .map(|(mm, task, heap)| Candidate { held: held_by(&mm), mm, task, heap })
        .collect();
    crate::fs::tmpfs::recount();
    kernel().usage.set_held(
        found.iter().map(|c| c.held.private).sum::<u64>()
            + shared::held()
            + crate::fs::extfs::held()
            + heap::held()
            + extra,
    );
    found
}

/// Looks at what the guest holds now, for those who are about to tell it.
pub fn survey() {
    weigh();
}

/// When the next look is due.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Looks, if it is time to; swaps out, or ends the process that holds most, when there is too much. To be called without locks.
pub fn look(now: u64) {
    look_at_all(now, true);
}

/// The same, while a guest of this CPU runs. True if it is to come to the kernel first, so that it does not take more as fast as is
/// swapped out.
pub fn look_beside_guest(now: u64) -> bool {
    look_at_all(now, false)
}

/// Bytes that were held at the last look.
pub fn total() -> u64 {
    kernel().usage.held() + crate::fs::tmpfs::IN_MEMFDS.load(Ordering::Relaxed)
}

fn look_at_all(now: u64, swaps: bool) -> bool {
    let next = NEXT.load(Ordering::Relaxed);
    if now < next || NEXT.compare_exchange(next, now + LONGEST, Ordering::Relaxed, Ordering::Relaxed).is_err()
    {
        return false;
    }
    ENDS.lock().forget_gone(now);
    let mut found = weigh();
    let limit = kernel().usage.limit();
    let took = time::now().saturating_sub(now);
    let mut most = swap::most(limit);
    if total() > most && most < limit {
        if !swaps {
            NEXT.store(0, Ordering::Relaxed);
            return true;
        }
        for _ in 0..ROUNDS {
            let spaces: Vec<swap::Space> = found.iter().map(Candidate::space).collect();
            let done = swap::reclaim(&spaces, total().saturating_sub(swap::least(limit)));
            drop(spaces);
            found = weigh();
            most = swap::most(limit);
            if done == 0 || total() < limit {
                break;
            }
        }
    }
    let (total, now) = (total(), time::now());
    let left = most.saturating_sub(total);
    // Where there are thousands of processes a look is dear: a tenth of the time at most.
    let wait = (left / 2 / RATE).clamp(SHORTEST, LONGEST).max(9 * took);
    NEXT.store(now + wait, Ordering::Relaxed);
    sched::look_every(wait);
    crate::net::unix::collect_late(now);
    if total >= limit {
        end_one(&found, total - limit, now);
    }
    false
}

/// An address space whose process is ending.
#[derive(Debug)]
struct Ending {
    /// Dead once its mappings are.
    life: Weak<()>,
    /// What comes back besides its private pages: what the kernel has for it, and shared memory, if nobody else has that.
    kernel: u64,
    shared: u64,
}

/// Those that were seen ending, by their address space's number, while there was too much; and when the last was ended or last one of them
/// was gone.
#[derive(Debug, Default)]
struct Ends {
    all: BTreeMap<u64, Ending>,
    last: u64,
}

static ENDS: Mutex<Ends> = Mutex::new(Rank::Buffer, Ends { all: BTreeMap::new(), last: 0 });

impl Ends {
    /// Forgets those that are gone, before it is looked at what is held: what is taken back after that is in the sum still.
    fn forget_gone(&mut self, now: u64) {
        let before = self.all.len();
        self.all.retain(|_, e| e.life.strong_count() > 0);
        if self.all.len() < before {
            // They do end, be it slowly.
            self.last = now;
        }
    }

    fn add(&mut self, candidate: &Candidate) {
        self.all.entry(candidate.mm.id()).or_insert_with(|| Ending {
            life: candidate.mm.life(),
            kernel: candidate.heap.max(0) as u64 + TASK,
            shared: candidate.held.resident - candidate.held.private,
        });
    }

    /// Whether processes that are ending will give back the `excess`: nobody else is ended for as long as they may. Their pages go at
    /// once, as the OOM reaper takes them on Linux; the rest when they have run, which may take a while where there are thousands.
    fn suffice(&mut self, found: &[Candidate], excess: u64, now: u64) -> bool {
        let mut private = 0;
        for candidate in found.iter().filter(|c| c.task.process.exiting().is_some()) {
            self.add(candidate);
            candidate.mm.stub().kill();
            private += candidate.held.private;
        }
        let shared = self.all.values().map(|e| e.shared).sum::<u64>().min(shared_memory());
        let returns = private + shared + self.all.values().map(|e| e.kernel).sum::<u64>();
        returns > excess && now < self.last + GRACE
    }
}

/// Bytes of memory that processes can share.
fn shared_memory() -> u64 {
    shared::held() + crate::fs::extfs::held() + crate::fs::tmpfs::IN_MEMFDS.load(Ordering::Relaxed)
}

/// Ends the process that holds most.
fn end_one(found: &[Candidate], excess: u64, now: u64) {
    if ENDS.lock().suffice(found, excess, now) {
        return;
    }
    let limit = kernel().usage.limit();
    let most = limit.saturating_add(crate::mm::swap::area::totals().0);
    // As Linux weighs it: a thousandth of all memory for each point of oom_score_adj, never at -1000.
    let badness = |c: &&Candidate| {
        let adj = c.task.process.oom_score_adj.load(Ordering::Relaxed);
        let swapped = c.mm.swap().bytes(0, u64::MAX);
        let weighed =
            (c.held.resident + swapped) as i64 + c.heap.max(0) + i64::from(adj) * (most / 1000) as i64;
        // With the first the guest ends: it goes only if it is what holds so much, or alone. Of those of about the same size the youngest:
        // what a fork bomb begot rather than what began it.
        let first = kernel().first.get() == Some(&c.task.process.pid);
        let spared = adj == -1000 || first && weighed < limit as i64 / 4;
        (if spared { i64::MIN } else { weighed >> 20 }, c.task.process.start)
    };
    let Some(worst) = found
        .iter()
        .filter(|c| c.task.process.exiting().is_none() && !c.task.process.is_init())
        .max_by_key(badness)
    else {
        return;
    };
    let process = &worst.task.process;
    let comm = worst.task.inner.lock().comm.clone();
    crate::log!(
        "Out of memory: Killed process {} ({}) anon-rss:{}kB, shmem-rss and files:{}kB, kernel:{}kB",
        process.pid,
        String::from_utf8_lossy(&comm),
        worst.held.private >> 10,
        (worst.held.resident - worst.held.private) >> 10,
        worst.heap.max(0) >> 10
    );
    {
        let mut ends = ENDS.lock();
        ends.add(worst);
        ends.last = now;
    }
    send::to_process(process, SigInfo::kernel(libc::SIGKILL));
    // What it has of the kernel's comes back when it has run; those who take more are to wait for that.
    let threads = kernel().table.threads(process.pid);
    sched::hurry(&threads.iter().filter_map(|t| t.fiber.get().cloned()).collect::<Vec<_>>());
}
