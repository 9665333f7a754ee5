//! Timers that are read (timerfd_create(2)).

use super::{File, FileOps, OpenFlags, PollTable, anon};
use crate::base::time::{self, Instant};
use crate::base::timer::{self, Expire, Timer};
use crate::base::wait::{Events, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result, Timespec};
use std::any::Any;
use std::sync::{Arc, Weak};

/// `timerfd_settime` flag: the value is a time, not a span.
pub const TFD_TIMER_ABSTIME: u32 = 1;
/// Cancel when the clock is set. Accepted; the guest's clock is the host's and is not set.
pub const TFD_TIMER_CANCEL_ON_SET: u32 = 2;

/// Interval and value, `struct itimerspec`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimerSpec {
    /// Zero for a timer that fires once.
    pub interval: Timespec,
    /// Zero disarms.
    pub value: Timespec,
}

#[derive(Debug, Default)]
struct State {
    /// When it fires, or has fired; `None` if it is not set.
    due: Option<Instant>,
    /// Nanoseconds, 0 for once.
    interval: u64,
    /// It has fired and was not read since.
    fired: bool,
    timer: Option<Timer>,
}

/// A timer.
#[derive(Debug)]
pub struct TimerFd {
    realtime: bool,
    state: Mutex<State>,
    queue: WaitQueue,
    me: Weak<TimerFd>,
}

struct Alarm(Weak<TimerFd>);

impl Expire for Alarm {
    fn expire(&self) {
        let Some(timer) = self.0.upgrade() else { return };
        let mut state = timer.state.lock();
        // Set anew meanwhile?
        if state.fired || state.due.is_none_or(|due| due > time::now()) {
            return;
        }
        state.fired = true;
        let spent = state.timer.take();
        drop(state);
        drop(spent);
        timer.queue.wake(Events::READ);
    }
}

impl TimerFd {
    /// Makes one on a clock: CLOCK_REALTIME 0, MONOTONIC 1, BOOTTIME 7, or their alarms 8 and 9; EINVAL for others.
    pub fn file(clock: i32, flags: OpenFlags) -> Result<Arc<File>> {
        if !matches!(clock, 0 | 1 | 7 | 8 | 9) {
            return Err(Errno::EINVAL);
        }
        let timer = Arc::new_cyclic(|me| TimerFd {
            realtime: matches!(clock, 0 | 8),
            state: Mutex::new(Rank::Buffer, State::default()),
            queue: WaitQueue::new(),
            me: me.clone(),
        });
        Ok(anon::new_file("[timerfd]", timer, flags & OpenFlags::NONBLOCK | OpenFlags::RDWR))
    }

    /// Sets it and returns what it was, as timerfd_settime(2). EINVAL for unknown flags and times that are none.
    pub fn set(&self, flags: u32, new: TimerSpec) -> Result<TimerSpec> {
        let wrong = |t: Timespec| t.sec < 0 || !(0..1_000_000_000).contains(&t.nsec);
        if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0
            || wrong(new.value)
            || wrong(new.interval)
        {
            return Err(Errno::EINVAL);
        }
        let value = new.value.nanos();
        let now = time::now();
        let due = if value == 0 {
            None
        } else if flags & TFD_TIMER_ABSTIME == 0 {
            Some(now.saturating_add(value))
        } else if self.realtime {
            Some(now.saturating_add(value.saturating_sub(time::real().nanos())))
        } else {
            Some(value)
        };
        let mut state = self.state.lock();
        let old = Self::left(&state, now);
        state.due = due;
        state.interval = new.interval.nanos();
        state.fired = false;
        let alarm = due.map(|due| timer::set(due, Arc::new(Alarm(self.me.clone()))));
        let before = std::mem::replace(&mut state.timer, alarm);
        drop(state);
        drop(before);
        Ok(old)
    }

    /// What is left of it, as timerfd_gettime(2).
    pub fn get(&self) -> TimerSpec {
        Self::left(&self.state.lock(), time::now())
    }

    fn left(state: &State, now: Instant) -> TimerSpec {
        let left = match state.due {
            // As Linux, a periodic timer tells the span to its next tick, and never zero before it has fired.
            Some(due) if due > now => due - now,
            Some(due) if state.interval > 0 => state.interval - (now - due) % state.interval,
            Some(_) if !state.fired => 1,
            _ => 0,
        };
        TimerSpec { interval: Timespec::from_nanos(state.interval), value: Timespec::from_nanos(left) }
    }

    /// How often it has fired since it was last read; sets it for the next time.
    fn take(&self) -> Option<u64> {
        let now = time::now();
        let mut state = self.state.lock();
        let due = state.due?;
        if !state.fired && due > now {
            return None;
        }
        let spent = state.timer.take();
        state.fired = false;
        let mut ticks = 1;
        if state.interval > 0 {
            ticks += (now - due).checked_div(state.interval).unwrap_or(0);
            let next = due.saturating_add(ticks.saturating_mul(state.interval));
            state.due = Some(next);
            state.timer = Some(timer::set(next, Arc::new(Alarm(self.me.clone()))));
        } else {
            state.due = None;
        }
        drop(state);
        drop(spent);
        Some(ticks)
    }
}

impl FileOps for TimerFd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        false
    }
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn read(&self, file: &File, into: &mut [u8], _: u64) -> Result<usize> {
        let into = into.first_chunk_mut().ok_or(Errno::EINVAL)?;
        *into = file.wait_on(&self.queue, Events::READ, || self.take())?.to_ne_bytes();
        Ok(8)
    }
    fn poll(&self, _: &File, table: Option<&mut dyn PollTable>) -> Events {
        if let Some(table) = table {
            table.add(&self.queue);
        }
        let state = self.state.lock();
        let due = state.fired || state.due.is_some_and(|due| due <= time::now());
        if due { Events::IN } else { Events::empty() }
    }
    fn release(&self, _: &File) {
        let timer = self.state.lock().timer.take();
        drop(timer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::poll::poll_files;
    use crate::fs::testing::run_in_fiber;

    const MS: i64 = 1_000_000;

    fn spec(interval: i64, value: i64) -> TimerSpec {
        let t = |nsec| Timespec { sec: 0, nsec };
        TimerSpec { interval: t(interval), value: t(value) }
    }

    #[test]
    fn fires_and_counts() {
        let f = TimerFd::file(1, OpenFlags::empty()).unwrap();
        run_in_fiber(move || {
            let timer = f.ops_as::<TimerFd>().unwrap();
            let read = || {
                let mut b = [0; 8];
                f.read(&mut b).map(|_| u64::from_ne_bytes(b))
            };
            let far = TimerSpec { value: Timespec { sec: 100, nsec: 0 }, ..TimerSpec::default() };
            timer.set(0, far).unwrap();
            assert!(timer.get().value.nanos() > 0);
            let start = time::now();
            timer.set(0, spec(0, 2 * MS)).unwrap();
            assert_eq!(read(), Ok(1));
            assert!(time::now() - start >= 2 * MS as u64);
            assert_eq!(timer.get(), TimerSpec::default());
            timer.set(0, spec(MS, MS)).unwrap();
            crate::base::wait::sleep_until(time::now() + 5 * MS as u64).unwrap();
            let found = poll_files(&[(f.clone(), Events::READ)], None).unwrap();
            assert_eq!(found, [Events::IN]);
            assert!(read().unwrap() >= 4);
            // One, where nothing else has the CPU for long.
            assert!(read().unwrap() >= 1);
            let old = timer.set(0, TimerSpec::default()).unwrap();
            assert_eq!(old.interval, spec(MS, 0).interval);
            f.set_flags(OpenFlags::RDWR | OpenFlags::NONBLOCK);
            assert_eq!(read(), Err(Errno::EAGAIN));
            // A time of day that has passed fires at once.
            let real = TimerFd::file(0, OpenFlags::empty()).unwrap();
            real.ops_as::<TimerFd>().unwrap().set(TFD_TIMER_ABSTIME, spec(0, 1)).unwrap();
            assert_eq!(real.read(&mut [0; 8]), Ok(8));
            assert_eq!(timer.set(0, spec(0, -1)), Err(Errno::EINVAL));
        });
        assert_eq!(TimerFd::file(2, OpenFlags::empty()).err(), Some(Errno::EINVAL));
    }
}
