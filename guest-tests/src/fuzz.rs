//! Random system calls, replayable. Each child lives 200 ms at most in a process, session and directory of its own;
//! its seed is printed before it starts, and `fuzz --one SEED` runs it again.
//!
//! What it must not do is reach outside: no signal but to itself, nothing privileged, no descriptor of ours.

#![allow(non_upper_case_globals, reason = "system call numbers are named as libc names them")]

use crate::mem::{KERNEL, PAGE, UNMAPPED, put};
use crate::run::{close, exit, handler, kill, now_ms, open, raw, sleep_ms, sys, wait};
use libc::{
    SYS_acct, SYS_add_key, SYS_adjtimex, SYS_bpf, SYS_capset, SYS_chroot, SYS_clock_adjtime,
    SYS_clock_settime, SYS_clone, SYS_clone3, SYS_close_range, SYS_delete_module, SYS_exit, SYS_exit_group,
    SYS_finit_module, SYS_fork, SYS_init_module, SYS_io_uring_setup, SYS_ioctl, SYS_ioperm, SYS_iopl,
    SYS_kcmp, SYS_kexec_file_load, SYS_kexec_load, SYS_keyctl, SYS_kill, SYS_mount, SYS_mount_setattr,
    SYS_move_mount, SYS_open_tree, SYS_pause, SYS_perf_event_open, SYS_pidfd_getfd, SYS_pidfd_send_signal,
    SYS_pivot_root, SYS_prctl, SYS_prlimit64, SYS_process_madvise, SYS_process_vm_readv,
    SYS_process_vm_writev, SYS_ptrace, SYS_quotactl, SYS_quotactl_fd, SYS_reboot, SYS_request_key,
    SYS_rt_sigqueueinfo, SYS_rt_sigreturn, SYS_rt_tgsigqueueinfo, SYS_setdomainname, SYS_setfsgid,
    SYS_setfsuid, SYS_setgid, SYS_setgroups, SYS_sethostname, SYS_setns, SYS_setpriority, SYS_setregid,
    SYS_setresgid, SYS_setresuid, SYS_setreuid, SYS_settimeofday, SYS_setuid, SYS_swapoff, SYS_swapon,
    SYS_sync, SYS_syslog, SYS_tgkill, SYS_tkill, SYS_umount2, SYS_unshare, SYS_userfaultfd, SYS_vfork,
    SYS_vhangup,
};
use std::path::{Path, PathBuf};

/// Never called: they end the machine, change it for all, need privilege, or make a child whose life is not ours to end.
const FORBIDDEN: &[i64] = &[
    SYS_acct,
    SYS_add_key,
    SYS_adjtimex,
    SYS_bpf,
    SYS_capset,
    SYS_chroot,
    SYS_clock_adjtime,
    SYS_clock_settime,
    SYS_clone,
    SYS_clone3,
    SYS_delete_module,
    SYS_exit,
    SYS_exit_group,
    SYS_finit_module,
    SYS_fork,
    SYS_init_module,
    SYS_io_uring_setup,
    SYS_iopl,
    SYS_ioperm,
    SYS_kcmp,
    SYS_kexec_file_load,
    SYS_kexec_load,
    SYS_keyctl,
    SYS_mount,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_open_tree,
    SYS_perf_event_open,
    SYS_pidfd_getfd,
    SYS_pidfd_send_signal,
    SYS_pivot_root,
    SYS_process_madvise,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_ptrace,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_reboot,
    SYS_request_key,
    SYS_rt_sigqueueinfo,
    SYS_rt_sigreturn,
    SYS_rt_tgsigqueueinfo,
    SYS_setdomainname,
    SYS_setfsgid,
    SYS_setfsuid,
    SYS_setgid,
    SYS_setgroups,
    SYS_sethostname,
    SYS_setns,
    SYS_setregid,
    SYS_setresgid,
    SYS_setresuid,
    SYS_setreuid,
    SYS_settimeofday,
    SYS_setuid,
    SYS_swapoff,
    SYS_swapon,
    SYS_sync,
    SYS_syslog,
    SYS_umount2,
    SYS_unshare,
    SYS_userfaultfd,
    SYS_vfork,
    SYS_vhangup,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_ioprio_set,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
    // System V objects outlive their maker.
    libc::SYS_shmget,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_open_by_handle_at,
    // The kernel's own trampolines use these two, and answer anyone else with SIGILL.
    335,
    336,
    libc::SYS_uselib,
    libc::SYS_modify_ldt,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
];
/// How long a child may live.
const LIFE_MS: i64 = 200;
const NUMBERS: u64 = 471;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Copy>(&mut self, v: &[T]) -> T {
        v[self.below(v.len() as u64) as usize]
    }
}

/// Where paths, buffers and bad pages of a child lie: fixed, so that a replay sees the same arguments.
const SCRATCH: usize = 0x2200_0000_0000;
const PATHS: [&[u8]; 14] = [
    b"a\0",
    b"b\0",
    b"d\0",
    b"d/x\0",
    b"d/e\0",
    b"l\0",
    b"p\0",
    b"s\0",
    b".\0",
    b"none\0",
    b"none/x\0",
    b"a/x\0",
    b"\0",
    b"user.a\0",
];

fn prepare() {
    let fixed = libc::MAP_FIXED_NOREPLACE | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    sys!(SYS_mmap, SCRATCH, 16 * PAGE, 3, fixed, -1, 0);
    sys!(SYS_mprotect, SCRATCH + 12 * PAGE, PAGE, libc::PROT_READ);
    sys!(SYS_mprotect, SCRATCH + 13 * PAGE, PAGE, libc::PROT_NONE);
    for (i, p) in PATHS.iter().enumerate() {
        put(SCRATCH + i * 32, p);
    }
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_symlink, c"a", c"l");
    sys!(SYS_mknod, c"p", libc::S_IFIFO | 0o600, 0);
    let _ = std::fs::write("a", vec![b'a'; 10_000]);
    // 3.. are one of each kind.
    open(c"a", libc::O_RDWR);
    open(c"d", libc::O_RDONLY);
    open(c"/dev/zero", libc::O_RDWR);
    crate::run::pipe(libc::O_NONBLOCK);
    let mut s = [0i32; 2];
    sys!(SYS_socketpair, 1, 1 | libc::SOCK_NONBLOCK, 0, &mut s);
    sys!(SYS_epoll_create1, 0);
    sys!(SYS_eventfd2, 1, libc::EFD_NONBLOCK);
    sys!(SYS_timerfd_create, 1, libc::TFD_NONBLOCK);
    sys!(SYS_inotify_init1, libc::IN_NONBLOCK);
    sys!(SYS_memfd_create, c"m", libc::MFD_ALLOW_SEALING);
    sys!(SYS_socket, 1, 2, 0);
}

fn value(r: &mut Rng) -> usize {
    match r.below(12) {
        0 | 1 => r.below(22) as usize + 3,
        2 => r.pick(&[usize::MAX, 9999, 3, libc::AT_FDCWD as usize, 1000]),
        3 => SCRATCH + r.below(PATHS.len() as u64) as usize * 32,
        4 | 5 => SCRATCH + PAGE + r.below(10 * PAGE as u64) as usize / 8 * 8,
        6 => r.pick(&[
            0,
            1,
            KERNEL,
            UNMAPPED,
            SCRATCH + 12 * PAGE,
            SCRATCH + 13 * PAGE,
            SCRATCH + 12 * PAGE - 3,
            SCRATCH + 16 * PAGE - 1,
            0x8000_0000_0000,
        ]),
        7 => r.below(16) as usize,
        8 => 1 << r.below(64),
        9 => r.pick(&[0, 1, 2, 4, 8, 16, 24, 64, 100, 4095, 4096, 4097, 65536, 1 << 20]),
        10 => r.pick(&[
            usize::MAX,
            usize::MAX - 1,
            i64::MAX as usize,
            i64::MIN as usize,
            u32::MAX as usize,
            i32::MIN as usize,
            i32::MAX as usize,
            1 << 40,
        ]),
        _ => r.next() as usize & 0xffff_ffff,
    }
}

/// What is random enough as it is, or must be bent so that it stays inside.
fn bend(nr: i64, a: &mut [usize; 6], r: &mut Rng) {
    let me = sys!(SYS_getpid).0 as usize;
    let off_limits = |fd: usize| (fd as u32) <= 2;
    match nr {
        SYS_kill | SYS_tkill => {
            *a = [me, r.pick(&[0, libc::SIGUSR1, libc::SIGURG, libc::SIGCONT, 99]) as usize, 0, 0, 0, 0]
        }
        SYS_tgkill => *a = [me, me, r.pick(&[0, libc::SIGUSR1, 99]) as usize, 0, 0, 0],
        SYS_prlimit64 | SYS_setpriority => a[if nr == SYS_prlimit64 { 0 } else { 1 }] = 0,
        SYS_prctl
            if matches!(
                a[0] as i32,
                libc::PR_SET_MM | libc::PR_SET_SECCOMP | libc::PR_SET_PDEATHSIG | libc::PR_CAPBSET_DROP
            ) =>
        {
            a[0] = 9999
        }
        libc::SYS_seccomp | libc::SYS_landlock_restrict_self => a[0] = 9999,
        SYS_close_range => a[0] = (a[0] as u32 as usize).max(3),
        SYS_ioctl | libc::SYS_close | libc::SYS_fcntl if off_limits(a[0]) => a[0] = 3,
        libc::SYS_dup2 | libc::SYS_dup3 if off_limits(a[1]) => a[1] = 20,
        // Memory of the program itself must stay, or the fuzzer fuzzes its own corpse.
        libc::SYS_mmap => {
            a[1] &= 0xf_ffff;
            a[3] &= !(libc::MAP_FIXED as usize);
        }
        libc::SYS_munmap
        | libc::SYS_mprotect
        | libc::SYS_pkey_mprotect
        | libc::SYS_mremap
        | libc::SYS_madvise
        | libc::SYS_remap_file_pages
        | libc::SYS_mseal => {
            a[0] = SCRATCH + PAGE * (2 + r.below(14) as usize) + usize::from(r.below(8) == 0);
            a[1] = PAGE * r.below(4) as usize;
            if nr == libc::SYS_mremap {
                a[2] = PAGE * r.below(6) as usize;
                a[3] &= 1;
            }
        }
        libc::SYS_brk
        | libc::SYS_arch_prctl
        | libc::SYS_set_tid_address
        | libc::SYS_set_robust_list
        | libc::SYS_rseq => a[0] = 0,
        libc::SYS_rt_sigaction => a[1] = 0,
        libc::SYS_rt_sigprocmask => a[1] = 0,
        libc::SYS_sigaltstack => a[0] = 0,
        libc::SYS_setitimer if a[0] == 0 => a[0] = 1,
        libc::SYS_mlockall | libc::SYS_alarm => a[0] = 100,
        libc::SYS_fallocate => a[3] &= 0xf_ffff,
        libc::SYS_ftruncate | libc::SYS_truncate => a[1] &= 0xf_ffff,
        // A program run by accident would not know what it may not do.
        libc::SYS_execve => a[0] = SCRATCH,
        libc::SYS_execveat => a[1] = SCRATCH + 32,
        _ => {}
    }
}

extern "C" fn tick(_: i32) {}

fn child(seed: u64, dir: &Path, trace: bool) -> ! {
    let _ = std::fs::create_dir(dir);
    let _ = std::env::set_current_dir(dir);
    sys!(SYS_setsid);
    for s in 1..=64 {
        handler(s, libc::SIG_DFL, 0);
    }
    handler(libc::SIGUSR1, libc::SIG_IGN, 0);
    for (what, n) in [
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_FSIZE, 16 << 20),
        (libc::RLIMIT_AS, 1 << 30),
        (libc::RLIMIT_NOFILE, 256),
    ] {
        sys!(SYS_prlimit64, 0, what, &libc::rlimit { rlim_cur: n, rlim_max: n }, 0);
    }
    handler(libc::SIGXFSZ, libc::SIG_IGN, 0);
    handler(libc::SIGPIPE, libc::SIG_IGN, 0);
    handler(libc::SIGALRM, tick as *const () as usize, 0);
    let null = open(c"/dev/null", libc::O_RDWR);
    sys!(SYS_dup2, null, 0);
    if !trace {
        sys!(SYS_dup2, null, 1);
        sys!(SYS_dup2, null, 2);
    }
    (3..1024).for_each(close);
    // Root could reach outside with a device node or a socket option; nobody cannot.
    crate::run::drop_root();
    prepare();
    let mut r = Rng(seed);
    let end = now_ms() + LIFE_MS;
    while now_ms() < end {
        let nr = r.below(NUMBERS) as i64;
        let mut a = [0usize; 6];
        for v in &mut a {
            *v = value(&mut r);
        }
        bend(nr, &mut a, &mut r);
        if FORBIDDEN.contains(&nr) {
            continue;
        }
        // A call that blocks is let go by the timer; what defeats even that, the parent ends.
        if nr == SYS_pause || r.below(8) == 0 {
            sys!(SYS_setitimer, 0, &[0i64, 20_000, 0, 20_000], 0);
        }
        if trace {
            println!("call {nr} {:#x} {:#x} {:#x} {:#x} {:#x} {:#x}", a[0], a[1], a[2], a[3], a[4], a[5]);
        }
        let x = raw(nr, &a);
        if trace {
            println!("  = {x}");
        }
    }
    exit(0)
}

/// Runs one child and cleans up after it, whatever it did.
fn one(seed: u64, base: &Path, trace: bool) -> String {
    let dir = base.join(format!("{seed:x}"));
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return "cannot fork".into();
    }
    if pid == 0 {
        child(seed, &dir, trace);
    }
    let end = now_ms() + LIFE_MS + 50;
    let mut st = 0;
    let how = loop {
        let r = sys!(SYS_wait4, pid, &mut st, libc::WNOHANG, 0);
        if r.0 != 0 {
            break crate::show::status(st);
        }
        if now_ms() > end {
            kill(pid, libc::SIGKILL);
            break format!("overdue, {}", wait(pid));
        }
        sys!(SYS_nanosleep, &crate::run::ts(3), 0);
    };
    sys!(SYS_kill, -pid, libc::SIGKILL);
    for d in [dir.clone(), dir.join("d"), dir.join("d/e")] {
        let _ = std::fs::set_permissions(d, std::os::unix::fs::PermissionsExt::from_mode(0o755));
    }
    let _ = std::fs::remove_dir_all(&dir);
    how
}

/// `fuzz --seed N --seconds S --threads T`, or `fuzz --one SEED`.
pub(crate) fn main(args: &[String]) -> i32 {
    let get = |name: &str| {
        args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).and_then(|v| v.parse::<u64>().ok())
    };
    let base: PathBuf = args
        .iter()
        .position(|a| a == "--dir")
        .and_then(|i| args.get(i + 1))
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let base = base.join(format!("guest-fuzz-{}", std::process::id()));
    if args.iter().any(|a| a == "--help") {
        println!(
            "usage: guest-tests fuzz [--guest] [--seed N] [--seconds S] [--threads T] [--dir DIR] | fuzz [--guest] --one SEED"
        );
        return 0;
    }
    if args.iter().any(|a| a == "--pong") {
        println!("pong");
        return 0;
    }
    if args.iter().any(|a| a == "--guest") {
        return crate::wild::main(get("--seconds").unwrap_or(10), get("--seed").unwrap_or(1), get("--one"));
    }
    if std::fs::create_dir_all(&base).is_err() {
        eprintln!("guest-tests: cannot make {}; give a directory with --dir", base.display());
        return 1;
    }
    let code = if let Some(seed) = get("--one") {
        println!("one seed={seed} {}", one(seed, &base, true));
        0
    } else {
        let (seed, threads) = (get("--seed").unwrap_or(1), get("--threads").unwrap_or(1).max(1));
        let end = now_ms() + get("--seconds").unwrap_or(10) as i64 * 1000;
        println!("fuzz seed={seed} threads={threads}");
        // A process a thread: a fork of a process with threads may find a lock held for ever.
        let workers: Vec<i32> = (0..threads)
            .map(|t| {
                crate::run::spawn(|| {
                    let mut r = Rng(seed ^ t << 48);
                    while now_ms() < end {
                        let s = r.next();
                        println!("child thread={t} seed={s}");
                        let how = one(s, &base, false);
                        println!("ended thread={t} seed={s} {how}");
                    }
                    0
                })
            })
            .collect();
        let ends: Vec<String> = workers.into_iter().map(wait).collect();
        println!("fuzz done {ends:?}");
        i32::from(ends.iter().any(|e| e != "exited:0"))
    };
    sleep_ms(1);
    let _ = std::fs::remove_dir_all(&base);
    code
}
