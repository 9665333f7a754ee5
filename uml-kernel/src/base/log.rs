//! The kernel's log: a ring that `/dev/kmsg` and `dmesg` read, and the host's standard error if asked for.

use super::sync::{Mutex, Rank};
use super::time;
use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// Lines kept.
const LINES: usize = 4096;

/// Facility 0 (kernel), level 6 (informational), as syslog(2) has it.
const INFO: u32 = 6;
/// Level 2, critical.
const CRITICAL: u32 = 2;

/// A line of the log.
#[derive(Debug, Clone)]
pub struct Record {
    /// Counts all lines since boot.
    pub seq: u64,
    /// Nanoseconds since boot.
    pub time: u64,
    /// Level in bits 0 to 2, facility above.
    pub priority: u32,
    /// The text.
    pub text: String,
}

struct Ring {
    next: u64,
    records: VecDeque<Record>,
}

static RING: Mutex<Ring> = Mutex::new(Rank::Leaf, Ring { next: 0, records: VecDeque::new() });
static TO_STDERR: AtomicBool = AtomicBool::new(false);
static TO_CONSOLE: AtomicBool = AtomicBool::new(false);

/// Also write the log to the host's standard error.
pub fn to_stderr(yes: bool) {
    TO_STDERR.store(yes, Ordering::Relaxed);
}

/// Also write the log, with times, to the host's standard output, where the console is.
pub fn to_console() {
    TO_CONSOLE.store(true, Ordering::Relaxed);
}

/// Adds a line. Use the `log!` macro.
pub fn line(text: String) {
    line_of(INFO, text);
}

/// Adds a line with another level or facility.
pub fn line_of(priority: u32, text: String) {
    if TO_STDERR.load(Ordering::Relaxed) {
        eprintln!("{text}\r");
    }
    if TO_CONSOLE.load(Ordering::Relaxed) {
        let now = time::now() / 1000;
        let line = format!("[{:5}.{:06}] {text}\r\n", now / 1_000_000, now % 1_000_000);
        let _ = std::io::stdout().write_all(line.as_bytes());
    }
    let mut ring = RING.lock();
    if ring.records.len() == LINES {
        ring.records.pop_front();
    }
    let record = Record { seq: ring.next, time: time::now(), priority, text };
    ring.next += 1;
    ring.records.push_back(record);
}

/// Adds a line that who runs the guest is to see, whether or not the log is shown: one without which work may be lost.
pub fn alert(text: String) {
    if !TO_STDERR.load(Ordering::Relaxed) && !TO_CONSOLE.load(Ordering::Relaxed) {
        eprintln!("uml-kernel: {text}\r");
    }
    line_of(CRITICAL, text);
}

/// All lines with their times.
pub fn lines() -> Vec<(u64, String)> {
    RING.lock().records.iter().map(|r| (r.time, r.text.clone())).collect()
}

/// The first line that is kept of those from `seq` on.
pub fn from(seq: u64) -> Option<Record> {
    let ring = RING.lock();
    let first = ring.records.front()?.seq;
    ring.records.get(usize::try_from(seq.saturating_sub(first)).ok()?).cloned()
}

/// The number that the next line will have.
pub fn next_seq() -> u64 {
    RING.lock().next
}

/// Logs a line, with the arguments of `format!`.
#[macro_export]
macro_rules! log {
    ($($arg:tt)*) => { $crate::base::log::line(format!($($arg)*)) };
}
