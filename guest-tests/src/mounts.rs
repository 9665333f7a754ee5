//! Mounts: who keeps one from being taken away, what goes with it, and what keeps one writable.
//!
//! They need root, and on the host a namespace of their own: without it a case says nothing, and nothing is compared.

use crate::run::{self, Case, close, file, open, say, spawn, sys, wait};
use libc::{
    MNT_DETACH, MNT_EXPIRE, MNT_FORCE, MS_BIND, MS_RDONLY, MS_REMOUNT, O_CREAT, O_PATH, O_RDONLY, O_RDWR,
    O_WRONLY,
};
use std::ffi::CStr;

/// A namespace of its own where there are such; whether mounts may be made now.
fn apart() -> bool {
    let alone = sys!(SYS_unshare, libc::CLONE_NEWNS);
    if alone.0 == -i64::from(libc::EPERM) {
        return false;
    }
    sys!(SYS_mount, c"none", c"/", 0, libc::MS_REC | libc::MS_PRIVATE, 0);
    mount(c"d")
}

/// A tmpfs on a new directory.
fn mount(at: &CStr) -> bool {
    sys!(SYS_mkdir, at, 0o755);
    sys!(SYS_mount, c"mine", at, c"tmpfs", 0, 0).ok()
}

fn umount(at: &CStr, flags: i32) -> String {
    sys!(SYS_umount2, at, flags).to_string()
}

/// How many of ours there are.
fn mine() -> usize {
    let mounts = run::slurp(open(c"/proc/self/mounts", O_RDONLY));
    String::from_utf8_lossy(&mounts).lines().filter(|l| l.starts_with("mine ")).count()
}

fn busy() {
    if !apart() {
        return;
    }
    file(c"d/f", b"text");
    for (what, flags) in [("read", O_RDONLY), ("write", O_WRONLY), ("path", O_PATH)] {
        let fd = open(c"d/f", flags);
        say!("file {what}={} forced={}", umount(c"d", 0), umount(c"d", MNT_FORCE));
        close(fd);
    }
    let fd = open(c"d", O_PATH);
    say!("root={}", umount(c"d", 0));
    close(fd);
    let fd = open(c"d/f", O_RDWR);
    let map = sys!(SYS_mmap, 0, 4096, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0);
    close(fd);
    say!("mapped={}", umount(c"d", 0));
    sys!(SYS_munmap, map.0, 4096);
    for (what, into) in [("cwd", false), ("root", true)] {
        let child = spawn(|| {
            sys!(SYS_chdir, c"d");
            if into {
                sys!(SYS_chroot, c".");
                sys!(SYS_fchdir, open(c"/", O_RDONLY));
            }
            say!("{what} itself={}", umount(c".", 0));
            run::exit(0);
        });
        say!("{what} {}", wait(child));
    }
    // That of its own root it has made read-only.
    say!("mkdir={}", sys!(SYS_mkdir, c"d/below", 0o755));
    say!("writable={}", sys!(SYS_mount, c"mine", c"d", c"tmpfs", MS_REMOUNT, 0));
    let (mut ends, mut told) = ([0i32; 2], [0i32; 2]);
    sys!(SYS_pipe, &mut ends);
    sys!(SYS_pipe, &mut told);
    let child = spawn(|| {
        sys!(SYS_chdir, c"d");
        close(ends[1]);
        sys!(SYS_write, told[1], b"x", 1);
        sys!(SYS_read, ends[0], &mut [0u8; 1], 1);
        0
    });
    sys!(SYS_read, told[0], &mut [0u8; 1], 1);
    say!("cwd of another={}", umount(c"d", 0));
    close(ends[1]);
    say!("it ends {}", wait(child));
    mount(c"d/below");
    say!("mount below={} mine={}", umount(c"d", 0), mine());
    say!("below={} it={} mine={}", umount(c"d/below", 0), umount(c"d", 0), mine());
    say!("again={} none={} file={}", umount(c"d", 0), umount(c"none", 0), umount(c"/proc/self/exe", 0));
}

fn detach() {
    if !apart() {
        return;
    }
    file(c"d/f", b"text");
    mount(c"d/a");
    mount(c"d/a/b");
    file(c"d/a/b/g", b"deep");
    let (upper, deep) = (open(c"d/f", O_RDWR), open(c"d/a/b/g", O_RDONLY));
    let inside = open(c"d/a", O_RDONLY);
    say!("mine={} busy={} detached={} mine={}", mine(), umount(c"d", 0), umount(c"d", MNT_DETACH), mine());
    say!("gone f={} a={}", sys!(SYS_access, c"d/f", 0), sys!(SYS_access, c"d/a", 0));
    say!("f={:?} g={:?}", run::slurp(upper), run::slurp(deep));
    say!("write={}", sys!(SYS_pwrite64, upper, b"TEXT", 4, 0));
    // The mounts below are apart from it.
    let dir = sys!(SYS_openat, inside, c"..", O_RDONLY).fd();
    say!("up f={} b={}", sys!(SYS_faccessat, dir, c"f", 0), sys!(SYS_faccessat, inside, c"b/g", 0));
    sys!(SYS_fchdir, inside);
    say!("twice={} plain={}", umount(c".", MNT_DETACH), umount(c".", 0));
    say!("new={}", sys!(SYS_openat, inside, c"new", O_RDWR | O_CREAT, 0o644).ok());
    say!("mount on it={}", sys!(SYS_mount, c"mine", c".", c"tmpfs", 0, 0).ok());
    sys!(SYS_chdir, c"/");
}

fn expire() {
    if !apart() {
        return;
    }
    file(c"d/f", b"text");
    say!("once={} used={}", umount(c"d", MNT_EXPIRE), sys!(SYS_access, c"d/f", 0));
    say!("marked anew={}", umount(c"d", MNT_EXPIRE));
    let fd = open(c"d/f", O_RDONLY);
    say!("busy={}", umount(c"d", MNT_EXPIRE));
    close(fd);
    say!("marked={} then={} mine={}", umount(c"d", MNT_EXPIRE), umount(c"d", MNT_EXPIRE), mine());
    mount(c"d");
    for flags in [MNT_EXPIRE | MNT_DETACH, MNT_EXPIRE | MNT_FORCE, 16, 1 << 20] {
        say!("flags {flags}={}", umount(c"d", flags));
    }
    say!("root={}", umount(c"/", MNT_EXPIRE));
    say!("end={}", umount(c"d", 0));
}

fn read_only() {
    if !apart() {
        return;
    }
    file(c"d/f", b"text");
    sys!(SYS_mkdir, c"d/other", 0o755);
    let remount = |at: &CStr, flags: u64| sys!(SYS_mount, c"mine", at, c"tmpfs", MS_REMOUNT | flags, 0);
    let try_write = || {
        let r = sys!(SYS_openat, libc::AT_FDCWD, c"d/f", O_WRONLY);
        if r.ok() {
            close(r.fd());
        }
        if r.ok() { "writable".into() } else { r.to_string() }
    };
    let fd = open(c"d/f", O_WRONLY);
    say!("written={} {}", remount(c"d", MS_RDONLY), try_write());
    say!("this mount={} {}", remount(c"d", MS_RDONLY | MS_BIND), try_write());
    close(fd);
    let fd = open(c"d/f", O_RDWR);
    let map = sys!(SYS_mmap, 0, 4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0);
    close(fd);
    say!("mapped={}", remount(c"d", MS_RDONLY));
    sys!(SYS_munmap, map.0, 4096);
    let (fd, dir) = (open(c"d/f", O_RDONLY), open(c"d", O_RDONLY));
    say!("read={} {}", remount(c"d", MS_RDONLY), try_write());
    say!("mkdir={} again={}", sys!(SYS_mkdir, c"d/x", 0o755), remount(c"d", MS_RDONLY));
    say!("writable={} {}", remount(c"d", 0), try_write());
    close(fd);
    close(dir);
    // Of a file system that is mounted twice, one may be read-only while the other is written.
    sys!(SYS_mkdir, c"second", 0o755);
    say!("bind={}", sys!(SYS_mount, c"d", c"second", 0, MS_BIND, 0));
    let fd = open(c"d/f", O_WRONLY);
    say!("other mount={} {}", remount(c"second", MS_RDONLY | MS_BIND), try_write());
    let other = sys!(SYS_openat, libc::AT_FDCWD, c"second/f", O_WRONLY);
    say!("through it={other} whole={}", remount(c"second", MS_RDONLY));
    close(fd);
    say!("first={} second={}", umount(c"d", 0), umount(c"second", 0));
}

/// Taken away with a part of it bound elsewhere, and a name that many have used.
fn bound() {
    if !apart() {
        return;
    }
    sys!(SYS_mkdir, c"d/sub", 0o755);
    file(c"d/sub/f", b"text");
    sys!(SYS_mkdir, c"part", 0o755);
    sys!(SYS_mount, c"d/sub", c"part", 0, MS_BIND, 0);
    say!("whole={} mine={}", umount(c"d", 0), mine());
    let fd = open(c"part/f", O_RDONLY);
    say!("part={} f={:?}", umount(c"part", 0), run::slurp(fd));
    // Moved, it is as busy as before, and no longer in the first place's way.
    mount(c"d");
    sys!(SYS_mkdir, c"d/on", 0o755);
    say!("moved={}", sys!(SYS_mount, c"part", c"d/on", 0, libc::MS_MOVE, 0));
    say!("busy={} below={}", umount(c"d/on", 0), umount(c"d", 0));
    close(fd);
    say!("on={} d={} mine={}", umount(c"d/on", 0), umount(c"d", 0), mine());
}

pub(crate) const CASES: &[Case] =
    &[("busy", busy), ("detach", detach), ("expire", expire), ("read_only", read_only), ("bound", bound)];
