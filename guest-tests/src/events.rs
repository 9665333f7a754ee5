//! Waiting for descriptors: poll, select, epoll, eventfd, signalfd, inotify.

use crate::mem::KERNEL;
use crate::run::{
    Case, close, fate, file, kill, mask, now_ms, open, pipe, post, say, set, sleep_ms, spawn, sys, ts, wait,
};
use crate::show;
use libc::{
    EPOLL_CTL_ADD as ADD, EPOLL_CTL_DEL as DEL, EPOLL_CTL_MOD as MOD, EPOLLIN, EPOLLOUT, O_NONBLOCK, SIGUSR1,
    epoll_event, pollfd,
};

const EV: &[(u64, &str)] = &[
    (1, "IN"),
    (2, "PRI"),
    (4, "OUT"),
    (8, "ERR"),
    (16, "HUP"),
    (32, "NVAL"),
    (0x40, "RDNORM"),
    (0x100, "WRNORM"),
    (0x2000, "RDHUP"),
];

fn ready(fd: i32, events: i16) -> String {
    let mut p = pollfd { fd, events, revents: 0 };
    let r = sys!(SYS_poll, &mut p, 1, 0);
    format!("{r}/{}", show::bits(p.revents as u64, EV))
}

fn polling() {
    let (r, w) = pipe(0);
    say!("empty r={} w={}", ready(r, 0x2fff & !0x2000), ready(w, 5));
    post(w);
    say!("filled r={} asked nothing={}", ready(r, 1), ready(r, 0));
    say!(
        "closed fd={} negative={} file={} dir={} null={}",
        ready(77, 1),
        ready(-1, 1),
        ready(open(c"f", libc::O_CREAT | 2), 5),
        ready(open(c".", 0), 5),
        ready(0, 5)
    );
    close(w);
    say!("writer gone with data={} ", ready(r, 1));
    sys!(SYS_read, r, &mut [0u8; 1], 1);
    say!("and without={}", ready(r, 1));
    let t = now_ms();
    say!("timeout={} waited={}", sys!(SYS_poll, 0, 0, 30), now_ms() - t >= 29);
    say!(
        "null={} kernel={} too many={}",
        sys!(SYS_poll, 0, 1, 0),
        sys!(SYS_poll, KERNEL, 1, 0),
        sys!(SYS_poll, 0, 5000, 0)
    );
    let mut p = pollfd { fd: r, events: 0, revents: 0 };
    say!(
        "ppoll={} negative={} nsec={} size={}",
        sys!(SYS_ppoll, &mut p, 1, &ts(0), 0, 8),
        sys!(SYS_ppoll, &mut p, 1, &ts(-1000), 0, 8),
        sys!(SYS_ppoll, &mut p, 1, &[0i64, 1 << 40], 0, 8),
        sys!(SYS_ppoll, &mut p, 1, &ts(0), &0u64, 4)
    );
    let (r, w) = pipe(0);
    let c = spawn(|| {
        sleep_ms(20);
        post(w);
        0
    });
    let mut p = pollfd { fd: r, events: 1, revents: 0 };
    say!("woken={} child={}", sys!(SYS_poll, &mut p, 1, 5000), wait(c));
}

extern "C" fn nothing(_: i32) {}

fn ppoll_mask() {
    crate::run::handler(SIGUSR1, nothing as *const () as usize, 0);
    mask(libc::SIG_BLOCK, &[SIGUSR1]);
    sys!(SYS_kill, sys!(SYS_getpid).0, SIGUSR1);
    say!(
        "pending under mask={} opened={}",
        sys!(SYS_ppoll, 0, 0, &ts(10), 0, 8),
        sys!(SYS_ppoll, 0, 0, &ts(1000), &0u64, 8)
    );
    sys!(SYS_kill, sys!(SYS_getpid).0, SIGUSR1);
    let arg = [&raw const ZERO as usize, 8];
    say!("pselect opened={}", sys!(SYS_pselect6, 0, 0, 0, 0, &ts(1000), &arg));
    sys!(SYS_kill, sys!(SYS_getpid).0, SIGUSR1);
    let ep = sys!(SYS_epoll_create1, 0).fd();
    let mut e = [epoll_event { events: 0, u64: 0 }; 1];
    say!("epoll_pwait opened={} mask stays={}", sys!(SYS_epoll_pwait, ep, &mut e, 1, 1000, &0u64, 8), {
        let mut m = 0u64;
        sys!(SYS_rt_sigprocmask, 0, 0, &mut m, 8);
        m
    });
}
static ZERO: u64 = 0;

fn selecting() {
    let (r, w) = pipe(0);
    let go = |n: i32, rd: u64, wr: u64, ex: u64, ms: i64| {
        let (mut a, mut b, mut c) = (rd, wr, ex);
        let mut tv = [ms / 1000, ms % 1000 * 1000];
        let x = sys!(SYS_select, n, &mut a, &mut b, &mut c, &mut tv);
        format!("{x} r={a:#x} w={b:#x} e={c:#x}")
    };
    say!("empty={}", go(10, 1 << r, 1 << w, 1 << r, 10));
    post(w);
    say!("filled={} only below n={}", go(10, 1 << r, 1 << w, 0, 10), go(3, 1 << r, 1 << w, 0, 0));
    say!("bad fd={} negative n={} zero={}", go(60, 1 << 50, 0, 0, 0), go(-1, 0, 0, 0, 0), go(0, 0, 0, 0, 5));
    say!(
        "negative time={} null sets={} wild={}",
        sys!(SYS_select, 0, 0, 0, 0, &[-1i64, 0]),
        sys!(SYS_select, 5, 0, 0, 0, &[0i64, 1000]),
        sys!(SYS_select, 5, 1, 0, 0, 0)
    );
    let t = ts(20);
    say!("pselect={} timeout untouched or zero={}", sys!(SYS_pselect6, 0, 0, 0, 0, &t, 0), t.tv_sec == 0);
}

fn wait_ep(ep: i32, ms: i32) -> String {
    let mut e = [epoll_event { events: 0, u64: 0 }; 8];
    let r = sys!(SYS_epoll_wait, ep, &mut e, 8, ms);
    let mut v: Vec<String> = e[..r.0.max(0) as usize]
        .iter()
        .map(|e| {
            let (d, ev) = (e.u64, e.events);
            format!("{d}:{}", show::bits(u64::from(ev), EV))
        })
        .collect();
    v.sort();
    format!("{r}[{}]", v.join(","))
}
fn ctl(ep: i32, op: i32, fd: i32, ev: i32, data: u64) -> show::R {
    sys!(SYS_epoll_ctl, ep, op, fd, &epoll_event { events: ev as u32, u64: data })
}

fn epoll_levels() {
    let ep = sys!(SYS_epoll_create1, libc::EPOLL_CLOEXEC).fd();
    let (r, w) = pipe(O_NONBLOCK);
    let mut b = [0u8; 8];
    say!("add={} {} empty={}", ctl(ep, ADD, r, EPOLLIN, 1), ctl(ep, ADD, w, EPOLLOUT, 2), wait_ep(ep, 0));
    post(w);
    say!("level={} again={}", wait_ep(ep, 0), wait_ep(ep, 0));
    say!(
        "edge={} first={} second={}",
        ctl(ep, MOD, r, EPOLLIN | libc::EPOLLET, 1),
        wait_ep(ep, 0),
        wait_ep(ep, 0)
    );
    post(w);
    say!("edge after more={} partly read={}", wait_ep(ep, 0), {
        sys!(SYS_read, r, &mut b, 1);
        wait_ep(ep, 0)
    });
    say!(
        "oneshot={} first={} second={}",
        ctl(ep, MOD, r, EPOLLIN | libc::EPOLLONESHOT, 1),
        wait_ep(ep, 0),
        wait_ep(ep, 0)
    );
    post(w);
    say!(
        "still silent={} rearm={} {}",
        wait_ep(ep, 0),
        ctl(ep, MOD, r, EPOLLIN | libc::EPOLLONESHOT, 7),
        wait_ep(ep, 0)
    );
    say!("del={} again={} left={}", ctl(ep, DEL, w, 0, 0), ctl(ep, DEL, w, 0, 0), wait_ep(ep, 0));
    sys!(SYS_read, r, &mut b, 8);
    ctl(ep, MOD, r, EPOLLIN | libc::EPOLLRDHUP, 1);
    close(w);
    say!("hangup={} closed fd leaves={}", wait_ep(ep, 0), {
        close(r);
        wait_ep(ep, 0)
    });
}

fn epoll_dup() {
    let ep = sys!(SYS_epoll_create1, 0).fd();
    let (r, w) = pipe(0);
    let d = sys!(SYS_dup, r).fd();
    say!("both={} {}", ctl(ep, ADD, r, EPOLLIN, 1), ctl(ep, ADD, d, EPOLLIN, 2));
    post(w);
    say!("ready={} one closed, description lives={}", wait_ep(ep, 0), {
        close(r);
        wait_ep(ep, 0)
    });
    let c = spawn(|| {
        sleep_ms(20);
        let w2 = open(c"/dev/null", 1);
        close(w2);
        0
    });
    wait(c);
    say!("max 1={}", {
        let mut e = [epoll_event { events: 0, u64: 0 }; 1];
        sys!(SYS_epoll_wait, ep, &mut e, 1, 0)
    });
}

fn epoll_errors() {
    let ep = sys!(SYS_epoll_create1, 0).fd();
    let (r, w) = pipe(0);
    let f = open(c"f", libc::O_CREAT | 2);
    say!(
        "add={} again={} mod missing={} file={} dir={}",
        ctl(ep, ADD, r, EPOLLIN, 1),
        ctl(ep, ADD, r, EPOLLIN, 1),
        ctl(ep, MOD, w, 0, 0),
        ctl(ep, ADD, f, EPOLLIN, 1),
        ctl(ep, ADD, open(c".", 0), 1, 1)
    );
    say!(
        "itself={} bad op={} bad ep={} not ep={} bad fd={}",
        ctl(ep, ADD, ep, EPOLLIN, 1),
        ctl(ep, 9, w, 0, 0),
        ctl(-1, ADD, r, 0, 0),
        ctl(r, ADD, w, 0, 0),
        ctl(ep, ADD, 999, 0, 0)
    );
    say!("null event={} del null={}", sys!(SYS_epoll_ctl, ep, ADD, w, 0), sys!(SYS_epoll_ctl, ep, DEL, r, 0));
    say!(
        "create 0={} create -1={} create 1={} create1 flag={}",
        sys!(SYS_epoll_create, 0),
        sys!(SYS_epoll_create, -1),
        sys!(SYS_epoll_create, 1).ok(),
        sys!(SYS_epoll_create1, 1)
    );
    let mut e = [epoll_event { events: 0, u64: 0 }; 1];
    say!(
        "max 0={} -1={} on pipe={} bad={}",
        sys!(SYS_epoll_wait, ep, &mut e, 0, 0),
        sys!(SYS_epoll_wait, ep, &mut e, -1, 0),
        sys!(SYS_epoll_wait, r, &mut e, 1, 0),
        sys!(SYS_epoll_wait, -1, &mut e, 1, 0)
    );
    ctl(ep, ADD, w, EPOLLOUT, 1);
    say!(
        "kernel buffer={} read={} exclusive={} exclusive mod={}",
        sys!(SYS_epoll_wait, ep, KERNEL, 1, 0),
        sys!(SYS_read, ep, &mut [0u8; 8], 8),
        ctl(ep, ADD, r, EPOLLIN | libc::EPOLLEXCLUSIVE, 1),
        ctl(ep, MOD, r, EPOLLIN, 1)
    );
    let t = now_ms();
    ctl(ep, DEL, w, 0, 0);
    say!(
        "timeout={} waited={} pwait2={}",
        wait_ep(ep, 30),
        now_ms() - t >= 29,
        sys!(SYS_epoll_pwait2, ep, &mut e, 1, &ts(5), 0, 8)
    );
}

fn epoll_nested() {
    let (a, b, c) =
        (sys!(SYS_epoll_create1, 0).fd(), sys!(SYS_epoll_create1, 0).fd(), sys!(SYS_epoll_create1, 0).fd());
    let (r, w) = pipe(0);
    say!(
        "chain={} {} {} loop={}",
        ctl(a, ADD, b, EPOLLIN, 1),
        ctl(b, ADD, c, EPOLLIN, 2),
        ctl(c, ADD, r, EPOLLIN, 3),
        ctl(c, ADD, a, EPOLLIN, 4)
    );
    say!("quiet={} {}", wait_ep(a, 0), ready(a, 1));
    post(w);
    say!("a={} b={} c={} poll={}", wait_ep(a, 0), wait_ep(b, 0), wait_ep(c, 0), ready(a, 1));
    let mut made = 0;
    let mut last = c;
    for _ in 0..8 {
        let e = sys!(SYS_epoll_create1, 0).fd();
        made += i32::from(ctl(e, ADD, last, EPOLLIN, 0).ok());
        last = e;
    }
    say!("depth allowed={made}");
}

fn eventfd() {
    let e = sys!(SYS_eventfd2, 3, O_NONBLOCK).fd();
    let mut v = 0u64;
    say!(
        "ready={} read={} v={v} empty={}",
        ready(e, 5),
        sys!(SYS_read, e, &mut v, 8),
        sys!(SYS_read, e, &mut v, 8)
    );
    say!(
        "v={v} write={} add={} short={} max={}",
        sys!(SYS_write, e, &5u64, 8),
        sys!(SYS_write, e, &6u64, 8),
        sys!(SYS_write, e, &1u32, 4),
        sys!(SYS_write, e, &u64::MAX, 8)
    );
    say!(
        "read={} nearly full={} over={} ready={}",
        sys!(SYS_read, e, &mut v, 8),
        sys!(SYS_write, e, &(u64::MAX - 1), 8),
        sys!(SYS_write, e, &1u64, 8),
        ready(e, 5)
    );
    say!("v={v} short read={} lseek={}", sys!(SYS_read, e, &mut v, 4), sys!(SYS_lseek, e, 0, 0));
    let s = sys!(SYS_eventfd2, 2, O_NONBLOCK | libc::EFD_SEMAPHORE).fd();
    say!(
        "semaphore={} {} {}",
        sys!(SYS_read, s, &mut v, 8),
        sys!(SYS_read, s, &mut v, 8),
        sys!(SYS_read, s, &mut v, 8)
    );
    say!("v={v} flags={} eventfd={}", sys!(SYS_eventfd2, 0, 2), sys!(SYS_eventfd, 1).ok());
    let b = sys!(SYS_eventfd2, 0, 0).fd();
    let c = spawn(|| {
        sleep_ms(20);
        sys!(SYS_write, b, &9u64, 8);
        0
    });
    say!("blocking={} child={}", sys!(SYS_read, b, &mut v, 8), wait(c));
    say!("v={v}");
}

fn signalfd() {
    mask(libc::SIG_BLOCK, &[SIGUSR1, libc::SIGCHLD]);
    let fd = sys!(SYS_signalfd4, -1, &set(&[SIGUSR1]), 8, O_NONBLOCK).fd();
    let mut b = [0u32; 64];
    say!("empty={} ready={}", sys!(SYS_read, fd, &mut b, 256), ready(fd, 1));
    sys!(SYS_kill, sys!(SYS_getpid).0, SIGUSR1);
    say!("ready={} read={} ", ready(fd, 1), sys!(SYS_read, fd, &mut b, 256));
    say!("signo={} code={} pid={}", b[0], b[2] as i32, i64::from(b[3]) == sys!(SYS_getpid).0);
    say!("consumed={}", sys!(SYS_read, fd, &mut b, 256));
    say!("change={} same fd", sys!(SYS_signalfd4, fd, &set(&[libc::SIGCHLD]), 8, 0).fd() == fd);
    let p = spawn(|| 6);
    let mut pf = pollfd { fd, events: 1, revents: 0 };
    say!("chld poll={} read={}", sys!(SYS_poll, &mut pf, 1, 3000), sys!(SYS_read, fd, &mut b, 128));
    say!("status={} pid={}", b[10], b[3] as i32 == p);
    wait(p);
    say!(
        "short={} size={} not signalfd={} flags={} null={}",
        sys!(SYS_read, fd, &mut b, 100),
        sys!(SYS_signalfd4, -1, &0u64, 4, 0),
        sys!(SYS_signalfd4, 0, &0u64, 8, 0),
        sys!(SYS_signalfd4, -1, &0u64, 8, 1),
        sys!(SYS_signalfd4, -1, 0, 8, 0)
    );
}

const IN: &[(u64, &str)] = &[
    (1, "ACCESS"),
    (2, "MODIFY"),
    (4, "ATTRIB"),
    (8, "CLOSE_WRITE"),
    (0x10, "CLOSE_NOWRITE"),
    (0x20, "OPEN"),
    (0x40, "MOVED_FROM"),
    (0x80, "MOVED_TO"),
    (0x100, "CREATE"),
    (0x200, "DELETE"),
    (0x400, "DELETE_SELF"),
    (0x800, "MOVE_SELF"),
    (0x4000, "Q_OVERFLOW"),
    (0x8000, "IGNORED"),
    (0x4000_0000, "ISDIR"),
];

pub(crate) fn inotify_events(fd: i32) -> String {
    let mut b = [0u8; 4096];
    let n = sys!(SYS_read, fd, &mut b, 4096);
    if !n.ok() {
        return n.to_string();
    }
    let (mut at, mut out) = (0, Vec::new());
    while at < n.0 as usize {
        let w = |o: usize| u32::from_ne_bytes([b[at + o], b[at + o + 1], b[at + o + 2], b[at + o + 3]]);
        let len = w(12) as usize;
        let name = String::from_utf8_lossy(&b[at + 16..at + 16 + len]).trim_end_matches('\0').to_owned();
        out.push(format!(
            "{}:{}{}{}",
            w(0),
            show::bits(u64::from(w(4)), IN),
            if w(8) == 0 { "" } else { " cookie" },
            if name.is_empty() { name } else { format!(" {name}") }
        ));
        at += 16 + len;
    }
    out.join("; ")
}

fn inotify() {
    sys!(SYS_mkdir, c"d", 0o755);
    file(c"f", b"x");
    let i = sys!(SYS_inotify_init1, O_NONBLOCK | libc::IN_CLOEXEC).fd();
    say!(
        "empty={} add dir={} file={}",
        inotify_events(i),
        sys!(SYS_inotify_add_watch, i, c"d", 0xfff),
        sys!(SYS_inotify_add_watch, i, c"f", 0xfff)
    );
    file(c"d/new", b"data");
    say!("create and write: {}", inotify_events(i));
    crate::run::cat(c"d/new");
    say!("read: {}", inotify_events(i));
    sys!(SYS_chmod, c"d/new", 0o600);
    sys!(SYS_rename, c"d/new", c"d/moved");
    say!("chmod, rename: {}", inotify_events(i));
    sys!(SYS_mkdir, c"d/sub", 0o755);
    sys!(SYS_rmdir, c"d/sub");
    sys!(SYS_unlink, c"d/moved");
    say!("subdir, unlink: {}", inotify_events(i));
    sys!(SYS_truncate, c"f", 0);
    say!("truncate: {}", inotify_events(i));
    sys!(SYS_rename, c"f", c"g");
    sys!(SYS_unlink, c"g");
    say!("move self, delete self: {}", inotify_events(i));
    say!(
        "rm={} again={} events: {}",
        sys!(SYS_inotify_rm_watch, i, 1),
        sys!(SYS_inotify_rm_watch, i, 1),
        inotify_events(i)
    );
    say!(
        "missing={} no mask={} bad fd={} not inotify={} flags={}",
        sys!(SYS_inotify_add_watch, i, c"none", 0xfff),
        sys!(SYS_inotify_add_watch, i, c"d", 0),
        sys!(SYS_inotify_add_watch, -1, c"d", 1),
        sys!(SYS_inotify_add_watch, 0, c"d", 1),
        sys!(SYS_inotify_init1, 1)
    );
    say!(
        "add={} same wd={} onlydir={} create={}",
        sys!(SYS_inotify_add_watch, i, c"d", 0x100),
        sys!(SYS_inotify_add_watch, i, c"d", 0x200),
        {
            file(c"h", b"");
            sys!(SYS_inotify_add_watch, i, c"h", 0x0100_0002)
        },
        sys!(SYS_inotify_add_watch, i, c"d", 0x1000_0100)
    );
    file(c"d/n", b"");
    sys!(SYS_unlink, c"d/n");
    say!("only delete: {}", inotify_events(i));
    say!("oneshot={} {}", sys!(SYS_inotify_add_watch, i, c"h", 0x8000_0002u32), {
        file(c"h", b"1");
        file(c"h", b"2");
        inotify_events(i)
    });
    sys!(SYS_inotify_add_watch, i, c"h", 2);
    let fd = open(c"h", 1);
    (0..5).for_each(|_| {
        sys!(SYS_write, fd, b"z", 1);
    });
    say!("equal events merge: {}", inotify_events(i).split("; ").count());
}

fn exclusive() {
    let (r, w) = pipe(O_NONBLOCK);
    let kids: Vec<i32> = (0..3)
        .map(|_| {
            spawn(|| {
                let ep = sys!(SYS_epoll_create1, 0).fd();
                ctl(ep, ADD, r, EPOLLIN | libc::EPOLLEXCLUSIVE, 1);
                let mut e = [epoll_event { events: 0, u64: 0 }; 1];
                i32::from(
                    sys!(SYS_epoll_wait, ep, &mut e, 1, 3000).0 == 1
                        && sys!(SYS_read, r, &mut [0u8; 1], 1).0 == 1,
                )
            })
        })
        .collect();
    sleep_ms(40);
    post(w);
    let mut st = 0;
    let first = sys!(SYS_wait4, -1, &mut st, 0, 0);
    say!("at least one woke={} {}", first.ok(), fate(|| 0));
    for k in kids {
        kill(k, libc::SIGKILL);
        wait(k);
    }
}

pub(crate) const CASES: &[Case] = &[
    ("polling", polling),
    ("ppoll_mask", ppoll_mask),
    ("selecting", selecting),
    ("epoll_levels", epoll_levels),
    ("epoll_dup", epoll_dup),
    ("epoll_errors", epoll_errors),
    ("epoll_nested", epoll_nested),
    ("eventfd", eventfd),
    ("signalfd", signalfd),
    ("inotify", inotify),
    ("exclusive", exclusive),
];
