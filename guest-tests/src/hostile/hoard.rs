//! All the objects of the kernel there are: descriptors, buffers, queues, watches, locks, names. They are memory of the kernel's own
//! process, on the host.

use super::Attack;
use crate::run::{self, say, sys};

pub(super) const ATTACKS: &[Attack] = &[
    ("descriptors", descriptors),
    ("pipes", || hoard(pipes)),
    ("unix-sockets", || hoard(unix)),
    ("names", || hoard(names)),
    ("xattrs", || hoard(xattrs)),
    ("watches", || hoard(watches)),
    ("queued-signals", || hoard(signals)),
    ("locks", || hoard(locks)),
    ("kept-files", || hoard(in_children)),
    ("rights", rights),
];

/// Many descriptors, of one thing and of all things.
fn descriptors() {
    let fate = run::fate(|| {
        let most = raise();
        let mut opened = 0u64;
        let zero = run::open(c"/dev/null", 0);
        while sys!(SYS_dup, zero).ok() {
            opened += 1;
        }
        say!("dup-all={}", opened + 10 > most);
        run::file(c"/tmp/no", b"");
        let mut last = [String::new(), String::new(), String::new()];
        sys!(SYS_close_range, 3, u32::MAX, 0);
        for n in 0..20_000usize {
            let r = [
                sys!(SYS_openat, -100, c"/etc/inside", 0),
                sys!(SYS_memfd_create, c"m", 0),
                sys!(SYS_epoll_create1, 0),
            ];
            if n % 100 == 0 {
                sys!(SYS_pwrite64, r[1].0, &[0u8; 100], 100, 100_000);
            }
            last = r.map(|r| r.sign());
        }
        say!("last={last:?}");
        0
    });
    say!("fate={fate}");
}

/// The soft limit of descriptors becomes the hard one.
fn raise() -> u64 {
    let mut lim = [0u64; 2];
    sys!(SYS_prlimit64, 0, 7, 0, &mut lim);
    lim[0] = lim[1];
    sys!(SYS_prlimit64, 0, 7, &lim, 0);
    lim[1]
}

/// A child that hoards for some seconds, or until it is refused or ended.
fn hoard(take: fn(usize) -> bool) {
    let fate = run::fate(|| {
        raise();
        let end = run::now_ms() + 5000;
        let mut n = 0;
        while run::now_ms() < end && take(n) {
            n += 1;
        }
        0
    });
    say!("ended={}", fate == "exited:0" || fate == "killed:SIGKILL");
}

fn pipes(_: usize) -> bool {
    let (r, w) = run::pipe(libc::O_NONBLOCK);
    sys!(SYS_fcntl, w, libc::F_SETPIPE_SZ, 1 << 20);
    let block = [1u8; 65536];
    for _ in 0..16 {
        sys!(SYS_write, w, &block, block.len());
    }
    r >= 0
}

fn unix(_: usize) -> bool {
    let mut s = [0i32; 2];
    let made = sys!(SYS_socketpair, 1, 1 | libc::SOCK_NONBLOCK, 0, &mut s);
    for s in s {
        sys!(SYS_setsockopt, s, 1, libc::SO_SNDBUF, &[0x7fff_ffff], 4);
        let block = [1u8; 65536];
        while sys!(SYS_write, s, &block, block.len()).0 > 0 {}
    }
    made.ok()
}

/// Files without content in a file system in memory, with long names.
fn names(n: usize) -> bool {
    let long = "n".repeat(200);
    (0..100).all(|k| {
        let path = std::ffi::CString::new(format!("/dev/shm/{long}{n}.{k}")).unwrap_or_default();
        sys!(SYS_mknod, &*path, libc::S_IFREG | 0o600, 0).ok()
    })
}

fn xattrs(n: usize) -> bool {
    let path = std::ffi::CString::new(format!("/dev/shm/x{}", n / 16)).unwrap_or_default();
    run::close(run::open(&path, libc::O_CREAT | libc::O_RDWR));
    let name = std::ffi::CString::new(format!("user.x{n}")).unwrap_or_default();
    sys!(SYS_setxattr, &*path, &*name, &[1u8; 65536], 65536, 0).ok() || !n.is_multiple_of(16)
}

/// epoll items, watches, timers.
fn watches(n: usize) -> bool {
    let ep = sys!(SYS_epoll_create1, 0).fd();
    let (r, _) = run::pipe(0);
    let timer = sys!(SYS_timerfd_create, 1, 0).fd();
    for _ in 0..100 {
        let fd = sys!(SYS_dup, r).fd();
        sys!(SYS_epoll_ctl, ep, 1, fd, &[1u32, 0, 0]);
        sys!(SYS_epoll_ctl, ep, 1, timer, &[1u32, 0, 0]);
        let mut id = 0i32;
        sys!(SYS_timer_create, 1, 0, &mut id);
        sys!(SYS_timer_settime, id, 0, &[1000u64, 0, 1000, 0], 0);
    }
    let watch = sys!(SYS_inotify_init1, 0).fd();
    sys!(SYS_inotify_add_watch, watch, c"/tmp", 0xfff);
    ep >= 0 && n < 100_000
}

fn signals(_: usize) -> bool {
    run::mask(libc::SIG_BLOCK, &(1..64).collect::<Vec<_>>());
    let mut info = [0i32; 32];
    info[2] = -1;
    (0..1000).all(|n| {
        info[0] = 34 + n % 30;
        sys!(SYS_rt_sigqueueinfo, sys!(SYS_getpid).0, info[0], &info).ok()
    })
}

fn locks(n: usize) -> bool {
    let fd = run::open(c"/tmp/locked", libc::O_CREAT | libc::O_RDWR);
    (0..1000u64).all(|k| {
        let mut lock: libc::flock = crate::mem::zeroed();
        lock.l_type = libc::F_WRLCK as i16;
        lock.l_start = ((n as u64 * 1000 + k) * 2) as i64;
        lock.l_len = 1;
        sys!(SYS_fcntl, fd, 37, &lock).ok() && n < 30
    })
}

/// Children that each hoard a little.
fn in_children(n: usize) -> bool {
    n < 60 && sys!(SYS_fork).0 > 0 || {
        (0..200).for_each(|n| {
            pipes(n);
        });
        run::sleep_ms(3000);
        run::exit(0)
    }
}

/// Sockets that are on their way in themselves, deep and round.
fn rights() {
    let send = |over: i32, what: &[i32]| {
        let mut control = vec![0u8; 16 + what.len() * 4];
        control[..8].copy_from_slice(&(16 + what.len() as u64 * 4).to_le_bytes());
        control[8..12].copy_from_slice(&1i32.to_le_bytes());
        control[12..16].copy_from_slice(&1i32.to_le_bytes());
        for (n, fd) in what.iter().enumerate() {
            control[16 + n * 4..20 + n * 4].copy_from_slice(&fd.to_le_bytes());
        }
        let iov = [c"x".as_ptr() as usize, 1];
        let msg = [0usize, 0, iov.as_ptr() as usize, 1, control.as_ptr() as usize, control.len(), 0];
        sys!(SYS_sendmsg, over, &msg, libc::MSG_DONTWAIT)
    };
    let pair = || {
        let mut s = [-1i32; 2];
        sys!(SYS_socketpair, 1, 2, 0, &mut s);
        s
    };
    let fate = run::fate(|| {
        // A chain: each in the queue of the next, and only the last is held; then it is let go.
        let mut inner = pair();
        let mut depth = 0;
        for _ in 0..20_000 {
            let outer = pair();
            if !send(outer[0], &inner).ok() {
                break;
            }
            inner.into_iter().for_each(run::close);
            inner = outer;
            depth += 1;
        }
        inner.into_iter().for_each(run::close);
        // Rings.
        for _ in 0..500 {
            let (a, b) = (pair(), pair());
            send(a[0], &[b[0], b[1], a[0], a[1]]);
            send(b[0], &[a[0], a[1]]);
            [a, b].concat().into_iter().for_each(run::close);
        }
        let many: Vec<i32> = (0..254).map(|_| 1).collect();
        let s = pair();
        say!("depth={} 253={} 254={}", depth > 10, send(s[0], &many[1..]).sign(), send(s[0], &many));
        0
    });
    say!("fate={fate}");
}
