//! Idle CPUs do not halt while requests come one after the other.
//!
//! Who makes files waits for each answer, and its CPU has nothing else to do: the kernel halts it, on a virtual machine at the cost of two exits to the
//! hypervisor for each request, which is more than all the rest of it. Root may tell the kernel how long a CPU may take to wake up
//! (Documentation/power/pm_qos_interface.rst): with no time at all, idle CPUs poll. It is told only for as long as there is a stream of requests,
//! and forgotten by the kernel with the descriptor, whatever becomes of this process.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::Thread;
use std::time::Duration;

const QOS: &str = "/dev/cpu_dma_latency";
/// Microseconds that a CPU may take, as the file has it.
const NONE: [u8; 4] = 0i32.to_ne_bytes();
/// With more CPUs, those that have no part in it cost more than it gives.
const CPUS: usize = 16;
/// Requests until it is seen whether they are a stream.
const SOME: u32 = 64;
/// So often it is seen whether there still is one.
const EACH: Duration = Duration::from_millis(5);
/// Requests in that time that are one: 6,400 in a second.
const STREAM: u32 = 32;

#[derive(Debug, Default)]
struct Counted {
    requests: AtomicU32,
    over: AtomicBool,
}

/// Counts requests, and has CPUs stay awake for them.
#[derive(Debug)]
pub(crate) struct Awake {
    counted: Arc<Counted>,
    thread: Thread,
}

impl Awake {
    /// Where this process may ask for it, and it makes sense.
    pub(crate) fn start() -> Option<Awake> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        if !(2..=CPUS).contains(&cpus) || open().is_none() {
            return None;
        }
        let counted = Arc::new(Counted::default());
        let theirs = counted.clone();
        let run = move || watch(&theirs);
        let thread = std::thread::Builder::new().name("awake".into()).spawn(run).ok()?;
        Some(Awake { counted, thread: thread.thread().clone() })
    }

    /// A request has come.
    pub(crate) fn count(&self) {
        if self.counted.requests.fetch_add(1, Ordering::Relaxed) % SOME == SOME - 1 {
            self.thread.unpark();
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.counted.over.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

/// To open it asks for nothing yet.
fn open() -> Option<File> {
    OpenOptions::new().write(true).open(QOS).ok()
}

fn watch(counted: &Counted) {
    let mut asked = None;
    while !counted.over.load(Ordering::Relaxed) {
        if asked.is_none() {
            std::thread::park();
        }
        let before = counted.requests.load(Ordering::Relaxed);
        std::thread::sleep(EACH);
        let came = counted.requests.load(Ordering::Relaxed).wrapping_sub(before);
        if came < STREAM {
            asked = None;
        } else if asked.is_none() {
            asked = open().filter(|mut file| file.write_all(&NONE).is_ok());
        }
    }
}
