//! The tree of a set, mounted through FUSE.
//!
//! Nobody else changes the legs, so the kernel keeps what it has been told until it changes that itself: attributes, names, names that are
//! not there, content that was verified. Files are opened without asking (FUSE_NO_OPEN_SUPPORT): a node's descriptors on the legs stay open as
//! long as the kernel knows it. What is written comes at once (no write-back cache): when write(2) returns, all legs have it. Who may do
//! what, the kernel decides (default_permissions, FUSE_POSIX_ACL); locks are its own.

mod attr;
mod directory;
mod requests;

use crate::leg::Owner;
use crate::set::Set;
use cow_fuse::control::Verdict;
use cow_fuse::turn::Turns;
use cow_fuse::workers::Workers;
use directory::Handles;
use fuser::{Errno, INodeNo, Notifier};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Longer than any mount lasts.
const FOR_EVER: Duration = Duration::from_secs(365 * 86400);

/// Threads for what waits.
const WORKERS: usize = 16;
/// Threads that read requests: as many may hang on a leg before all do.
pub const THREADS: usize = 8;

/// A set, to be served.
pub struct Tree(Arc<Shared>);

/// What all requests share.
struct Shared {
    set: Arc<Set>,
    verdict: Arc<Verdict>,
    handles: Handles,
    turns: Turns,
    /// What tells the kernel something unasked.
    notifier: OnceLock<Notifier>,
    /// For fsync.
    workers: Workers,
    /// Owners are the callers', and not who serves.
    owners: bool,
}

impl Tree {
    /// The tree of an open set.
    pub fn new(set: Arc<Set>, verdict: Arc<Verdict>) -> Tree {
        // Each thread has its own, from the request; until then nothing is taken away.
        rustix::process::umask(rustix::fs::Mode::empty());
        let owners = rustix::process::geteuid().is_root();
        Tree(Arc::new(Shared {
            set,
            verdict,
            handles: Handles::default(),
            turns: Turns::default(),
            notifier: OnceLock::new(),
            workers: Workers::new(WORKERS),
            owners,
        }))
    }
}

impl Shared {
    fn node(&self, number: INodeNo) -> Result<Arc<crate::set::Node>, Errno> {
        self.set.node(number.0).map_err(errno)
    }

    fn owner(&self, req: &fuser::Request) -> Option<Owner> {
        self.owners.then(|| Owner { uid: req.uid(), gid: req.gid() })
    }
}

fn errno(e: rustix::io::Errno) -> Errno {
    Errno::from_i32(e.raw_os_error())
}
