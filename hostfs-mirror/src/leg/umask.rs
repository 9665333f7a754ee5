//! The umask of whoever asks. Whether it counts is the leg's file system's to decide: in a directory with a default list it does not.

#![allow(unsafe_code)]

use rustix::fs::Mode;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::cell::Cell;

thread_local! {
    /// This thread's own umask, once it has one.
    static OWN: Cell<Option<Mode>> = const { Cell::new(None) };
}

/// What is made by this thread from now on is made with that umask.
pub(crate) fn set(mask: Mode) {
    OWN.with(|own| {
        if own.get() == Some(mask) {
            return;
        }
        // SAFETY: with CLONE_FS alone, a thread gets its own umask and working directory; descriptors stay common.
        if own.get().is_none() && unsafe { unshare_unsafe(UnshareFlags::FS) }.is_err() {
            // It is then the process's, which is what a sandbox that forbids unshare(2) leaves.
        }
        rustix::process::umask(mask);
        own.set(Some(mask));
    });
}
