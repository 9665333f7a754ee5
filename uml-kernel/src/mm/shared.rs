//! Shared anonymous memory: a memfd, so that what it holds is known however many processes have it.

use super::space::{host_error, next_id};
use crate::base::{Mutex, Rank, Result};
use crate::platform::sys;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

/// One object, mapped by a process and its children.
#[derive(Debug)]
pub struct SharedMemory {
    /// Names it, for futexes.
    pub id: u64,
    fd: OwnedFd,
}

static ALL: Mutex<Vec<Weak<SharedMemory>>> = Mutex::new(Rank::Leaf, Vec::new());

impl SharedMemory {
    /// `len` bytes of zeros.
    pub fn new(len: u64) -> Result<Arc<SharedMemory>> {
        let fd = sys::memfd(c"dev/zero", len).map_err(host_error)?;
        let object = Arc::new(SharedMemory { id: next_id(), fd });
        let mut all = ALL.lock();
        // Those that are gone leave at the latest when the list would grow.
        if all.len() == all.capacity() {
            all.retain(|o| o.strong_count() > 0);
        }
        all.push(Arc::downgrade(&object));
        Ok(object)
    }

    /// The memfd.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

/// Bytes that all such objects hold.
pub fn held() -> u64 {
    let objects: Vec<Arc<SharedMemory>> = ALL.lock().iter().filter_map(Weak::upgrade).collect();
    objects.iter().filter_map(|o| rustix::fs::fstat(&o.fd).ok()).map(|s| s.st_blocks as u64 * 512).sum()
}
