//! What everything else rests on: error numbers, locks, clocks, fibers, wait queues, timers, logging.

pub mod blocking;
mod errno;
pub mod fiber;
pub mod heap;
pub mod log;
pub mod rwlock;
pub mod sched;
pub mod sync;
pub mod time;
pub mod timer;
pub mod wait;

pub use errno::{Errno, Result};
pub use sync::{Mutex, Rank};
pub use time::Timespec;
