//! Notices of what happens to files (inotify), beyond what `events/inotify` shows.

use crate::events::inotify_events as events;
use crate::run::{Case, cat, close, exe, fate, file, open, say, sleep_ms, spawn, sys, wait};
use libc::{O_CREAT, O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};
use std::ffi::CStr;

const ALL: u32 = 0xfff;
const EXCL_UNLINK: u32 = 0x0400_0000;
const DONT_FOLLOW: u32 = 0x0200_0000;
const MASK_ADD: u32 = 0x2000_0000;

/// An instance that watches these.
fn watching(paths: &[(&CStr, u32)]) -> i32 {
    let i = sys!(SYS_inotify_init1, O_NONBLOCK).fd();
    for (path, mask) in paths {
        sys!(SYS_inotify_add_watch, i, *path, *mask);
    }
    i
}

fn dirs() {
    for d in [c"a", c"b"] {
        sys!(SYS_mkdir, d, 0o755);
    }
}

fn names() {
    dirs();
    file(c"a/f", b"1");
    let i = watching(&[(c"a", ALL), (c"b", ALL), (c"a/f", ALL)]);
    sys!(SYS_link, c"a/f", c"b/hard");
    say!("link: {}", events(i));
    sys!(SYS_unlink, c"b/hard");
    say!("unlink one of two: {}", events(i));
    sys!(SYS_symlink, c"f", c"a/l");
    sys!(SYS_mknod, c"a/p", libc::S_IFIFO | 0o600, 0);
    say!("symlink, fifo: {}", events(i));
    sys!(SYS_rename, c"a/l", c"b/l");
    say!("to the other: {}", events(i));
    file(c"b/g", b"2");
    events(i);
    sys!(SYS_rename, c"b/g", c"a/f");
    say!("over a watched one: {}", events(i));
    file(c"b/h", b"3");
    events(i);
    sys!(SYS_renameat2, -100, c"a/f", -100, c"b/h", libc::RENAME_EXCHANGE);
    say!("exchange: {}", events(i));
    sys!(SYS_rename, c"a/none", c"a/x");
    sys!(SYS_mkdir, c"a", 0o755);
    sys!(SYS_unlink, c"a/none");
    say!("what fails: {}", events(i));
}

fn directories() {
    dirs();
    sys!(SYS_mkdir, c"a/d", 0o755);
    let i = watching(&[(c"a", ALL), (c"a/d", ALL)]);
    let fd = open(c"a/d", O_RDONLY | O_DIRECTORY);
    let mut b = [0u8; 512];
    sys!(SYS_getdents64, fd, &mut b, 512);
    sys!(SYS_getdents64, fd, &mut b, 512);
    close(fd);
    say!("read: {}", events(i));
    sys!(SYS_chmod, c"a/d", 0o700);
    sys!(SYS_rename, c"a/d", c"b/d");
    say!("mode, moved: {}", events(i));
    file(c"b/d/f", b"");
    say!("where it went: {}", events(i));
    sys!(SYS_unlink, c"b/d/f");
    sys!(SYS_rmdir, c"b/d");
    say!("its end: {}", events(i));
    let open_one = open(c"b", O_RDONLY);
    sys!(SYS_inotify_add_watch, i, c"b", ALL);
    sys!(SYS_rmdir, c"b");
    say!("removed while open: {}", events(i));
    close(open_one);
    say!("and closed: {}", events(i));
}

fn contents() {
    dirs();
    file(c"a/f", b"some text");
    let i = watching(&[(c"a", ALL), (c"a/f", ALL)]);
    close(open(c"a/f", O_WRONLY | O_TRUNC));
    close(open(c"a/f", O_WRONLY | O_TRUNC));
    say!("cut twice: {}", events(i));
    let fd = open(c"a/f", O_RDWR);
    sys!(SYS_ftruncate, fd, 100);
    sys!(SYS_fallocate, fd, 0, 0, 4096);
    sys!(SYS_pwrite64, fd, b"x", 1, 5);
    sys!(SYS_pread64, fd, &mut [0u8; 4], 4, 0);
    sys!(SYS_pread64, fd, &mut [0u8; 4], 4, 1 << 20);
    sys!(SYS_write, fd, b"", 0);
    sys!(SYS_fsync, fd);
    say!("by a descriptor: {}", events(i));
    let other = open(c"a/g", O_CREAT | O_RDWR);
    events(i);
    sys!(SYS_sendfile, other, fd, 0, 10);
    say!("sendfile: {}", events(i));
    sys!(SYS_lseek, fd, 0, 0);
    sys!(SYS_copy_file_range, fd, 0, other, 0, 10, 0);
    say!("copy_file_range: {}", events(i));
    close(fd);
    close(other);
    say!("closed: {}", events(i));
    let second = open(c"a/f", O_RDONLY);
    let third = sys!(SYS_dup, second).fd();
    close(second);
    say!("a copy is left: {}", events(i));
    close(third);
    close(open(c"a/f", O_PATH));
    say!("none is, and a path: {}", events(i));
}

fn attributes() {
    dirs();
    file(c"a/f", b"text");
    let i = watching(&[(c"a", ALL), (c"a/f", ALL)]);
    let times = |a: i64, m: i64| [[1i64, a], [1i64, m]];
    let omit = libc::UTIME_OMIT;
    for (name, t) in [
        ("both", times(1, 2)),
        ("access", times(1, omit)),
        ("change", times(omit, 1)),
        ("none", times(omit, omit)),
    ] {
        sys!(SYS_utimensat, -100, c"a/f", &t, 0);
        say!("times {name}: {}", events(i));
    }
    sys!(SYS_setxattr, c"a/f", c"user.x", b"1", 1, 0);
    sys!(SYS_removexattr, c"a/f", c"user.x");
    sys!(SYS_removexattr, c"a/f", c"user.x");
    say!("xattrs: {}", events(i));
    let fd = open(c"a/f", O_RDONLY);
    sys!(SYS_fchmod, fd, 0o600);
    sys!(SYS_fchown, fd, -1, -1);
    say!("by a descriptor: {}", events(i));
}

fn unlinked() {
    dirs();
    file(c"a/f", b"text");
    file(c"a/g", b"text");
    let i = watching(&[(c"a", ALL), (c"a/f", ALL)]);
    let x = watching(&[(c"a", ALL | EXCL_UNLINK)]);
    let (fd, other) = (open(c"a/f", O_RDWR), open(c"a/g", O_RDWR));
    sys!(SYS_unlink, c"a/f");
    sys!(SYS_unlink, c"a/g");
    say!("without a name: {}", events(i));
    sys!(SYS_write, fd, b"more", 4);
    sys!(SYS_write, other, b"more", 4);
    say!("written: {} and {}", events(i), events(x));
    close(fd);
    close(other);
    say!("the end: {} and {}", events(i), events(x));
}

fn links() {
    dirs();
    file(c"a/f", b"text");
    sys!(SYS_link, c"a/f", c"b/same");
    sys!(SYS_symlink, c"a/f", c"l");
    let i = watching(&[]);
    let add = |path: &CStr, mask: u32| sys!(SYS_inotify_add_watch, i, path, mask).to_string();
    say!("file={} by its other name={} by a link={}", add(c"a/f", 2), add(c"b/same", 2), add(c"l", 2));
    say!("the link itself={} no link={}", add(c"l", ALL | DONT_FOLLOW), add(c"a/f", DONT_FOLLOW | 2));
    close(open(c"l", O_RDONLY));
    say!("through it: {}", events(i));
    say!("more={}", add(c"a/f", 0x20 | MASK_ADD));
    file(c"b/same", b"new");
    say!("both: {}", events(i));
    say!("less={}", add(c"a/f", 0x20));
    file(c"b/same", b"new");
    say!("one: {}", events(i));
    sys!(SYS_unlink, c"l");
    say!("link gone: {}", events(i));
}

fn reading() {
    dirs();
    let i = watching(&[(c"a", ALL)]);
    let pending = || {
        let mut n = 0i32;
        sys!(SYS_ioctl, i, libc::FIONREAD, &mut n);
        n
    };
    let ready = || {
        let mut p = libc::pollfd { fd: i, events: 0x1ff, revents: 0 };
        sys!(SYS_poll, &mut p, 1, 0);
        p.revents
    };
    say!("nothing: pending={} ready={:#x}", pending(), ready());
    close(open(c"a/name-of-twenty-chars", O_CREAT | O_WRONLY));
    say!("three: pending={} ready={:#x}", pending(), ready());
    let mut b = [0u8; 4096];
    say!(
        "room for none={} less than a head={} for one={} for two and a half={} left={}",
        sys!(SYS_read, i, &mut b, 40),
        sys!(SYS_read, i, &mut b, 8),
        sys!(SYS_read, i, &mut b, 48),
        sys!(SYS_read, i, &mut b, 120),
        pending()
    );
    say!("no write={} no seek={}", sys!(SYS_write, i, b"x", 1), sys!(SYS_lseek, i, 0, 0));
    let flags = sys!(SYS_fcntl, i, libc::F_GETFL, 0).0;
    sys!(SYS_fcntl, i, libc::F_SETFL, flags & !i64::from(O_NONBLOCK));
    let child = spawn(|| {
        sleep_ms(30);
        close(open(c"a/late", O_CREAT | O_WRONLY));
        0
    });
    say!("waited for: {}", events(i).split("; ").next().unwrap_or(""));
    say!("child={}", wait(child));
    let ep = sys!(SYS_epoll_create1, 0).fd();
    let mut e = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 7 };
    sys!(SYS_epoll_ctl, ep, 1, i, &mut e);
    events(i);
    file(c"a/again", b"");
    say!("epoll={}", sys!(SYS_epoll_wait, ep, &mut e, 1, 1000));
}

fn overflow() {
    dirs();
    file(c"a/f", b"");
    file(c"a/g", b"");
    let i = watching(&[(c"a", 0x104)]);
    // More than the host lets one instance have, whatever that is.
    let most: usize =
        String::from_utf8_lossy(&cat(c"/proc/sys/fs/inotify/max_queued_events")).trim().parse().unwrap_or(0);
    // No two in a row are alike: they would be one.
    let two = [open(c"a/f", O_RDONLY), open(c"a/g", O_RDONLY)];
    for n in 0..most + 8 {
        sys!(SYS_fchmod, two[n % 2], 0o600);
    }
    let (mut all, mut lost, mut last) = (0, 0, 0);
    let mut b = vec![0u8; 1 << 16];
    loop {
        let n = sys!(SYS_read, i, &mut b[..], b.len()).0;
        if n <= 0 {
            break;
        }
        let mut at = 0;
        while at < n as usize {
            let w = |o: usize| i32::from_ne_bytes([b[at + o], b[at + o + 1], b[at + o + 2], b[at + o + 3]]);
            all += 1;
            last = w(4);
            lost += i32::from(w(0) == -1);
            at += 16 + w(12) as usize;
        }
    }
    say!("as many as there may be={} lost={lost} last={last:#x}", all == most + 1);
    close(open(c"a/n", O_CREAT | O_WRONLY));
    say!("and on: {}", events(i));
}

fn programs() {
    dirs();
    let program = exe();
    let bytes = cat(&program);
    let fd = sys!(SYS_open, c"a/program", O_CREAT | O_WRONLY, 0o755).fd();
    let mut at = 0;
    while at < bytes.len() {
        at += sys!(SYS_write, fd, &bytes[at..], bytes.len() - at).0.max(1) as usize;
    }
    close(fd);
    // Its pages may be read in pieces, or be mapped: that it is opened, and closed again.
    let i = watching(&[(c"a/program", 0x20 | 0x10)]);
    let ended = fate(|| {
        sys!(
            SYS_execve,
            c"a/program",
            &[c"program".as_ptr() as usize, c"helper".as_ptr() as usize, 0],
            &[0usize]
        );
        9
    });
    say!("ran={}: {}", ended.starts_with("exited"), events(i));
}

fn instances() {
    dirs();
    let (one, two) = (watching(&[(c"a", ALL)]), watching(&[(c"a", 0x100)]));
    close(open(c"a/f", O_CREAT | O_WRONLY));
    say!("each its own: {} and {}", events(one), events(two));
    close(one);
    close(open(c"a/f", O_RDONLY));
    sys!(SYS_unlink, c"a/f");
    say!("the other goes on: {}", events(two));
    let child = spawn(|| {
        close(open(c"a/by-child", O_CREAT | O_WRONLY));
        i32::from(events(two) == "1:CREATE by-child")
    });
    say!("a child has it too: {} {}", wait(child), events(two));
    sys!(SYS_inotify_rm_watch, two, 1);
    say!("numbers are not given again: {} {}", events(two), sys!(SYS_inotify_add_watch, two, c"b", 1));
}

pub(crate) const CASES: &[Case] = &[
    ("names", names),
    ("directories", directories),
    ("contents", contents),
    ("attributes", attributes),
    ("unlinked", unlinked),
    ("links", links),
    ("reading", reading),
    ("overflow", overflow),
    ("programs", programs),
    ("instances", instances),
];
