//! All the processes, threads, memory and stack there are.

use super::Attack;
use crate::mem::{PRIV, RW, SHARED};
use crate::run::{self, say, spawn, sys};
use std::ffi::CStr;

pub(super) const ATTACKS: &[Attack] = &[
    ("fork-bomb", fork_bomb),
    ("thread-bomb", thread_bomb),
    ("memory-private", || memory(touch_private)),
    ("memory-shared", || memory(touch_shared)),
    ("memory-sparse", || memory(touch_sparse)),
    ("memory-read", || memory(fill_by_read)),
    ("memory-populate", || memory(fill_by_mapping)),
    ("memory-tmpfs", || memory(fill_tmpfs)),
    ("memory-unseen", || memory(map_by_the_stub)),
    ("memory-many", many_mappings),
    ("big-counts", big_counts),
    ("deep", deep),
    ("mount-loops", mount_loops),
    ("rename-loops", rename_loops),
];

/// Processes that make processes, until none can be made; then all are ended, and the kernel works on.
fn fork_bomb() {
    let group = spawn(|| {
        sys!(SYS_setpgid, 0, 0);
        let mut made = 0;
        loop {
            let pid = sys!(SYS_fork);
            made += i32::from(pid.0 > 0);
            if !pid.ok() {
                run::sleep_ms(20);
            }
            if pid.ok() && made > 2000 {
                run::sleep_ms(1);
            }
        }
    });
    run::sleep_ms(4000);
    let mut killed = 0;
    // More may be made while the group is told.
    for _ in 0..50 {
        killed += i32::from(sys!(SYS_kill, -group, libc::SIGKILL).ok());
        run::sleep_ms(20);
        while sys!(SYS_wait4, -1, 0, libc::WNOHANG, 0).0 > 0 {}
    }
    say!("ended={} left={}", killed > 0, sys!(SYS_kill, -group, 0).sign());
    super::forge::census();
}

/// Threads, each with next to no stack, until there is no more.
fn thread_bomb() {
    let fate = run::fate(|| {
        let gate = crate::mem::map(4096, RW, PRIV);
        let mut made = 0;
        while made < 20_000 {
            let stack = crate::mem::map(4096, RW, PRIV);
            if stack as isize <= 0 {
                break;
            }
            let flags = libc::CLONE_VM
                | libc::CLONE_FS
                | libc::CLONE_FILES
                | libc::CLONE_SIGHAND
                | libc::CLONE_THREAD;
            let r: isize;
            unsafe {
                std::arch::asm!(
                    "syscall",
                    "test rax, rax",
                    "jnz 2f",
                    // The thread: futex(gate, WAIT, 0) for ever.
                    "3: mov eax, 202", "mov rdi, r12", "xor esi, esi", "xor edx, edx", "xor r10d, r10d", "syscall", "jmp 3b",
                    "2:",
                    inlateout("rax") libc::SYS_clone as isize => r, in("rdi") flags as usize, in("rsi") stack + 4096, in("rdx") 0,
                    in("r10") 0, in("r8") 0, in("r12") gate, out("rcx") _, out("r11") _,
                );
            }
            if r < 0 {
                break;
            }
            made += 1;
        }
        say!("made={}", made > 100);
        0
    });
    say!("fate={fate}");
}

/// A child that takes memory without end: it ends, and the rest goes on.
fn memory(take: fn(usize) -> bool) {
    let fate = run::fate(|| {
        let end = run::now_ms() + 8000;
        let mut n = 0;
        while run::now_ms() < end && take(n) {
            n += 1;
            // 4 GiB is more than the driver gives: nothing has ended this.
            if n >= 256 {
                return 42;
            }
        }
        // Refused, and has what it has still: as good.
        0
    });
    say!("bounded={}", fate != "exited:42");
}

const STEP: usize = 16 << 20;

fn touch(at: usize) -> bool {
    if at as isize <= 0 {
        return false;
    }
    (0..STEP).step_by(4096).for_each(|n| unsafe { ((at + n) as *mut u8).write_volatile(1) });
    true
}

fn touch_private(_: usize) -> bool {
    touch(crate::mem::map(STEP, RW, PRIV | libc::MAP_NORESERVE))
}

fn touch_shared(_: usize) -> bool {
    touch(crate::mem::map(STEP, RW, SHARED | libc::MAP_NORESERVE))
}

/// More than the driver gives, in one call.
const MUCH: usize = 1 << 30;

/// One read that fills it: its process ends some time after it was told to.
fn fill_by_read(_: usize) -> bool {
    let at = crate::mem::map(MUCH, RW, SHARED | libc::MAP_NORESERVE);
    at as isize > 0 && sys!(SYS_read, run::open(c"/dev/zero", libc::O_RDONLY), at, MUCH).ok()
}

/// One mapping, filled as it is made.
fn fill_by_mapping(n: usize) -> bool {
    let kind = if n.is_multiple_of(2) { SHARED } else { PRIV };
    crate::mem::map(MUCH, RW, kind | libc::MAP_NORESERVE | libc::MAP_POPULATE) as isize > 0
}

/// Files of no size to speak of, that grow through their mappings.
fn touch_sparse(n: usize) -> bool {
    let fd = match n % 8 {
        0..7 => sys!(SYS_memfd_create, c"sparse", 0).fd(),
        _ => run::open(c"/dev/shm/sparse", libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC),
    };
    sys!(SYS_unlink, c"/dev/shm/sparse");
    if !sys!(SYS_ftruncate, fd, STEP).ok() {
        return false;
    }
    let at = sys!(SYS_mmap, 0, STEP, RW, libc::MAP_SHARED, fd, 0).0 as usize;
    run::close(fd);
    touch(at)
}

/// Files, written to; `false` once there is no space.
fn fill_tmpfs(n: usize) -> bool {
    let dir = [c"/tmp/fill", c"/dev/shm/fill", c"/dev/fill"][n % 3];
    let fd = run::open(dir, libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND);
    let block = vec![1u8; 1 << 20];
    let mut full = 0;
    for _ in 0..16 {
        full += i32::from(!sys!(SYS_write, fd, block.as_slice(), block.len()).ok());
    }
    run::close(fd);
    full < 16 || n % 3 != 2
}

/// Memory that the kernel has not ordered: the host's mmap, from the stub's instruction.
fn map_by_the_stub(_: usize) -> bool {
    let flags = (PRIV | libc::MAP_NORESERVE) as usize;
    let window = super::at::own_window();
    let at =
        super::at::call(super::at::ops_site(), libc::SYS_mmap, [0, STEP, 3, flags, usize::MAX, 0], window);
    touch(at as usize)
}

/// More mappings than the host would have, and holes in them.
fn many_mappings() {
    let fate = run::fate(|| {
        let mut refused = false;
        let at = crate::mem::map(1 << 30, libc::PROT_NONE, PRIV | libc::MAP_NORESERVE);
        for n in 0..70_000 {
            if !sys!(SYS_mprotect, at + n * 8192, 4096, RW).ok() {
                refused = true;
                break;
            }
        }
        i32::from(!refused) + 3
    });
    say!("refused={}", fate == "exited:3");
}

/// Lengths and counts that no kernel should believe.
fn big_counts() {
    let fate = run::fate(|| {
        let big =
            [usize::MAX, usize::MAX / 2, 1 << 47, 0x7fff_f000, 0x7fff_ffff, 0xffff_ffff, 1 << 32, 1 << 30];
        let page = crate::mem::map(1 << 20, RW, PRIV);
        let zero = run::open(c"/dev/zero", libc::O_RDWR);
        run::file(c"/tmp/big", b"x");
        let file = run::open(c"/tmp/big", libc::O_RDWR);
        let (r, w) = run::pipe(libc::O_NONBLOCK);
        let mut s = [0i32; 2];
        sys!(SYS_socketpair, 1, 1 | libc::SOCK_NONBLOCK, 0, &mut s);
        let ep = sys!(SYS_epoll_create1, 0);
        for n in big {
            for fd in [zero, file, r, w, s[0]] {
                sys!(SYS_read, fd, page, n);
                sys!(SYS_write, fd, page, n);
                sys!(SYS_pread64, fd, page, n, n);
                sys!(SYS_pwrite64, fd, page, n, n);
                sys!(SYS_readv, fd, page, n);
                sys!(SYS_fallocate, fd, 0, 0, n);
                sys!(SYS_fcntl, fd, 1031, n);
                sys!(SYS_sendfile, w, fd, 0, n);
                sys!(SYS_splice, fd, 0, w, 0, n, 3);
                sys!(SYS_getdents64, fd, page, n);
                sys!(SYS_fsetxattr, fd, c"user.x", page, n, 0);
                sys!(SYS_fgetxattr, fd, c"user.x", page, n);
            }
            sys!(SYS_pwrite64, file, page, 1, n);
            sys!(SYS_ftruncate, file, n);
            sys!(SYS_ftruncate, file, 0);
            sys!(SYS_poll, page, n, 0);
            sys!(SYS_select, n, page, page, page, &[0u64, 0]);
            sys!(SYS_epoll_wait, ep.0, page, n, 0);
            sys!(SYS_getrandom, page, n.min(1 << 22), 0);
            sys!(SYS_setgroups, n, page);
            sys!(SYS_mmap, 0, n, 3, PRIV, -1, 0);
            sys!(SYS_mremap, page, 1 << 20, n, 1);
            sys!(SYS_brk, n);
            sys!(SYS_mincore, page, n, page);
            sys!(SYS_sched_getaffinity, 0, n, page);
            sys!(SYS_sched_setaffinity, 0, n, page);
            sys!(SYS_readlink, c"/proc/self/exe", page, n);
            sys!(SYS_getcwd, page, n);
            sys!(SYS_sendto, s[0], page, n, libc::MSG_DONTWAIT, 0, 0);
            sys!(SYS_recvfrom, s[1], page, n, libc::MSG_DONTWAIT, 0, 0);
            sys!(SYS_setsockopt, s[0], 1, 7, page, n);
            sys!(SYS_setsockopt, s[0], 1, libc::SO_SNDBUFFORCE, &[0x7fff_ffff], 4);
            sys!(SYS_getsockopt, s[0], 1, 7, page, &[n]);
            sys!(SYS_bind, s[0], page, n);
            sys!(SYS_syslog, 3, page, n);
            sys!(SYS_sethostname, page, n);
            sys!(SYS_futex_waitv, page, n, 0, 0, 0);
            sys!(SYS_seccomp, 1, 0, &[n, page]);
            sys!(SYS_add_key, c"user", c"x", page, n, -1);
            sys!(SYS_mbind, page, 4096, 1, page, n, 0);
            sys!(SYS_clone3, page, n);
            sys!(SYS_openat2, -100, c"/", page, n);
            sys!(SYS_semop, 0, page, n);
            sys!(SYS_msgsnd, 0, page, n, libc::IPC_NOWAIT);
        }
        0
    });
    say!("fate={fate}");
}

/// Depths: directories in directories, links to links, scripts of scripts, paths without end, programs with arguments without end.
fn deep() {
    let fate = run::fate(|| {
        let mut depth = 0;
        let end = run::now_ms() + 1500;
        while sys!(SYS_mkdir, c"d", 0o755).ok()
            && sys!(SYS_chdir, c"d").ok()
            && run::now_ms() < end
            && depth < 20_000
        {
            depth += 1;
        }
        let mut path = [0u8; 8192];
        let cwd = sys!(SYS_getcwd, &mut path, 8192);
        sys!(SYS_readlink, c"/proc/self/cwd", &mut path, 8192);
        run::cat(c"/proc/self/mountinfo");
        sys!(SYS_chdir, c"/tmp");
        say!("deep={} getcwd={}", depth > 1000, cwd.sign());
        0
    });
    // Each link is resolved in the middle of the one before.
    let links = run::fate(|| {
        let mut last = String::from("/tmp");
        let mut errors = Vec::new();
        for n in 0..60 {
            let name = format!("/tmp/k{n}");
            let _ = std::os::unix::fs::symlink(format!("{last}/./../tmp/."), &name);
            let path = std::ffi::CString::new(format!("{name}/x")).unwrap_or_default();
            errors.push(sys!(SYS_open, &*path, 0).to_string());
            last = name;
        }
        i32::from(errors[39] == "ENOENT" && errors[41] == "ELOOP") + 4
    });
    let long = run::fate(|| {
        let path = [b"/".repeat(1 << 20), vec![0]].concat();
        let names = [b"a/".repeat(2000), vec![0]].concat();
        let name = [vec![b'n'; 300], vec![0]].concat();
        let r = [&path, &names, &name].map(|p| sys!(SYS_open, p.as_slice(), 0).to_string());
        say!("long={r:?}");
        let arg = [vec![b'a'; 100_000], vec![0]].concat();
        let argv: Vec<usize> = std::iter::repeat_n(arg.as_ptr() as usize, 20_000).chain([0]).collect();
        say!("args={}", sys!(SYS_execve, c"/bin/guest-tests", argv.as_slice(), &[0usize]));
        let argv: Vec<usize> = std::iter::repeat_n(c"".as_ptr() as usize, 8 << 20).collect();
        say!("many={}", sys!(SYS_execve, c"/bin/guest-tests", argv.as_slice(), &[0usize]));
        run::file(c"/tmp/script", b"#!/tmp/script\n");
        sys!(SYS_chmod, c"/tmp/script", 0o755);
        say!("script={}", sys!(SYS_execve, c"/tmp/script", &[0usize], &[0usize]));
        0
    });
    say!("fate={fate} links={links} long={long}");
}

/// Mounts that are moved onto themselves: whoever reads a path on them would go up for ever, and note each name.
fn mount_loops() {
    let fate = run::fate(|| {
        let mount = |from: &CStr, to: &CStr, flags: u64| sys!(SYS_mount, from, to, c"tmpfs", flags, 0);
        let dir = c"/tmp/loop";
        sys!(SYS_mkdir, dir, 0o755);
        let made = mount(c"none", dir, 0).ok();
        sys!(SYS_mkdir, c"/tmp/loop/x", 0o755);
        sys!(SYS_mkdir, c"/tmp/loop/y", 0o755);
        run::file(c"/tmp/loop/file", b"");
        let file = mount(dir, c"/tmp/loop/file", libc::MS_MOVE);
        let (onto, into) = (mount(dir, dir, libc::MS_MOVE), mount(dir, c"/tmp/loop/x", libc::MS_MOVE));
        // In a mount that lies in it.
        let bound = mount(dir, c"/tmp/loop/x", libc::MS_BIND).ok();
        let deeper = mount(dir, c"/tmp/loop/x/y", libc::MS_MOVE);
        sys!(SYS_chdir, c"/tmp/loop/x/y");
        let mut path = [0u8; 4096];
        let cwd = sys!(SYS_getcwd, &mut path, 4096).ok();
        run::cat(c"/proc/self/mountinfo");
        // Out of there, and what is gone goes nowhere any more.
        let out = mount(c"/tmp/loop/x", c"/tmp/loop/y", libc::MS_MOVE);
        sys!(SYS_chdir, c"/tmp/loop/y");
        let gone = sys!(SYS_umount2, c"/tmp/loop/y", libc::MNT_DETACH);
        let again = sys!(SYS_umount2, c".", libc::MNT_DETACH);
        let moved = mount(c".", c"/tmp/loop/x", libc::MS_MOVE);
        sys!(SYS_chdir, c"/");
        let emptied = sys!(SYS_rmdir, c"/tmp/loop/y");
        say!("made={made} bound={bound} onto={onto} into={into} deeper={deeper} file={file} cwd={cwd}");
        say!("out={out} gone={gone} again={again} moved={moved} emptied={emptied}");
        sys!(SYS_umount2, dir, 0);
        0
    });
    say!("fate={fate}");
}

/// Two processes that each put a directory into the other's: both at once would make a ring that hangs nowhere.
fn rename_loops() {
    sys!(SYS_mkdir, c"/dev/shm/ring", 0o755);
    sys!(SYS_chdir, c"/dev/shm/ring");
    sys!(SYS_mkdir, c"a", 0o755);
    sys!(SYS_mkdir, c"b", 0o755);
    let turns = [[c"a", c"b/x"], [c"b", c"a/x"]].map(|[from, to]| {
        spawn(move || {
            let (end, mut done) = (run::now_ms() + 3000, 0u64);
            while run::now_ms() < end {
                done += u64::from(sys!(SYS_rename, from, to).ok());
                sys!(SYS_rename, to, from);
            }
            i32::from(done == 0)
        })
    });
    let fates = turns.map(run::wait);
    let there = |path: &CStr| sys!(SYS_access, path, 0).ok();
    let kept = (there(c"a") || there(c"b/x")) && (there(c"b") || there(c"a/x"));
    say!("fates={fates:?} kept={kept}");
}
