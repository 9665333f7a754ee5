//! How the CPU goes from the kernel to a stub thread and back, on one host CPU or on two (`apart.rs`).
//!
//! A word of the window says whose turn it is. Who waits for it gives the CPU up a few times, by `sched_yield`, and sleeps on the word only
//! if the other side has not answered by then: a switch by yielding costs the host half of one by waking and sleeping. Who wakes asks first
//! whether there is anybody asleep, by words of the window that the stub may forge: it then waits for itself.
//!
//! To yield is to stand behind everybody else who wants this CPU. Where others do, the way back takes a slice of theirs: time stamps
//! of both sides tell, and then nobody yields for a while, the longer the more often that happens. Nor does anybody for a moment after the
//! host's scheduler has let the one who yields go on each time, as it does while the other side has had more of the CPU.

use super::process::Stub;
use super::window::Window;
use super::x86_64::{cycles, layout::*};
use super::{apart, sys};
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Cycles on the way from one side to the other that tell of somebody else on this CPU: some 200 us.
const LOST: u64 = 600_000;
/// For how many times as long nobody yields after that, at first and at most.
const FIRST: u64 = 8;
const MOST: u64 = 64;
/// Cycles of the longest such time, some 200 ms.
const LONGEST: u64 = 600_000_000;
/// Cycles for which nobody yields after that was of no use: some 70 us, twice as long each time, up to 2 ms.
const USELESS: u64 = 200_000;
const MOST_USELESS: u64 = 32 * USELESS;

/// What is known of one host CPU.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    /// Nobody yields before.
    until: u64,
    /// How long it was the last time, and that as a multiple of what was lost.
    quiet: u64,
    times: u64,
    /// How long it will be after a yield of no use.
    useless: u64,
}

impl Crowd {
    const fn new() -> Crowd {
        Crowd { until: 0, quiet: 0, times: FIRST, useless: USELESS }
    }

    /// After a hand-off for which yielding was of use, or was not.
    fn learn(&mut self, now: u64, useful: bool) {
        if useful {
            self.useless = USELESS;
        } else {
            self.until = self.until.max(now + self.useless);
            self.useless = (2 * self.useless).min(MOST_USELESS);
        }
    }

    /// After a hand-off by yielding at `now` of which `lost` cycles were somebody else's.
    fn judge(&mut self, now: u64, lost: u64) {
        if lost < LOST {
            return;
        }
        let again = now.saturating_sub(self.until) < 2 * self.quiet;
        self.times = if again { (2 * self.times).min(MOST) } else { FIRST };
        self.quiet = lost.saturating_mul(self.times).min(LONGEST);
        self.until = now + self.quiet;
    }
}

thread_local! {
    static CROWD: Cell<Crowd> = const { Cell::new(Crowd::new()) };
}

// Not inlined: a fiber may go on in another thread after a suspension, where the address of a thread-local is another.
#[inline(never)]
fn may_yield(now: u64) -> bool {
    now >= CROWD.get().until
}

#[inline(never)]
fn judge(now: u64, lost: u64, useful: Option<bool>) {
    let mut crowd = CROWD.get();
    crowd.judge(now, lost);
    if let Some(useful) = useful {
        crowd.learn(now, useful);
    }
    CROWD.set(crowd);
}

/// A window's words of hand-off, as for a thread that has not begun.
pub(super) fn reset(window: &Window) {
    for word in [W_TURN, W_STUB_SLEEPS, W_KERNEL_SLEEPS, W_YIELD, W_WATCH, W_HINT, W_MASK_FREE] {
        window.word(word).store(0, Ordering::Release);
    }
}

/// The kernel's side of one hand-off.
#[derive(Debug, Default)]
pub(super) struct HandOff {
    /// When the stub was given its turn, in cycles.
    gave: Cell<u64>,
    how: Cell<How>,
}

/// How each side waits before it sleeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum How {
    #[default]
    Not,
    /// On one CPU.
    Yields,
    /// On two.
    Watches,
}

impl HandOff {
    /// Gives the stub its turn.
    pub(super) fn give(&self, window: &Window) {
        let now = cycles();
        let watch = apart::watch();
        let how = match watch {
            0 if may_yield(now) => How::Yields,
            0 => How::Not,
            _ => How::Watches,
        };
        self.gave.set(now);
        self.how.set(how);
        window.set_u32(W_YIELD, (how == How::Yields).into());
        window.set_u32(W_WATCH, watch);
        // Sequentially consistent with the other side's "I sleep, is it my turn?": one of the two sees the other.
        window.turn().swap(1, Ordering::SeqCst);
        if window.word(W_STUB_SLEEPS).load(Ordering::SeqCst) != 0 {
            sys::futex_wake(window.turn());
        }
    }

    /// Waits until the stub hands the CPU back; false if the time is over before.
    pub(super) fn taken(&self, window: &Window, stub: &Stub, timeout: Option<Duration>) -> bool {
        let over = || window.turn().load(Ordering::Acquire) == 0 || stub.is_dead();
        // Once: after a time that was over nobody knows any more what the ways took.
        let (gave, how) = (self.gave.get(), self.how.take());
        // Whether yielding was of use: unknown while a guest computes, which has the CPU for itself then.
        let mut useful = None;
        let mut missed = false;
        match how {
            How::Yields => {
                let mut left = YIELDS;
                while !over() && left > 0 && cycles().saturating_sub(gave) <= LOST {
                    sys::yield_cpu();
                    left -= 1;
                }
                useful = if over() { (left < YIELDS).then_some(true) } else { (left == 0).then_some(false) };
            }
            How::Watches => {
                while !over() && cycles().saturating_sub(gave) <= apart::WATCH.into() && !apart::in_the_way()
                {
                    std::hint::spin_loop();
                }
                missed = !over();
                if missed {
                    // Before it sleeps: the guest computes meanwhile, and waking is cheaper at home.
                    apart::missed(cycles());
                }
            }
            How::Not => {}
        }
        if !over() && !sleep(window, timeout, over) {
            return false;
        }
        let now = cycles();
        // What was lost on the way there, and on the way back. The stub's stamps may say anything; then it harms its own pace.
        let there = window.u64(W_TOOK).saturating_sub(gave);
        let back = now.saturating_sub(window.u64(W_GAVE));
        match how {
            How::Yields => judge(now, there.max(back), useful),
            How::Watches if !missed => apart::after_apart(now, there.saturating_add(back)),
            _ => {}
        }
        if how != How::Watches {
            apart::after_together(now, now.saturating_sub(gave));
        }
        true
    }
}

fn sleep(window: &Window, timeout: Option<Duration>, over: impl Fn() -> bool) -> bool {
    let end = timeout.map(|t| Instant::now() + t);
    let sleeps = window.word(W_KERNEL_SLEEPS);
    sleeps.swap(1, Ordering::SeqCst);
    let mut in_time = true;
    while !over() {
        let left = end.map(|e| e.saturating_duration_since(Instant::now()));
        if sys::futex_wait(window.turn(), 1, left) && !over() {
            in_time = false;
            break;
        }
    }
    sleeps.store(0, Ordering::Relaxed);
    in_time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_loses_its_slice_stops_yielding_and_the_longer_the_more_often() {
        let mut crowd = Crowd::new();
        let mut now = 1_000_000_000;
        crowd.judge(now, LOST - 1);
        assert_eq!(crowd.until, 0);
        crowd.judge(now, LOST);
        assert_eq!(crowd.until, now + FIRST * LOST);
        for _ in 0..10 {
            now = crowd.until + 1;
            crowd.judge(now, LOST);
        }
        assert_eq!(crowd.until, now + MOST * LOST);
        crowd.judge(now, u64::MAX);
        assert_eq!(crowd.until, now + LONGEST);
        // Yields of no use say less.
        let mut idle = Crowd::new();
        idle.learn(now, false);
        assert_eq!(idle.until, now + USELESS);
        idle.learn(now, false);
        assert_eq!(idle.until, now + 2 * USELESS);
        idle.learn(now, true);
        idle.learn(now, false);
        assert_eq!(idle.useless, 2 * USELESS);
        // After a long time without, it begins anew.
        now = crowd.until + 3 * LONGEST;
        crowd.judge(now, LOST);
        assert_eq!(crowd.until, now + FIRST * LOST);
    }
}
