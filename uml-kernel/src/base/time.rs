//! Clocks. The guest's monotonic clock and boot time begin when the kernel does.

use std::sync::OnceLock;
use std::time::Duration;

/// Nanoseconds of the guest's monotonic clock.
pub type Instant = u64;

/// Seconds and nanoseconds, `struct timespec`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Seconds; negative before 1970.
    pub sec: i64,
    /// 0 to 999,999,999.
    pub nsec: i64,
}

impl Timespec {
    /// From nanoseconds.
    pub fn from_nanos(ns: u64) -> Timespec {
        Timespec { sec: (ns / 1_000_000_000) as i64, nsec: (ns % 1_000_000_000) as i64 }
    }

    /// Nanoseconds, for times that are not negative; saturates.
    pub fn nanos(self) -> u64 {
        (self.sec.max(0) as u64).saturating_mul(1_000_000_000).saturating_add(self.nsec.max(0) as u64)
    }
}

fn host_clock(id: rustix::time::ClockId) -> u64 {
    let t = rustix::time::clock_gettime(id);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// The host's monotonic time at which the guest's began.
pub fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| host_clock(rustix::time::ClockId::Monotonic))
}

/// The guest's monotonic time.
pub fn now() -> Instant {
    let boot = boot();
    host_clock(rustix::time::ClockId::Monotonic).saturating_sub(boot)
}

/// The time of day.
pub fn real() -> Timespec {
    Timespec::from_nanos(host_clock(rustix::time::ClockId::Realtime))
}

/// What is left until `deadline`.
pub fn until(deadline: Instant) -> Duration {
    Duration::from_nanos(deadline.saturating_sub(now()))
}
