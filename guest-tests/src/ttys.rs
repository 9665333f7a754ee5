//! Pseudo-terminals: pairs, modes, sizes, the line discipline, sessions and job control.

use crate::mem::zeroed;
use crate::run::{
    Case, await_post, close, fate, handler, kill, open, pipe, post, say, sleep_ms, spawn, sys, wait,
};
use crate::show;
use libc::{
    ECHO, ICANON, ISIG, O_NOCTTY, O_NONBLOCK, O_RDWR, SIGCONT, SIGHUP, SIGTTIN, SIGTTOU, SIGWINCH, TCGETS,
    TCSETS, TIOCGPGRP, TIOCGPTN, TIOCGSID, TIOCGWINSZ, TIOCNOTTY, TIOCSCTTY, TIOCSPGRP, TIOCSPTLCK,
    TIOCSWINSZ,
};
use std::ffi::CString;

/// The kernel's termios: four flag words, the line, 19 control characters.
#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
struct Termios {
    flags: [u32; 4],
    line: u8,
    cc: [u8; 19],
}

fn master() -> i32 {
    open(c"/dev/ptmx", O_RDWR | O_NOCTTY)
}
fn slave_name(m: i32) -> CString {
    let mut n = 0i32;
    sys!(SYS_ioctl, m, TIOCGPTN, &mut n);
    sys!(SYS_ioctl, m, TIOCSPTLCK, &0i32);
    CString::new(format!("/dev/pts/{n}")).unwrap_or_default()
}
fn pair() -> (i32, i32) {
    let m = master();
    (m, open(&slave_name(m), O_RDWR | O_NOCTTY))
}
fn get(fd: i32) -> Termios {
    let mut t: Termios = zeroed();
    sys!(SYS_ioctl, fd, TCGETS, &mut t);
    t
}
fn change(fd: i32, f: impl Fn(&mut Termios)) -> show::R {
    let mut t = get(fd);
    f(&mut t);
    sys!(SYS_ioctl, fd, TCSETS, &t)
}
/// What can be read now, or within a moment.
fn read(fd: i32) -> String {
    let mut p = libc::pollfd { fd, events: 1, revents: 0 };
    sys!(SYS_poll, &mut p, 1, 50);
    sys!(SYS_fcntl, fd, libc::F_SETFL, O_RDWR | O_NONBLOCK);
    let mut b = [0u8; 256];
    let r = sys!(SYS_read, fd, &mut b, 256);
    sys!(SYS_fcntl, fd, libc::F_SETFL, O_RDWR);
    if r.ok() { format!("{r}:{}", show::bytes(&b[..r.0 as usize])) } else { r.to_string() }
}
fn write(fd: i32, b: &[u8]) -> show::R {
    sys!(SYS_write, fd, b, b.len())
}

fn opening() {
    let m = master();
    let mut n = -1i32;
    say!("ptmx={} ptn={} number sane={}", m >= 0, sys!(SYS_ioctl, m, TIOCGPTN, &mut n), n >= 0);
    let p = CString::new(format!("/dev/pts/{n}")).unwrap_or_default();
    say!("number sane={} locked open={}", n >= 0, sys!(SYS_open, p.as_c_str(), O_RDWR | O_NOCTTY));
    let mut l = -1i32;
    say!(
        "get lock={} unlock={} open={}",
        sys!(SYS_ioctl, m, libc::TIOCGPTLCK, &mut l),
        sys!(SYS_ioctl, m, TIOCSPTLCK, &0i32),
        sys!(SYS_open, p.as_c_str(), O_RDWR | O_NOCTTY).sign()
    );
    say!(
        "lock={l} peer={} ptn on slave={}",
        sys!(SYS_ioctl, m, libc::TIOCGPTPEER, O_RDWR | O_NOCTTY).sign(),
        sys!(SYS_ioctl, open(&p, O_RDWR | O_NOCTTY), TIOCGPTN, &mut n)
    );
    let mut st: libc::stat = zeroed();
    sys!(SYS_stat, p.as_c_str(), &mut st);
    say!(
        "slave kind={:o} major={} mine={}",
        st.st_mode & libc::S_IFMT,
        libc::major(st.st_rdev),
        i64::from(st.st_uid) == sys!(SYS_getuid).0
    );
    close(m);
    say!("gone with the master={}", sys!(SYS_open, p.as_c_str(), O_RDWR | O_NOCTTY));
    say!("controlling terminal still none={}", sys!(SYS_open, c"/dev/tty", O_RDWR));
}

fn modes() {
    let (m, s) = pair();
    let t = get(s);
    say!("default flags={:#x?}", t.flags.map(|f| f).to_vec());
    say!("cc={:?} line={}", t.cc, t.line);
    say!("same through master={} on a pipe={}", get(m) == t, sys!(SYS_ioctl, pipe(0).0, TCGETS, &mut get(s)));
    say!(
        "set={} icanon off={}",
        change(s, |t| t.flags[3] &= !(ICANON | ECHO)),
        get(s).flags[3] & (ICANON | ECHO)
    );
    say!(
        "tcsetsw={} tcsetsf={} null={}",
        sys!(SYS_ioctl, s, libc::TCSETSW, &t),
        sys!(SYS_ioctl, s, libc::TCSETSF, &t),
        sys!(SYS_ioctl, s, TCGETS, 0)
    );
    say!(
        "isatty-like unknown={} tcsbrk={} drain={} flush={} bad flush={}",
        sys!(SYS_ioctl, s, 0x54ff, 0),
        sys!(SYS_ioctl, s, libc::TCSBRK, 0),
        sys!(SYS_ioctl, s, libc::TCSBRK, 1),
        sys!(SYS_ioctl, s, libc::TCFLSH, 2),
        sys!(SYS_ioctl, s, libc::TCFLSH, 9)
    );
    say!("lseek={} pread={}", sys!(SYS_lseek, s, 0, 0), sys!(SYS_pread64, s, &mut [0u8; 1], 1, 0));
}

fn discipline() {
    let (m, s) = pair();
    say!("canonical write={} slave before newline={} echo={}", write(m, b"abc"), read(s), read(m));
    say!("newline={} slave={} echo={}", write(m, b"\n"), read(s), read(m));
    say!("erase={} slave={} echo={}", write(m, b"xy\x7fz\n"), read(s), read(m));
    say!("kill={} slave={} echo={}", write(m, b"gone\x15kept\r"), read(s), read(m));
    say!("word erase={} slave={} echo={}", write(m, b"one two\x17end\n"), read(s), read(m));
    say!("eof={} slave={} then={}", write(m, b"part\x04"), read(s), read(s));
    say!("bare eof={} slave={}", write(m, b"\x04"), read(s));
    read(m);
    say!("control echo={} {} literal={} {}", write(m, b"\x01\n"), read(m), write(m, b"\x16\x03\n"), read(s));
    read(m);
    read(s);
    say!("two lines={} first={} second={}", write(m, b"l1\nl2\n"), read(s), read(s));
    read(m);
    say!("output={} with cr={}", write(s, b"a\nb"), read(m));
    change(s, |t| t.flags[1] &= !1);
    say!("no opost={} {}", write(s, b"a\nb"), read(m));
    change(s, |t| t.flags[3] &= !(ICANON | ECHO));
    say!("raw={} slave={} echo={}", write(m, b"k\x7f\x04"), read(s), read(m));
    change(s, |t| {
        t.cc[6] = 0;
        t.cc[5] = 1;
    });
    let t0 = crate::run::now_ms();
    say!("vmin 0 vtime 1={} waited={}", sys!(SYS_read, s, &mut [0u8; 4], 4), crate::run::now_ms() - t0 >= 90);
    change(s, |t| {
        t.cc[6] = 3;
        t.cc[5] = 0;
    });
    write(m, b"12");
    let c = spawn(|| {
        sleep_ms(20);
        write(m, b"345");
        0
    });
    say!("vmin 3={} child={}", sys!(SYS_read, s, &mut [0u8; 10], 10).0 >= 3, wait(c));
}

fn sizes() {
    let (m, s) = pair();
    let mut w = [9u16; 4];
    say!("default={} {w:?}", sys!(SYS_ioctl, s, TIOCGWINSZ, &mut w));
    say!("{w:?} set={}", sys!(SYS_ioctl, m, TIOCSWINSZ, &[24u16, 80, 1, 2]));
    say!("get by slave={}", sys!(SYS_ioctl, s, TIOCGWINSZ, &mut w));
    say!(
        "{w:?} null={} on pipe={}",
        sys!(SYS_ioctl, s, TIOCGWINSZ, 0),
        sys!(SYS_ioctl, pipe(0).0, TIOCGWINSZ, &mut w)
    );
    let mut n = 0i32;
    write(m, b"12345\n");
    sleep_ms(20);
    say!("fionread={} ", sys!(SYS_ioctl, s, libc::FIONREAD, &mut n));
    say!("n={n} outq={}", sys!(SYS_ioctl, s, libc::TIOCOUTQ, &mut n));
}

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
static GOT: AtomicI32 = AtomicI32::new(0);
extern "C" fn note(s: i32) {
    GOT.store(s, SeqCst);
}
fn got() -> String {
    sleep_ms(20);
    match GOT.swap(0, SeqCst) {
        0 => "none".into(),
        s => show::signal(s),
    }
}

fn controlling() {
    let (m, s) = pair();
    let mut v = 0i32;
    say!(
        "before: pgrp={} sid={} notty={}",
        sys!(SYS_ioctl, s, TIOCGPGRP, &mut v),
        sys!(SYS_ioctl, s, TIOCGSID, &mut v),
        sys!(SYS_ioctl, s, TIOCNOTTY, 0)
    );
    say!(
        "set={} again={} pgrp={} is own={}",
        sys!(SYS_ioctl, s, TIOCSCTTY, 0),
        sys!(SYS_ioctl, s, TIOCSCTTY, 0),
        sys!(SYS_ioctl, s, TIOCGPGRP, &mut v),
        i64::from(v) == sys!(SYS_getpgrp).0
    );
    say!(
        "is own={} sid={} own={}",
        i64::from(v) == sys!(SYS_getpgrp).0,
        sys!(SYS_ioctl, s, TIOCGSID, &mut v),
        i64::from(v) == sys!(SYS_getsid, 0).0
    );
    let t = open(c"/dev/tty", O_RDWR);
    say!("/dev/tty={} write={} master reads={}", t >= 0, write(t, b"hi"), read(m));
    for g in [libc::SIGINT, libc::SIGQUIT, SIGWINCH] {
        handler(g, note as *const () as usize, libc::SA_RESTART);
    }
    say!("^C={} signal={} echo={}", write(m, b"\x03"), got(), read(m));
    say!("^\\={} signal={}", write(m, b"\x1c"), got());
    sys!(SYS_ioctl, m, TIOCSWINSZ, &[30u16, 90, 0, 0]);
    say!("resize signal={}", got());
    sys!(SYS_ioctl, m, TIOCSWINSZ, &[30u16, 90, 0, 0]);
    say!("same size signal={}", got());
    change(s, |t| t.flags[3] &= !ISIG);
    say!("no isig={} signal={}", write(m, b"\x03"), got());
    say!(
        "pgrp to a missing group={} negative={} second terminal={}",
        sys!(SYS_ioctl, s, TIOCSPGRP, &999_999i32),
        sys!(SYS_ioctl, s, TIOCSPGRP, &-1i32),
        sys!(SYS_ioctl, pair().1, TIOCSCTTY, 0)
    );
    let end = fate(|| {
        sys!(SYS_setsid);
        let t = sys!(SYS_open, c"/dev/tty", O_RDWR);
        let c = sys!(SYS_ioctl, s, TIOCSCTTY, 0);
        say!("other session: tty={t} steal={c}");
        0
    });
    say!(
        "{end} open without O_NOCTTY in a child session={}",
        fate(|| {
            sys!(SYS_setsid);
            let n = slave_name(m);
            let _ = open(&n, O_RDWR);
            i32::from(sys!(SYS_open, c"/dev/tty", O_RDWR).ok())
        })
    );
}

fn opened_as_controlling() {
    let m = master();
    let n = slave_name(m);
    let end = fate(|| {
        sys!(SYS_setsid);
        let s = open(&n, O_RDWR);
        let mut v = 0i32;
        say!(
            "sid={} mine={}",
            sys!(SYS_ioctl, s, TIOCGSID, &mut v),
            sys!(SYS_open, c"/dev/tty", O_RDWR).ok()
        );
        say!(
            "notty={} tty={}",
            {
                handler(SIGHUP, libc::SIG_IGN, 0);
                sys!(SYS_ioctl, s, TIOCNOTTY, 0)
            },
            sys!(SYS_open, c"/dev/tty", O_RDWR)
        );
        0
    });
    say!("{end}");
}

fn job_control() {
    let (m, s) = pair();
    sys!(SYS_ioctl, s, TIOCSCTTY, 0);
    let (r, w) = pipe(0);
    let bg = |f: &dyn Fn() -> i32| {
        let p = spawn(|| {
            sys!(SYS_setpgid, 0, 0);
            post(w);
            f()
        });
        await_post(r);
        p
    };
    let mut st = 0;
    let mut see = |p: i32| {
        sys!(SYS_wait4, p, &mut st, libc::WUNTRACED, 0);
        show::status(st)
    };
    let p = bg(&|| {
        let mut b = [0u8; 8];
        sys!(SYS_read, s, &mut b, 8).fd()
    });
    say!("background read={}", see(p));
    say!(
        "foreground={} continue={} write={} end={}",
        sys!(SYS_ioctl, s, TIOCSPGRP, &p),
        kill(p, SIGCONT),
        write(m, b"line\n"),
        see(p)
    );
    handler(SIGTTOU, libc::SIG_IGN, 0);
    say!("take back ignoring SIGTTOU={}", sys!(SYS_ioctl, s, TIOCSPGRP, &sys!(SYS_getpgrp).fd()));
    handler(SIGTTOU, libc::SIG_DFL, 0);
    let p = bg(&|| write(s, b"x").fd());
    say!("background write without tostop={}", see(p));
    change(s, |t| t.flags[3] |= libc::TOSTOP);
    let p = bg(&|| write(s, b"x").fd());
    say!("with tostop={}", see(p));
    kill(p, libc::SIGKILL);
    wait(p);
    let p = bg(&|| change(s, |_| {}).fd());
    say!("background tcsetattr={}", see(p));
    kill(p, libc::SIGKILL);
    wait(p);
    let p = bg(&|| {
        handler(SIGTTIN, libc::SIG_IGN, 0);
        i32::from(sys!(SYS_read, s, &mut [0u8; 1], 1) == show::R(-5))
    });
    say!("read ignoring SIGTTIN is EIO={}", see(p));
    let p = bg(&|| {
        crate::run::mask(libc::SIG_BLOCK, &[SIGTTOU]);
        i32::from(write(s, b"y").0 == 1)
    });
    say!("write blocking SIGTTOU passes={}", see(p));
    let p = bg(&|| {
        sleep_ms(5000);
        0
    });
    sys!(SYS_ioctl, s, TIOCSPGRP, &p);
    write(m, b"\x1a");
    say!("^Z={}", see(p));
    kill(p, SIGCONT);
    write(m, b"\x03");
    say!("^C={}", see(p));
}

fn hangup() {
    let (m, s) = pair();
    let (r, w) = pipe(0);
    let p = spawn(|| {
        close(m);
        sys!(SYS_setsid);
        sys!(SYS_ioctl, s, TIOCSCTTY, 0);
        handler(SIGHUP, note as *const () as usize, 0);
        post(w);
        let t = crate::run::now_ms();
        while GOT.load(SeqCst) == 0 && crate::run::now_ms() - t < 3000 {
            sys!(SYS_sched_yield);
        }
        let mut v = 0i32;
        say!(
            "signal={} read={} write={} pgrp={}",
            show::signal(GOT.load(SeqCst)),
            sys!(SYS_read, s, &mut [0u8; 1], 1),
            write(s, b"x"),
            sys!(SYS_ioctl, s, TIOCGPGRP, &mut v)
        );
        let mut pf = libc::pollfd { fd: s, events: 5, revents: 0 };
        sys!(SYS_poll, &mut pf, 1, 0);
        say!("poll={:#x} /dev/tty={}", pf.revents, sys!(SYS_open, c"/dev/tty", O_RDWR));
        4
    });
    await_post(r);
    close(m);
    say!("child={}", wait(p));
    let (m, s) = pair();
    write(s, b"last words");
    close(s);
    let mut pf = libc::pollfd { fd: m, events: 5, revents: 0 };
    sys!(SYS_poll, &mut pf, 1, 100);
    say!("slave closed: poll={:#x} data={} then={}", pf.revents, read(m), read(m));
    let again = open(&slave_name(m), O_RDWR | O_NOCTTY);
    say!("slave opened again: write={} master={}", write(again, b"back"), read(m));
    let (m, s) = pair();
    let p = spawn(|| {
        close(m);
        sys!(SYS_setsid);
        sys!(SYS_ioctl, s, TIOCSCTTY, 0);
        post(w);
        sleep_ms(5000);
        0
    });
    await_post(r);
    close(m);
    say!("default action={}", wait(p));
}

fn leader_exit() {
    // The end of a session leader hangs up its foreground group.
    let (_m, s) = pair();
    let (r, w) = pipe(0);
    let p = spawn(|| {
        sys!(SYS_setsid);
        sys!(SYS_ioctl, s, TIOCSCTTY, 0);
        let (r2, w2) = pipe(0);
        spawn(|| {
            handler(SIGHUP, note as *const () as usize, 0);
            post(w2);
            let t = crate::run::now_ms();
            while GOT.load(SeqCst) == 0 && crate::run::now_ms() - t < 3000 {
                sys!(SYS_sched_yield);
            }
            say!("foreground child got {}", show::signal(GOT.load(SeqCst)));
            post(w);
            0
        });
        await_post(r2);
        0
    });
    wait(p);
    say!("seen={}", await_post(r));
}

pub(crate) const CASES: &[Case] = &[
    ("opening", opening),
    ("modes", modes),
    ("discipline", discipline),
    ("sizes", sizes),
    ("controlling", controlling),
    ("opened_as_controlling", opened_as_controlling),
    ("job_control", job_control),
    ("hangup", hangup),
    ("leader_exit", leader_exit),
];
