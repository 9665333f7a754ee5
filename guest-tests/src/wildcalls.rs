//! What `fuzz --guest` calls: random numbers, and arguments that are wrong in ways that reach far into a kernel.

#![allow(non_upper_case_globals, reason = "system call numbers are named as libc names them")]

use crate::mem::{KERNEL, PAGE, UNMAPPED, put};
use crate::run::{open, sys};
use libc::*;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Copy>(&mut self, v: &[T]) -> T {
        v[self.below(v.len() as u64) as usize]
    }
}

/// Where paths, buffers and bad pages lie: fixed, so that a replay sees the same arguments.
const SCRATCH: usize = 0x2200_0000_0000;
const PAGES: usize = 64;
const PATHS: [&[u8]; 44] = [
    b"a\0",
    b"b\0",
    b"d\0",
    b"d/x\0",
    b"d/e\0",
    b"l\0",
    b"p\0",
    b"s\0",
    b".\0",
    b"..\0",
    b"none/x\0",
    b"a/x\0",
    b"\0",
    b"user.a\0",
    b"/\0",
    b"/proc\0",
    b"/proc/self\0",
    b"/proc/self/mem\0",
    b"/proc/self/maps\0",
    b"/proc/self/exe\0",
    b"/proc/self/fd/3\0",
    b"/proc/self/root/..\0",
    b"/proc/self/task\0",
    b"/proc/self/stat\0",
    b"/proc/1/root\0",
    b"/proc/sys/kernel/hostname\0",
    b"/dev/zero\0",
    b"/dev/ptmx\0",
    b"/dev/tty\0",
    b"/dev/full\0",
    b"/sys\0",
    b"/tmp\0",
    b"../../../../../../../..\0",
    b"tmpfs\0",
    b"proc\0",
    b"sysfs\0",
    b"overlay\0",
    b"lowerdir=/,upperdir=d,workdir=e\0",
    b"size=1m,mode=777\0",
    b"loop\0",
    b"system.posix_acl_access\0",
    b"trusted.x\0",
    b"/proc/self/fd/0/../..\0",
    b"d/../d/../d/../l\0",
];
const PATH_STEP: usize = 40;
/// Process that no signal is sent to: the driver.
static SPARED: AtomicI32 = AtomicI32::new(1);

pub(crate) fn spare(pid: i32) {
    SPARED.store(pid, Relaxed);
}

/// A directory with one of each kind, descriptors from 3 on, and the scratch memory.
pub(crate) fn prepare() {
    let fixed = MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS;
    sys!(SYS_mmap, SCRATCH, PAGES * PAGE, 3, fixed, -1, 0);
    sys!(SYS_mprotect, SCRATCH + 60 * PAGE, PAGE, PROT_READ);
    sys!(SYS_mprotect, SCRATCH + 62 * PAGE, PAGE, PROT_NONE);
    for (i, p) in PATHS.iter().enumerate() {
        put(SCRATCH + i * PATH_STEP, p);
    }
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_mkdir, c"e", 0o755);
    sys!(SYS_symlink, c"l", c"l");
    sys!(SYS_symlink, c"/", c"d/l");
    sys!(SYS_mknod, c"p", S_IFIFO | 0o600, 0);
    let _ = std::fs::write("a", vec![b'a'; 10_000]);
    open(c"a", O_RDWR);
    open(c"d", O_RDONLY);
    open(c"/dev/zero", O_RDWR);
    crate::run::pipe(O_NONBLOCK);
    crate::run::pipe(0);
    let mut s = [0i32; 2];
    sys!(SYS_socketpair, 1, 1 | SOCK_NONBLOCK, 0, &mut s);
    sys!(SYS_socketpair, 1, 2, 0, &mut s);
    sys!(SYS_epoll_create1, 0);
    sys!(SYS_eventfd2, 1, EFD_NONBLOCK);
    sys!(SYS_timerfd_create, 1, TFD_NONBLOCK);
    sys!(SYS_inotify_init1, IN_NONBLOCK);
    sys!(SYS_memfd_create, c"m", MFD_ALLOW_SEALING);
    sys!(SYS_signalfd4, -1, &0x4000u64, 8, 0);
    sys!(SYS_pidfd_open, sys!(SYS_getpid).0, 0);
    open(c"/proc/self/mem", O_RDWR);
    open(c"/dev/ptmx", O_RDWR);
    open(c"/", O_PATH);
    open(c"p", O_RDWR);
    sys!(SYS_socket, 2, 1, 0);
}

fn buffer(r: &mut Rng) -> usize {
    SCRATCH + PAGE + r.below(58 * PAGE as u64) as usize / 8 * 8
}

fn path(r: &mut Rng) -> usize {
    SCRATCH + r.below(PATHS.len() as u64) as usize * PATH_STEP
}

fn fd(r: &mut Rng) -> usize {
    match r.below(16) {
        0 => r.pick(&[usize::MAX, 9999, AT_FDCWD as usize, i32::MIN as usize, 1 << 30]),
        _ => r.below(40) as usize,
    }
}

fn value(r: &mut Rng) -> usize {
    match r.below(14) {
        0 | 1 => fd(r),
        2 | 3 => path(r),
        4..=6 => buffer(r),
        7 => wild(r),
        8 => r.below(16) as usize,
        9 => 1 << r.below(64),
        10 => r.pick(&[0, 1, 2, 4, 8, 16, 24, 64, 100, 4095, 4096, 4097, 65536, 1 << 20]),
        11 => r.pick(&[
            usize::MAX,
            usize::MAX - 1,
            i64::MAX as usize,
            i64::MIN as usize,
            u32::MAX as usize,
            i32::MIN as usize,
            i32::MAX as usize,
            1 << 40,
        ]),
        12 => r.next() as usize & 0xffff_ffff,
        _ => r.below(0x800) as usize,
    }
}

/// Addresses that are no buffers; among them the stub's own.
fn wild(r: &mut Rng) -> usize {
    let base = r.pick(&[
        0,
        1,
        KERNEL,
        UNMAPPED,
        0x6_0000,
        0x7fff_e000_0000,
        0x7fff_e010_0000,
        0x7fff_e100_0000,
        0x7fff_dfff_f000,
        0x7fff_ffff_f000,
        0x8000_0000_0000,
        SCRATCH + 60 * PAGE,
        SCRATCH + 62 * PAGE,
        SCRATCH + 60 * PAGE - 3,
        SCRATCH + PAGES * PAGE - 1,
        usize::MAX - 8,
    ]);
    base.wrapping_add(if r.below(4) == 0 { r.below(64) as usize } else { 0 })
}

/// Puts plausible words into a buffer: vectors, message headers, times and structures get to be half right.
pub(crate) fn stir(r: &mut Rng) {
    let at = buffer(r).min(SCRATCH + 58 * PAGE);
    for n in 0..r.below(12) as usize + 1 {
        let word = match r.below(4) {
            0 => buffer(r),
            1 => r.below(3000) as usize,
            2 => r.below(5) as usize,
            _ => value(r),
        };
        // The kernel tries first, because it can fail: another thread may have unmapped the buffer.
        if sys!(SYS_getrandom, at + n * 8, 8, 0).ok() {
            unsafe { ((at + n * 8) as *mut usize).write_volatile(word) };
        }
    }
}

/// Some memory range, now and then of the program itself or of the stub.
fn range(r: &mut Rng) -> (usize, usize) {
    match r.below(24) {
        0 => (wild(r) & !(PAGE - 1), value(r)),
        1 => (crate::wild::thread_entry() & !(PAGE - 1), PAGE),
        2 => (0x6_0000, 0x1_0000),
        _ => (
            SCRATCH + PAGE * r.below(PAGES as u64) as usize + usize::from(r.below(16) == 0),
            PAGE * r.below(6) as usize,
        ),
    }
}

fn pid(r: &mut Rng) -> i32 {
    let me = sys!(SYS_getpid).0 as i32;
    match r.below(8) {
        0 => 0,
        1 => -me,
        2 | 3 => me,
        4 => sys!(SYS_gettid).0 as i32,
        5 => 1,
        6 => me + r.below(6) as i32,
        _ => value(r) as i32,
    }
}

/// As `pid`, but neither the driver nor everybody, which would be the driver too.
fn victim(r: &mut Rng) -> usize {
    let p = pid(r);
    let spared = SPARED.load(Relaxed);
    if p == -1 || p.unsigned_abs() == spared.unsigned_abs() { 0 } else { p as usize }
}

/// Calls worth more than their share of all numbers.
const OFTEN: &[i64] = &[
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_openat,
    SYS_close,
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_futex,
    SYS_fork,
    SYS_clone,
    SYS_clone3,
    SYS_kill,
    SYS_tgkill,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_sigaltstack,
    SYS_epoll_ctl,
    SYS_epoll_wait,
    SYS_ioctl,
    SYS_fcntl,
    SYS_dup2,
    SYS_renameat2,
    SYS_unlinkat,
    SYS_linkat,
    SYS_mkdirat,
    SYS_symlinkat,
    SYS_mount,
    SYS_umount2,
    SYS_chroot,
    SYS_ptrace,
    SYS_wait4,
    SYS_waitid,
    SYS_prctl,
    SYS_arch_prctl,
    SYS_timer_create,
    SYS_timer_settime,
    SYS_setitimer,
    SYS_socket,
    SYS_connect,
    SYS_bind,
    SYS_setsockopt,
    SYS_getdents64,
    SYS_sendfile,
    SYS_splice,
    SYS_copy_file_range,
    SYS_fallocate,
    SYS_ftruncate,
    SYS_close_range,
    SYS_pidfd_open,
    SYS_pidfd_send_signal,
    SYS_execve,
    SYS_execveat,
    SYS_setresuid,
    SYS_prlimit64,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_msync,
    SYS_mincore,
    SYS_mlock,
    SYS_poll,
    SYS_ppoll,
    SYS_select,
];
const NUMBERS: u64 = 471;

/// One call.
pub(crate) fn call(r: &mut Rng) -> (i64, [usize; 6]) {
    let mut nr = if r.below(3) == 0 { r.below(NUMBERS) as i64 } else { r.pick(OFTEN) };
    let mut a = [0usize; 6];
    for v in &mut a {
        *v = value(r);
    }
    if r.below(12) != 0 {
        shape(nr, &mut a, r);
    }
    restrain(&mut nr, &mut a, r);
    (nr, a)
}

/// Arguments of about the right kind.
fn shape(nr: i64, a: &mut [usize; 6], r: &mut Rng) {
    match nr {
        SYS_mmap => {
            let (at, len) = range(r);
            let flags =
                r.pick(&[0x22, 0x21, 0x2, 0x1, 0x3]) | r.pick(&[0, 0, 0x10, 0x10_0000, 0x100, 0x8000]);
            *a = [at, len, r.below(8) as usize, flags, fd(r), r.pick(&[0, 4096, 1 << 20, 1])];
        }
        SYS_munmap | SYS_mprotect | SYS_madvise | SYS_msync | SYS_mlock | SYS_mincore | SYS_pkey_mprotect => {
            (a[0], a[1]) = range(r);
            if nr != SYS_mincore {
                a[2] = r.below(26) as usize;
            }
        }
        SYS_mremap => {
            (a[0], a[1]) = range(r);
            (a[4], a[2]) = range(r);
            a[3] = r.below(8) as usize;
        }
        SYS_openat | SYS_open => {
            let flags = r.pick(&[0, 1, 2, 0x40, 0x42, 0x1_0000, 0x20_0000, 0x41_0002, 0x800]);
            *a = if nr == SYS_open {
                [path(r), flags, 0o777, 0, 0, 0]
            } else {
                [AT_FDCWD as usize, path(r), flags, 0o777, 0, 0]
            };
        }
        SYS_read | SYS_write | SYS_readv | SYS_writev | SYS_sendmsg | SYS_recvmsg | SYS_getdents64 => {
            *a = [fd(r), buffer(r), r.below(64) as usize * r.pick(&[1, 1, 100]), 0, 0, 0];
        }
        SYS_futex => {
            a[0] = buffer(r) & !3;
            a[1] = r.below(14) as usize | r.pick(&[0, 128, 256]);
            a[2] = r.below(3) as usize;
            a[4] = buffer(r) & !3;
        }
        SYS_clone => {
            let flags = flags(r);
            let stack = if flags & CLONE_VM as usize != 0 && flags & CLONE_VFORK as usize == 0 {
                new_stack(r)
            } else {
                0
            };
            *a = [flags, stack, buffer(r), buffer(r), buffer(r), 0];
        }
        SYS_clone3 => {
            let flags = flags(r);
            let at = buffer(r).min(SCRATCH + 50 * PAGE);
            let words =
                [flags & !0xff, buffer(r), buffer(r), buffer(r), flags & 0xff, new_stack(r) - 64, 64, 0];
            if sys!(SYS_mprotect, at & !(PAGE - 1), 2 * PAGE, 3).ok() {
                for (n, w) in words.into_iter().enumerate() {
                    put(at + n * 8, &w.to_le_bytes());
                }
            }
            *a = [at, r.pick(&[64, 80, 88]), 0, 0, 0, 0];
        }
        SYS_kill | SYS_tkill | SYS_tgkill | SYS_rt_sigqueueinfo | SYS_rt_tgsigqueueinfo => {
            let sig = r.below(66) as usize;
            *a = match nr {
                SYS_tgkill => [victim(r), victim(r), sig, 0, 0, 0],
                SYS_rt_tgsigqueueinfo => [victim(r), victim(r), sig, buffer(r), 0, 0],
                _ => [victim(r), sig, buffer(r), 0, 0, 0],
            };
        }
        SYS_rt_sigaction => *a = [r.below(66) as usize, 0, buffer(r), 8, 0, 0],
        SYS_rt_sigprocmask => *a = [r.below(4) as usize, buffer(r), buffer(r), 8, 0, 0],
        SYS_epoll_ctl => *a = [fd(r), 1 + r.below(3) as usize, fd(r), buffer(r), 0, 0],
        SYS_epoll_wait | SYS_poll => *a = [fd(r), buffer(r), r.below(4) as usize, 5, 0, 0],
        SYS_ioctl => {
            a[1] = r.pick(&[0x5401, 0x5402, 0x540e, 0x540f, 0x5410, 0x5413, 0x5414, 0x541b, 0x5421, 0x5452])
        }
        SYS_fcntl => {
            *a = [
                fd(r),
                r.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1024, 1030, 1031, 1032, 1033]),
                value(r),
                0,
                0,
                0,
            ]
        }
        SYS_mount => {
            *a = [
                path(r),
                path(r),
                path(r),
                r.pick(&[0, 1, 0x1000, 0x20, 0x5000, 0x2000, 1 << 18]),
                path(r),
                0,
            ]
        }
        SYS_umount2 => *a = [path(r), r.below(16) as usize, 0, 0, 0, 0],
        SYS_ptrace => {
            *a = [
                r.pick(&[0, 1, 2, 3, 7, 8, 9, 12, 16, 17, 24, 0x4200, 0x4206, 0x4207]),
                victim(r),
                buffer(r),
                buffer(r),
                0,
                0,
            ]
        }
        SYS_wait4 => *a = [pid(r) as usize, buffer(r), 1 | r.below(16) as usize, buffer(r), 0, 0],
        SYS_waitid => *a = [r.below(5) as usize, pid(r) as usize, buffer(r), 1 | r.below(32) as usize, 0, 0],
        SYS_prctl => a[0] = r.below(80) as usize,
        SYS_arch_prctl => {
            *a = [r.pick(&[0x1001, 0x1003, 0x1004, 0x1011, 0x1012, 0x2001]), value(r), 0, 0, 0, 0]
        }
        SYS_socket => {
            *a = [r.below(20) as usize, r.below(7) as usize | r.pick(&[0, O_NONBLOCK as usize]), 0, 0, 0, 0]
        }
        SYS_timer_create => *a = [r.below(12) as usize, buffer(r), buffer(r), 0, 0, 0],
        SYS_timer_settime => *a = [r.below(4) as usize, r.below(2) as usize, buffer(r), buffer(r), 0, 0],
        SYS_execve => *a = [path(r), buffer(r), buffer(r), 0, 0, 0],
        SYS_prlimit64 => *a = [0, r.below(16) as usize, buffer(r), buffer(r), 0, 0],
        SYS_pidfd_open => a[0] = victim(r),
        SYS_renameat2 => {
            *a = [AT_FDCWD as usize, path(r), AT_FDCWD as usize, path(r), r.below(8) as usize, 0]
        }
        SYS_linkat => {
            *a = [AT_FDCWD as usize, path(r), AT_FDCWD as usize, path(r), r.pick(&[0, 0x400, 0x1000]), 0]
        }
        SYS_symlinkat => *a = [path(r), AT_FDCWD as usize, path(r), 0, 0, 0],
        SYS_mkdirat => *a = [AT_FDCWD as usize, path(r), 0o777, 0, 0, 0],
        _ => {}
    }
}

/// Flags of clone: a fork, a thread, or some of each.
fn flags(r: &mut Rng) -> usize {
    let thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    let extra = match r.below(4) {
        0 => 1usize << (8 + r.below(24)),
        1 => (CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID) as usize,
        _ => 0,
    };
    (r.pick(&[SIGCHLD, SIGCHLD, thread, thread, CLONE_VM | SIGCHLD, CLONE_VFORK | SIGCHLD, 0, CLONE_PARENT])
        as usize)
        ^ extra
}

/// A stack for a thread that goes on calling.
fn new_stack(_: &mut Rng) -> usize {
    const SIZE: usize = 1 << 18;
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    let at = sys!(SYS_mmap, 0, SIZE, 3, flags, -1, 0);
    if !at.ok() {
        return SCRATCH + 50 * PAGE;
    }
    let top = at.0 as usize + SIZE - 64;
    put(top, &crate::wild::thread_entry().to_le_bytes());
    top
}

/// Keeps the driver, the number of processes and the time of a run within bounds; nothing else.
fn restrain(nr: &mut i64, a: &mut [usize; 6], r: &mut Rng) {
    let spared = SPARED.load(Relaxed);
    let hits = |v: usize| v as i32 == -1 || (v as i32).unsigned_abs() == spared.unsigned_abs();
    match *nr {
        SYS_kill
        | SYS_tkill
        | SYS_rt_sigqueueinfo
        | SYS_pidfd_open
        | SYS_process_vm_writev
        | SYS_prlimit64
        | SYS_process_madvise
            if hits(a[0]) =>
        {
            a[0] = 0;
        }
        SYS_tgkill | SYS_rt_tgsigqueueinfo if (hits(a[0]) || hits(a[1])) => {
            (a[0], a[1]) = (0, 0);
        }
        SYS_ptrace | SYS_sched_setscheduler | SYS_sched_setattr if hits(a[1]) => {
            a[1] = 0;
        }
        // Owners of files get signals of a choice, by which the driver would be stopped or killed.
        SYS_fcntl if a[1] as i32 == F_SETOWN && hits(a[2]) => a[2] = 0,
        SYS_fcntl if a[1] == 15 => *nr = SYS_getppid,
        SYS_ioctl if matches!(a[1], 0x8901 | 0x8902) => *nr = SYS_getppid,
        // A new program would know nothing of the seed; this one again, shortly, or whatever else the path names.
        SYS_fork | SYS_vfork | SYS_clone | SYS_clone3 | SYS_execve | SYS_execveat => {
            if !crate::wild::may_breed() {
                *nr = SYS_getppid;
            } else if matches!(*nr, SYS_execve | SYS_execveat) && r.below(2) == 0 {
                *nr = SYS_gettid;
            }
        }
        // The whole process would be gone, or a thread, long before its time.
        SYS_exit | SYS_exit_group if r.below(8) != 0 => *nr = SYS_sched_yield,
        SYS_rt_sigreturn if r.below(8) != 0 => *nr = SYS_sched_yield,
        SYS_reboot => *nr = SYS_sched_yield,
        _ => {}
    }
}
