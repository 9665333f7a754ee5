//! Pipes and FIFOs.

use crate::mem::zeroed;
use crate::run::{Case, close, fate, handler, now_ms, open, pipe, say, sleep_ms, spawn, sys, wait};
use crate::show;
use libc::{
    F_GETPIPE_SZ, F_SETFL, F_SETPIPE_SZ, FIONREAD, O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR,
    O_WRONLY,
};

fn basic() {
    let (r, w) = pipe(0);
    let mut b = [0u8; 32];
    say!("fds={r} {w} write={} more={}", sys!(SYS_write, w, b"abc", 3), sys!(SYS_write, w, b"defgh", 5));
    let mut n = 0i32;
    say!(
        "fionread={} read={} data={}",
        sys!(SYS_ioctl, r, FIONREAD, &mut n),
        sys!(SYS_read, r, &mut b, 5),
        show::bytes(&b[..5])
    );
    say!("n={n} rest={} {}", sys!(SYS_read, r, &mut b, 32), show::bytes(&b[..3]));
    say!("wrong ends={} {}", sys!(SYS_read, w, &mut b, 1), sys!(SYS_write, r, &b, 1));
    close(w);
    say!("eof={} again={}", sys!(SYS_read, r, &mut b, 1), sys!(SYS_read, r, &mut b, 1));
    say!(
        "null={} kernel={} flags={} pipe={}",
        sys!(SYS_pipe2, 0, 0),
        sys!(SYS_pipe, crate::mem::KERNEL),
        sys!(SYS_pipe2, &mut b, 1),
        sys!(SYS_pipe, &mut b)
    );
    say!("no descriptor leaked by failures={}", sys!(SYS_dup, 0));
}

fn broken() {
    let (r, w) = pipe(0);
    close(r);
    say!("default={}", fate(|| sys!(SYS_write, w, b"x", 1).fd()));
    handler(libc::SIGPIPE, libc::SIG_IGN, 0);
    say!("ignored={} zero length={}", sys!(SYS_write, w, b"x", 1), sys!(SYS_write, w, b"x", 0));
    let mut pf = libc::pollfd { fd: w, events: libc::POLLOUT, revents: 0 };
    say!("poll={} revents={:#x}", sys!(SYS_poll, &mut pf, 1, 0), pf.revents);
}

fn capacity() {
    let (r, w) = pipe(O_NONBLOCK);
    let page = vec![b'x'; 4096];
    let mut total = 0;
    loop {
        let n = sys!(SYS_write, w, &page[..], 4096);
        if !n.ok() {
            say!("full={n} total={total} size={}", sys!(SYS_fcntl, w, F_GETPIPE_SZ, 0));
            break;
        }
        total += n.0;
    }
    say!(
        "empty read={} 1 byte={}",
        {
            let mut b = [0u8; 100];
            sys!(SYS_read, r, &mut b[..], 100)
        },
        sys!(SYS_write, w, b"x", 1)
    );
    say!(
        "after a page={} 1 byte={}",
        {
            let mut b = vec![0u8; 4096];
            sys!(SYS_read, r, &mut b[..], 4096)
        },
        sys!(SYS_write, w, b"x", 1)
    );
    say!(
        "shrink below contents={} grow={} size={}",
        sys!(SYS_fcntl, w, F_SETPIPE_SZ, 4096),
        sys!(SYS_fcntl, r, F_SETPIPE_SZ, 100_000),
        sys!(SYS_fcntl, w, F_GETPIPE_SZ, 0)
    );
    let (_, v) = pipe(0);
    say!(
        "1={} 0={} 4097={} huge={}",
        sys!(SYS_fcntl, v, F_SETPIPE_SZ, 1),
        sys!(SYS_fcntl, v, F_SETPIPE_SZ, 0),
        sys!(SYS_fcntl, v, F_SETPIPE_SZ, 4097),
        sys!(SYS_fcntl, v, F_SETPIPE_SZ, 1u64 << 31)
    );
    say!("not a pipe={}", sys!(SYS_fcntl, 0, F_GETPIPE_SZ, 0));
}

fn atomic() {
    let (r, w) = pipe(O_NONBLOCK);
    let full = vec![0u8; 65536];
    sys!(SYS_write, w, &full[..], 65536);
    sys!(SYS_read, r, &mut vec![0u8; 4096][..], 4096);
    say!(
        "room for a page: 4097={} 4096={}",
        sys!(SYS_write, w, &full[..], 5000),
        sys!(SYS_write, w, &full[..], 4096)
    );
    let (r, w) = pipe(0);
    let kids: Vec<i32> = (0..4u8)
        .map(|i| {
            spawn(move || {
                for _ in 0..50 {
                    sys!(SYS_write, w, &[b'a' + i; 1000], 1000);
                }
                0
            })
        })
        .collect();
    close(w);
    let data = crate::run::drain(r);
    say!("total={} unmixed={}", data.len(), data.chunks(1000).all(|c| c.iter().all(|b| *b == c[0])));
    kids.into_iter().for_each(|k| {
        wait(k);
    });
    // A reader draining lets a large blocking write end.
    let (r, w) = pipe(0);
    let p = spawn(|| {
        close(w);
        i32::from(crate::run::drain(r).len() != 300_000)
    });
    say!("large write={}", sys!(SYS_write, w, &vec![1u8; 300_000][..], 300_000));
    close(w);
    say!("reader={}", wait(p));
}

fn packets() {
    let (r, w) = pipe(O_DIRECT | O_NONBLOCK);
    let mut b = [0u8; 64];
    sys!(SYS_write, w, b"first", 5);
    sys!(SYS_write, w, b"second", 6);
    say!(
        "read={} short={} next={}",
        sys!(SYS_read, r, &mut b, 64),
        sys!(SYS_read, r, &mut b, 2),
        sys!(SYS_read, r, &mut b, 64)
    );
}

fn nonblock_toggle() {
    let (r, w) = pipe(O_CLOEXEC);
    let mut b = [0u8; 4];
    sys!(SYS_fcntl, r, F_SETFL, O_NONBLOCK);
    say!("empty={} zero length={}", sys!(SYS_read, r, &mut b, 4), sys!(SYS_read, r, &mut b, 0));
    sys!(SYS_fcntl, r, F_SETFL, 0);
    let p = spawn(|| {
        sleep_ms(20);
        sys!(SYS_write, w, b"late", 4);
        0
    });
    say!("blocking={} data={}", sys!(SYS_read, r, &mut b, 4), show::bytes(&b));
    wait(p);
    say!(
        "data={} preadv2 nowait={}",
        show::bytes(&b),
        sys!(SYS_preadv2, r, &[b.as_mut_ptr() as usize, 4], 1, -1, -1, 8)
    );
}

fn reopen() {
    let (r, w) = pipe(0);
    let p = std::ffi::CString::new(format!("/proc/self/fd/{r}")).unwrap_or_default();
    let again = open(&p, O_WRONLY | O_NONBLOCK);
    say!("read end opened for writing={} write={}", again >= 0, sys!(SYS_write, again, b"hi", 2));
    let mut b = [0u8; 64];
    say!("read={} {}", sys!(SYS_read, r, &mut b, 64), show::bytes(&b[..2]));
    let n = sys!(SYS_readlink, p.as_c_str(), &mut b, 64).0.max(0) as usize;
    say!("link is pipe:[n]={} both same={}", b.starts_with(b"pipe:[") && b[n.max(1) - 1] == b']', {
        let (mut x, mut y) = (zeroed::<libc::stat>(), zeroed::<libc::stat>());
        sys!(SYS_fstat, r, &mut x);
        sys!(SYS_fstat, w, &mut y);
        x.st_ino == y.st_ino
    });
}

fn fifo() {
    sys!(SYS_mknod, c"p", libc::S_IFIFO | 0o600, 0);
    say!("wronly nonblock without reader={}", sys!(SYS_open, c"p", O_WRONLY | O_NONBLOCK));
    let r = open(c"p", O_RDONLY | O_NONBLOCK);
    let mut b = [0u8; 16];
    say!("rdonly nonblock={} read without writer={}", r >= 0, sys!(SYS_read, r, &mut b, 4));
    let w = open(c"p", O_WRONLY | O_NONBLOCK);
    say!(
        "wronly now={} read={} write={} read={}",
        w >= 0,
        sys!(SYS_read, r, &mut b, 4),
        sys!(SYS_write, w, b"data", 4),
        sys!(SYS_read, r, &mut b, 16)
    );
    close(w);
    let mut pf = libc::pollfd { fd: r, events: 1, revents: 0 };
    say!("hup={} revents={:#x}", sys!(SYS_poll, &mut pf, 1, 0), pf.revents);
    say!("revents={:#x}", pf.revents);
    close(r);
    let rw = open(c"p", O_RDWR);
    say!(
        "rdwr={} write={} read={}",
        rw >= 0,
        sys!(SYS_write, rw, b"self", 4),
        sys!(SYS_read, rw, &mut b, 16)
    );
    close(rw);
    let p = spawn(|| {
        sleep_ms(30);
        let w = open(c"p", O_WRONLY);
        sys!(SYS_write, w, b"hello", 5).fd()
    });
    let t = now_ms();
    let r = open(c"p", O_RDONLY);
    say!(
        "blocking open waited={} read={} child={}",
        now_ms() - t >= 25,
        sys!(SYS_read, r, &mut b, 16),
        wait(p)
    );
    say!(
        "lseek={} truncate={} eof={}",
        sys!(SYS_lseek, r, 0, 0),
        sys!(SYS_truncate, c"p", 0),
        sys!(SYS_read, r, &mut b, 16)
    );
    sys!(SYS_unlink, c"p");
    say!("unlinked still open={}", sys!(SYS_read, r, &mut b, 1));
}

pub(crate) const CASES: &[Case] = &[
    ("basic", basic),
    ("broken", broken),
    ("capacity", capacity),
    ("atomic", atomic),
    ("packets", packets),
    ("nonblock_toggle", nonblock_toggle),
    ("reopen", reopen),
    ("fifo", fifo),
];
