//! What a call is given changes while it runs: paths in memory, names in directories, arguments.

use super::{Attack, told};
use crate::run::{self, say, sys};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

pub(super) const ATTACKS: &[Attack] =
    &[("race-path", path), ("race-links", links), ("race-shared", shared), ("race-arguments", arguments)];

const MS: i64 = 700;

/// Runs `change` without end in another thread while `f` runs for a while.
pub(super) fn beside(change: impl Fn(usize) + Sync, mut f: impl FnMut()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut n = 0;
            while !stop.load(SeqCst) {
                change(n);
                n += 1;
            }
        });
        let end = run::now_ms() + MS;
        while run::now_ms() < end {
            f();
        }
        stop.store(true, SeqCst);
    });
}

/// Whether what a descriptor reads is the host's secret.
fn is_secret(fd: i32) -> bool {
    let mut b = [0u8; 64];
    let n = sys!(SYS_pread64, fd, &mut b, b.len(), 0).0.max(0) as usize;
    secret(&b[..n])
}

/// The driver's secret begins with this word, which it says nowhere else.
fn secret(bytes: &[u8]) -> bool {
    let marker: Vec<u8> = told("marker").unwrap_or("").bytes().map(|b| b ^ 1).collect();
    !marker.is_empty() && bytes.windows(marker.len()).any(|w| w == marker)
}

/// A path in memory, now of a file of ours, now of one outside.
fn path() {
    run::file(c"/tmp/inside", b"inside");
    let outside = told("secret").unwrap_or("/none");
    let inside = format!("/tmp/{}inside", "./".repeat(outside.len().saturating_sub(11) / 2 + 8));
    let up = format!("/tmp/{}{outside}", "../".repeat(12));
    let texts: Vec<Vec<u8>> =
        [&inside, outside, &up].iter().map(|t| [t.as_bytes(), b"\0"].concat()).collect();
    let buffer = crate::mem::map(8192, crate::mem::RW, crate::mem::PRIV);
    // Over the end of what is read ahead, and over that of a page.
    let at = buffer + 4096 - 8;
    let (mut opened, mut found) = (0u64, 0u64);
    beside(
        |n| crate::mem::put(at, &texts[n % texts.len()]),
        || {
            for flags in [libc::O_RDONLY, libc::O_RDWR, libc::O_PATH] {
                let fd = sys!(SYS_openat, libc::AT_FDCWD, at, flags).fd();
                if fd >= 0 {
                    opened += 1;
                    found += u64::from(is_secret(fd));
                    run::close(fd);
                }
            }
            let mut st: libc::stat = crate::mem::zeroed();
            if sys!(SYS_stat, at, &mut st).ok() {
                found += u64::from(Some(st.st_ino.to_string().as_str()) == told("inode"));
            }
            for nr in [libc::SYS_truncate, libc::SYS_chmod, libc::SYS_unlink, libc::SYS_access] {
                run::raw(nr, &[at, 0o600]);
            }
            run::file(c"/tmp/inside", b"inside");
            if sys!(SYS_getpid).0 % 2 == 0 {
                run::fate(|| {
                    sys!(SYS_execve, at, &[at, 0], &[0usize]);
                    0
                });
            }
        },
    );
    say!("opened={} found={found}", opened > 0);
}

/// Directories and links that change places, in a file system of ours.
fn links() {
    for dir in [c"/tmp/a", c"/tmp/b"] {
        sys!(SYS_mkdir, dir, 0o777);
    }
    run::file(c"/tmp/a/secret", b"inside");
    let outside = told("secret").unwrap_or("/none");
    let dir = std::path::Path::new(outside).parent().map(|p| p.to_path_buf()).unwrap_or_default();
    let _ = std::os::unix::fs::symlink(dir, "/tmp/l");
    let _ = std::os::unix::fs::symlink("/../../../../../..", "/tmp/b/up");
    let (mut opened, mut found) = (0u64, 0u64);
    beside(
        |_| {
            sys!(SYS_renameat2, -100, c"/tmp/a", -100, c"/tmp/l", libc::RENAME_EXCHANGE);
            sys!(SYS_renameat2, -100, c"/tmp/a", -100, c"/tmp/b", libc::RENAME_EXCHANGE);
        },
        || {
            for path in
                [c"/tmp/a/secret", c"/tmp/l/secret", c"/tmp/b/up/../../secret", c"/tmp/a/../../../secret"]
            {
                let fd = run::open(path, libc::O_RDWR);
                if fd >= 0 {
                    opened += 1;
                    found += u64::from(is_secret(fd));
                    run::close(fd);
                }
            }
        },
    );
    say!("opened={} found={found}", opened > 0);
}

/// The same in a directory of the host that the guest may write to: what changes there changes under the kernel's hands.
fn shared() {
    let Some(dir) = told("shared") else { return say!("no directory") };
    let outside = told("secret").unwrap_or("/none");
    let entered = std::env::set_current_dir(dir).is_ok();
    run::file(c"file", b"inside");
    let linked = std::os::unix::fs::symlink(outside, "link").is_ok();
    sys!(SYS_mkdir, c"dir", 0o777);
    let _ = std::os::unix::fs::symlink(std::path::Path::new(outside).parent().unwrap_or(dir.as_ref()), "up");
    let mut found = 0u64;
    beside(
        |_| {
            sys!(SYS_renameat2, -100, c"file", -100, c"link", libc::RENAME_EXCHANGE);
            sys!(SYS_renameat2, -100, c"dir", -100, c"up", libc::RENAME_EXCHANGE);
        },
        || {
            for path in [c"file", c"link", c"dir/secret", c"up/secret", c"dir/../secret"] {
                for flags in [libc::O_RDWR, libc::O_RDONLY, libc::O_WRONLY | libc::O_TRUNC] {
                    let fd = run::open(path, flags | libc::O_NONBLOCK);
                    if fd >= 0 {
                        found += u64::from(is_secret(fd));
                        sys!(SYS_ftruncate, fd, 3);
                        run::close(fd);
                    }
                }
                sys!(SYS_truncate, path, 3);
                sys!(SYS_chmod, path, 0o777);
                sys!(SYS_lchown, path, 1, 1);
                sys!(SYS_chown, path, 1, 1);
                sys!(SYS_setxattr, path, c"user.hostile", c"x", 1, 0);
                sys!(SYS_utimensat, -100, path, 0, 0);
                sys!(SYS_link, path, c"hard");
                let fd = run::open(c"hard", libc::O_RDWR | libc::O_NOFOLLOW);
                if fd >= 0 {
                    found += u64::from(is_secret(fd));
                    run::close(fd);
                }
                sys!(SYS_unlink, c"hard");
            }
            for name in [c"dir/new", c"up/new"] {
                run::file(name, b"new");
                sys!(SYS_mkdir, name, 0o700);
                sys!(SYS_rename, c"nothing", name);
                sys!(SYS_unlink, name);
                sys!(SYS_rmdir, name);
            }
        },
    );
    say!("entered={entered} linked={linked} found={found}");
}

/// Structures with lengths in them, which change between the kernel's looks.
fn arguments() {
    let page = crate::mem::map(4096 * 4, crate::mem::RW, crate::mem::PRIV);
    let (r, w) = run::pipe(libc::O_NONBLOCK);
    let mut s = [0i32; 2];
    sys!(SYS_socketpair, 1, 1 | libc::SOCK_NONBLOCK, 0, &mut s);
    let words = [0usize, 1, 16, 4096, usize::MAX, usize::MAX / 2, 1 << 31, 0x7fff_e000_0000, page, 1 << 47];
    beside(
        |n| {
            for k in 0..24 {
                super::at::poke(page + k * 8, words[(n / 3 + k * 7) % words.len()] as u64);
            }
        },
        || {
            sys!(SYS_writev, w, page, 4);
            sys!(SYS_readv, r, page, 4);
            sys!(SYS_sendmsg, s[0], page, libc::MSG_DONTWAIT);
            sys!(SYS_recvmsg, s[1], page, libc::MSG_DONTWAIT);
            sys!(SYS_sendmmsg, s[0], page, 3, libc::MSG_DONTWAIT);
            sys!(SYS_clone3, page, 64);
            sys!(SYS_openat2, -100, c"/tmp", page, 24);
            sys!(SYS_poll, page, 8, 0);
            sys!(SYS_ppoll, page, 8, page, page, 8);
            sys!(SYS_select, 64, page, page, page, page + 4096);
            sys!(SYS_rt_sigtimedwait, page, page, page + 4096, 8);
            sys!(SYS_process_vm_readv, sys!(SYS_getpid).0, page, 2, page, 2, 0);
            sys!(SYS_futex_waitv, page, 4, 0, 0, 0);
            sys!(SYS_epoll_ctl, 3, 1, 0, page);
            sys!(SYS_timer_create, 1, page, page + 4096);
            sys!(SYS_sigaltstack, page + 4096, 0);
            sys!(SYS_sched_setattr, 0, page, 0);
            sys!(SYS_capset, page, page);
            sys!(SYS_prctl, libc::PR_SET_MM, 14, page, 64, 0);
        },
    );
    say!("done");
}
