//! The window and the stub's text: taken away, overwritten, bent; and the stub's own threads and descriptors.

use super::Attack;
use super::at::{self, HOST_VDSO, STUB, WINDOW, WINDOWS};
use crate::run::{self, say, spawn, sys};
use crate::show::{self, R};

pub(super) const ATTACKS: &[Attack] = &[
    ("window-calls", calls),
    ("window-jumps", jumps),
    ("window-pointers", pointers),
    ("stub-descriptors", descriptors),
    ("stub-threads", threads),
    ("stub-deaf", deaf),
    ("closed-all", closed_all),
];

const TARGETS: [(&str, usize, usize); 4] = [
    ("text", STUB, 4096),
    ("vdso", HOST_VDSO, 0x2000),
    ("window", WINDOWS, WINDOW),
    ("across", STUB - 4096, 3 * 4096),
];

fn sum() -> u64 {
    at::text().iter().fold(7, |h, b| h * 31 % 1_000_003 + u64::from(*b))
}

/// System calls that ask the kernel to take them away. None may succeed, and both must be as before.
fn calls() {
    let before = sum();
    let fixed = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let own = crate::mem::map(0x10000, crate::mem::RW, crate::mem::PRIV);
    let mut done = Vec::new();
    for (name, at, len) in TARGETS {
        let mut tried: Vec<(&str, R)> = vec![
            ("mmap", sys!(SYS_mmap, at, len, 7, fixed, -1, 0)),
            ("noreplace", sys!(SYS_mmap, at, len, 7, fixed & !16 | libc::MAP_FIXED_NOREPLACE, -1, 0)),
            ("mremap-to", sys!(SYS_mremap, own, len, len, 3, at)),
            ("mremap-from", sys!(SYS_mremap, at, len, len, 1)),
            ("mremap-grow", sys!(SYS_mremap, at, len, len * 2, 0)),
            ("mremap-dup", sys!(SYS_mremap, at, 0, len, 1)),
            ("remap_file_pages", sys!(SYS_remap_file_pages, at, len, 0, 1, 0)),
            ("mlock", sys!(SYS_mlock, at, len)),
            ("brk", R(if sys!(SYS_brk, at + len).0 as usize == at + len { 0 } else { -12 })),
            ("shmat", sys!(SYS_shmat, sys!(SYS_shmget, 0, len, 0o600).0, at, 0o40000)),
            ("writev", sys!(SYS_process_vm_writev, sys!(SYS_getpid).0, &[own, len], 1, &[at, len], 1, 0)),
        ];
        // Those that leave what is below the end of the guest to the caller are told of the whole.
        if name != "across" {
            tried.push(("munmap", R(if unmaps(at, len) { 0 } else { -22 })));
            tried.push(("mprotect", sys!(SYS_mprotect, at, len, 7)));
            tried.push(("dontneed", sys!(SYS_madvise, at, len, libc::MADV_DONTNEED)));
            tried.push(("remove", sys!(SYS_madvise, at, len, libc::MADV_REMOVE)));
            tried.push(("dontfork", sys!(SYS_madvise, at, len, libc::MADV_DONTFORK)));
        }
        done.extend(tried.iter().filter(|(_, r)| r.ok()).map(|(call, _)| format!("{call}({name})")));
    }
    let mem = run::open(c"/proc/self/mem", libc::O_RDWR);
    let written = sys!(SYS_pwrite64, mem, &[0x90u8; 16], 16, STUB);
    say!("done={done:?} mem={written} same={}", sum() == before && sys!(SYS_getppid).ok());
}

/// munmap of nothing is no error, on Linux neither: what counts is that it is still there.
fn unmaps(at: usize, len: usize) -> bool {
    sys!(SYS_munmap, at, len);
    at == STUB && sum() == 0
}

/// The same from the stub's own instruction, where only the filter is between us and the host.
fn jumps() {
    let before = sum();
    let fixed = (libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let own = crate::mem::map(0x10000, crate::mem::RW, crate::mem::PRIV);
    let mut calls = Vec::new();
    for (_, at, len) in TARGETS {
        calls.push((libc::SYS_mmap, [at, len, 7, fixed, usize::MAX, 0]));
        calls.push((libc::SYS_munmap, [at, len, 0, 0, 0, 0]));
        calls.push((libc::SYS_mprotect, [at, len, 7, 0, 0, 0]));
        calls.push((libc::SYS_madvise, [at, len, libc::MADV_DONTNEED as usize, 0, 0, 0]));
        calls.push((libc::SYS_mremap, [at, len, len, 1, 0, 0]));
        calls.push((libc::SYS_mremap, [own, len, len, 3, at, 0]));
    }
    let results = at::ordered(&calls);
    let ok = results.iter().filter(|r| (0..1 << 47).contains(*r) && **r as usize >= STUB).count();
    // What is no call of memory at all, from there.
    let outside = at::ordered(&[
        (libc::SYS_kill, [super::host_pid() as usize, 9, 0, 0, 0, 0]),
        (libc::SYS_openat, [0, c"/etc/passwd".as_ptr() as usize, 2, 0, 0, 0]),
        (libc::SYS_socket, [2, 1, 0, 0, 0, 0]),
        (libc::SYS_ptrace, [16, super::host_pid() as usize, 0, 0, 0, 0]),
        (libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0, 0]),
    ]);
    let outside: Vec<String> = outside.iter().map(|r| R(*r as i64).sign()).collect();
    let works = at::ordered(&[(libc::SYS_mmap, [own, 4096, 3, fixed, usize::MAX, 0])]);
    say!("mapped={ok} outside={outside:?} own={} same={}", works[0] as usize == own, sum() == before);
}

/// Pointers into the window and the stub, given to calls that read or write memory.
fn pointers() {
    let (r, w) = run::pipe(libc::O_NONBLOCK);
    let zero = run::open(c"/dev/zero", libc::O_RDONLY);
    run::file(c"/tmp/p", &[0x41; 5000]);
    let file = run::open(c"/tmp/p", libc::O_RDONLY);
    let mut wrong = Vec::new();
    for at in [STUB, STUB + 4088, WINDOWS, WINDOWS + 0x200, WINDOWS + 0x1000, STUB - 2] {
        let results = [
            ("read-zero", sys!(SYS_read, zero, at, 64)),
            ("pread", sys!(SYS_pread64, file, at, 4096, 0)),
            ("write", sys!(SYS_write, w, at, 64)),
            ("getcwd", sys!(SYS_getcwd, at, 64)),
            ("open", sys!(SYS_openat, libc::AT_FDCWD, at, 0, 0)),
            ("uname", sys!(SYS_uname, at)),
            ("pipe", sys!(SYS_pipe2, at, 0)),
            ("wait", sys!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, at)),
            ("futex", sys!(SYS_futex, at & !3, libc::FUTEX_WAKE_OP, 1, 1, at & !3, 0)),
            ("sigaction", sys!(SYS_rt_sigaction, 10, at, 0, 8)),
            ("robust", sys!(SYS_set_robust_list, at, 24)),
            ("tid", sys!(SYS_set_tid_address, at)),
        ];
        for (call, r) in results {
            let reaches = at + 64 > STUB;
            if r.ok() && reaches && !matches!(call, "robust" | "tid" | "pread" | "read-zero" | "write") {
                wrong.push(format!("{call}@{at:#x}={r}"));
            }
            // What begins below the end may be done as far as it goes.
            if matches!(call, "pread" | "read-zero" | "write") && r.0 > (STUB as i64 - at as i64).max(0) {
                wrong.push(format!("{call}@{at:#x}={r}"));
            }
        }
    }
    [r, w, zero, file].into_iter().for_each(run::close);
    let fate = run::fate(|| {
        // The kernel writes 0 there at the end of the thread, if it can.
        sys!(SYS_set_tid_address, WINDOWS);
        sys!(SYS_set_robust_list, WINDOWS + 0x80, 24);
        0
    });
    say!("wrong={wrong:?} fate={fate}");
}

/// The stub's descriptors, closed from its own instruction: what needs them is an error, or the end of the process.
fn descriptors() {
    let fate = run::fate(|| {
        let closes: Vec<_> = (0..40).map(|fd| (libc::SYS_close, [fd, 0, 0, 0, 0, 0])).collect();
        at::ordered(&closes);
        run::file(c"/tmp/d", &[1; 4096]);
        let fd = run::open(c"/tmp/d", libc::O_RDWR);
        let mapped = sys!(SYS_mmap, 0, 4096, 3, libc::MAP_SHARED, fd, 0);
        let forked = sys!(SYS_fork);
        say!("mmap={} fork={}", mapped.sign(), forked.sign());
        0
    });
    say!("fate={fate}");
}

/// Host threads that end without a word to the kernel.
fn threads() {
    let one = run::fate(|| {
        at::ordered(&[(libc::SYS_exit, [0; 6])]);
        0
    });
    let first = run::fate(|| {
        std::thread::spawn(|| run::sleep_ms(300));
        at::ordered(&[(libc::SYS_exit, [0; 6])]);
        0
    });
    let second = run::fate(|| {
        let window = at::own_window();
        std::thread::spawn(move || at::call(at::ops_site(), libc::SYS_exit, [0; 6], window));
        run::sleep_ms(100);
        9
    });
    let clones = run::fate(|| {
        // A thread and a process, which nobody ordered.
        let thread = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM
            | libc::CLONE_CHILD_CLEARTID;
        at::ordered(&[(libc::SYS_clone, [thread as usize, 0, 0, 0, 0, 0])]);
        0
    });
    let forks = run::fate(|| {
        let flags = (libc::CLONE_PARENT | libc::SIGCHLD) as usize;
        at::ordered(&[(libc::SYS_clone, [flags, 0, 0, 0, 0, 0])]);
        0
    });
    say!("second={second}");
    for (name, fate) in [("one", one), ("first", first), ("clones", clones), ("forks", forks)] {
        say!("{name} ended={}", fate.starts_with("killed") || fate == "exited:0");
    }
}

/// Guests that do not hear the preemption signal: one that has blocked it on the host, one whose handler's stack is its own.
fn deaf() {
    let blocked = spawn(|| {
        // A frame that the host takes: our registers, every signal blocked.
        let frame = crate::mem::map(0x4000, crate::mem::RW, crate::mem::PRIV) + 0x2000;
        extern "C" fn spin() -> ! {
            loop {
                std::hint::spin_loop();
            }
        }
        let greg = |n: usize| frame + 40 + n * 8;
        at::poke(frame, 7);
        at::poke(greg(15), (frame - 0x1008) as u64);
        at::poke(greg(16), spin as *const () as u64);
        at::poke(greg(17), 0x202);
        at::poke(greg(18), 0x002b_0000_0000_0033);
        at::poke(frame + 296, !0);
        unsafe {
            std::arch::asm!("mov rsp, rdx", "mov eax, 15", "jmp rcx", in("rdx") frame, in("rcx") at::sigreturn_site(), options(noreturn))
        }
    });
    let elsewhere = spawn(|| {
        let window = at::own_window();
        let stack = [window + 0x3000, 0, 0x5000];
        at::call(at::ops_site(), libc::SYS_sigaltstack, [stack.as_ptr() as usize, 0, 0, 0, 0, 0], window);
        // The next call hands over a window that nobody looks at.
        sys!(SYS_getpgid, 0);
        0
    });
    run::sleep_ms(300);
    sys!(SYS_kill, blocked, libc::SIGKILL);
    sys!(SYS_kill, elsewhere, libc::SIGKILL);
    say!("blocked={} elsewhere={}", run::wait(blocked), run::wait(elsewhere));
}

/// close_range(0, ~0), and then everything that a program does.
fn closed_all() {
    let keep = sys!(SYS_fcntl, 1, libc::F_DUPFD, 100).fd();
    let fate = run::fate(|| {
        let closed = sys!(SYS_close_range, 0, u32::MAX, 0);
        let (r, w) = run::pipe(0);
        run::post(w);
        let piped = run::await_post(r);
        run::file(c"/tmp/c", &[5; 8192]);
        let fd = run::open(c"/tmp/c", libc::O_RDWR);
        let at = sys!(SYS_mmap, 0, 8192, 3, libc::MAP_SHARED, fd, 0).0 as usize;
        let seen = crate::mem::get(at, 1)[0];
        let thread = std::thread::spawn(|| 6).join().unwrap_or(0);
        let child = run::fate(|| 8);
        i32::from(closed.ok() && piped && seen == 5 && thread == 6 && child == "exited:8") * 3
    });
    sys!(SYS_dup2, keep, 1);
    say!("fate={fate} {}", show::R(0).sign());
}
