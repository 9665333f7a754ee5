//! Event polls (epoll(7)).
//!
//! Each watched file is an `Item` that stands in the file's wait queues. A wake-up puts it on the ready list; `wait` asks the files on that
//! list, and no others. A level-triggered item that was ready goes back to the end of the list, to be asked again.
//!
//! Locks: `items` (rank `Event`) is the table; `ready` (rank `Ready`) is taken by wake-ups, which come while others hold their own locks.
//! Neither is held while a file is asked. Items hold their file weakly: a file ends with its last descriptor, and its item then.

use super::{File, FileOps, OpenFlags, PollTable, anon, kind};
use crate::base::time::Instant;
use crate::base::wait::{Ended, Events, How, WaitQueue, Wake};
use crate::base::{Errno, Mutex, Rank, Result};
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// One waiter only is told (with others that say so).
pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
/// Accepted and ignored.
pub const EPOLLWAKEUP: u32 = 1 << 29;
/// Told once, then silent until changed.
pub const EPOLLONESHOT: u32 = 1 << 30;
/// Told when something happens, not while it is so.
pub const EPOLLET: u32 = 1 << 31;
const PRIVATE: u32 = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET;
/// Epolls in epolls in epolls (EP_MAX_NESTS).
const MAX_NESTS: usize = 4;

/// `struct epoll_event`, which is packed: 12 bytes in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EpollEvent {
    /// `EPOLL` bits: those of poll and the flags above.
    pub events: u32,
    /// The caller's.
    pub data: u64,
}

/// The operations of epoll_ctl(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ctl {
    /// Watch.
    Add,
    /// Watch no longer.
    Del,
    /// Watch otherwise.
    Mod,
}

impl Ctl {
    /// From the number; EINVAL.
    pub fn from_number(op: i32) -> Result<Ctl> {
        match op {
            1 => Ok(Ctl::Add),
            2 => Ok(Ctl::Del),
            3 => Ok(Ctl::Mod),
            _ => Err(Errno::EINVAL),
        }
    }
}

struct Item {
    me: Weak<Item>,
    epoll: Weak<Epoll>,
    file: Weak<File>,
    fd: i32,
    events: AtomicU32,
    data: AtomicU64,
    /// On the ready list. Changed under its lock.
    queued: AtomicBool,
    removed: AtomicBool,
}

impl Item {
    fn wanted(&self) -> u32 {
        self.events.load(Ordering::SeqCst)
    }

    fn mask(&self) -> Events {
        Events::from_bits_truncate(self.wanted() & !PRIVATE) | Events::ERR | Events::HUP
    }

    /// Silent after a one-shot.
    fn silent(&self) -> bool {
        self.wanted() & !PRIVATE == 0
    }
}

impl Wake for Item {
    fn wake(&self, events: Events) {
        if self.silent() || !events.intersects(self.mask()) {
            return;
        }
        if let Some(epoll) = self.epoll.upgrade() {
            epoll.make_ready(self);
        }
    }
    fn alive(&self) -> bool {
        !self.removed.load(Ordering::Relaxed) && self.file.strong_count() > 0
    }
}

type Key = (i32, usize);

#[derive(Default)]
struct Items {
    by_key: HashMap<Key, Arc<Item>>,
    /// Size at which items of closed files are swept out.
    sweep_at: usize,
}

/// An event poll.
pub struct Epoll {
    items: Mutex<Items>,
    ready: Mutex<VecDeque<Arc<Item>>>,
    /// Those in `wait`.
    waiters: WaitQueue,
    /// Those who poll the epoll itself.
    pollers: WaitQueue,
    me: Weak<Epoll>,
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Epoll")
    }
}

struct Register(Arc<Item>);

impl PollTable for Register {
    fn add(&mut self, queue: &WaitQueue) {
        let exclusive = self.0.wanted() & EPOLLEXCLUSIVE != 0;
        // A later change may want more; an exclusive item cannot be changed, and must not use up a turn for nothing.
        let events = if exclusive { self.0.mask() } else { Events::all() };
        queue.add(self.0.clone(), events, exclusive);
    }
}

/// Changes of what watches what, one at a time, so that no two make a circle together.
static GRAPH: Mutex<()> = Mutex::new(Rank::Buffer, ());

impl Epoll {
    /// Makes one.
    pub fn new() -> Arc<Epoll> {
        Arc::new_cyclic(|me| Epoll {
            items: Mutex::new(Rank::Event, Items::default()),
            ready: Mutex::new(Rank::Ready, VecDeque::new()),
            waiters: WaitQueue::new(),
            pollers: WaitQueue::new(),
            me: me.clone(),
        })
    }

    /// Makes one and its file, as epoll_create1(2).
    pub fn file() -> Arc<File> {
        anon::new_file("[eventpoll]", Epoll::new(), OpenFlags::RDWR)
    }

    /// epoll_ctl(2) for descriptor `fd`, which is `file`. EEXIST, ENOENT, EPERM for files that cannot be polled, EINVAL for itself and for
    /// wrong use of EPOLLEXCLUSIVE, ELOOP for circles and deep nesting.
    pub fn ctl(&self, op: Ctl, fd: i32, file: &Arc<File>, mut event: EpollEvent) -> Result<()> {
        let ops = file.ops();
        let inner = ops.as_any().downcast_ref::<Epoll>();
        if matches!(file.attr()?.kind(), kind::REG | kind::DIR) {
            return Err(Errno::EPERM);
        }
        if inner.is_some_and(|inner| std::ptr::eq(inner, self)) {
            return Err(Errno::EINVAL);
        }
        if op != Ctl::Del && event.events & EPOLLEXCLUSIVE != 0 {
            let allowed = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLET;
            let polled = (Events::IN | Events::OUT | Events::ERR | Events::HUP).bits();
            if op == Ctl::Mod || inner.is_some() || event.events & !(allowed | polled) != 0 {
                return Err(Errno::EINVAL);
            }
        }
        event.events |= (Events::ERR | Events::HUP).bits();
        let key = (fd, Arc::as_ptr(file).addr());
        match op {
            Ctl::Add => self.insert(key, file, event, inner),
            Ctl::Del => {
                let gone = self.items.lock().by_key.remove(&key).ok_or(Errno::ENOENT)?;
                self.forget(&gone);
                Ok(())
            }
            Ctl::Mod => {
                let item = self.items.lock().by_key.get(&key).cloned().ok_or(Errno::ENOENT)?;
                if item.wanted() & EPOLLEXCLUSIVE != 0 {
                    return Err(Errno::EINVAL);
                }
                item.data.store(event.data, Ordering::SeqCst);
                item.events.store(event.events, Ordering::SeqCst);
                if file.ops().poll(file, None).intersects(item.mask()) {
                    self.make_ready(&item);
                }
                Ok(())
            }
        }
    }

    fn insert(&self, key: Key, file: &Arc<File>, event: EpollEvent, inner: Option<&Epoll>) -> Result<()> {
        let item = Arc::new_cyclic(|me| Item {
            me: me.clone(),
            epoll: self.me.clone(),
            file: Arc::downgrade(file),
            fd: key.0,
            events: AtomicU32::new(event.events),
            data: AtomicU64::new(event.data),
            queued: AtomicBool::new(false),
            removed: AtomicBool::new(false),
        });
        // Files found on the way are let go of at the very end: the last one to do so closes the file.
        let mut seen = Vec::new();
        {
            let _graph = inner.map(|_| GRAPH.lock());
            if self.items.lock().by_key.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            if let Some(inner) = inner {
                let below = inner.depth_below(self, 0, &mut seen)?;
                if below > MAX_NESTS {
                    return Err(Errno::ELOOP);
                }
            }
            let mut items = self.items.lock();
            if items.by_key.len() >= items.sweep_at {
                items.by_key.retain(|_, i| i.alive());
                items.sweep_at = items.by_key.len() * 2 + 64;
            }
            items.by_key.insert(key, item.clone());
        }
        drop(seen);
        let found = file.ops().poll(file, Some(&mut Register(item.clone())));
        if found.intersects(item.mask()) {
            self.make_ready(&item);
        }
        Ok(())
    }

    /// How many epolls nest below this one, with it; ELOOP if `top` is among them.
    fn depth_below(&self, top: &Epoll, depth: usize, seen: &mut Vec<Arc<File>>) -> Result<usize> {
        if std::ptr::eq(self, top) || depth > MAX_NESTS {
            return Err(Errno::ELOOP);
        }
        let from = seen.len();
        seen.extend(self.items.lock().by_key.values().filter_map(|i| i.file.upgrade()));
        let mut deepest = 0;
        for n in from..seen.len() {
            let file = seen[n].clone();
            if let Some(inner) = file.ops_as::<Epoll>() {
                deepest = deepest.max(inner.depth_below(top, depth + 1, seen)?);
            }
        }
        Ok(deepest + 1)
    }

    fn forget(&self, item: &Item) {
        item.removed.store(true, Ordering::SeqCst);
        let mut ready = self.ready.lock();
        if item.queued.swap(false, Ordering::SeqCst) {
            ready.retain(|i| !std::ptr::eq(Arc::as_ptr(i), item));
        }
    }

    /// Puts an item on the ready list and tells.
    fn make_ready(&self, item: &Item) {
        let mut ready = self.ready.lock();
        if item.removed.load(Ordering::SeqCst) || item.queued.swap(true, Ordering::SeqCst) {
            return;
        }
        ready.extend(item.me.upgrade());
        drop(ready);
        self.waiters.wake(Events::READ);
        self.pollers.wake(Events::READ);
    }

    fn pop(&self) -> Option<Arc<Item>> {
        let mut ready = self.ready.lock();
        let item = ready.pop_front()?;
        item.queued.store(false, Ordering::SeqCst);
        Some(item)
    }

    /// Asks the file of an item; `None` if it is gone.
    fn ask(item: &Item) -> Option<Events> {
        if item.removed.load(Ordering::SeqCst) {
            return None;
        }
        let file = item.file.upgrade()?;
        Some(file.ops().poll(&file, None) & item.mask())
    }

    /// Takes up to `max` events from what is on the ready list now.
    fn collect(&self, max: usize) -> Vec<EpollEvent> {
        let mut out = Vec::new();
        let mut again = Vec::new();
        let mut left = self.ready.lock().len();
        while left > 0 && out.len() < max {
            left -= 1;
            let Some(item) = self.pop() else { break };
            let Some(found) = Self::ask(&item) else {
                self.items.lock().by_key.remove(&(item.fd, Weak::as_ptr(&item.file).addr()));
                continue;
            };
            let wanted = item.wanted();
            if found.is_empty() || item.silent() {
                continue;
            }
            out.push(EpollEvent { events: found.bits(), data: item.data.load(Ordering::SeqCst) });
            if wanted & EPOLLONESHOT != 0 {
                item.events.store(wanted & PRIVATE, Ordering::SeqCst);
            } else if wanted & EPOLLET == 0 {
                again.push(item);
            }
        }
        if !again.is_empty() {
            let mut ready = self.ready.lock();
            for item in again {
                if !item.removed.load(Ordering::SeqCst) && !item.queued.swap(true, Ordering::SeqCst) {
                    ready.push_back(item);
                }
            }
        }
        if !out.is_empty() && !self.ready.lock().is_empty() {
            // Another may have looked while the list was shorter.
            self.waiters.wake(Events::READ);
        }
        out
    }

    /// epoll_wait(2): 1 to `max` events, or none once `deadline` has passed (0 looks once); EINTR.
    pub fn wait(&self, max: usize, deadline: Option<Instant>) -> Result<Vec<EpollEvent>> {
        let look = || {
            if self.ready.lock().is_empty() {
                return None;
            }
            let found = self.collect(max);
            (!found.is_empty()).then_some(found)
        };
        if deadline == Some(0) {
            return Ok(look().unwrap_or_default());
        }
        match self.waiters.wait(How { deadline, ..How::default() }, look) {
            Ok(found) => Ok(found),
            Err(Ended::TimedOut) => Ok(Vec::new()),
            Err(Ended::Interrupted) => Err(Errno::EINTR),
        }
    }

    /// What it watches, for fdinfo: descriptor, events, data.
    pub fn watched(&self) -> Vec<(i32, EpollEvent)> {
        let items = self.items.lock();
        let living = items.by_key.values().filter(|i| i.alive());
        living
            .map(|i| (i.fd, EpollEvent { events: i.wanted(), data: i.data.load(Ordering::SeqCst) }))
            .collect()
    }
}

impl FileOps for Epoll {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        false
    }
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn poll(&self, _: &File, table: Option<&mut dyn PollTable>) -> Events {
        if let Some(table) = table {
            table.add(&self.pollers);
        }
        // The first of the list that is ready will do; those before it that are not leave the list.
        let mut left = self.ready.lock().len();
        while left > 0 {
            left -= 1;
            let Some(item) = self.pop() else { break };
            if Self::ask(&item).is_some_and(|found| !found.is_empty()) && !item.silent() {
                let mut ready = self.ready.lock();
                if !item.removed.load(Ordering::SeqCst) && !item.queued.swap(true, Ordering::SeqCst) {
                    ready.push_front(item);
                }
                drop(ready);
                // One who looked meanwhile found the list without it.
                self.waiters.wake(Events::READ);
                return Events::READ;
            }
        }
        Events::empty()
    }
}

#[cfg(test)]
#[path = "epoll_tests.rs"]
mod tests;
