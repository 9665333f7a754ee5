//! Descriptors: open in all its forms, close, dup, fcntl.

use crate::run::{Case, close, file, open, pipe, say, slurp, spawn, sys, wait};
use crate::show;
use libc::{
    AT_FDCWD, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFD, F_SETFL, FD_CLOEXEC, O_APPEND, O_CLOEXEC,
    O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY,
};

const FL: &[(u64, &str)] = &[
    (1, "WRONLY"),
    (2, "RDWR"),
    (0o2000, "APPEND"),
    (0o4000, "NONBLOCK"),
    (0o10000, "DSYNC"),
    (0o20000, "ASYNC"),
    (0o200_000, "DIRECTORY"),
    (0o400_000, "NOFOLLOW"),
    (0o1_000_000, "NOATIME"),
    (0o2_000_000, "CLOEXEC"),
    (0o10_000_000, "PATH"),
];

/// Open flags as F_GETFL shows them, less O_LARGEFILE, which the kernel adds by itself.
fn flags(fd: i32) -> String {
    let r = sys!(SYS_fcntl, fd, F_GETFL, 0);
    if r.ok() { show::bits(r.0 as u64 & !0o100_000, FL) } else { r.to_string() }
}

fn open_flags() {
    file(c"f", b"hello");
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_symlink, c"f", c"l");
    sys!(SYS_symlink, c"nowhere", c"dangling");
    let all = [
        ("rdonly", O_RDONLY),
        ("wronly", O_WRONLY),
        ("rdwr", O_RDWR),
        ("accmode3", 3),
        ("append", O_WRONLY | O_APPEND),
        ("nonblock", O_NONBLOCK),
        ("cloexec", O_CLOEXEC),
        ("creat", O_CREAT | O_WRONLY),
        ("creat_excl", O_CREAT | O_EXCL | O_WRONLY),
        ("directory", O_DIRECTORY),
        ("creat_directory", O_CREAT | O_DIRECTORY),
        ("nofollow", O_NOFOLLOW),
        ("path", O_PATH),
        ("path_nofollow", O_PATH | O_NOFOLLOW),
        ("path_rdwr", O_PATH | O_RDWR),
        ("trunc_rdonly_path", O_PATH | O_TRUNC),
        ("noatime", libc::O_NOATIME),
        ("dsync", O_WRONLY | libc::O_DSYNC),
        ("sync", O_WRONLY | libc::O_SYNC),
        ("unknown", 1 << 30),
        ("tmpfile_bit_only", 0o20_000_000 | O_RDWR),
    ];
    for (name, fl) in all {
        for (what, path) in
            [("file", c"f"), ("dir", c"d"), ("link", c"l"), ("dangling", c"dangling"), ("none", c"none")]
        {
            let r = sys!(SYS_openat, AT_FDCWD, path, fl, 0o644);
            say!("{name} {what}={r} getfl={} getfd={}", flags(r.fd()), sys!(SYS_fcntl, r.fd(), F_GETFD, 0));
            close(r.fd());
            sys!(SYS_unlink, c"nowhere");
            sys!(SYS_unlink, c"none");
        }
    }
}

fn open_trunc() {
    file(c"f", b"hello");
    let fd = open(c"f", O_RDWR | O_TRUNC);
    say!("trunc size={}", slurp(fd).len());
    file(c"f", b"hello");
    let fd = open(c"f", O_RDONLY | O_TRUNC);
    say!("rdonly_trunc size={}", slurp(fd).len());
    say!("dir_wr={}", sys!(SYS_open, c".", O_WRONLY));
    say!("dir_trunc={}", sys!(SYS_open, c".", O_RDONLY | O_TRUNC));
    say!("dir_creat={}", sys!(SYS_open, c".", O_RDONLY | O_CREAT, 0o644));
    say!("open_empty={}", sys!(SYS_open, c"", O_RDONLY));
    say!("creat={}", sys!(SYS_creat, c"new", 0o600));
}

fn open_modes() {
    for (mask, mode) in [(0o022, 0o777), (0o077, 0o666), (0, 0o7777), (0o777, 0o777), (0o1022, 0o644)] {
        let old = sys!(SYS_umask, mask);
        let r = sys!(SYS_openat, AT_FDCWD, c"m", O_CREAT | O_EXCL | O_RDWR, mode);
        let mut st: libc::stat = crate::mem::zeroed();
        sys!(SYS_fstat, r.fd(), &mut st);
        say!("umask={mask:o} old={:o} mode={mode:o} got={:o}", old.0, st.st_mode);
        // Even a mode without write permission leaves the new descriptor writable.
        say!("write={}", sys!(SYS_write, r.fd(), b"x", 1));
        close(r.fd());
        sys!(SYS_unlink, c"m");
    }
}

fn open_at() {
    sys!(SYS_mkdir, c"d", 0o755);
    file(c"d/f", b"in d");
    file(c"f", b"here");
    let d = open(c"d", O_RDONLY | O_DIRECTORY);
    let p = open(c"d", O_PATH);
    let f = open(c"f", O_RDONLY);
    for (name, dir) in
        [("dir", d), ("path", p), ("file", f), ("cwd", AT_FDCWD), ("minus1", -1), ("huge", 9999)]
    {
        let r = sys!(SYS_openat, dir, c"f", O_RDONLY);
        say!("{name} rel={r} data={}", show::bytes(&slurp(r.fd())));
        close(r.fd());
        let r = sys!(SYS_openat, dir, c"/dev/null", O_RDONLY);
        say!("{name} abs={r}");
        close(r.fd());
    }
}

fn opath() {
    file(c"f", b"hello");
    let p = open(c"f", O_PATH);
    let mut b = [0u8; 8];
    say!("read={} write={}", sys!(SYS_read, p, &mut b, 8), sys!(SYS_write, p, b"x", 1));
    say!("lseek={} ioctl={}", sys!(SYS_lseek, p, 0, 0), sys!(SYS_ioctl, p, libc::FIONREAD, &mut b));
    say!("fchmod={} fchown={}", sys!(SYS_fchmod, p, 0o600), sys!(SYS_fchown, p, -1, -1));
    let mut st: libc::stat = crate::mem::zeroed();
    say!("fstat={} size={}", sys!(SYS_fstat, p, &mut st), st.st_size);
    say!("dup={} getfd={}", sys!(SYS_dup, p), sys!(SYS_fcntl, p, F_GETFD, 0));
    say!("setfl={} ftruncate={}", sys!(SYS_fcntl, p, F_SETFL, O_APPEND), sys!(SYS_ftruncate, p, 0));
    say!("mmap={}", sys!(SYS_mmap, 0, 4096, 1, 2, p, 0));
    say!("fsync={} flock={}", sys!(SYS_fsync, p), sys!(SYS_flock, p, libc::LOCK_SH));
    let r = sys!(SYS_openat, AT_FDCWD, c"/proc/self/fd/3", O_RDONLY);
    say!("reopen={} data={}", r, show::bytes(&slurp(r.fd())));
    say!("fchdir={}", sys!(SYS_fchdir, p));
}

fn openat2() {
    const NO_XDEV: u64 = 1;
    const NO_MAGIC: u64 = 2;
    const NO_SYM: u64 = 4;
    const BENEATH: u64 = 8;
    const IN_ROOT: u64 = 16;
    const CACHED: u64 = 32;
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_mkdir, c"d/sub", 0o755);
    file(c"d/f", b"inner");
    file(c"f", b"outer");
    sys!(SYS_symlink, c"../f", c"d/up");
    sys!(SYS_symlink, c"/f", c"d/abs");
    sys!(SYS_symlink, c"f", c"d/rel");
    let d = open(c"d", O_PATH | O_DIRECTORY);
    let paths = [
        c"f",
        c"../f",
        c"/f",
        c"up",
        c"abs",
        c"rel",
        c"sub/../f",
        c"sub/../../f",
        c"none",
        c"/proc/self/exe",
    ];
    for (n, how) in [
        ("none", 0),
        ("no_magic", NO_MAGIC),
        ("no_sym", NO_SYM),
        ("beneath", BENEATH),
        ("in_root", IN_ROOT),
        ("beneath_no_sym", BENEATH | NO_SYM),
    ] {
        for p in paths {
            if n == "none" && (p == c"/f" || p == c"abs") {
                continue;
            }
            let a = [0u64, 0, how];
            let r = sys!(SYS_openat2, d, p, &a, 24);
            say!(
                "{n} {}={r} data={}",
                p.to_string_lossy(),
                if p == c"/proc/self/exe" { "-".into() } else { show::bytes(&slurp(r.fd())) }
            );
            close(r.fd());
        }
    }
    let proc = [O_RDONLY as u64, 0, NO_XDEV];
    say!("xdev={}", sys!(SYS_openat2, AT_FDCWD, c"/proc/self/status", &proc, 24));
    let bad = |name: &str, a: [u64; 4], size: usize| {
        let r = sys!(SYS_openat2, d, c"f", &a, size);
        say!("{name}={r}");
        close(r.fd());
    };
    bad("short", [0; 4], 16);
    bad("size0", [0; 4], 0);
    bad("longer_zero", [0; 4], 32);
    bad("longer_set", [0, 0, 0, 1], 32);
    bad("mode_without_creat", [0, 0o644, 0, 0], 24);
    bad("mode_too_big", [O_CREAT as u64, 0o10_0644, 0, 0], 24);
    bad("unknown_flag", [1 << 40, 0, 0, 0], 24);
    bad("unknown_flag30", [1 << 30, 0, 0, 0], 24);
    bad("unknown_resolve", [0, 0, 1 << 20, 0], 24);
    bad("beneath_in_root", [0, 0, BENEATH | IN_ROOT, 0], 24);
    bad("cached_creat", [O_CREAT as u64, 0o644, CACHED, 0], 24);
    bad("path_rdwr", [(O_PATH | O_RDWR) as u64, 0, 0, 0], 24);
    bad("huge", [0; 4], 8192);
    say!("null={}", sys!(SYS_openat2, d, c"f", 0, 24));
}

fn close_errors() {
    for fd in [-1, 9999, 3, i32::MAX, i32::MIN] {
        say!("close {fd}={}", sys!(SYS_close, fd));
    }
    let fd = open(c"/dev/null", O_RDONLY);
    say!("first={} second={}", sys!(SYS_close, fd), sys!(SYS_close, fd));
}

fn lowest() {
    let f: Vec<i32> = (0..5).map(|_| open(c"/dev/null", O_RDONLY)).collect();
    close(f[1]);
    close(f[3]);
    let reused = [open(c"/dev/null", O_RDONLY), open(c"/dev/null", O_RDONLY), open(c"/dev/null", O_RDONLY)];
    say!("first={f:?} reused={reused:?}");
}

fn dups() {
    let a = open(c"f", O_CREAT | O_RDWR | O_CLOEXEC);
    let b = sys!(SYS_dup, a).fd();
    say!("dup={b} fd={} {}", sys!(SYS_fcntl, a, F_GETFD, 0), sys!(SYS_fcntl, b, F_GETFD, 0));
    sys!(SYS_write, a, b"abc", 3);
    say!("shared offset={}", sys!(SYS_lseek, b, 0, libc::SEEK_CUR));
    sys!(SYS_fcntl, b, F_SETFL, O_APPEND | O_NONBLOCK);
    say!("shared flags={}", flags(a));
    say!("dup2={} same={}", sys!(SYS_dup2, a, 20), sys!(SYS_dup2, a, a));
    say!("dup2 cloexec kept on same={}", sys!(SYS_fcntl, a, F_GETFD, 0));
    say!("dup2 bad={} {} {}", sys!(SYS_dup2, 9999, 5), sys!(SYS_dup2, 9999, 9999), sys!(SYS_dup2, a, -1));
    say!("dup2 over limit={} {}", sys!(SYS_dup2, a, 1024), sys!(SYS_dup2, a, i32::MAX));
    say!("dup3={} fd={}", sys!(SYS_dup3, a, 21, O_CLOEXEC), sys!(SYS_fcntl, 21, F_GETFD, 0));
    say!("dup3 same={} flags={}", sys!(SYS_dup3, a, a, 0), sys!(SYS_dup3, a, 22, O_NONBLOCK));
    say!("dup bad={} {}", sys!(SYS_dup, -1), sys!(SYS_dup, 9999));
    say!("dupfd={} cloexec={}", sys!(SYS_fcntl, a, F_DUPFD, 10), sys!(SYS_fcntl, a, F_DUPFD_CLOEXEC, 10));
    say!("flags of these={} {}", sys!(SYS_fcntl, 10, F_GETFD, 0), sys!(SYS_fcntl, 11, F_GETFD, 0));
    say!(
        "dupfd bad={} {} {}",
        sys!(SYS_fcntl, a, F_DUPFD, -1),
        sys!(SYS_fcntl, a, F_DUPFD, 1024),
        sys!(SYS_fcntl, 9999, F_DUPFD, 0)
    );
    say!("dupfd last={}", sys!(SYS_fcntl, a, F_DUPFD, 1023));
}

fn limit() {
    let lim = libc::rlimit { rlim_cur: 8, rlim_max: 8 };
    say!("setrlimit={}", sys!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, &lim, 0));
    for _ in 0..7 {
        say!("open={}", sys!(SYS_openat, AT_FDCWD, c"/dev/null", O_RDONLY));
    }
    say!(
        "pipe={} dup={} dup2={}",
        sys!(SYS_pipe2, &mut [0i32; 2], 0),
        sys!(SYS_dup, 0),
        sys!(SYS_dup2, 0, 8)
    );
    close(7);
    say!("pipe with one free={}", sys!(SYS_pipe2, &mut [0i32; 2], 0));
    say!("socket={} epoll={}", sys!(SYS_socket, 1, 1, 0), sys!(SYS_epoll_create1, 0));
}

fn fcntl_fl() {
    let fd = open(c"f", O_CREAT | O_RDWR);
    for (n, v) in [
        ("append", O_APPEND),
        ("nonblock", O_NONBLOCK),
        ("async", libc::O_ASYNC),
        ("noatime", libc::O_NOATIME),
        ("sync_ignored", libc::O_SYNC),
        ("wronly_ignored", O_WRONLY),
        ("creat_ignored", O_CREAT | O_TRUNC | O_EXCL),
        ("all", !libc::O_DIRECT),
        ("zero", 0),
    ] {
        if n == "async" || n == "all" {
            continue;
        }
        say!("{n}={} now={}", sys!(SYS_fcntl, fd, F_SETFL, v), flags(fd));
    }
    for v in [0, FD_CLOEXEC, 2, 3, -1] {
        say!("setfd {v}={} now={}", sys!(SYS_fcntl, fd, F_SETFD, v), sys!(SYS_fcntl, fd, F_GETFD, 0));
    }
    say!("unknown={} {}", sys!(SYS_fcntl, fd, 9999, 0), sys!(SYS_fcntl, fd, -1, 0));
    say!("badfd={} {}", sys!(SYS_fcntl, -1, F_GETFL, 0), sys!(SYS_fcntl, 9999, F_SETFL, 0));
    say!(
        "getown={} setown={}",
        sys!(SYS_fcntl, fd, libc::F_GETOWN, 0),
        sys!(SYS_fcntl, fd, libc::F_SETOWN, sys!(SYS_getpid).fd())
    );
    say!("getown is pid={}", sys!(SYS_fcntl, fd, libc::F_GETOWN, 0) == sys!(SYS_getpid));
    say!(
        "getsig={} setsig={} big={}",
        sys!(SYS_fcntl, fd, 11, 0),
        sys!(SYS_fcntl, fd, 10, 10),
        sys!(SYS_fcntl, fd, 10, 100)
    );
}

fn fioclex() {
    let fd = open(c"/dev/null", O_RDWR);
    let on = 1i32;
    say!("fioclex={} now={}", sys!(SYS_ioctl, fd, libc::FIOCLEX, 0), sys!(SYS_fcntl, fd, F_GETFD, 0));
    say!("fionclex={} now={}", sys!(SYS_ioctl, fd, libc::FIONCLEX, 0), sys!(SYS_fcntl, fd, F_GETFD, 0));
    say!("fionbio={} now={}", sys!(SYS_ioctl, fd, libc::FIONBIO, &on), flags(fd));
    say!("fionbio null={}", sys!(SYS_ioctl, fd, libc::FIONBIO, 0));
    say!("unknown={} badfd={}", sys!(SYS_ioctl, fd, 0x1234_5678, 0), sys!(SYS_ioctl, -1, libc::FIONBIO, &on));
    let f = open(c"f", O_CREAT | O_RDWR);
    let mut n = 0i32;
    sys!(SYS_write, f, b"12345", 5);
    sys!(SYS_lseek, f, 1, 0);
    say!("file fionread={} n={n}", sys!(SYS_ioctl, f, libc::FIONREAD, &mut n));
    say!(
        "n={n} tcgets={} unknown={}",
        sys!(SYS_ioctl, f, libc::TCGETS, 0),
        sys!(SYS_ioctl, f, 0x1234_5678, 0)
    );
}

fn close_range() {
    let opened = || (3..40).filter(|f| sys!(SYS_fcntl, *f, F_GETFD, 0).ok()).collect::<Vec<i32>>();
    for _ in 3..14 {
        open(c"/dev/null", O_RDONLY);
    }
    say!("range={} left={:?}", sys!(SYS_close_range, 5, 7, 0), opened());
    say!("cloexec={} left={:?}", sys!(SYS_close_range, 9, 100, 4), opened());
    say!("flags={} {}", sys!(SYS_fcntl, 8, F_GETFD, 0), sys!(SYS_fcntl, 9, F_GETFD, 0));
    say!("reversed={} badflag={}", sys!(SYS_close_range, 9, 8, 0), sys!(SYS_close_range, 9, 9, 1));
    say!(
        "empty={} to the end={} left={:?}",
        sys!(SYS_close_range, 500, 600, 0),
        sys!(SYS_close_range, 4, u32::MAX, 0),
        opened()
    );
    // CLOSE_RANGE_UNSHARE: the child's table is its own anyway.
    let pid = spawn(|| sys!(SYS_close_range, 3, u32::MAX, 2).fd());
    say!("unshare={} left={:?}", wait(pid), opened());
}

fn inherit() {
    let fd = open(c"f", O_CREAT | O_RDWR);
    let pid = spawn(|| {
        sys!(SYS_write, fd, b"child", 5);
        close(fd);
        0
    });
    say!("child={}", wait(pid));
    say!("offset={}", sys!(SYS_lseek, fd, 0, libc::SEEK_CUR));
    sys!(SYS_write, fd, b"+parent", 7);
    say!("data={}", show::bytes(&slurp(fd)));
}

fn append() {
    let a = open(c"f", O_CREAT | O_WRONLY | O_APPEND);
    let b = open(c"f", O_RDWR);
    sys!(SYS_write, a, b"one", 3);
    sys!(SYS_write, b, b"TWO-two", 7);
    say!("append={} at={}", sys!(SYS_write, a, b"!", 1), sys!(SYS_lseek, a, 0, libc::SEEK_CUR));
    sys!(SYS_lseek, a, 0, 0);
    // Linux appends even with pwrite.
    say!("pwrite={}", sys!(SYS_pwrite64, a, b"?", 1, 0));
    say!("data={}", show::bytes(&slurp(b)));
}

fn devices() {
    let mut b = [7u8; 8];
    for p in [c"/dev/null", c"/dev/zero", c"/dev/full", c"/dev/urandom"] {
        let fd = open(p, O_RDWR);
        let r = sys!(SYS_read, fd, &mut b, 8);
        let w = sys!(SYS_write, fd, b"abc", 3);
        say!(
            "{} read={r} zeroes={} write={w} seek={}",
            p.to_string_lossy(),
            b == [0; 8],
            sys!(SYS_lseek, fd, 5, 0)
        );
        close(fd);
    }
    let t = sys!(SYS_openat, AT_FDCWD, c"/dev/tty", O_RDWR);
    say!("/dev/tty without a terminal={t}");
    let (r, w) = pipe(O_CLOEXEC | O_NONBLOCK);
    say!("pipe flags={} {} fd={}", flags(r), flags(w), sys!(SYS_fcntl, r, F_GETFD, 0));
}

pub(crate) const CASES: &[Case] = &[
    ("open_flags", open_flags),
    ("open_trunc", open_trunc),
    ("open_modes", open_modes),
    ("open_at", open_at),
    ("opath", opath),
    ("openat2", openat2),
    ("close_errors", close_errors),
    ("lowest", lowest),
    ("dups", dups),
    ("limit", limit),
    ("fcntl_fl", fcntl_fl),
    ("fioclex", fioclex),
    ("close_range", close_range),
    ("inherit", inherit),
    ("append", append),
    ("devices", devices),
];
