//! How the guest ends.

use super::Kernel;
use crate::base::sched;

/// Why there is no guest any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The first process of `run` has ended, with this wait status.
    Exited(i32),
    /// reboot(2): halt or power-off.
    Halted,
    /// reboot(2): begin again.
    Restart,
    /// A signal of the host's asks the kernel to end.
    Signal(i32),
    /// It cannot go on.
    Panic(String),
}

impl Kernel {
    /// The guest ends; the first reason holds.
    pub fn finish(&self, end: End) {
        self.ended.lock().get_or_insert(end);
        self.ended_cond.notify_all();
        sched::stop();
    }

    /// Waits for the end.
    pub fn wait_for_end(&self) -> End {
        let mut ended = self.ended.lock();
        loop {
            if let Some(end) = &*ended {
                return end.clone();
            }
            self.ended_cond.wait(&mut ended);
        }
    }
}
