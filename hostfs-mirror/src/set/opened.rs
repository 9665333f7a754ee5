//! Descriptors of nodes, and how many there may be.
//!
//! Every object that the kernel knows has one on each leg that it was used on. Where there are too many, those of nodes that can be found by
//! their names again are closed: alone behind the gate, so that none is in use.

use super::Set;
use super::node::Nodes;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// For what else has descriptors: the states of the legs, sockets, directories that are read.
const OTHERS: usize = 512;
/// So many there may be.
static MOST: LazyLock<usize> = LazyLock::new(|| {
    let limit = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize);
    limit.saturating_sub(OTHERS).max(limit / 2)
});

/// An open descriptor, which is counted.
#[derive(Debug)]
pub(crate) struct Opened(OwnedFd);

impl Opened {
    pub(crate) fn new(fd: OwnedFd) -> Opened {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Opened(fd)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Lets this process have as many descriptors as the host gives it.
pub(crate) fn raise_limit() {
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|s| s.trim().parse().ok());
    let now = getrlimit(Resource::Nofile);
    // Who is not root gets what he may have.
    if most.is_none() || setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
}

impl Set {
    /// Closes descriptors if there are too many. To be called before the gate is entered.
    pub(crate) fn make_room(&self) {
        if OPEN.load(Ordering::Relaxed) < *MOST {
            return;
        }
        let _gate = self.gate.write();
        close_some(&self.nodes);
    }
}

fn close_some(nodes: &Nodes) {
    for node in nodes.all() {
        if OPEN.load(Ordering::Relaxed) < *MOST / 2 {
            return;
        }
        node.close();
    }
}
