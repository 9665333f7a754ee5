//! Notices of what happens to files (inotify(7)): an instance with its queue. What it watches is in [`watches`].

mod watches;

pub use watches::{about, any, gone, in_directory, moved, on, unmounted};

use super::{File, FileOps, Inode, OpenFlags, PollTable, anon};
use crate::base::wait::{Events, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::mm::{Packer, UserMemory};
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};

bitflags::bitflags! {
    /// Events, and how they are asked for (linux/inotify.h).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Mask: u32 {
        /// Read, or run.
        const ACCESS = 0x1;
        /// Written, or cut.
        const MODIFY = 0x2;
        /// Attributes changed.
        const ATTRIB = 0x4;
        /// Closed by one who could write.
        const CLOSE_WRITE = 0x8;
        /// Closed by one who could not.
        const CLOSE_NOWRITE = 0x10;
        /// Opened.
        const OPEN = 0x20;
        /// Moved out of the directory.
        const MOVED_FROM = 0x40;
        /// Moved into it.
        const MOVED_TO = 0x80;
        /// Made in it.
        const CREATE = 0x100;
        /// Removed from it.
        const DELETE = 0x200;
        /// The watched itself is gone.
        const DELETE_SELF = 0x400;
        /// The watched itself was moved.
        const MOVE_SELF = 0x800;
        /// Its file system was unmounted.
        const UNMOUNT = 0x2000;
        /// Events were lost.
        const Q_OVERFLOW = 0x4000;
        /// The watch is gone.
        const IGNORED = 0x8000;
        /// Only directories are watched.
        const ONLYDIR = 0x0100_0000;
        /// A link is watched itself.
        const DONT_FOLLOW = 0x0200_0000;
        /// Nothing of what has lost its name.
        const EXCL_UNLINK = 0x0400_0000;
        /// EEXIST if it is watched already.
        const MASK_CREATE = 0x1000_0000;
        /// In addition to what is watched already.
        const MASK_ADD = 0x2000_0000;
        /// It is a directory.
        const ISDIR = 0x4000_0000;
        /// One event, and then no more.
        const ONESHOT = 0x8000_0000;
    }
}

impl Mask {
    /// All that can be asked for.
    pub const ALL: Mask = Mask::from_bits_truncate(0xfff);
}

/// Limits, as /proc/sys/fs/inotify has them: events of an instance, instances and watches of a user.
pub static LIMITS: [AtomicI32; 3] = [AtomicI32::new(16384), AtomicI32::new(128), AtomicI32::new(65536)];

fn limit(which: usize) -> usize {
    LIMITS[which].load(Ordering::Relaxed).max(0) as usize
}

/// Instances and watches of each user.
static COUNTS: Mutex<Option<HashMap<u32, [usize; 2]>>> = Mutex::new(Rank::Leaf, None);

/// Counts one more of a user's, up to the limit.
fn count(uid: u32, which: usize) -> bool {
    let mut counts = COUNTS.lock();
    let now = &mut counts.get_or_insert_with(HashMap::new).entry(uid).or_default()[which];
    let fits = *now < limit(which + 1);
    *now += usize::from(fits);
    fits
}

fn uncount(uid: u32, which: usize, by: usize) {
    let mut counts = COUNTS.lock();
    let counts = counts.get_or_insert_with(HashMap::new);
    if let Some(now) = counts.get_mut(&uid) {
        now[which] = now[which].saturating_sub(by);
        if *now == [0, 0] {
            counts.remove(&uid);
        }
    }
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

impl Event {
    /// Bytes of the name with its NUL, a multiple of the head's.
    fn name_len(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEAD) }
    }
    fn len(&self) -> usize {
        HEAD + self.name_len()
    }
}

/// Bytes of an event without its name.
const HEAD: usize = 16;

/// An instance.
#[derive(Debug)]
pub struct Inotify {
    me: Weak<Inotify>,
    uid: u32,
    queue: Mutex<VecDeque<Event>>,
    watched: Mutex<Watched>,
    readers: WaitQueue,
}

/// What an instance watches: the key of each number.
#[derive(Debug, Default)]
struct Watched {
    last: i32,
    keys: HashMap<i32, watches::Key>,
}

impl Inotify {
    /// Makes one; EMFILE if its user has as many as may be.
    pub fn file(uid: u32, flags: OpenFlags) -> Result<Arc<File>> {
        if !count(uid, 0) {
            return Err(Errno::EMFILE);
        }
        let ops = Arc::new_cyclic(|me| Inotify {
            me: me.clone(),
            uid,
            queue: Mutex::new(Rank::Leaf, VecDeque::new()),
            watched: Mutex::new(Rank::Leaf, Watched::default()),
            readers: WaitQueue::new(),
        });
        Ok(anon::new_file("inotify", ops, flags & OpenFlags::NONBLOCK))
    }

    /// Watches an inode, or changes what is asked of it: its number.
    pub fn add(&self, inode: &Arc<dyn Inode>, mask: Mask) -> Result<i32> {
        watches::add(self, inode, mask)
    }

    /// Watches no more; EINVAL.
    pub fn remove(&self, wd: i32) -> Result<()> {
        let key = self.watched.lock().keys.get(&wd).copied().ok_or(Errno::EINVAL)?;
        watches::remove(self, key, wd);
        Ok(())
    }

    /// A number for a new watch: the next, so that old ones come back late.
    fn number(&self, key: watches::Key) -> i32 {
        let mut watched = self.watched.lock();
        loop {
            watched.last = watched.last.checked_add(1).unwrap_or(1);
            let wd = watched.last;
            if let std::collections::hash_map::Entry::Vacant(free) = watched.keys.entry(wd) {
                free.insert(key);
                return wd;
            }
        }
    }

    /// The watch is gone: nothing comes of it any more.
    fn ignored(&self, wd: i32) {
        if self.watched.lock().keys.remove(&wd).is_some() {
            uncount(self.uid, 1, 1);
            self.push(Event { wd, mask: Mask::IGNORED.bits(), cookie: 0, name: Vec::new() });
        }
    }

    /// Queues an event, unless it is the last one again.
    fn push(&self, event: Event) {
        let mut queue = self.queue.lock();
        let same = |e: &Event| (e.wd, e.mask, &e.name) == (event.wd, event.mask, &event.name);
        if queue.back().is_some_and(same) {
            return;
        }
        if queue.len() < limit(0) {
            queue.push_back(event);
        } else if queue.back().is_none_or(|e| e.wd != -1) {
            queue.push_back(Event { wd: -1, mask: Mask::Q_OVERFLOW.bits(), cookie: 0, name: Vec::new() });
        }
        drop(queue);
        self.readers.wake(Events::READ);
    }

    /// As many events as there is room for; EINVAL if that is none.
    fn take(&self, room: usize) -> Option<Result<Vec<u8>>> {
        let mut queue = self.queue.lock();
        queue.front()?;
        let mut out = Packer::new();
        while let Some(event) = queue.front()
            && out.0.len() + event.len() <= room
        {
            let end = out.0.len() + event.len();
            out = out.u32(event.wd as u32).u32(event.mask).u32(event.cookie).u32(event.name_len() as u32);
            out = out.bytes(&event.name).pad(end);
            queue.pop_front();
        }
        Some(if out.0.is_empty() { Err(Errno::EINVAL) } else { Ok(out.0) })
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let keys = std::mem::take(&mut self.watched.lock().keys);
        uncount(self.uid, 1, keys.len());
        uncount(self.uid, 0, 1);
        watches::forget(&self.me, keys.values());
    }
}

impl FileOps for Inotify {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        false
    }

    fn stays_at_zero(&self) -> bool {
        true
    }

    fn read(&self, file: &File, into: &mut [u8], _: u64) -> Result<usize> {
        let bytes = file.wait_on(&self.readers, Events::READ, || self.take(into.len()))??;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn poll(&self, _: &File, table: Option<&mut dyn PollTable>) -> Events {
        if let Some(table) = table {
            table.add(&self.readers);
        }
        if self.queue.lock().is_empty() { Events::empty() } else { Events::READ }
    }

    fn ioctl(&self, _: &File, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
        const FIONREAD: u32 = 0x541b;
        if command != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes: usize = self.queue.lock().iter().map(Event::len).sum();
        memory.write(arg, &(bytes as u32).to_le_bytes()).map(|()| 0)
    }
}
