//! What of a stub outlives it: how much memory it held at most, and its windows' file, which the next one gets.

use super::host_pid::HostPid;
use super::sys;
use super::window::Window;
use super::x86_64::layout::{W_DATA, WINDOW_SIZE, WINDOWS_SPAN};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::Result;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The most memory that one stub has held. To ask the host costs as much as four system calls of a guest, so nobody asks at a process's
/// end: the host tells it when the stub is collected.
#[derive(Debug)]
pub struct Peak {
    pid: Arc<HostPid>,
    /// It has been told to end: what /proc says of it means nothing any more.
    ending: AtomicBool,
    /// KiB, once it is collected.
    kib: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

impl Peak {
    pub(super) fn new(pid: &Arc<HostPid>) -> Arc<Peak> {
        Arc::new(Peak { pid: pid.clone(), ending: AtomicBool::new(false), kib: AtomicU64::new(UNKNOWN) })
    }

    pub(super) fn set_ending(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(super) fn set(&self, kib: u64) {
        self.kib.store(kib, Ordering::Release);
    }

    /// KiB, if it has been collected.
    pub fn known(&self) -> Option<u64> {
        Some(self.kib.load(Ordering::Acquire)).filter(|k| *k != UNKNOWN)
    }

    /// KiB: until now, or until its end, for which this waits a moment if it is under way.
    pub fn kib(&self) -> u64 {
        const PATIENCE: Duration = Duration::from_millis(100);
        if !self.ending.load(Ordering::Acquire) {
            let now = || self.pid.with(sys::peak_resident).unwrap_or(0);
            return self.known().unwrap_or_else(now);
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match self.known() {
                Some(kib) => return kib,
                None if Instant::now() > end => return 0,
                None => std::thread::sleep(Duration::from_micros(50)),
            }
        }
    }
}

/// A file for the windows of one stub's threads, and the first of them.
#[derive(Debug)]
pub(super) struct Windows {
    file: OwnedFd,
    first: Arc<Window>,
    /// There were others: the file holds more than one that begins may find.
    more: AtomicBool,
}

impl Windows {
    pub(super) fn new() -> Result<Windows> {
        let file = sys::memfd(c"uml-window", WINDOWS_SPAN)?;
        let first = Arc::new(Window::map(file.as_fd(), 0)?);
        Ok(Windows { file, first, more: AtomicBool::new(false) })
    }

    pub(super) fn first(&self) -> &Arc<Window> {
        &self.first
    }

    /// Maps another one.
    pub(super) fn map(&self, number: usize) -> Result<Arc<Window>> {
        self.more.store(true, Ordering::Relaxed);
        Window::map(self.file.as_fd(), number).map(Arc::new)
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Files whose stubs are gone: to make one, and the host's to give its pages, costs more than to clear it.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<VecDeque<Arc<Windows>>>);

/// Kept at most.
const MOST: usize = 8;

impl Pool {
    /// One for a new stub. Of its first page, the control page, it is the caller to write all.
    pub(super) fn take(&self) -> Result<Arc<Windows>> {
        let mut pool = self.0.lock();
        let alone = pool.iter_mut().position(|w| {
            // Who has ended such a stub may look at its window still.
            Arc::get_mut(w).is_some_and(|w| Arc::get_mut(&mut w.first).is_some())
        });
        let Some(windows) = alone.and_then(|n| pool.remove(n)) else {
            return Windows::new().map(Arc::new);
        };
        // The next owner is another program of the guest's.
        windows.first.write(W_DATA, &[0; WINDOW_SIZE as usize - W_DATA]);
        Ok(windows)
    }

    /// Keeps that of a stub that has been collected.
    pub(super) fn give(&self, windows: Arc<Windows>) {
        if windows.more.load(Ordering::Relaxed) {
            return;
        }
        let mut pool = self.0.lock();
        if pool.len() == MOST {
            pool.pop_front();
        }
        pool.push_back(windows);
    }
}
