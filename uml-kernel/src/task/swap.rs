//! When memory is short: whose goes to swap, and who waits for it. And swapoff, by which all of it comes back.

use super::ctx::Ctx;
use super::process::Task;
use super::{kernel, oom};
use crate::base::blocking::blocking;
use crate::base::{Errno, Result, sched, time};
use crate::mm::Mm;
use crate::mm::swap::area::{self, Area};
use crate::platform::{Regs, StubThread};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is kept free for what processes take until it is looked at again: an eighth of all, within these bounds.
const LEAST_FREE: u64 = 4 << 20;
const MOST_FREE: u64 = 256 << 20;

fn reserve(limit: u64) -> u64 {
    (limit / 8).clamp(LEAST_FREE, MOST_FREE).min(limit / 4)
}

/// Bytes beyond which memory is swapped out; the limit if there is nowhere to swap to.
pub fn most(limit: u64) -> u64 {
    if area::is_on() && area::totals().1 > 0 { limit - reserve(limit) } else { limit }
}

/// Bytes that are to be left then.
pub fn least(limit: u64) -> u64 {
    limit - reserve(limit) * 3 / 2
}

/// An address space that may give something.
#[derive(Debug)]
pub struct Space {
    /// Which.
    pub mm: Arc<Mm>,
    /// Bytes of its own.
    pub held: u64,
    /// Whether a task runs in it now.
    pub runs: bool,
}

/// Held by who swaps out.
static RECLAIM: Mutex<()> = Mutex::new(());
/// Whether somebody does: guests wait for the end of it, or they would take more than goes out.
static SHORT: AtomicBool = AtomicBool::new(false);

/// Swaps out about `want` bytes: of those that sleep first, and of those the largest. Returns how many it was.
pub fn reclaim(spaces: &[Space], want: u64) -> u64 {
    let _one = RECLAIM.try_lock().unwrap_or_else(|| blocking(|| RECLAIM.lock()));
    SHORT.store(true, Ordering::SeqCst);
    sched::kick_any();
    let mut order: Vec<&Space> = spaces.iter().filter(|s| s.mm.swap().is_enabled()).collect();
    order.sort_by_key(|s| (s.runs, Reverse(s.held)));
    let mut done = 0;
    for space in order {
        let out = space.mm.swap_out(want - done);
        done += out.bytes;
        if done >= want || !out.room {
            break;
        }
    }
    SHORT.store(false, Ordering::SeqCst);
    done
}

/// Waits for who swaps out, and gives the address space its janitor if there is something to swap to.
pub fn before_guest(ctx: &mut Ctx) {
    if !area::is_on() {
        return;
    }
    if SHORT.load(Ordering::SeqCst) {
        // Not for ever: a hostile stub can keep who swaps out waiting.
        blocking(|| drop(RECLAIM.try_lock_for(Duration::from_secs(1))));
    }
    let swap = ctx.mm.swap().clone();
    if swap.is_enabled() || !alone(ctx) {
        return;
    }
    let regs = ctx.regs;
    let made = ctx.stub.flush().map_err(Errno::from).and_then(|()| janitor(&mut ctx.stub, &regs));
    if let Err(e) = made.and_then(|janitor| swap.enable(janitor)) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        if !ctx.stub.stub().is_dead() && !TOLD.swap(true, Ordering::Relaxed) {
            crate::log!("swap: nothing of process {} can go out: {e}", ctx.task.process.pid);
        }
    }
}

/// Whether nobody else has ordered a change of this address space that the host has not made yet: one that is in the guest has not, and who
/// sleeps has had its orders made before.
fn alone(ctx: &Ctx) -> bool {
    let settled = |t: &Arc<Task>| {
        let asleep = t.fiber.get().is_some_and(|f| f.sleeps_at().is_some());
        Arc::ptr_eq(t, &ctx.task) || asleep || t.in_guest()
    };
    Arc::strong_count(&ctx.mm) <= 2 || kernel().table.threads(ctx.task.process.pid).iter().all(settled)
}

/// A thread in the stub of `thread` that changes its mappings, whatever its tasks do.
pub fn janitor(thread: &mut StubThread, regs: &Regs) -> Result<StubThread> {
    let mut janitor = thread.spawn(regs, 0, false, &kernel().platform)?;
    janitor.flush()?;
    Ok(janitor)
}

/// Brings back all that is in an area, and takes it away. ENOMEM if there is no room for that; EINTR if the process is to end.
pub fn empty(ctx: &Ctx, area: &Arc<Area>) -> Result<()> {
    let accepted = area.set_accepts(false);
    let result = empty_all(ctx, area);
    match result {
        Ok(()) => area::remove(area),
        Err(_) => drop(area.set_accepts(accepted)),
    }
    result
}

fn spaces() -> Vec<Arc<Mm>> {
    let tasks: Vec<Arc<Task>> = kernel().table.lock().tasks.values().cloned().collect();
    let all = tasks.iter().filter_map(|t| t.inner.lock().mm.clone());
    all.map(|mm| (mm.id(), mm)).collect::<HashMap<u64, Arc<Mm>>>().into_values().collect()
}

fn empty_all(ctx: &Ctx, area: &Arc<Area>) -> Result<()> {
    /// How often in a row nothing is found though the area is not empty: processes are being made, or end.
    const PATIENCE: u32 = 1000;
    let is = |saved: &area::Saved| Arc::ptr_eq(saved.area(), area);
    oom::survey();
    // What is shared after a fork comes back for each who shares it.
    let needed: u64 = spaces().iter().filter_map(|mm| mm.swap().hold().map(|held| held.bytes_of(is))).sum();
    let free = kernel().usage.limit().saturating_sub(oom::total()) + area::totals().1;
    if needed > free {
        return Err(Errno::ENOMEM);
    }
    let mut idle = 0;
    while area.used() > 0 {
        let mut found = false;
        for mm in spaces() {
            loop {
                let more = match mm.swap().hold() {
                    Some(mut held) => held.bring_in_of(is),
                    None => Ok(false),
                };
                match more {
                    Ok(true) => found = true,
                    Ok(false) => break,
                    // It has ended meanwhile.
                    Err(Errno::EFAULT | Errno::ESRCH) => break,
                    Err(e) => return Err(e),
                }
                if !ctx.goes_on() || ctx.task.has_deliverable() {
                    return Err(Errno::EINTR);
                }
            }
        }
        idle = if found { 0 } else { idle + 1 };
        if idle > PATIENCE {
            return Err(Errno::ENOMEM);
        }
        if !found {
            let _ = crate::base::wait::sleep_until(time::now() + 1_000_000);
        }
    }
    Ok(())
}
