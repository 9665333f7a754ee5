//! Futexes that are locks with an owner (FUTEX_LOCK_PI and its relatives in futex(2)).
//!
//! The word holds the owner's thread id; the guest takes a free lock and lets go of an uncontended one without a call. Once
//! somebody waits, the word has `WAITERS`, and only the kernel changes it: it writes the next owner's id when the lock is
//! handed on. Priority is passed on in order only: waiters of a higher real-time priority come first.
//!
//! One lock protects all of them. It ranks below the queues of plain futexes, which are looked at while it is held.

use super::futex::{self, Key, Sleeper};
use super::{Ctx, Pid, Task, kernel};
use crate::base::fiber::Fiber;
use crate::base::time::Instant;
use crate::base::wait::{Ended, How, Waiter};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::mm::UserMemory;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Somebody waits in the kernel.
pub const WAITERS: u32 = 0x8000_0000;
/// The last owner ended while it held the lock.
pub const OWNER_DIED: u32 = 0x4000_0000;
/// The bits of the owner's thread id.
pub const TID: u32 = 0x3fff_ffff;

/// One who waits for a lock, or has just been given it.
#[derive(Debug)]
pub struct Claim {
    fiber: Arc<Fiber>,
    tid: Pid,
    priority: i32,
    /// The word, as the waiter sees it: for who hands the lock on from another address space.
    memory: UserMemory,
    address: u64,
    granted: AtomicBool,
}

impl Claim {
    fn new(ctx: &Ctx, address: u64) -> Result<Arc<Claim>> {
        Ok(Arc::new(Claim {
            fiber: crate::base::fiber::current().ok_or(Errno::EINVAL)?,
            tid: ctx.task.tid,
            priority: priority(&ctx.task),
            memory: ctx.memory(),
            address,
            granted: AtomicBool::new(false),
        }))
    }

    fn grant(&self) {
        self.granted.store(true, Ordering::SeqCst);
        self.fiber.wake();
    }

    fn is_granted(&self) -> bool {
        self.granted.load(Ordering::SeqCst)
    }
}

/// Real-time priorities come first; all others are one.
fn priority(task: &Task) -> i32 {
    task.inner.lock().policy.priority as i32
}

/// A lock that somebody waits for.
#[derive(Debug)]
struct Lock {
    owner: Pid,
    claims: Vec<Arc<Claim>>,
}

type Locks = HashMap<Key, Lock>;

static LOCKS: Mutex<Option<Locks>> = Mutex::new(Rank::Event, None);

/// What became of a try to take a lock.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Taken,
    Queued,
    /// The word has changed meanwhile.
    Again,
}

/// ESRCH if the word names an owner that is not there. Called without locks: it looks into the table of tasks.
fn check_owner(key: Key, word: u32) -> Result<()> {
    let owner = (word & TID) as Pid;
    if owner == 0 || kernel().table.task(owner).is_some() {
        return Ok(());
    }
    // About to end, and its lock handed on: the word will change.
    let waited_for = LOCKS.lock().as_ref().is_some_and(|l| l.contains_key(&key));
    if waited_for { Ok(()) } else { Err(Errno::ESRCH) }
}

/// Takes a lock for `claim`, or queues the claim. `word` is what was seen at `address`, in the caller's memory.
fn attempt(
    locks: &mut Locks,
    ctx: &mut Ctx,
    (key, address, word): (Key, u64, u32),
    claim: &Arc<Claim>,
    try_only: bool,
) -> Result<Attempt> {
    let owner = (word & TID) as Pid;
    if owner == claim.tid {
        return Err(Errno::EDEADLK);
    }
    // The same word as a lock and as a plain futex: one of the two users is wrong.
    if futex::kinds(key).0 {
        return Err(Errno::EINVAL);
    }
    if owner == 0 {
        let waiters = locks.get(&key).map_or(0, |_| WAITERS);
        let new = claim.tid as u32 | word & OWNER_DIED | waiters;
        if ctx.exchange(address, word, new)? != word {
            return Ok(Attempt::Again);
        }
        if let Some(lock) = locks.get_mut(&key) {
            lock.owner = claim.tid;
        }
        return Ok(Attempt::Taken);
    }
    if closes_ring(locks, owner, claim.tid) {
        return Err(Errno::EDEADLK);
    }
    if ctx.exchange(address, word, word | WAITERS)? != word {
        return Ok(Attempt::Again);
    }
    if try_only {
        return Err(Errno::EAGAIN);
    }
    let lock = locks.entry(key).or_insert(Lock { owner, claims: Vec::new() });
    lock.owner = owner;
    let at = lock.claims.partition_point(|c| c.priority >= claim.priority);
    lock.claims.insert(at, claim.clone());
    Ok(Attempt::Queued)
}

/// Whether `owner` waits, by however many others, for a lock that `tid` holds.
fn closes_ring(locks: &Locks, mut owner: Pid, tid: Pid) -> bool {
    const DEPTH: usize = 1024;
    for _ in 0..DEPTH {
        let waits_for = locks.values().find(|l| l.claims.iter().any(|c| c.tid == owner));
        match waits_for {
            Some(lock) if lock.owner == tid => return true,
            Some(lock) => owner = lock.owner,
            None => return false,
        }
    }
    true
}

/// Takes the lock, or waits for it: ETIMEDOUT, EAGAIN for a mere try, EDEADLK, ERESTARTNOINTR.
pub fn lock(
    ctx: &mut Ctx,
    address: u64,
    private: bool,
    deadline: Option<Instant>,
    try_only: bool,
) -> Result<()> {
    let key = futex::key(&ctx.mm, address, private)?;
    let claim = Claim::new(ctx, address)?;
    loop {
        let word = ctx.memory().u32(address)?;
        if word & TID != ctx.task.tid as u32 {
            check_owner(key, word)?;
        }
        let mut locks = LOCKS.lock();
        let locks = locks.get_or_insert_with(HashMap::new);
        match attempt(locks, ctx, (key, address, word), &claim, try_only)? {
            Attempt::Taken => return Ok(()),
            Attempt::Queued => break,
            Attempt::Again => {}
        }
    }
    let how = How { uninterruptible: false, deadline };
    let Err(ended) = Waiter::new().wait(how, || claim.is_granted().then_some(())) else { return Ok(()) };
    match withdraw(key, &claim) {
        true => Ok(()),
        false if ended == Ended::TimedOut => Err(Errno::ETIMEDOUT),
        false => Err(Errno::ERESTARTNOINTR),
    }
}

/// Takes a claim back; true if it was granted before.
fn withdraw(key: Key, claim: &Arc<Claim>) -> bool {
    let mut locks = LOCKS.lock();
    let locks = locks.get_or_insert_with(HashMap::new);
    remove(locks, key, claim);
    claim.is_granted()
}

fn remove(locks: &mut Locks, key: Key, claim: &Arc<Claim>) -> bool {
    let Some(lock) = locks.get_mut(&key) else { return false };
    let before = lock.claims.len();
    lock.claims.retain(|c| !Arc::ptr_eq(c, claim));
    let found = lock.claims.len() < before;
    if lock.claims.is_empty() {
        locks.remove(&key);
    }
    found
}

/// The first who waits becomes the owner, in the books; the word is for the caller to write.
fn hand_on(locks: &mut Locks, key: Key) -> Option<Arc<Claim>> {
    let lock = locks.get_mut(&key)?;
    let next = lock.claims.remove(0);
    lock.owner = next.tid;
    if lock.claims.is_empty() {
        locks.remove(&key);
    }
    Some(next)
}

/// Lets go of a lock: EPERM unless the caller owns it.
pub fn unlock(ctx: &mut Ctx, address: u64, private: bool) -> Result<()> {
    loop {
        let word = ctx.memory().u32(address)?;
        if word & TID != ctx.task.tid as u32 {
            return Err(Errno::EPERM);
        }
        let key = futex::key(&ctx.mm, address, private)?;
        if futex::kinds(key).0 {
            return Err(Errno::EINVAL);
        }
        let mut locks = LOCKS.lock();
        let locks = locks.get_or_insert_with(HashMap::new);
        if let Some(next) = hand_on(locks, key) {
            // Nobody else changes a word that has waiters: a plain store will do.
            let result = ctx.memory().put_u32(address, next.tid as u32 | WAITERS);
            next.grant();
            return result;
        }
        if ctx.exchange(address, word, 0)? == word {
            return Ok(());
        }
    }
}

/// A thread ends: the locks that others wait for are handed on.
pub fn exit(tid: Pid) {
    let mut locks = LOCKS.lock();
    let Some(locks) = locks.as_mut().filter(|l| !l.is_empty()) else { return };
    let held: Vec<Key> = locks.iter().filter(|(_, l)| l.owner == tid).map(|(k, _)| *k).collect();
    for key in held {
        if let Some(next) = hand_on(locks, key) {
            let word = next.tid as u32 | WAITERS | OWNER_DIED;
            // Where the waiter has unmapped the word, it has lost the lock by itself.
            let _ = next.memory.put_u32(next.address, word);
            next.grant();
        }
    }
}

/// Whether somebody waits for a lock at this key, or will be moved to one: FUTEX_WAKE is wrong there.
pub fn is_lock(key: Key) -> bool {
    LOCKS.lock().as_ref().is_some_and(|l| l.contains_key(&key)) || futex::kinds(key).1
}

/// FUTEX_WAIT_REQUEUE_PI: sleeps on one futex until another task moves the sleeper to a lock, and the lock is its own.
pub fn wait_requeue(
    ctx: &mut Ctx,
    (address, target): (u64, u64),
    private: bool,
    value: u32,
    deadline: Option<Instant>,
) -> Result<()> {
    if address == target {
        return Err(Errno::EINVAL);
    }
    let to = futex::key(&ctx.mm, target, private)?;
    let key = futex::key(&ctx.mm, address, private)?;
    if key == to {
        return Err(Errno::EINVAL);
    }
    let claim = Claim::new(ctx, target)?;
    let sleeper = Sleeper::new(key, !0, Some((to, claim.clone())))?;
    sleeper.queue();
    let seen = ctx.memory().u32(address);
    if seen != Ok(value) {
        let moved = leave(&sleeper, to, &claim);
        seen?;
        if !claim.is_granted() && !moved {
            return Err(Errno::EAGAIN);
        }
    }
    let how = How { uninterruptible: false, deadline };
    let Err(ended) = Waiter::new().wait(how, || claim.is_granted().then_some(())) else { return Ok(()) };
    let moved = leave(&sleeper, to, &claim);
    match ended {
        _ if claim.is_granted() => Ok(()),
        Ended::TimedOut => Err(Errno::ETIMEDOUT),
        // Moved already: the lock was not waited for long enough to say more.
        Ended::Interrupted if moved => Err(Errno::EAGAIN),
        Ended::Interrupted => Err(Errno::ERESTARTNOINTR),
    }
}

/// Takes a sleeper out wherever it is; true if it waited for the lock already.
fn leave(sleeper: &Arc<Sleeper>, to: Key, claim: &Arc<Claim>) -> bool {
    let mut locks = LOCKS.lock();
    futex::unqueue(sleeper);
    remove(locks.get_or_insert_with(HashMap::new), to, claim)
}

/// FUTEX_CMP_REQUEUE_PI: the first sleeper gets the lock if it is free, the others wait for it; how many of both.
pub fn requeue(
    ctx: &mut Ctx,
    (address, target): (u64, u64),
    private: bool,
    count: u32,
    expected: u32,
) -> Result<u64> {
    let (from, to) = (futex::key(&ctx.mm, address, private)?, futex::key(&ctx.mm, target, private)?);
    if from == to {
        return Err(Errno::EINVAL);
    }
    if ctx.memory().u32(address)? != expected {
        return Err(Errno::EAGAIN);
    }
    let mut done = 0;
    while done < u64::from(count) + 1 {
        let word = ctx.memory().u32(target)?;
        check_owner(to, word)?;
        // Held over all of it, so that a sleeper that gives up is either here or there.
        let mut locks = LOCKS.lock();
        let locks = locks.get_or_insert_with(HashMap::new);
        let Some(sleeper) = futex::first(from) else { break };
        let Some((_, claim)) = sleeper.pi.as_ref().filter(|(key, _)| *key == to) else {
            return Err(Errno::EINVAL);
        };
        match attempt(locks, ctx, (to, target, word), claim, false) {
            Ok(Attempt::Again) => continue,
            Ok(Attempt::Taken) => {
                futex::unqueue(&sleeper);
                claim.grant();
            }
            Ok(Attempt::Queued) => {
                futex::unqueue(&sleeper);
            }
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
        done += 1;
    }
    Ok(done)
}
