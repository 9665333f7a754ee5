//! Futexes (futex(2)): keys and queues.

use super::Ctx;
use super::futex_pi::Claim;
use crate::base::fiber::Fiber;
use crate::base::time::Instant;
use crate::base::wait::{Events, How, Waiter, Wake};
use crate::base::{Errno, Mutex, Rank, Result, sched};
use crate::mm::{Backing, Mm};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What makes two futexes the same: an address in an address space, or a place in a shared object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// Private: the address space, the address.
    Private(u64, u64),
    /// Shared anonymous memory: the object, the offset.
    Object(u64, u64),
    /// A shared file: device, inode, offset.
    File(u64, u64, u64),
}

/// One who sleeps on a futex.
#[derive(Debug)]
pub(super) struct Sleeper {
    fiber: Arc<Fiber>,
    woken: AtomicBool,
    bits: u32,
    key: Mutex<Key>,
    /// FUTEX_WAIT_REQUEUE_PI: the lock it is to be moved to, and its claim on that.
    pub(super) pi: Option<(Key, Arc<Claim>)>,
}

impl Sleeper {
    /// One on this futex, for the fiber that runs.
    pub(super) fn new(key: Key, bits: u32, pi: Option<(Key, Arc<Claim>)>) -> Result<Arc<Sleeper>> {
        let fiber = crate::base::fiber::current().ok_or(Errno::EINVAL)?;
        let (woken, key) = (AtomicBool::new(false), Mutex::new(Rank::Leaf, key));
        Ok(Arc::new(Sleeper { fiber, woken, bits, key, pi }))
    }

    /// Puts it in its queue.
    pub(super) fn queue(self: &Arc<Sleeper>) {
        let key = *self.key.lock();
        with(|q| q.entry(key).or_default().push(self.clone()));
    }
}

impl Wake for Sleeper {
    fn wake(&self, _: Events) {
        self.woken.store(true, Ordering::SeqCst);
        self.fiber.wake();
    }
}

static QUEUES: Mutex<Option<HashMap<Key, Vec<Arc<Sleeper>>>>> = Mutex::new(Rank::Wait, None);

fn with<T>(f: impl FnOnce(&mut HashMap<Key, Vec<Arc<Sleeper>>>) -> T) -> T {
    f(QUEUES.lock().get_or_insert_with(HashMap::new))
}

/// The key of an address: EFAULT if nothing is mapped there, EINVAL if it is not aligned.
pub fn key(mm: &Mm, address: u64, private: bool) -> Result<Key> {
    if !address.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if private {
        return Ok(Key::Private(mm.id(), address));
    }
    let inner = mm.lock();
    let vma = inner.vmas.find(address).ok_or(Errno::EFAULT)?;
    let into = address - vma.start;
    if !vma.shared {
        return Ok(Key::Private(mm.id(), address));
    }
    match &vma.backing {
        Backing::Anonymous => Ok(Key::Private(mm.id(), address)),
        Backing::Shared(object) => Ok(Key::Object(object.id, vma.offset + into)),
        Backing::File(file, offset) => {
            let (file, offset) = (file.clone(), *offset);
            drop(inner);
            let attr = file.attr()?;
            Ok(Key::File(attr.dev, attr.ino, offset + into))
        }
    }
}

/// Sleeps while the word is `value`: EAGAIN if it is another, ETIMEDOUT, ERESTARTSYS.
pub fn wait(
    ctx: &mut Ctx,
    address: u64,
    private: bool,
    value: u32,
    bits: u32,
    deadline: Option<Instant>,
) -> Result<()> {
    if bits == 0 {
        return Err(Errno::EINVAL);
    }
    let key = key(&ctx.mm, address, private)?;
    let sleeper = Sleeper::new(key, bits, None)?;
    // Queued before the look at the word: a waker that changes the word after it finds the sleeper.
    sleeper.queue();
    let mut word = [0; 4];
    // What the stub has read before it stopped is as good where no other thread can have run since.
    let seen = match sched::cpus() {
        1 => ctx.read(address, &mut word),
        _ => ctx.memory().read(address, &mut word),
    };
    let seen = seen.map(|()| u32::from_le_bytes(word));
    if seen != Ok(value) {
        let woken = unqueue(&sleeper);
        seen?;
        if woken {
            return Ok(());
        }
        return Err(Errno::EAGAIN);
    }
    let how = How { uninterruptible: false, deadline };
    let result = Waiter::new().wait(how, || sleeper.woken.load(Ordering::SeqCst).then_some(()));
    if unqueue(&sleeper) {
        return Ok(());
    }
    match result {
        Ok(()) => Ok(()),
        Err(crate::base::wait::Ended::TimedOut) => Err(Errno::ETIMEDOUT),
        Err(crate::base::wait::Ended::Interrupted) => Err(Errno::ERESTARTSYS),
    }
}

/// The first sleeper of a key.
pub(super) fn first(key: Key) -> Option<Arc<Sleeper>> {
    with(|q| q.get(&key)?.first().cloned())
}

/// Who sleeps on a key: nobody, sleepers to be woken, or sleepers that wait for a lock that passes priority on.
pub(super) fn kinds(key: Key) -> (bool, bool) {
    with(|q| {
        let list = q.get(&key).map_or(&[][..], Vec::as_slice);
        (list.iter().any(|s| s.pi.is_none()), list.iter().any(|s| s.pi.is_some()))
    })
}

/// Takes a sleeper out; true if it had been woken.
pub(super) fn unqueue(sleeper: &Arc<Sleeper>) -> bool {
    with(|q| {
        let key = *sleeper.key.lock();
        if let Some(list) = q.get_mut(&key) {
            list.retain(|s| !Arc::ptr_eq(s, sleeper));
            if list.is_empty() {
                q.remove(&key);
            }
        }
        sleeper.woken.load(Ordering::SeqCst)
    })
}

/// Wakes up to `count` sleepers of a key whose bits meet `bits`; how many.
pub fn wake(key: Key, count: u32, bits: u32) -> u32 {
    with(|q| {
        let Some(list) = q.get_mut(&key) else { return 0 };
        let mut woken = 0;
        list.retain(|s| {
            if woken < count && s.bits & bits != 0 {
                woken += 1;
                s.wake(Events::READ);
                return false;
            }
            true
        });
        if list.is_empty() {
            q.remove(&key);
        }
        woken
    })
}

/// Wakes sleepers of an address, shared or private.
pub fn wake_address(mm: &Mm, address: u64, count: u32) {
    for private in [true, false] {
        if let Ok(key) = key(mm, address, private) {
            wake(key, count, !0);
        }
    }
}

/// Wakes some sleepers and moves others to another futex; how many of both.
pub fn requeue(from: Key, to: Key, wake_count: u32, move_count: u32) -> (u32, u32) {
    let woken = wake(from, wake_count, !0);
    let moved = with(|q| {
        let Some(list) = q.get_mut(&from) else { return 0 };
        let n = (move_count as usize).min(list.len());
        let moving: Vec<Arc<Sleeper>> = list.drain(..n).collect();
        if list.is_empty() {
            q.remove(&from);
        }
        for sleeper in &moving {
            *sleeper.key.lock() = to;
        }
        q.entry(to).or_default().extend(moving);
        n as u32
    });
    (woken, moved)
}

/// FUTEX_WAKE_OP's operation on a word; whether the comparison holds for its old value.
pub fn operate(ctx: &mut Ctx, address: u64, encoded: u32) -> Result<bool> {
    let (op, cmp) = (encoded >> 28 & 7, encoded >> 24 & 15);
    let sign = |v: u32| ((v << 20) as i32) >> 20;
    let (mut arg, cmp_arg) = (sign(encoded >> 12 & 0xfff), sign(encoded & 0xfff));
    if encoded >> 31 != 0 {
        arg = 1 << (arg & 31);
    }
    let mut old = ctx.memory().u32(address)?;
    let arg = arg as u32;
    loop {
        let new = match op {
            0 => arg,
            1 => old.wrapping_add(arg),
            2 => old | arg,
            3 => old & !arg,
            4 => old ^ arg,
            _ => return Err(Errno::ENOSYS),
        };
        match ctx.exchange(address, old, new)? {
            seen if seen == old => break,
            seen => old = seen,
        }
    }
    let old = old as i32;
    match cmp {
        0 => Ok(old == cmp_arg),
        1 => Ok(old != cmp_arg),
        2 => Ok(old < cmp_arg),
        3 => Ok(old <= cmp_arg),
        4 => Ok(old > cmp_arg),
        5 => Ok(old >= cmp_arg),
        _ => Err(Errno::ENOSYS),
    }
}
