//! Clocks, sleeps and timers.

use crate::mem::zeroed;
use crate::run::{Case, fate, handler, mask, now_ms, say, set, sleep_ms, sys, ts};
use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, SIG_BLOCK, SIGALRM, SIGUSR1, TIMER_ABSTIME};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

static COUNT: AtomicI32 = AtomicI32::new(0);
extern "C" fn count(_: i32) {
    COUNT.fetch_add(1, SeqCst);
}

fn clocks() {
    for c in 0..12 {
        let mut t: libc::timespec = zeroed();
        let mut r: libc::timespec = zeroed();
        if c == 10 {
            continue;
        }
        say!(
            "clock {c} get={} getres={} sane={}",
            sys!(SYS_clock_gettime, c, &mut t),
            sys!(SYS_clock_getres, c, &mut r),
            t.tv_nsec < 1_000_000_000 && t.tv_sec >= 0
        );
    }
    let mut t: libc::timespec = zeroed();
    for c in [16, 99, -1, i32::MAX] {
        say!("clock {c}={}", sys!(SYS_clock_gettime, c, &mut t));
    }
    say!(
        "null={} kernel={} getres null={}",
        sys!(SYS_clock_gettime, 0, 0),
        sys!(SYS_clock_gettime, 0, crate::mem::KERNEL),
        sys!(SYS_clock_getres, 0, 0)
    );
    say!(
        "year sane={} time agrees={}",
        {
            sys!(SYS_clock_gettime, 0, &mut t);
            t.tv_sec > 1_600_000_000
        },
        (sys!(SYS_time, 0).0 - t.tv_sec).abs() <= 1
    );
    let mut tv = [0i64; 2];
    say!(
        "gettimeofday={} agrees={} null={}",
        sys!(SYS_gettimeofday, &mut tv, 0),
        (tv[0] - t.tv_sec).abs() <= 1,
        sys!(SYS_gettimeofday, 0, 0)
    );
    say!("agrees={}", (tv[0] - t.tv_sec).abs() <= 1);
    let mut last = 0i64;
    let ok = (0..10_000).all(|_| {
        let mut t: libc::timespec = zeroed();
        sys!(SYS_clock_gettime, CLOCK_MONOTONIC, &mut t);
        let n = t.tv_sec * 1_000_000_000 + t.tv_nsec;
        let up = n >= last;
        last = n;
        up
    });
    let mut v: libc::timespec = zeroed();
    unsafe { libc::clock_gettime(CLOCK_MONOTONIC, &raw mut v) };
    let vn = v.tv_sec * 1_000_000_000 + v.tv_nsec;
    say!("monotonic={ok} library clock agrees with the call={}", (vn - last) >= 0 && vn - last < 100_000_000);
}

fn set_clock() {
    crate::run::drop_root();
    let mut t: libc::timespec = zeroed();
    sys!(SYS_clock_gettime, 0, &mut t);
    say!(
        "settime={} monotonic={} bad={} settimeofday={}",
        sys!(SYS_clock_settime, 0, &t),
        sys!(SYS_clock_settime, 1, &t),
        sys!(SYS_clock_settime, 99, &t),
        sys!(SYS_settimeofday, &t, 0)
    );
}

fn sleeps() {
    let took = |f: &dyn Fn() -> crate::show::R, at_least: i64| {
        let t = now_ms();
        let r = f();
        let d = now_ms() - t;
        format!("{r} long enough={} not too long={}", d >= at_least, d < at_least + 1000)
    };
    say!("nanosleep={}", took(&|| sys!(SYS_nanosleep, &ts(30), 0), 30));
    say!("relative={}", took(&|| sys!(SYS_clock_nanosleep, 1, 0, &ts(30), 0), 30));
    say!("absolute={}", took(&|| sys!(SYS_clock_nanosleep, 1, TIMER_ABSTIME, &ts(now_ms() + 30), 0), 29));
    say!(
        "absolute past={}",
        took(&|| sys!(SYS_clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &ts(5), 0), 0)
    );
    say!(
        "boottime={} cputime={}",
        took(&|| sys!(SYS_clock_nanosleep, 7, 0, &ts(10), 0), 10),
        sys!(SYS_clock_nanosleep, 3, 0, &ts(1), 0)
    );
    let n = |s: i64, ns: i64| sys!(SYS_nanosleep, &[s, ns], 0);
    say!("nsec too big={} negative={} {} zero={}", n(0, 1_000_000_000), n(0, -1), n(-1, 0), n(0, 0));
    say!(
        "null={} bad clock={} bad flag={}",
        sys!(SYS_nanosleep, 0, 0),
        sys!(SYS_clock_nanosleep, 99, 0, &ts(1), 0),
        sys!(SYS_clock_nanosleep, 1, 8, &ts(1), 0)
    );
}

fn alarms() {
    handler(SIGALRM, count as *const () as usize, 0);
    say!(
        "alarm={} again={} off={} none={}",
        sys!(SYS_alarm, 100).0 > 0,
        sys!(SYS_alarm, 50),
        sys!(SYS_alarm, 0),
        sys!(SYS_alarm, 0)
    );
    let mut it = [0i64; 4];
    sys!(SYS_setitimer, 0, &[5i64, 0, 100, 0], 0);
    say!("getitimer={} interval={} value sane={}", sys!(SYS_getitimer, 0, &mut it), it[0], it[2] >= 99);
    say!("interval={} value sane={} alarm sees it={}", it[0], it[2] >= 99, sys!(SYS_alarm, 0));
    sys!(SYS_setitimer, 0, &[0i64, 10_000, 0, 10_000], 0);
    let t = now_ms();
    while COUNT.load(SeqCst) < 3 && now_ms() - t < 3000 {
        sys!(SYS_pause);
    }
    say!("three ticks={} in good time={}", COUNT.load(SeqCst) >= 3, now_ms() - t >= 28);
    sys!(SYS_setitimer, 0, &[0i64; 4], &mut it);
    say!(
        "bad which={} usec={} negative={} null={}",
        sys!(SYS_setitimer, 3, &it, 0),
        sys!(SYS_setitimer, 0, &[0i64, 0, 0, 1_000_000], 0),
        sys!(SYS_setitimer, 0, &[0i64, 0, -1, 0], 0),
        sys!(SYS_setitimer, 0, 0, 0)
    );
    say!(
        "default={}",
        fate(|| {
            handler(SIGALRM, libc::SIG_DFL, 0);
            sys!(SYS_setitimer, 0, &[0i64, 0, 0, 5000], 0);
            sleep_ms(3000);
            0
        })
    );
    for (n, which, sig) in [("virtual", 1, libc::SIGVTALRM), ("prof", 2, libc::SIGPROF)] {
        say!(
            "{n}={}",
            fate(|| {
                handler(sig, libc::SIG_DFL, 0);
                sys!(SYS_setitimer, which, &[0i64, 0, 0, 10_000], 0);
                let t = now_ms();
                while now_ms() - t < 5000 {
                    std::hint::spin_loop()
                }
                0
            })
        );
    }
}

/// Uses CPU time until `ok`, or for three seconds at most.
fn busy(ok: impl Fn() -> bool) -> bool {
    let t = now_ms();
    while now_ms() - t < 3000 {
        if ok() {
            return true;
        }
        (0..1000).for_each(|_| std::hint::spin_loop());
    }
    false
}

fn read_clock(c: i32) -> i64 {
    let mut t: libc::timespec = zeroed();
    let r = sys!(SYS_clock_gettime, c, &mut t);
    if r.ok() { t.tv_sec * 1000 + t.tv_nsec / 1_000_000 } else { r.0 }
}

fn cpu_clocks() {
    let pid = sys!(SYS_getpid).fd();
    let clock = |pid: i32, bits: i32| !pid << 3 | bits;
    let before = [2, 3].map(read_clock);
    sleep_ms(100);
    say!(
        "stand still while it sleeps={:?}",
        [2, 3].map(read_clock).iter().zip(before).all(|(a, b)| a - b < 50)
    );
    let start = read_clock(2);
    say!("go on while it works={}", busy(|| read_clock(2) - start >= 30));
    let all: Vec<bool> =
        [clock(0, 2), clock(pid, 2), clock(pid, 1), clock(pid, 0), clock(0, 6), clock(pid, 6)]
            .iter()
            .map(|c| read_clock(*c) >= 20)
            .collect();
    say!("by number={all:?}");
    let mut t: libc::timespec = zeroed();
    for (n, c) in [
        ("kind 3", clock(pid, 3)),
        ("missing", clock(999_999, 2)),
        ("thread of another", clock(sys!(SYS_getppid).fd(), 6)),
    ] {
        say!(
            "{n}={} res={} set={}",
            sys!(SYS_clock_gettime, c, &mut t),
            sys!(SYS_clock_getres, c, &mut t),
            sys!(SYS_clock_settime, c, &ts(1))
        );
    }
    // Another thread works while this one sleeps on the clock of both.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let s = stop.clone();
    let worker = std::thread::spawn(move || busy(|| s.load(SeqCst)));
    let (at, wall) = (read_clock(2), now_ms());
    let r = sys!(SYS_clock_nanosleep, 2, 0, &ts(40), 0);
    say!("sleep={r} long enough={} {}", read_clock(2) - at >= 39, now_ms() - wall >= 20);
    let r = sys!(SYS_clock_nanosleep, clock(0, 2), TIMER_ABSTIME, &ts(read_clock(2) + 30), 0);
    say!("absolute={r} past={}", sys!(SYS_clock_nanosleep, 2, TIMER_ABSTIME, &ts(1), 0));
    stop.store(true, SeqCst);
    let _ = worker.join();
    say!(
        "own thread={} {} kind 3={} missing={} raw={} coarse={} {}",
        sys!(SYS_clock_nanosleep, 3, 0, &ts(1), 0),
        sys!(SYS_clock_nanosleep, clock(0, 6), 0, &ts(1), 0),
        sys!(SYS_clock_nanosleep, clock(pid, 3), 0, &ts(1), 0),
        sys!(SYS_clock_nanosleep, clock(999_999, 2), 0, &ts(1), 0),
        sys!(SYS_clock_nanosleep, 4, 0, &ts(1), 0),
        sys!(SYS_clock_nanosleep, 5, 0, &ts(1), 0),
        sys!(SYS_clock_nanosleep, 6, 0, &ts(1), 0)
    );
    // Nobody works: a signal ends it.
    handler(SIGALRM, count as *const () as usize, 0);
    let mut rest = [-1i64; 2];
    sys!(SYS_setitimer, 0, &[0i64, 0, 0, 30_000], 0);
    say!("interrupted={}", sys!(SYS_clock_nanosleep, 2, 0, &ts(2000), &mut rest));
    say!("rest={}", rest[0] == 1);
}

fn cpu_intervals() {
    handler(libc::SIGPROF, count as *const () as usize, libc::SA_RESTART);
    handler(libc::SIGVTALRM, count as *const () as usize, libc::SA_RESTART);
    for which in [1, 2] {
        COUNT.store(0, SeqCst);
        let mut it = [0i64; 4];
        say!("set={}", sys!(SYS_setitimer, which, &[0i64, 10_000, 0, 20_000], 0));
        let start = read_clock(2);
        say!("three ticks={}", busy(|| COUNT.load(SeqCst) >= 3));
        say!("in good time={}", read_clock(2) - start >= 20);
        let r = sys!(SYS_getitimer, which, &mut it);
        say!("get={r} interval={} {} left={}", it[0], it[1], it[2] == 0 && it[3] <= 20_000);
        say!("off={}", sys!(SYS_setitimer, which, &[0i64; 4], &mut it));
        say!(
            "was on={} child has none={}",
            it[3] > 0,
            fate(|| {
                let mut it = [0i64; 4];
                sys!(SYS_getitimer, which, &mut it);
                i32::from(it != [0; 4])
            })
        );
    }
}

fn cpu_timers() {
    handler(SIGUSR1, count as *const () as usize, 0);
    for clock in [2, 3] {
        COUNT.store(0, SeqCst);
        let mut id = -1i32;
        let r = sys!(SYS_timer_create, clock, &event(0, SIGUSR1, 0), &mut id);
        let s = sys!(SYS_timer_settime, id, 0, &[0i64, 10_000_000, 0, 20_000_000], 0);
        let start = read_clock(clock);
        say!("clock {clock} create={r} set={s} ticks={}", busy(|| COUNT.load(SeqCst) >= 3));
        let mut left = [0i64; 4];
        sys!(SYS_timer_gettime, id, &mut left);
        say!(
            "in good time={} interval={} left={}",
            read_clock(clock) - start >= 20,
            left[1],
            left[3] <= 10_000_000
        );
        sys!(SYS_timer_settime, id, 0, &[0i64; 4], 0);
        COUNT.store(0, SeqCst);
        let at = read_clock(clock) + 20;
        sys!(SYS_timer_settime, id, TIMER_ABSTIME, &[0i64, 0, at / 1000, at % 1000 * 1_000_000], 0);
        say!(
            "absolute={} once={} delete={}",
            busy(|| COUNT.load(SeqCst) > 0),
            COUNT.load(SeqCst),
            sys!(SYS_timer_delete, id)
        );
    }
    let mut id = -1i32;
    say!(
        "kind 3={} missing={}",
        sys!(SYS_timer_create, -5, 0, &mut id),
        sys!(SYS_timer_create, !999_999 << 3 | 2, 0, &mut id)
    );
}

#[repr(C)]
struct Event {
    value: usize,
    signo: i32,
    notify: i32,
    tid: i32,
    pad: [i32; 11],
}
fn event(notify: i32, signo: i32, tid: i32) -> Event {
    Event { value: 0x77, signo, notify, tid, pad: [0; 11] }
}

fn posix_timers() {
    mask(SIG_BLOCK, &[SIGUSR1]);
    let mut id = -1i32;
    let mut si: libc::siginfo_t = zeroed();
    let take =
        |si: &mut libc::siginfo_t| sys!(SYS_rt_sigtimedwait, &set(&[SIGUSR1, SIGALRM]), si, &ts(3000), 8);
    say!("create={} id={id}", sys!(SYS_timer_create, CLOCK_MONOTONIC, &event(0, SIGUSR1, 0), &mut id));
    say!("settime={}", sys!(SYS_timer_settime, id, 0, &[0i64, 0, 0, 10_000_000], 0));
    let r = take(&mut si);
    say!(
        "signal={r} code={} value={:#x}",
        crate::show::si_code(SIGUSR1, si.si_code),
        unsafe { si.si_value() }.sival_ptr as usize
    );
    let mut it = [9i64; 4];
    say!(
        "gettime={} value={it:?} overrun={}",
        sys!(SYS_timer_gettime, id, &mut it),
        sys!(SYS_timer_getoverrun, id)
    );
    sys!(SYS_timer_settime, id, 0, &[0i64, 5_000_000, 0, 5_000_000], 0);
    sleep_ms(60);
    take(&mut si);
    say!("overruns counted={}", sys!(SYS_timer_getoverrun, id).0 >= 3);
    say!(
        "absolute past={} then={}",
        {
            mask(SIG_BLOCK, &[SIGUSR1]);
            sys!(SYS_timer_settime, id, 1, &[0i64, 0, 1, 0], &mut it)
        },
        take(&mut si)
    );
    say!(
        "delete={} again={} settime={}",
        sys!(SYS_timer_delete, id),
        sys!(SYS_timer_delete, id),
        sys!(SYS_timer_settime, id, 0, &[0i64; 4], 0)
    );
    mask(SIG_BLOCK, &[SIGALRM]);
    say!("default event={} signal={}", sys!(SYS_timer_create, CLOCK_REALTIME, 0, &mut id), {
        sys!(SYS_timer_settime, id, 0, &[0i64, 0, 0, 1_000_000], 0);
        take(&mut si)
    });
    say!(
        "none={} armed={}",
        sys!(SYS_timer_create, CLOCK_MONOTONIC, &event(1, 0, 0), &mut id),
        sys!(SYS_timer_settime, id, 0, &[0i64, 0, 100, 0], 0)
    );
    sys!(SYS_timer_gettime, id, &mut it);
    say!("left sane={}", it[2] == 99);
    let me = sys!(SYS_gettid).fd();
    say!("thread={} signal={}", sys!(SYS_timer_create, CLOCK_MONOTONIC, &event(4, SIGUSR1, me), &mut id), {
        sys!(SYS_timer_settime, id, 0, &[0i64, 0, 0, 1_000_000], 0);
        take(&mut si)
    });
    let mut bad = |n: &str, c: i32, e: Event| say!("{n}={}", sys!(SYS_timer_create, c, &e, &mut id));
    bad("bad clock", 99, event(0, SIGUSR1, 0));
    bad("bad notify", 1, event(9, SIGUSR1, 0));
    bad("bad signal", 1, event(0, 99, 0));
    bad("other's thread", 1, event(4, SIGUSR1, 1));
    say!(
        "null id={} nsec={} missing={}",
        sys!(SYS_timer_create, 1, 0, 0),
        sys!(SYS_timer_settime, id, 0, &[0i64, 0, 0, 1_000_000_000], 0),
        sys!(SYS_timer_gettime, 999, &mut it)
    );
    say!("child has none={}", fate(|| i32::from(sys!(SYS_timer_gettime, id, &mut [0i64; 4]).ok())));
}

fn timerfd() {
    let fd = sys!(SYS_timerfd_create, CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC).fd();
    let mut n = 0u64;
    let mut it = [0i64; 4];
    say!(
        "read unarmed={} settime={}",
        sys!(SYS_read, fd, &mut n, 8),
        sys!(SYS_timerfd_settime, fd, 0, &[0i64, 0, 0, 200_000_000], 0)
    );
    let mut pf = libc::pollfd { fd, events: 1, revents: 0 };
    say!(
        "early={} poll={} read={} n={n}",
        sys!(SYS_read, fd, &mut n, 8),
        sys!(SYS_poll, &mut pf, 1, 3000),
        sys!(SYS_read, fd, &mut n, 8)
    );
    say!("again={} short={}", sys!(SYS_read, fd, &mut n, 8), sys!(SYS_read, fd, &mut n, 4));
    sys!(SYS_timerfd_settime, fd, 0, &[0i64, 5_000_000, 0, 5_000_000], 0);
    sleep_ms(40);
    say!("several expirations={} {}", sys!(SYS_read, fd, &mut n, 8), n >= 5);
    say!("gettime={} interval={}", sys!(SYS_timerfd_gettime, fd, &mut it), it[1]);
    say!("past absolute={} read={} n={n}", sys!(SYS_timerfd_settime, fd, 1, &[0i64, 0, 0, 1], &mut it), {
        sleep_ms(5);
        sys!(SYS_read, fd, &mut n, 8)
    });
    say!(
        "bad clock={} flags={} settime flags={} nsec={}",
        sys!(SYS_timerfd_create, 99, 0),
        sys!(SYS_timerfd_create, 1, 1),
        sys!(SYS_timerfd_settime, fd, 8, &it, 0),
        sys!(SYS_timerfd_settime, fd, 0, &[0i64, 0, 0, 1_000_000_000], 0)
    );
    say!(
        "not a timerfd={} write={} null={}",
        sys!(SYS_timerfd_settime, 0, 0, &it, 0),
        sys!(SYS_write, fd, &n, 8),
        sys!(SYS_timerfd_settime, fd, 0, 0, 0)
    );
}

pub(crate) const CASES: &[Case] = &[
    ("clocks", clocks),
    ("set_clock", set_clock),
    ("sleeps", sleeps),
    ("alarms", alarms),
    ("cpu_clocks", cpu_clocks),
    ("cpu_intervals", cpu_intervals),
    ("cpu_timers", cpu_timers),
    ("posix_timers", posix_timers),
    ("timerfd", timerfd),
];
