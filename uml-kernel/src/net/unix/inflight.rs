//! Descriptors on their way, and the collector for those that can never arrive.
//!
//! A socket that was sent over a socket keeps what waits in it alive; two that were sent over each other and then closed keep each other
//! alive for ever. So sockets on their way are counted, and when a socket is closed while there are such, those are looked for whose every
//! reference is in a queue of one of them, none of which a living socket leads to. Their queues are emptied, and they end.

use super::UnixSocket;
use crate::base::{Mutex, Rank, time};
use crate::fs::File;
use crate::net::SocketFile;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

type InFlight = HashMap<usize, (Weak<File>, usize)>;
static IN_FLIGHT: LazyLock<Mutex<InFlight>> = LazyLock::new(|| Mutex::new(Rank::Leaf, HashMap::new()));
static COLLECTING: AtomicBool = AtomicBool::new(false);
/// A collection was asked for, too early after the last one.
static DUE: AtomicBool = AtomicBool::new(false);
/// When the next may begin: ten times as long after the last one as that took, so that a guest with many sockets on their way does not
/// pay for all of them at each close.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn key(file: &Arc<File>) -> usize {
    Arc::as_ptr(file).addr()
}

fn socket(file: &File) -> Option<&UnixSocket> {
    file.ops_as::<SocketFile>()?.socket().as_any().downcast_ref()
}

/// Files in a queue.
#[derive(Default)]
pub(super) struct Passed(Vec<Arc<File>>);

impl Passed {
    pub(super) fn new(files: Vec<Arc<File>>) -> Passed {
        for file in files.iter().filter(|f| socket(f).is_some()) {
            IN_FLIGHT.lock().entry(key(file)).or_insert_with(|| (Arc::downgrade(file), 0)).1 += 1;
        }
        Passed(files)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// They have arrived.
    pub(super) fn take(&mut self) -> Vec<Arc<File>> {
        for file in self.0.iter().filter(|f| socket(f).is_some()) {
            let mut table = IN_FLIGHT.lock();
            if let Some(entry) = table.get_mut(&key(file)) {
                entry.1 -= 1;
                if entry.1 == 0 {
                    table.remove(&key(file));
                }
            }
        }
        std::mem::take(&mut self.0)
    }

    /// Copies, for MSG_PEEK.
    pub(super) fn peek(&self) -> Vec<Arc<File>> {
        self.0.clone()
    }
}

/// Files that lie in nobody's queue any more, to be let go one after the other: what waits in a socket that ends with one of them may
/// again be sockets, as deep as a guest likes, and a kernel stack is not.
struct Leaving {
    files: Vec<Arc<File>>,
    /// Somebody lets them go.
    attended: bool,
}

static LEAVING: Mutex<Leaving> = Mutex::new(Rank::Leaf, Leaving { files: Vec::new(), attended: false });

impl Drop for Passed {
    fn drop(&mut self) {
        let files = self.take();
        if files.is_empty() {
            return;
        }
        {
            let mut leaving = LEAVING.lock();
            leaving.files.extend(files);
            if std::mem::replace(&mut leaving.attended, true) {
                return;
            }
        }
        loop {
            let mut leaving = LEAVING.lock();
            let Some(file) = leaving.files.pop() else {
                leaving.attended = false;
                return;
            };
            drop(leaving);
            drop(file);
        }
    }
}

/// The sockets that lie in the queues of a socket (and of those that wait to be accepted from it).
fn contents(of: &UnixSocket) -> Vec<usize> {
    let state = of.state.lock();
    let mut out: Vec<usize> = state.queue.iter().flat_map(|p| &p.files.0).map(key).collect();
    let pending: Vec<_> = state.pending.iter().cloned().collect();
    drop(state);
    for embryo in pending {
        out.extend(contents(&embryo));
    }
    out
}

/// Collects if it was too early to when it was asked for.
pub fn collect_late(now: u64) {
    if DUE.load(Ordering::Relaxed) && now >= NEXT.load(Ordering::Relaxed) {
        collect();
    }
}

/// Ends what can never arrive.
pub(super) fn collect() {
    let began = time::now();
    if began < NEXT.load(Ordering::Relaxed) {
        return DUE.store(true, Ordering::Relaxed);
    }
    if IN_FLIGHT.lock().is_empty() || COLLECTING.swap(true, Ordering::SeqCst) {
        return;
    }
    let mut garbage = Vec::new();
    {
        let table: Vec<_> =
            IN_FLIGHT.lock().values().filter_map(|(f, n)| f.upgrade().map(|f| (f, *n))).collect();
        // Nobody but queues has them (and this list).
        let lost: HashMap<usize, (&Arc<File>, usize)> = table
            .iter()
            .filter(|(f, n)| Arc::strong_count(f) == n + 1)
            .map(|(f, n)| (key(f), (f, *n)))
            .collect();
        let inside: HashMap<usize, Vec<usize>> =
            lost.iter().filter_map(|(k, (f, _))| Some((*k, contents(socket(f)?)))).collect();
        let mut counted: HashMap<usize, usize> = HashMap::new();
        for k in inside.values().flatten() {
            *counted.entry(*k).or_default() += 1;
        }
        // Those that also lie in a living socket's queue live, and what lies in theirs.
        let mut reach: Vec<usize> =
            lost.iter().filter(|(k, (_, n))| counted.get(k).unwrap_or(&0) < n).map(|(k, _)| *k).collect();
        let mut living = HashSet::new();
        while let Some(k) = reach.pop() {
            if living.insert(k) {
                reach.extend(inside.get(&k).into_iter().flatten().filter(|k| lost.contains_key(k)));
            }
        }
        for (_, (file, _)) in lost.iter().filter(|(k, _)| !living.contains(k)) {
            if let Some(socket) = socket(file) {
                let mut state = socket.state.lock();
                garbage.extend(state.queue.drain(..));
                let pending: Vec<_> = state.pending.iter().cloned().collect();
                drop(state);
                for embryo in pending {
                    garbage.extend(embryo.state.lock().queue.drain(..));
                }
            }
        }
    }
    DUE.store(false, Ordering::Relaxed);
    let now = time::now();
    NEXT.store(now + 10 * (now - began), Ordering::Relaxed);
    COLLECTING.store(false, Ordering::SeqCst);
    drop(garbage);
}
