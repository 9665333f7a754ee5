//! Event counters (eventfd(2)).

use super::{File, FileOps, OpenFlags, PollTable, anon};
use crate::base::wait::{Events, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result};
use std::any::Any;
use std::sync::Arc;

/// Reads take one, not all; the flag's value in eventfd2.
pub const EFD_SEMAPHORE: u32 = 1;

/// A counter.
#[derive(Debug)]
pub struct EventFd {
    count: Mutex<u64>,
    semaphore: bool,
    queue: WaitQueue,
}

impl EventFd {
    /// Makes one; `flags` are the file's (NONBLOCK).
    pub fn file(count: u32, semaphore: bool, flags: OpenFlags) -> Arc<File> {
        let count = Mutex::new(Rank::Buffer, count.into());
        let ops = EventFd { count, semaphore, queue: WaitQueue::new() };
        anon::new_file("[eventfd]", Arc::new(ops), flags & OpenFlags::NONBLOCK | OpenFlags::RDWR)
    }

    /// Adds from within the kernel (asynchronous I/O tells its ends so).
    pub fn signal(&self, n: u64) {
        let mut count = self.count.lock();
        *count = count.saturating_add(n);
        drop(count);
        self.queue.wake(Events::READ);
    }

    /// The count, for fdinfo.
    pub fn count(&self) -> u64 {
        *self.count.lock()
    }

    fn take(&self) -> Option<u64> {
        let mut count = self.count.lock();
        if *count == 0 {
            return None;
        }
        let n = if self.semaphore { 1 } else { *count };
        *count -= n;
        drop(count);
        self.queue.wake(Events::WRITE);
        Some(n)
    }

    fn add(&self, n: u64) -> Option<()> {
        let mut count = self.count.lock();
        if u64::MAX - *count <= n {
            return None;
        }
        *count += n;
        drop(count);
        self.queue.wake(Events::READ);
        Some(())
    }
}

impl FileOps for EventFd {
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
        let into = into.first_chunk_mut().ok_or(Errno::EINVAL)?;
        *into = file.wait_on(&self.queue, Events::READ, || self.take())?.to_ne_bytes();
        Ok(8)
    }
    fn write(&self, file: &File, from: &[u8], _: u64) -> Result<usize> {
        let n = u64::from_ne_bytes(*from.first_chunk().ok_or(Errno::EINVAL)?);
        if n == u64::MAX {
            return Err(Errno::EINVAL);
        }
        file.wait_on(&self.queue, Events::WRITE, || self.add(n))?;
        Ok(8)
    }
    fn poll(&self, _: &File, table: Option<&mut dyn PollTable>) -> Events {
        if let Some(table) = table {
            table.add(&self.queue);
        }
        let count = self.count();
        let mut events = Events::empty();
        // linux/fs/eventfd.c gives the plain bits only.
        events.set(Events::IN, count > 0);
        events.set(Events::ERR, count == u64::MAX);
        events.set(Events::OUT, count < u64::MAX - 1);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::testing::start;

    #[test]
    fn counts() {
        let f = EventFd::file(3, false, OpenFlags::NONBLOCK);
        let mut b = [0; 8];
        assert_eq!(f.read(&mut b[..7]), Err(Errno::EINVAL));
        assert_eq!(f.write(&4u64.to_ne_bytes()), Ok(8));
        assert_eq!(f.read(&mut b), Ok(8));
        assert_eq!(u64::from_ne_bytes(b), 7);
        assert_eq!(f.read(&mut b), Err(Errno::EAGAIN));
        assert_eq!(f.write(&u64::MAX.to_ne_bytes()), Err(Errno::EINVAL));
        assert_eq!(f.write(&(u64::MAX - 1).to_ne_bytes()), Ok(8));
        assert_eq!(f.ops().poll(&f, None), Events::IN);
        assert_eq!(f.write(&1u64.to_ne_bytes()), Err(Errno::EAGAIN));
        f.ops_as::<EventFd>().unwrap().signal(9);
        assert_eq!(f.ops().poll(&f, None), Events::IN | Events::ERR);
    }

    #[test]
    fn semaphore_wakes_a_reader() {
        let f = EventFd::file(0, true, OpenFlags::empty());
        let reader = f.clone();
        let task = start(move || {
            let mut b = [0; 8];
            (reader.read(&mut b), u64::from_ne_bytes(b))
        });
        assert_eq!(f.write(&5u64.to_ne_bytes()), Ok(8));
        assert_eq!(task.join(), (Ok(8), 1));
        assert_eq!(f.ops_as::<EventFd>().unwrap().count(), 4);
    }
}
