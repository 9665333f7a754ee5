//! The kernel's log: a ring that `/dev/kmsg` and `dmesg` read, and the host's standard error if asked for.

use super::sync::{Mutex, Rank};
use super::time;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// Lines kept.
const LINES: usize = 4096;

static RING: Mutex<VecDeque<(u64, String)>> = Mutex::new(Rank::Leaf, VecDeque::new());
static TO_STDERR: AtomicBool = AtomicBool::new(false);

/// Also write the log to the host's standard error.
pub fn to_stderr(yes: bool) {
    TO_STDERR.store(yes, Ordering::Relaxed);
}

/// Adds a line. Use the `log!` macro.
pub fn line(text: String) {
    if TO_STDERR.load(Ordering::Relaxed) {
        eprintln!("{text}\r");
    }
    let mut ring = RING.lock();
    if ring.len() == LINES {
        ring.pop_front();
    }
    ring.push_back((time::now(), text));
}

/// All lines with their times.
pub fn lines() -> Vec<(u64, String)> {
    RING.lock().iter().cloned().collect()
}

/// Logs a line, with the arguments of `format!`.
#[macro_export]
macro_rules! log {
    ($($arg:tt)*) => { $crate::base::log::line(format!($($arg)*)) };
}
