//! What a guest can do with a directory of the host's that it mounts by itself (`mount -t hostfs`), while it changes what is in there.

use super::escape::{is_outside, reads_secret};
use super::race::beside;
use super::{Attack, told};
use crate::run::{self, say, sys};
use crate::show::R;
use std::ffi::{CStr, CString};

pub(super) const ATTACKS: &[Attack] = &[
    ("hostfs-mounts", mounts),
    ("hostfs-race", race),
    ("hostfs-above", above),
    ("hostfs-nodes", nodes),
    ("hostfs-real", real),
    ("hostfs-forged", forged),
];

fn c(s: &str) -> CString {
    CString::new(s).unwrap_or_default()
}

fn mount(at: &CStr, options: &str) -> R {
    sys!(SYS_mkdir, at, 0o777);
    sys!(SYS_mount, c"none", at, c"hostfs", 0, &*c(options))
}

/// Everything that a mount could be asked for, and a directory that is a link out a moment later.
fn mounts() {
    let secret = told("secret").unwrap_or("/none");
    let (dir, name) = secret.rsplit_once('/').unwrap_or(("/", "none"));
    let mut ways: Vec<String> = [
        "/..",
        "..",
        "../..",
        "sub/../..",
        "sub/../../..",
        "./.././..",
        "h-out",
        "/h-out/",
        "h-out/.",
        "h-up",
        "h-up/..",
        "h-magic",
        "h-magic/proc",
        "h-magic/tmp",
        "/proc",
        "/proc/self/root",
        "h-secret",
        "h-again",
    ]
    .map(String::from)
    .into();
    ways.extend([
        dir.to_string(),
        format!("..{dir}"),
        format!("/../../../../../../..{dir}"),
        format!("h-magic{dir}"),
    ]);
    let mut found = Vec::new();
    let mut look = |way: &str| {
        if mount(c"/tmp/m", way).ok() {
            let inside = run::open(&c(&format!("/tmp/m/{name}")), libc::O_RDONLY);
            let root = run::open(c"/tmp/m", libc::O_PATH);
            if is_outside(root) || reads_secret(inside) {
                found.push(way.to_string());
            }
            [root, inside].into_iter().filter(|fd| *fd >= 0).for_each(run::close);
            sys!(SYS_umount2, c"/tmp/m", libc::MNT_DETACH);
            return 1;
        }
        0
    };
    ways.iter().for_each(|way| {
        look(way);
    });
    sys!(SYS_mkdir, c"/shared/swap", 0o777);
    let _ = std::os::unix::fs::symlink(dir, "/shared/swapped");
    // That one can be mounted at all; in the race it may never be the right moment.
    let mut mounted = look("sub");
    beside(
        |_| {
            sys!(SYS_renameat2, -100, c"/shared/swap", -100, c"/shared/swapped", libc::RENAME_EXCHANGE);
        },
        || mounted += look("swap"),
    );
    (0..2).for_each(|n| {
        sys!(SYS_unlink, [c"/shared/swap", c"/shared/swapped"][n]);
        sys!(SYS_rmdir, [c"/shared/swap", c"/shared/swapped"][n]);
    });
    found.dedup();
    say!("mounted={} found={found:?}", mounted > 0);
}

/// Files and links that change places, seen by two mounts of the same.
fn race() {
    let secret = told("secret").unwrap_or("/none");
    let mounted = mount(c"/tmp/m", "").ok() && mount(c"/tmp/n", "/sub").ok();
    run::file(c"/tmp/n/file", b"inside");
    let _ = std::os::unix::fs::symlink(secret, "/tmp/n/link");
    sys!(SYS_mkdir, c"/tmp/n/dir", 0o777);
    let _ = std::os::unix::fs::symlink("../..", "/tmp/n/up");
    let (mut found, mut opened) = (0u64, 0u64);
    beside(
        |_| {
            sys!(SYS_renameat2, -100, c"/tmp/n/file", -100, c"/tmp/n/link", libc::RENAME_EXCHANGE);
            sys!(SYS_renameat2, -100, c"/tmp/n/dir", -100, c"/tmp/n/up", libc::RENAME_EXCHANGE);
        },
        || {
            for path in
                [c"/tmp/m/sub/file", c"/tmp/m/sub/link", c"/tmp/m/sub/dir/secret", c"/tmp/m/sub/up/secret"]
            {
                for flags in [libc::O_RDWR, libc::O_RDONLY, libc::O_WRONLY | libc::O_TRUNC] {
                    let fd = run::open(path, flags | libc::O_NONBLOCK);
                    opened += u64::from(fd >= 0);
                    found += u64::from(reads_secret(fd));
                    sys!(SYS_ftruncate, fd, 3);
                    run::close(fd);
                }
                sys!(SYS_truncate, path, 3);
                sys!(SYS_chmod, path, 0o777);
                sys!(SYS_chown, path, 1, 1);
                sys!(SYS_utimensat, -100, path, 0, 0);
                sys!(SYS_setxattr, path, c"user.hostile", c"x", 1, 0);
                sys!(SYS_link, path, c"/tmp/m/hard");
                let fd = run::open(c"/tmp/m/hard", libc::O_RDWR | libc::O_NOFOLLOW);
                found += u64::from(reads_secret(fd));
                run::close(fd);
                sys!(SYS_unlink, c"/tmp/m/hard");
            }
            for name in [c"/tmp/m/sub/dir/new", c"/tmp/m/sub/up/new"] {
                run::file(name, b"new");
                sys!(SYS_mkdir, name, 0o700);
                sys!(SYS_unlink, name);
                sys!(SYS_rmdir, name);
            }
        },
    );
    say!("mounted={mounted} opened={} found={found}", opened > 0);
}

/// Directories above an open one are moved while the way up is gone.
fn above() {
    let secret = told("secret").unwrap_or("/none");
    let name = secret.rsplit('/').next().unwrap_or("none");
    let mounted = mount(c"/tmp/m", "").ok() && mount(c"/tmp/n", "sub").ok();
    for dir in [c"/tmp/m/a", c"/tmp/m/a/b", c"/tmp/m/a/b/c", c"/tmp/m/sub/z"] {
        sys!(SYS_mkdir, dir, 0o777);
    }
    let (mut found, mut walked) = (0u64, 0u64);
    beside(
        |_| {
            sys!(SYS_rename, c"/tmp/m/a/b/c", c"/tmp/m/c");
            sys!(SYS_rename, c"/tmp/m/a/b", c"/tmp/m/sub/b");
            sys!(SYS_rename, c"/tmp/m/c", c"/tmp/m/sub/b/c");
            sys!(SYS_rename, c"/tmp/n/b", c"/tmp/m/a/b");
            sys!(SYS_rename, c"/tmp/m/sub/b", c"/tmp/m/a/b");
        },
        || {
            for path in [c"/tmp/m/a/b/c", c"/tmp/n/b/c", c"/tmp/m/sub/b/c", c"/tmp/n/z"] {
                let fd = run::open(path, libc::O_PATH | libc::O_DIRECTORY);
                for up in 1..6 {
                    let dots = "../".repeat(up);
                    let above = sys!(SYS_openat, fd, &*c(&dots), libc::O_PATH | libc::O_DIRECTORY).fd();
                    walked += u64::from(above >= 0);
                    found += u64::from(is_outside(above));
                    run::close(above);
                    let file = sys!(SYS_openat, fd, &*c(&format!("{dots}{name}")), libc::O_RDONLY).fd();
                    found += u64::from(reads_secret(file));
                    run::close(file);
                }
                run::close(fd);
            }
        },
    );
    say!("mounted={mounted} walked={} found={found}", walked > 0);
}

/// FIFOs, sockets and devices that lie there on the host, and files that are one a moment later.
fn nodes() {
    let mounted = mount(c"/tmp/m", "").ok();
    run::file(c"/tmp/m/plain", b"inside");
    let mut device = 0u64;
    let poke = |path: &CStr| {
        for flags in
            [libc::O_RDWR, libc::O_WRONLY, libc::O_RDONLY, libc::O_WRONLY | libc::O_TRUNC | libc::O_APPEND]
        {
            let fd = run::open(path, flags | libc::O_NONBLOCK);
            sys!(SYS_write, fd, b"hostile", 7);
            sys!(SYS_pwrite64, fd, b"hostile", 7, 0);
            sys!(SYS_ftruncate, fd, 1);
            sys!(SYS_mmap, 0, 4096, 3, libc::MAP_SHARED, fd, 0);
            run::close(fd);
        }
        sys!(SYS_truncate, path, 1);
    };
    for path in [c"/tmp/m/h-fifo", c"/tmp/m/h-sock"] {
        poke(path);
        let mut name = [0u8; 110];
        name[0] = libc::AF_UNIX as u8;
        name[2..2 + path.to_bytes().len()].copy_from_slice(path.to_bytes());
        let s = sys!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0).fd();
        sys!(SYS_connect, s, &name, 110);
        run::close(s);
    }
    for flags in [libc::O_RDWR, libc::O_RDONLY] {
        device += u64::from(run::open(c"/tmp/m/h-fuse", flags | libc::O_NONBLOCK) >= 0);
    }
    // The moment is short: several times as long as the others.
    (0..5).for_each(|_| {
        beside(
            |n| {
                let other = [c"/shared/h-fifo", c"/shared/h-sock", c"/shared/h-fuse"][n / 2 % 3];
                sys!(SYS_renameat2, -100, c"/shared/plain", -100, other, libc::RENAME_EXCHANGE);
                sys!(SYS_renameat2, -100, c"/shared/plain", -100, other, libc::RENAME_EXCHANGE);
            },
            || poke(c"/tmp/m/plain"),
        );
    });
    say!("mounted={mounted} device={device}");
}

/// Devices and set-id programs: the driver looks whether there are any on the host.
fn real() {
    let plain = mount(c"/tmp/m", "/sub").ok();
    let shadow = mount(c"/tmp/s", "/sub2,shadow").ok();
    let mapped = mount(c"/tmp/u", "/sub,uid=5,gid=6").ok();
    let tries = |at: &str| {
        let path = |name: &str| c(&format!("{at}/{name}"));
        run::file(&path("program"), b"#!/bin/sh\n");
        let made = [
            sys!(SYS_mknod, &*path("block"), libc::S_IFBLK | 0o666, libc::makedev(8, 0)),
            sys!(SYS_mknod, &*path("char"), libc::S_IFCHR | 0o666, libc::makedev(1, 1)),
            sys!(SYS_chmod, &*path("program"), 0o4755),
            sys!(SYS_chmod, &*path("program"), 0o2755),
            R(i64::from(sys!(SYS_open, &*path("set-id"), libc::O_CREAT | libc::O_WRONLY, 0o6755).fd())),
        ];
        // Another's program that has the bit already: what is written to it is not to run as its owner.
        let there = run::open(&path("h-setuid"), libc::O_WRONLY);
        sys!(SYS_write, there, b"hostile", 7);
        run::close(there);
        sys!(SYS_setxattr, &*path("program"), c"security.capability", &[1u32 << 25, !0, 0, !0, 0], 20, 0);
        made.iter().filter(|r| r.0 >= 0).count()
    };
    let (m, s, u) = (tries("/tmp/m"), tries("/tmp/s"), tries("/tmp/u"));
    let mut st: libc::stat = crate::mem::zeroed();
    sys!(SYS_stat, c"/tmp/s/block", &mut st);
    let shown = st.st_mode == libc::S_IFBLK | 0o644 && st.st_rdev == libc::makedev(8, 0);
    say!("mounted={} as-is={m} shadow={s} mapped={u} shown={shown}", plain && shadow && mapped);
}

/// Who is nobody in the guest writes what a shadow keeps of owners.
fn forged() {
    let shadow = mount(c"/tmp/s", "/sub,shadow").ok() && mount(c"/tmp/m", "/sub").ok();
    sys!(SYS_chmod, c"/tmp/s", 0o777);
    sys!(SYS_chmod, c"/tmp/m", 0o777);
    sys!(SYS_mkdir, c"/tmp/s/mine", 0o777);
    sys!(SYS_chmod, c"/tmp/s/mine", 0o777);
    sys!(SYS_chmod, c"/tmp/m/mine", 0o777);
    let fate = run::fate(|| {
        run::drop_root();
        run::file(c"/tmp/s/mine/f", b"#!/bin/sh\n");
        let meta = c"104755:0:0:0";
        let mut set = 0;
        for path in [c"/tmp/s/mine/f", c"/tmp/m/mine/f"] {
            for name in [c"user.uml.meta", c"user.uml.", c"user.uml.security.capability"] {
                set += i32::from(sys!(SYS_setxattr, path, name, meta, 12, 0).ok());
            }
        }
        let mut st: libc::stat = crate::mem::zeroed();
        sys!(SYS_stat, c"/tmp/s/mine/f", &mut st);
        set * 2 + i32::from(st.st_uid == 0 || st.st_mode & 0o4000 != 0)
    });
    say!("mounted={shadow} fate={fate}");
}
