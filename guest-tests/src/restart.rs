//! What an interrupted call does: EINTR or restart, with and without SA_RESTART, call by call.

use crate::mem::zeroed;
use crate::run::{Case, handler, mask, now_ms, pipe, say, sleep_ms, spawn, sys, ts, wait};
use crate::show::R;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

static COUNT: AtomicI32 = AtomicI32::new(0);
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// The third signal makes what the call waits for come true, so that a restarted call ends.
extern "C" fn tick(_: i32) {
    if COUNT.fetch_add(1, SeqCst) == 2 {
        let fd = WAKE.load(SeqCst);
        if fd >= 0 {
            sys!(SYS_write, fd, b"w", 1);
        }
    }
}

/// Runs a blocking call under a repeating timer: without and with SA_RESTART.
fn both(name: &str, mut call: impl FnMut() -> R) {
    for (how, fl) in [("plain", 0), ("restart", libc::SA_RESTART)] {
        COUNT.store(0, SeqCst);
        handler(libc::SIGALRM, tick as *const () as usize, fl);
        sys!(SYS_setitimer, 0, &[0i64, 25_000, 0, 25_000], 0);
        let r = call();
        sys!(SYS_setitimer, 0, &[0i64; 4], 0);
        say!("{name} {how}={r} more than one signal={}", COUNT.load(SeqCst) > 1);
    }
}

fn reads() {
    let (r, w) = pipe(0);
    WAKE.store(w, SeqCst);
    let mut b = [0u8; 8];
    both("pipe read", || sys!(SYS_read, r, &mut b, 1));
    both("readv", || sys!(SYS_readv, r, &[b.as_mut_ptr() as usize, 1], 1));
    let mut s = [0i32; 2];
    sys!(SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, &mut s);
    WAKE.store(s[1], SeqCst);
    both("recvfrom", || sys!(SYS_recvfrom, s[0], &mut b, 1, 0, 0, 0));
    let e = sys!(SYS_eventfd2, 0, 0).fd();
    both("poll on eventfd", || sys!(SYS_poll, &mut libc::pollfd { fd: e, events: 1, revents: 0 }, 1, 300));
}

fn polls() {
    let (r, w) = pipe(0);
    WAKE.store(w, SeqCst);
    let ep = sys!(SYS_epoll_create1, 0).fd();
    sys!(SYS_epoll_ctl, ep, libc::EPOLL_CTL_ADD, r, &libc::epoll_event { events: 1, u64: 5 });
    let mut ev = [libc::epoll_event { events: 0, u64: 0 }; 2];
    let mut pf = libc::pollfd { fd: r, events: 1, revents: 0 };
    let drop_it = |x: R| {
        if x.ok() {
            sys!(SYS_read, r, &mut [0u8; 8], 8);
        }
        x
    };
    both("poll", || drop_it(sys!(SYS_poll, &mut pf, 1, 3000)));
    both("ppoll", || drop_it(sys!(SYS_ppoll, &mut pf, 1, &ts(3000), 0, 8)));
    both("select", || {
        let mut f = 1u64 << r;
        drop_it(sys!(SYS_select, r + 1, &mut f, 0, 0, 0))
    });
    both("epoll_wait", || drop_it(sys!(SYS_epoll_wait, ep, &mut ev, 2, 3000)));
}

fn sleeps() {
    both("nanosleep", || sys!(SYS_nanosleep, &ts(90), 0));
    both("clock_nanosleep relative", || sys!(SYS_clock_nanosleep, 1, 0, &ts(90), 0));
    both("clock_nanosleep absolute", || {
        let t = ts(now_ms() + 90);
        sys!(SYS_clock_nanosleep, 1, 1, &t, 0)
    });
    let mut rem: libc::timespec = zeroed();
    handler(libc::SIGALRM, tick as *const () as usize, 0);
    sys!(SYS_setitimer, 0, &[0i64, 0, 0, 20_000], 0);
    let r = sys!(SYS_nanosleep, &ts(5000), &mut rem);
    say!("remainder={r} sane={}", rem.tv_sec == 4 && rem.tv_nsec > 0);
    sys!(SYS_setitimer, 0, &[0i64, 0, 0, 20_000], 0);
    rem.tv_sec = 77;
    let t = ts(now_ms() + 5000);
    say!("absolute={} remainder untouched={}", sys!(SYS_clock_nanosleep, 1, 1, &t, &mut rem), rem.tv_sec);
}

fn waits() {
    both("wait4", || {
        let p = spawn(|| {
            sleep_ms(80);
            7
        });
        let r = sys!(SYS_wait4, p, 0, 0, 0);
        if !r.ok() {
            wait(p);
        }
        if r.ok() { R(0) } else { r }
    });
    both("waitid", || {
        let p = spawn(|| {
            sleep_ms(80);
            7
        });
        let r = sys!(SYS_waitid, libc::P_PID, p, 0, libc::WEXITED, 0);
        if !r.ok() {
            wait(p);
        }
        r
    });
    let word = AtomicI32::new(3);
    both("futex wait", || sys!(SYS_futex, &word, 128, 3, &ts(90), 0, 0));
    both("sigtimedwait", || sys!(SYS_rt_sigtimedwait, &crate::run::set(&[libc::SIGUSR1]), 0, &ts(90), 8));
    both("sigsuspend", || sys!(SYS_rt_sigsuspend, &0u64, 8));
    both("pause", || sys!(SYS_pause));
}

fn writes() {
    let (r, w) = pipe(0);
    let full = vec![0u8; 65536];
    sys!(SYS_write, w, &full[..], 65536);
    handler(libc::SIGALRM, tick as *const () as usize, 0);
    sys!(SYS_setitimer, 0, &[0i64, 25_000, 0, 25_000], 0);
    say!("full pipe={}", sys!(SYS_write, w, &full[..], 100));
    sys!(SYS_read, r, &mut vec![0u8; 8192][..], 8192);
    say!("partial={}", sys!(SYS_write, w, &full[..], 20_000));
    sys!(SYS_setitimer, 0, &[0i64; 4], 0);
}

fn accepts() {
    let s = sys!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0).fd();
    sys!(SYS_bind, s, b"\x01\0sock\0", 7);
    sys!(SYS_listen, s, 1);
    handler(libc::SIGALRM, tick as *const () as usize, 0);
    sys!(SYS_setitimer, 0, &[0i64, 25_000, 0, 25_000], 0);
    say!("accept={}", sys!(SYS_accept, s, 0, 0));
    sys!(SYS_mknod, c"p", libc::S_IFIFO | 0o600, 0);
    say!("fifo open={}", sys!(SYS_open, c"p", libc::O_RDONLY));
    // With a receive timeout no call restarts, whatever the action says.
    sys!(SYS_setitimer, 0, &[0i64; 4], 0);
    let mut p = [0i32; 2];
    sys!(SYS_socketpair, 1, 1, 0, &mut p);
    say!("rcvtimeo set={}", sys!(SYS_setsockopt, p[0], 1, libc::SO_RCVTIMEO, &[0i64, 90_000], 16));
    WAKE.store(-1, SeqCst);
    both("recv with timeout", || sys!(SYS_recvfrom, p[0], &mut [0u8; 1], 1, 0, 0, 0));
}

fn stopped() {
    // Stopping and continuing without a handler: only some calls notice.
    let (r, w) = pipe(0);
    for (n, k) in
        [("read", 0), ("epoll_wait", 1), ("poll", 2), ("nanosleep", 3), ("sigtimedwait", 4), ("futex", 5)]
    {
        let p = spawn(|| {
            mask(libc::SIG_BLOCK, &[libc::SIGUSR1]);
            let mut b = [0u8; 64];
            let word = AtomicI32::new(1);
            let x = match k {
                0 => sys!(SYS_read, r, &mut b, 1),
                1 => sys!(SYS_epoll_wait, sys!(SYS_epoll_create1, 0).fd(), &mut b, 1, 120),
                2 => sys!(SYS_poll, 0, 0, 120),
                3 => sys!(SYS_nanosleep, &ts(120), 0),
                4 => sys!(SYS_rt_sigtimedwait, &crate::run::set(&[libc::SIGUSR1]), 0, &ts(120), 8),
                _ => sys!(SYS_futex, &word, 128, 1, &ts(120), 0, 0),
            };
            say!("{n}={x}");
            0
        });
        sleep_ms(30);
        crate::run::kill(p, libc::SIGSTOP);
        sys!(SYS_wait4, p, 0, libc::WUNTRACED, 0);
        crate::run::kill(p, libc::SIGCONT);
        sleep_ms(10);
        if k == 0 {
            crate::run::post(w);
        }
        wait(p);
    }
}

pub(crate) const CASES: &[Case] = &[
    ("reads", reads),
    ("polls", polls),
    ("sleeps", sleeps),
    ("waits", waits),
    ("writes", writes),
    ("accepts", accepts),
    ("stopped", stopped),
];
