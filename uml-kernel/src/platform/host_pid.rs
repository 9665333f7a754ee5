//! The number of a stub's process on the host, for as long as it is that process's.
//!
//! The host gives numbers anew once a process has been collected, and a guest that forks for a living comes round in seconds. Who uses a
//! number keeps the process from being collected meanwhile: otherwise a signal, or a write to memory, could meet somebody else's process.

use parking_lot::RwLock;
use std::sync::Arc;

/// A process id of the host's.
#[derive(Debug)]
pub struct HostPid {
    number: i32,
    collected: RwLock<bool>,
}

impl HostPid {
    pub(super) fn new(number: i32) -> Arc<HostPid> {
        Arc::new(HostPid { number, collected: RwLock::new(false) })
    }

    /// This process's own.
    pub fn own() -> Arc<HostPid> {
        HostPid::new(std::process::id() as i32)
    }

    /// The number, for logs and tables; it may be another's by now.
    pub(super) fn number(&self) -> i32 {
        self.number
    }

    /// Uses it; `None` once the process has been collected. Not within itself: who collects may be waiting.
    pub fn with<T>(&self, work: impl FnOnce(i32) -> T) -> Option<T> {
        let collected = self.collected.read();
        (!*collected).then(|| work(self.number))
    }

    /// Nobody uses the number, and nobody will: the process can be collected.
    pub(super) fn give_up(&self) {
        *self.collected.write() = true;
    }
}
