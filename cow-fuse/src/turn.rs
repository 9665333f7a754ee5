//! One request after the other, without sleeping in between where the next is near.
//!
//! A process that makes files waits for each answer, and asks again some microseconds later. To sleep meanwhile costs more than the answer:
//! the kernel has to wake this thread, on a virtual machine after an interrupt to a halted CPU. So when a request is done, its
//! thread looks for the next one for a little while. [`Turn`] does that when it is dropped, at the end of each of the file system's methods, so
//! that fuser's read(2) finds a request and does not sleep. Where looking does not help, it stops for longer and longer.

use crate::awake::Awake;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// As long as one looks: some times what it costs to be woken.
const WHILE: Duration = Duration::from_micros(80);
/// So often in vain, one after the other, and one does not look so many times.
const VAIN: u32 = 4;
/// At most so many times.
const MOST: u32 = 64;
/// The requests of a session.
#[derive(Debug, Default)]
pub struct Turns {
    /// `/dev/fuse`, where looking makes sense: there is another CPU, on which the next request may be made.
    device: OnceLock<OwnedFd>,
    /// What keeps the CPU of who waits for an answer awake.
    awake: OnceLock<Awake>,
    /// A thread is looking: of several, the others sleep.
    looking: AtomicBool,
    /// Looked in vain so often, one after the other.
    vain: AtomicU32,
    /// Not to be looked so often.
    skip: AtomicU32,
}

impl Turns {
    /// From now on there is a device to look at.
    pub fn watch(&self, device: OwnedFd) {
        if std::thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
            // Once a session: there is none before.
            let _ = self.device.set(device);
            if let Some(awake) = Awake::start() {
                let _ = self.awake.set(awake);
            }
        }
    }

    /// Begins a request.
    pub fn begin(&self) -> Turn<'_> {
        if let Some(awake) = self.awake.get() {
            awake.count();
        }
        Turn(self)
    }

    fn look(&self) {
        let Some(device) = self.device.get() else { return };
        let skip = self.skip.load(Ordering::Relaxed);
        if skip > 0 {
            self.skip.store(skip - 1, Ordering::Relaxed);
            return;
        }
        if self.looking.swap(true, Ordering::Relaxed) {
            return;
        }
        let found = Turns::next(device);
        self.looking.store(false, Ordering::Relaxed);
        if found {
            self.vain.store(0, Ordering::Relaxed);
            return;
        }
        let vain = self.vain.load(Ordering::Relaxed) + 1;
        self.vain.store(vain, Ordering::Relaxed);
        if vain > VAIN {
            self.skip.store((vain - VAIN).min(MOST), Ordering::Relaxed);
        }
    }

    /// Whether the next request comes in a little while.
    fn next(device: &OwnedFd) -> bool {
        let begun = Instant::now();
        loop {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let mut fds = [PollFd::new(device, PollFlags::IN)];
            if poll(&mut fds, Some(&now)) != Ok(0) {
                return true;
            }
            if begun.elapsed() > WHILE {
                return false;
            }
            std::hint::spin_loop();
        }
    }
}

/// A request that is being answered.
pub struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.look();
    }
}
