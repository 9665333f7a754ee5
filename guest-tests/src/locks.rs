//! Locks: POSIX, open-file-description and flock, within a process and against another one.

use crate::mem::zeroed;
use crate::run::{Case, await_post, close, fate, handler, open, pipe, post, say, spawn, sys, wait};
use crate::show::R;
use libc::{
    F_GETLK, F_RDLCK, F_SETLK, F_SETLKW, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, O_CREAT,
    O_RDWR,
};

const F_OFD_GETLK: i32 = 36;
const F_OFD_SETLK: i32 = 37;

fn rw() -> i32 {
    open(c"f", O_CREAT | O_RDWR)
}

fn lk(kind: i32, start: i64, len: i64) -> libc::flock {
    let mut l: libc::flock = zeroed();
    l.l_type = kind as i16;
    l.l_whence = libc::SEEK_SET as i16;
    l.l_start = start;
    l.l_len = len;
    l
}

fn set(fd: i32, cmd: i32, kind: i32, start: i64, len: i64) -> R {
    sys!(SYS_fcntl, fd, cmd, &lk(kind, start, len))
}

/// What F_GETLK answers, the owner only as "self", "parent" or "other".
fn test(fd: i32, cmd: i32, kind: i32, start: i64, len: i64) -> String {
    let mut l = lk(kind, start, len);
    let r = sys!(SYS_fcntl, fd, cmd, &mut l);
    let kind = match i32::from(l.l_type) {
        F_RDLCK => "rd",
        F_WRLCK => "wr",
        F_UNLCK => return format!("{r}/free"),
        _ => "?",
    };
    let who = match i64::from(l.l_pid) {
        -1 => "ofd",
        p if p == sys!(SYS_getpid).0 => "self",
        p if p == sys!(SYS_getppid).0 => "parent",
        _ => "other",
    };
    format!("{r}/{kind} {}+{} {who}", l.l_start, l.l_len)
}

fn posix() {
    let fd = rw();
    say!("write={} own again={}", set(fd, F_SETLK, F_WRLCK, 0, 100), set(fd, F_SETLK, F_RDLCK, 50, 10));
    say!("own test={}", test(fd, F_GETLK, F_WRLCK, 0, 0));
    fate(|| {
        say!("child test={}", test(fd, F_GETLK, F_WRLCK, 0, 0));
        say!(
            "child at 50={} read={}",
            test(fd, F_GETLK, F_WRLCK, 50, 10),
            test(fd, F_GETLK, F_RDLCK, 50, 10)
        );
        say!("child at 60={}", test(fd, F_GETLK, F_RDLCK, 60, 5));
        say!(
            "child set={} read={} free={}",
            set(fd, F_SETLK, F_WRLCK, 0, 10),
            set(fd, F_SETLK, F_RDLCK, 52, 2),
            set(fd, F_SETLK, F_WRLCK, 100, 0)
        );
        0
    });
    say!("child's gone={}", set(fd, F_SETLK, F_WRLCK, 100, 0));
    say!("unlock middle={}", set(fd, F_SETLK, F_UNLCK, 10, 30));
    fate(|| {
        say!("child middle={} edge={}", set(fd, F_SETLK, F_WRLCK, 10, 30), set(fd, F_SETLK, F_WRLCK, 9, 1));
        say!("tail={}", test(fd, F_GETLK, F_WRLCK, 1000, 1));
        0
    });
    // Closing any descriptor of the file drops all locks of the process.
    let other = rw();
    close(other);
    fate(|| {
        say!("after close of another={}", test(fd, F_GETLK, F_WRLCK, 0, 0));
        0
    });
}

fn posix_blocking() {
    let fd = rw();
    let (r, w) = pipe(0);
    set(fd, F_SETLK, F_WRLCK, 0, 0);
    let child = spawn(|| {
        say!("child nonblocking={}", set(fd, F_SETLK, F_WRLCK, 0, 1));
        post(w);
        set(fd, F_SETLKW, F_WRLCK, 0, 1).fd()
    });
    await_post(r);
    crate::run::sleep_ms(20);
    say!("unlock={}", set(fd, F_SETLK, F_UNLCK, 0, 0));
    say!("child={}", wait(child));
}

extern "C" fn nothing(_: i32) {}

fn posix_interrupted() {
    let fd = rw();
    set(fd, F_SETLK, F_WRLCK, 0, 0);
    fate(|| {
        handler(libc::SIGALRM, nothing as *const () as usize, 0);
        let t = [0i64, 20_000, 0, 20_000];
        sys!(SYS_setitimer, 0, &t, 0);
        say!("interrupted={}", set(fd, F_SETLKW, F_WRLCK, 0, 1));
        let r = rw();
        sys!(SYS_flock, r, LOCK_EX);
        let again = rw();
        say!("flock interrupted={}", sys!(SYS_flock, again, LOCK_EX));
        0
    });
}

fn deadlock() {
    let fd = rw();
    let (r, w) = pipe(0);
    set(fd, F_SETLK, F_WRLCK, 0, 1);
    let child = spawn(|| {
        set(fd, F_SETLK, F_WRLCK, 1, 1);
        post(w);
        let got = set(fd, F_SETLKW, F_WRLCK, 0, 1);
        i32::from(!got.ok())
    });
    await_post(r);
    crate::run::sleep_ms(30);
    say!("deadlock={}", set(fd, F_SETLKW, F_WRLCK, 1, 1));
    set(fd, F_SETLK, F_UNLCK, 0, 0);
    say!("child={}", wait(child));
}

fn posix_errors() {
    let fd = rw();
    let ro = open(c"f", libc::O_RDONLY);
    let wo = open(c"f", libc::O_WRONLY);
    say!("wr on rdonly={} rd on wronly={}", set(ro, F_SETLK, F_WRLCK, 0, 1), set(wo, F_SETLK, F_RDLCK, 0, 1));
    say!(
        "type={} start={} len={}",
        set(fd, F_SETLK, 77, 0, 1),
        set(fd, F_SETLK, F_RDLCK, -1, 1),
        set(fd, F_SETLK, F_RDLCK, 5, -10)
    );
    say!("negative len={}", set(fd, F_SETLK, F_RDLCK, 50, -10));
    fate(|| {
        say!("covers={}", test(fd, F_GETLK, F_WRLCK, 0, 0));
        0
    });
    let mut l = lk(F_RDLCK, 0, 1);
    l.l_whence = 9;
    say!(
        "whence={} null={} badfd={}",
        sys!(SYS_fcntl, fd, F_SETLK, &l),
        sys!(SYS_fcntl, fd, F_SETLK, 0),
        set(-1, F_SETLK, F_RDLCK, 0, 1)
    );
    say!("getlk with unlck={}", test(fd, F_GETLK, F_UNLCK, 0, 1));
    l.l_whence = libc::SEEK_END as i16;
    say!("from end={}", sys!(SYS_fcntl, fd, F_SETLK, &l));
    say!("overflow={}", set(fd, F_SETLK, F_RDLCK, i64::MAX, 2));
    let (r, _) = pipe(0);
    say!("pipe={}", set(r, F_SETLK, F_RDLCK, 0, 1));
}

fn ofd() {
    let a = rw();
    let b = rw();
    say!(
        "a={} b={} b elsewhere={}",
        set(a, F_OFD_SETLK, F_WRLCK, 0, 10),
        set(b, F_OFD_SETLK, F_WRLCK, 0, 10),
        set(b, F_OFD_SETLK, F_RDLCK, 10, 5)
    );
    say!("test by b={} by a={}", test(b, F_OFD_GETLK, F_WRLCK, 0, 0), test(a, F_OFD_GETLK, F_WRLCK, 0, 0));
    say!("posix against ofd={} {}", set(b, F_SETLK, F_WRLCK, 0, 1), test(b, F_GETLK, F_WRLCK, 0, 1));
    // A fork shares the description: the child unlocks for the parent.
    say!("child={}", fate(|| set(a, F_OFD_SETLK, F_UNLCK, 0, 10).fd()));
    say!("b now={}", set(b, F_OFD_SETLK, F_WRLCK, 0, 10));
    let mut l = lk(F_WRLCK, 0, 1);
    l.l_pid = 1;
    say!("pid set={}", sys!(SYS_fcntl, a, F_OFD_SETLK, &l));
    let d = sys!(SYS_dup, b).fd();
    close(b);
    say!("kept by dup={}", set(a, F_OFD_SETLK, F_WRLCK, 0, 1));
    close(d);
    say!("gone with the last={}", set(a, F_OFD_SETLK, F_WRLCK, 0, 1));
}

fn flocks() {
    let a = rw();
    let b = rw();
    say!("a sh={} b sh={}", sys!(SYS_flock, a, LOCK_SH | LOCK_NB), sys!(SYS_flock, b, LOCK_SH | LOCK_NB));
    say!(
        "a up={} b un={} a up={}",
        sys!(SYS_flock, a, LOCK_EX | LOCK_NB),
        sys!(SYS_flock, b, LOCK_UN),
        sys!(SYS_flock, a, LOCK_EX | LOCK_NB)
    );
    say!("b sh={} b ex={}", sys!(SYS_flock, b, LOCK_SH | LOCK_NB), sys!(SYS_flock, b, LOCK_EX | LOCK_NB));
    say!("posix beside flock={}", set(b, F_SETLK, F_WRLCK, 0, 0));
    say!("child same description={}", fate(|| sys!(SYS_flock, a, LOCK_EX | LOCK_NB).fd()));
    say!("child own open={}", fate(|| i32::from(!sys!(SYS_flock, rw(), LOCK_EX | LOCK_NB).ok())));
    let (r, w) = pipe(0);
    let child = spawn(|| {
        post(w);
        sys!(SYS_flock, rw(), LOCK_EX).fd()
    });
    await_post(r);
    crate::run::sleep_ms(20);
    say!("unlock={} child={}", sys!(SYS_flock, a, LOCK_UN), wait(child));
    say!(
        "flags 0={} bad={} both={}",
        sys!(SYS_flock, a, 0),
        sys!(SYS_flock, a, 0x100),
        sys!(SYS_flock, a, LOCK_SH | LOCK_EX)
    );
    say!(
        "fd -1={} 9999={} rdonly ex={}",
        sys!(SYS_flock, -1, LOCK_SH),
        sys!(SYS_flock, 9999, LOCK_SH),
        sys!(SYS_flock, open(c"f", 0), LOCK_EX | LOCK_NB)
    );
    say!("dir={}", sys!(SYS_flock, open(c".", 0), LOCK_EX | LOCK_NB));
}

fn lease() {
    let fd = open(c"g", O_CREAT | libc::O_RDONLY);
    say!(
        "getlease={} set={}",
        sys!(SYS_fcntl, fd, libc::F_GETLEASE, 0),
        sys!(SYS_fcntl, fd, libc::F_SETLEASE, 77)
    );
}

pub(crate) const CASES: &[Case] = &[
    ("posix", posix),
    ("posix_blocking", posix_blocking),
    ("posix_interrupted", posix_interrupted),
    ("deadlock", deadlock),
    ("posix_errors", posix_errors),
    ("ofd", ofd),
    ("flocks", flocks),
    ("lease", lease),
];
