//! How everything that waits hears that the server is to stop.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A wish to stop, which stays once it is there. Clones are one and the same.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    wanted: AtomicBool,
    /// Readable once it is wanted, and for ever: nobody reads it.
    event: OwnedFd,
}

impl Stop {
    /// Not yet.
    ///
    /// # Errors
    /// As `eventfd(2)`.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Inner { wanted: AtomicBool::new(false), event })))
    }

    /// Now.
    pub fn set(&self) {
        self.0.wanted.store(true, Ordering::Release);
        // It cannot fail but by overflow, after 2^64 calls.
        let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
    }

    /// Whether it is wanted.
    pub fn is_set(&self) -> bool {
        self.0.wanted.load(Ordering::Acquire)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}
