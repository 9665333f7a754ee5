//! rt_sigprocmask from a place that calls it over and over, which a kernel may answer in a quicker way: signals find the mask of the moment.

use crate::mem::{PAGE, RW, SHARED, map};
use crate::run::{Case, cat, handler, kill, mask, say, set, sleep_ms, spawn, sys, wait};
use libc::{SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2};
use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

static TAKEN: AtomicU32 = AtomicU32::new(0);

extern "C" fn take(_: i32) {
    TAKEN.fetch_add(1, SeqCst);
}

fn on(sig: i32) {
    handler(sig, take as *const () as usize, 0);
}

/// Words that parent and child share.
fn shared() -> &'static [AtomicU32; 4] {
    let at = map(PAGE, RW, SHARED);
    // A mapping of a page, zeroed, that is never taken away.
    unsafe { &*(at as *const [AtomicU32; 4]) }
}

/// Calls until it is so; false if that takes too long.
fn calls_until(so: impl Fn() -> bool, mut call: impl FnMut()) -> bool {
    (0..200_000_000u64).any(|_| {
        call();
        so()
    })
}

/// Makes the place a busy one.
fn warm() {
    for _ in 0..2000 {
        mask(SIG_BLOCK, &[]);
    }
}

fn results() {
    warm();
    let mut old = 0u64;
    let mut wrong = 0;
    for round in 0..3000u64 {
        let new = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !set(&[SIGKILL, SIGSTOP]);
        let r = sys!(SYS_rt_sigprocmask, SIG_SETMASK, &(new | set(&[SIGKILL, SIGSTOP])), 0, 8);
        let more = round.rotate_left(23);
        let b = sys!(SYS_rt_sigprocmask, SIG_BLOCK, &more, &mut old, 8);
        wrong += u32::from(!r.ok() || !b.ok() || old != new);
        let u = sys!(SYS_rt_sigprocmask, SIG_UNBLOCK, &more, &mut old, 8);
        wrong += u32::from(!u.ok() || old != (new | more) & !set(&[SIGKILL, SIGSTOP]));
        let mut both = more;
        let same = &raw mut both as usize;
        sys!(SYS_rt_sigprocmask, SIG_SETMASK, same, same, 8);
        wrong += u32::from(both != new & !more);
    }
    sys!(SYS_rt_sigprocmask, SIG_SETMASK, &set(&[SIGUSR1]), 0, 8);
    say!("wrong={wrong}");
    say!(
        "how={} size={} wild={} {} {}",
        sys!(SYS_rt_sigprocmask, 9, &0u64, 0, 8),
        sys!(SYS_rt_sigprocmask, 0, &0u64, &mut old, 16),
        sys!(SYS_rt_sigprocmask, 0, 1, 0, 8),
        sys!(SYS_rt_sigprocmask, 0, 0x8000_0000_0000_0000usize, 0, 8),
        sys!(SYS_rt_sigprocmask, 0, 0, 1, 8)
    );
    say!("how without a set={} {old:#x}", sys!(SYS_rt_sigprocmask, 9, 0, &mut old, 8));
}

/// A signal sent while it is blocked comes at the next time that it is not.
fn blocked_for_a_while() {
    on(SIGUSR1);
    warm();
    let words = shared();
    let me = sys!(SYS_getpid).0 as i32;
    let (mut early, mut late) = (0, 0);
    for round in 1..=200 {
        mask(SIG_BLOCK, &[SIGUSR1]);
        let child = spawn(|| {
            kill(me, SIGUSR1);
            words[0].store(round, SeqCst);
            0
        });
        calls_until(
            || words[0].load(SeqCst) == round,
            || {
                mask(SIG_BLOCK, &[SIGUSR2]);
            },
        );
        early += TAKEN.swap(0, SeqCst);
        mask(SIG_UNBLOCK, &[SIGUSR1]);
        late += TAKEN.swap(0, SeqCst);
        wait(child);
    }
    say!("while blocked={early} at once after={late}");
}

/// A thread that does nothing but block and unblock takes each signal, whichever of the two it has just done.
fn taken_between() {
    on(SIGUSR1);
    warm();
    let words = shared();
    let child = spawn(|| {
        TAKEN.store(0, SeqCst);
        warm();
        words[1].store(1, SeqCst);
        let done = calls_until(
            || TAKEN.load(SeqCst) == 300,
            || {
                mask(SIG_BLOCK, &[SIGUSR1]);
                mask(SIG_UNBLOCK, &[SIGUSR1]);
                words[0].store(TAKEN.load(SeqCst), SeqCst);
            },
        );
        i32::from(!done)
    });
    while words[1].load(SeqCst) == 0 {
        sleep_ms(1);
    }
    let mut sent = 0;
    for round in 1..=300 {
        sent += u32::from(kill(child, SIGUSR1).ok());
        for _ in 0..5000 {
            if words[0].load(SeqCst) >= round {
                break;
            }
            sys!(SYS_sched_yield);
        }
        while words[0].load(SeqCst) < round {
            sleep_ms(1);
        }
    }
    say!("sent={sent} child: {}", wait(child));
}

/// What would end it does not, while it is blocked; what others see of the mask is the mask of now.
fn seen_by_others() {
    warm();
    let words = shared();
    let child = spawn(|| {
        warm();
        mask(SIG_SETMASK, &[SIGTERM, SIGUSR2]);
        words[0].store(1, SeqCst);
        while words[1].load(SeqCst) == 0 {
            std::hint::spin_loop();
        }
        let mut pending = 0u64;
        sys!(SYS_rt_sigpending, &mut pending, 8);
        say!("pending={pending:#x}");
        words[0].store(2, SeqCst);
        mask(SIG_SETMASK, &[]);
        0
    });
    while words[0].load(SeqCst) == 0 {
        sleep_ms(1);
    }
    let status = CString::new(format!("/proc/{child}/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&cat(&status)).into_owned();
    let line = |name: &str| status.lines().find(|l| l.starts_with(name)).unwrap_or_default().to_owned();
    say!("{} {}", line("SigBlk"), line("ShdPnd"));
    kill(child, SIGTERM);
    sleep_ms(20);
    words[1].store(1, SeqCst);
    say!("child: {} reached={}", wait(child), words[0].load(SeqCst));
}

/// Of two threads the one takes a signal that does not block it, though the mask of the other has just changed.
fn of_threads() {
    on(SIGUSR1);
    warm();
    let words = shared();
    let (early, taken) = (
        std::thread::spawn(move || {
            warm();
            mask(SIG_BLOCK, &[SIGUSR1]);
            words[0].store(1, SeqCst);
            let ended = calls_until(
                || words[0].load(SeqCst) == 2,
                || {
                    mask(SIG_BLOCK, &[SIGUSR2]);
                },
            );
            mask(SIG_UNBLOCK, &[SIGUSR1]);
            ended
        }),
        &TAKEN,
    );
    while words[0].load(SeqCst) == 0 {
        sleep_ms(1);
    }
    let own = sys!(SYS_getpid).0 as i32;
    for _ in 0..50 {
        kill(own, SIGUSR1);
    }
    say!("the main thread has taken {}", taken.swap(0, SeqCst));
    mask(SIG_BLOCK, &[SIGUSR1]);
    kill(own, SIGUSR1);
    say!("blocked by both: {}", taken.load(SeqCst));
    words[0].store(2, SeqCst);
    say!("the other ended={:?} and has taken {}", early.join().ok(), taken.load(SeqCst));
}

pub(crate) const CASES: &[Case] = &[
    ("results", results),
    ("blocked-for-a-while", blocked_for_a_while),
    ("taken-between", taken_between),
    ("seen-by-others", seen_by_others),
    ("of-threads", of_threads),
];
