//! The lock of the file systems that do I/O while they hold it: who waits for it lets others have the vCPU.

#![allow(unsafe_code)]

use super::blocking::blocking;
use parking_lot::lock_api::GuardNoSend;

/// A lock for readers and writers, held across I/O.
pub struct RawRwLock(parking_lot::RawRwLock);

// SAFETY: every call is the same call of a lock that keeps the trait's promises; `blocking` calls what it is given once, on this thread.
unsafe impl parking_lot::lock_api::RawRwLock for RawRwLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawRwLock = RawRwLock(parking_lot::RawRwLock::INIT);
    type GuardMarker = GuardNoSend;

    fn lock_shared(&self) {
        if !self.0.try_lock_shared() {
            blocking(|| self.0.lock_shared());
        }
    }

    fn try_lock_shared(&self) -> bool {
        self.0.try_lock_shared()
    }

    unsafe fn unlock_shared(&self) {
        // SAFETY: the caller holds it shared.
        unsafe { self.0.unlock_shared() }
    }

    fn lock_exclusive(&self) {
        if !self.0.try_lock_exclusive() {
            blocking(|| self.0.lock_exclusive());
        }
    }

    fn try_lock_exclusive(&self) -> bool {
        self.0.try_lock_exclusive()
    }

    unsafe fn unlock_exclusive(&self) {
        // SAFETY: the caller holds it alone.
        unsafe { self.0.unlock_exclusive() }
    }
}
