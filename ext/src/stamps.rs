//! Which inodes have changed: who keeps what an inode says can see that it is as it was.

use crate::inode::InodeNumber;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Inodes share stamps. One that another has changed looks as if it had changed as well, and is asked again.
const STAMPS: usize = 4096;

/// Stamps of no two mounts are the same.
static NEXT: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(crate) struct Stamps(Box<[AtomicU64]>);

impl Default for Stamps {
    fn default() -> Stamps {
        let first = NEXT.fetch_add(1 << 40, SeqCst);
        Stamps((0..STAMPS).map(|_| AtomicU64::new(first)).collect())
    }
}

impl Stamps {
    pub(crate) fn get(&self, number: InodeNumber) -> u64 {
        self.0[number as usize % STAMPS].load(SeqCst)
    }

    pub(crate) fn changed(&self, number: InodeNumber) {
        self.0[number as usize % STAMPS].fetch_add(1, SeqCst);
    }
}
