//! Long work: not faster than somebody wants, with progress, and stopped when somebody wants that.

use super::side::{Error, Result};
use block_device::Observer;
use std::time::{Duration, Instant};

/// The pace and the progress of long work. One unit is a byte.
pub struct Limit<'a> {
    observer: &'a dyn Observer,
    phase: &'static str,
    rate: Option<u64>,
    done: u64,
    total: u64,
    /// Bytes of the present period, and when that began.
    spent: u64,
    since: Instant,
}

impl<'a> Limit<'a> {
    /// Work of this name; `rate` in bytes a second, read and written.
    pub fn new(observer: &'a dyn Observer, phase: &'static str, rate: Option<u64>, total: u64) -> Self {
        Self {
            observer,
            phase,
            rate: rate.filter(|r| *r > 0),
            done: 0,
            total,
            spent: 0,
            since: Instant::now(),
        }
    }

    /// So much was moved: waits as long as that is too fast.
    pub(crate) fn spent(&mut self, bytes: u64) -> Result<()> {
        self.check()?;
        let Some(rate) = self.rate else { return Ok(()) };
        self.spent += bytes;
        let due = Duration::from_secs_f64(self.spent as f64 / rate as f64);
        let mut ahead = due.saturating_sub(self.since.elapsed());
        while !ahead.is_zero() {
            std::thread::sleep(ahead.min(Duration::from_millis(100)));
            self.check()?;
            ahead = due.saturating_sub(self.since.elapsed());
        }
        // What was not used in a pause is not made up for.
        if self.since.elapsed() > due + Duration::from_secs(1) {
            (self.spent, self.since) = (0, Instant::now());
        }
        Ok(())
    }

    /// So much of the whole is done.
    pub(crate) fn advance(&mut self, amount: u64) -> Result<()> {
        self.done = (self.done + amount).min(self.total.max(self.done));
        self.observer.progress(self.phase, self.done, self.total);
        self.check()
    }

    /// There is more to do than was known.
    pub(crate) fn more(&mut self, amount: u64) {
        self.total += amount;
    }

    /// All is done.
    pub(crate) fn finish(&mut self) {
        self.observer.progress(self.phase, self.total, self.total);
    }

    fn check(&self) -> Result<()> {
        if self.observer.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_device::Unobserved;

    #[test]
    fn it_is_not_faster_than_the_rate() {
        let begun = Instant::now();
        let mut limit = Limit::new(&Unobserved, "x", Some(1 << 20), 0);
        for _ in 0..4 {
            limit.spent(64 << 10).expect("not cancelled");
        }
        assert!(begun.elapsed() >= Duration::from_millis(245), "{:?}", begun.elapsed());
    }
}
