//! `mem=`: how much memory the guest may hold.

use crate::base::{Errno, Result, heap};
use std::sync::atomic::{AtomicU64, Ordering};

/// The limit, and what is known to be used of it.
#[derive(Debug)]
pub struct Usage {
    limit: AtomicU64,
    /// Bytes that stubs held at the last look.
    held: AtomicU64,
}

impl Usage {
    /// Without a limit yet.
    pub const fn new() -> Usage {
        Usage { limit: AtomicU64::new(u64::MAX), held: AtomicU64::new(0) }
    }

    /// Sets the limit in bytes.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
        // Far above what the OOM killer lets it come to.
        heap::set_most(bytes.saturating_mul(2).saturating_add(1 << 30));
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes held at the last look.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Notes what stubs hold.
    pub fn set_held(&self, bytes: u64) {
        self.held.store(bytes, Ordering::Relaxed);
    }

    /// Refuses what could never be had, as Linux's heuristic overcommit does: one request beyond all memory and swap.
    pub fn check(&self, bytes: u64) -> Result<()> {
        if bytes > self.limit().saturating_add(super::swap::area::totals().0) {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }
}

impl Default for Usage {
    fn default() -> Usage {
        Usage::new()
    }
}
