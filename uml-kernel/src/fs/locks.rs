//! File locks: POSIX (of a process), OFD (of an open file), flock (fcntl_locking(2), flock(2)).

use super::File;
use crate::base::wait::{How, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Whose a lock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A process's, by its descriptor table.
    Process(usize, i32),
    /// An open file's.
    File(usize),
}

/// A locked range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Whose.
    pub owner: Owner,
    /// Exclusive.
    pub write: bool,
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
}

/// POSIX and flock locks do not see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Space {
    /// fcntl.
    Ranges,
    /// flock.
    Whole,
}

type Key = (u64, u64, Space);

static LOCKS: Mutex<Option<HashMap<Key, Vec<Lock>>>> = Mutex::new(Rank::Leaf, None);
static CHANGED: WaitQueue = WaitQueue::new();
/// Who waits for whom.
static WAITING: Mutex<Vec<(Owner, Owner)>> = Mutex::new(Rank::Leaf, Vec::new());

/// Whether `owner` would wait for itself, by way of others.
fn deadlock(owner: Owner, mut blocker: Owner) -> bool {
    let waiting = WAITING.lock();
    for _ in 0..16 {
        if blocker == owner {
            return true;
        }
        match waiting.iter().find(|(who, _)| *who == blocker) {
            Some((_, next)) => blocker = *next,
            None => return false,
        }
    }
    false
}

fn with<T>(f: impl FnOnce(&mut HashMap<Key, Vec<Lock>>) -> T) -> T {
    f(LOCKS.lock().get_or_insert_with(HashMap::new))
}

fn key(file: &File, space: Space) -> Result<Key> {
    let attr = file.attr()?;
    Ok((attr.dev, attr.ino, space))
}

/// The owner that an open file is.
pub fn file_owner(file: &Arc<File>) -> Owner {
    Owner::File(Arc::as_ptr(file) as usize)
}

fn conflict(list: &[Lock], wanted: &Lock) -> Option<Lock> {
    let meets = |l: &&Lock| {
        l.owner != wanted.owner && l.start <= wanted.end && wanted.start <= l.end && (l.write || wanted.write)
    };
    list.iter().find(meets).copied()
}

/// A lock that is in the way of `wanted`.
pub fn test(file: &File, space: Space, wanted: &Lock) -> Result<Option<Lock>> {
    let key = key(file, space)?;
    Ok(with(|l| l.get(&key).and_then(|list| conflict(list, wanted))))
}

/// Adds a lock, as one with those of its kind that it meets.
fn join(list: &mut Vec<Lock>, mut new: Lock) {
    list.retain(|l| {
        let same = l.owner == new.owner && l.write == new.write;
        let meets = l.start <= new.end.saturating_add(1) && new.start <= l.end.saturating_add(1);
        if same && meets {
            new.start = new.start.min(l.start);
            new.end = new.end.max(l.end);
        }
        !(same && meets)
    });
    list.push(new);
}

fn clear(list: &mut Vec<Lock>, owner: Owner, start: u64, end: u64) {
    let mut kept = Vec::with_capacity(list.len() + 1);
    for lock in list.drain(..) {
        if lock.owner != owner || lock.end < start || lock.start > end {
            kept.push(lock);
            continue;
        }
        if lock.start < start {
            kept.push(Lock { end: start - 1, ..lock });
        }
        if lock.end > end {
            kept.push(Lock { start: end + 1, ..lock });
        }
    }
    *list = kept;
}

/// Takes a lock, over the owner's own on that range; EAGAIN, or waits.
pub fn set(file: &File, space: Space, wanted: Lock, wait: bool) -> Result<()> {
    let key = key(file, space)?;
    let attempt = || {
        with(|l| {
            let list = l.entry(key).or_default();
            if conflict(list, &wanted).is_some() {
                return None;
            }
            clear(list, wanted.owner, wanted.start, wanted.end);
            join(list, wanted);
            Some(())
        })
    };
    if let (true, Owner::Process(..)) = (wait, wanted.owner)
        && let Some(blocker) = test(file, space, &wanted)?.map(|l| l.owner)
    {
        if deadlock(wanted.owner, blocker) {
            return Err(Errno::EDEADLK);
        }
        WAITING.lock().push((wanted.owner, blocker));
    }
    let result = if wait {
        CHANGED.wait(How::default(), attempt).map_err(|_| Errno::ERESTARTSYS)
    } else {
        attempt().ok_or(Errno::EAGAIN)
    };
    WAITING.lock().retain(|(who, _)| *who != wanted.owner);
    // A lock that became a shared one lets others in.
    CHANGED.wake_all();
    result
}

/// Gives a range back.
pub fn unset(file: &File, space: Space, owner: Owner, start: u64, end: u64) -> Result<()> {
    let key = key(file, space)?;
    let gone = with(|l| {
        let Some(list) = l.get_mut(&key) else { return false };
        let before = list.len();
        clear(list, owner, start, end);
        let changed = list.len() != before || before > 0;
        if list.is_empty() {
            l.remove(&key);
        }
        changed
    });
    if gone {
        CHANGED.wake_all();
    }
    Ok(())
}

/// Whether there are locks at all: closing asks often.
pub fn any() -> bool {
    with(|l| !l.is_empty())
}

/// A process has ended: its locks go.
pub fn release_process(owner: Owner) {
    if any() {
        with(|l| {
            l.values_mut().for_each(|list| list.retain(|x| x.owner != owner));
            l.retain(|_, list| !list.is_empty());
        });
        CHANGED.wake_all();
    }
}

/// An open file is gone: its own locks go too.
pub fn release_file(owner: Owner, dev: u64, ino: u64) {
    if !any() {
        return;
    }
    with(|l| {
        for space in [Space::Ranges, Space::Whole] {
            if let Some(list) = l.get_mut(&(dev, ino, space)) {
                list.retain(|x| x.owner != owner);
                if list.is_empty() {
                    l.remove(&(dev, ino, space));
                }
            }
        }
    });
    CHANGED.wake_all();
}
