//! A second thread writes into the window of a first one while the kernel works for it: results of ordered calls, the list itself,
//! the reason of the stop, the frame, whose turn it is.

use super::Attack;
use super::at::{OPS, poke, turn};
use crate::run::{self, say, spawn, sys};
use crate::show;
use crate::wildcalls::Rng;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

pub(super) const ATTACKS: &[Attack] = &[
    ("forge-results", results),
    ("forge-tid", tid),
    ("forge-orders", orders),
    ("forge-all", all),
    ("forge-mask", mask),
];

/// The calling thread's window: the stub keeps its address in the segment gs.
fn window() -> usize {
    let at: usize;
    unsafe { std::arch::asm!("mov {}, gs:[0x40]", out(reg) at) }
    at
}

/// Work that has the kernel order calls: forks, threads, mappings, signals.
fn work(end: i64) {
    run::file(c"f", &[3; 8192]);
    run::handler(libc::SIGUSR1, nothing as *const () as usize, 0);
    while run::now_ms() < end {
        let fd = run::open(c"f", libc::O_RDWR);
        let at = sys!(SYS_mmap, 0, 8192, 3, libc::MAP_SHARED, fd, 0);
        if at.ok() {
            sys!(SYS_munmap, at.0, 8192);
        }
        run::close(fd);
        let pid = sys!(SYS_fork).fd();
        if pid == 0 {
            sys!(SYS_exit_group, 0);
        }
        if pid > 0 {
            sys!(SYS_wait4, pid, 0, 0, 0);
        }
        let _ = std::thread::Builder::new().spawn(|| ()).map(std::thread::JoinHandle::join);
        sys!(SYS_tgkill, sys!(SYS_getpid).0, sys!(SYS_gettid).0, libc::SIGUSR1);
    }
}

extern "C" fn nothing(_: i32) {}

/// Runs `work` with a thread beside it that does `write` to its window, in children of which each may die of it.
fn attack(name: &str, rounds: u64, ms: i64, work: fn(i64), write: fn(usize, &mut Rng)) {
    let mut ended = 0;
    for round in 0..rounds {
        let pid = spawn(|| {
            // What its C library says of what it does to itself.
            sys!(SYS_dup2, run::open(c"/dev/null", libc::O_WRONLY), 2);
            let (victim, stop) = (window(), AtomicBool::new(false));
            std::thread::scope(|s| {
                s.spawn(|| {
                    let mut rng = Rng(round);
                    while !stop.load(SeqCst) {
                        (0..64).for_each(|_| write(victim, &mut rng));
                    }
                });
                work(run::now_ms() + ms);
                stop.store(true, SeqCst);
            });
            0
        });
        let end = run::now_ms() + ms + 200;
        // Until it ends by itself, or will not.
        let mut info = [0i32; 32];
        let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        while run::now_ms() < end && sys!(SYS_waitid, 1, pid, &mut info, how, 0).ok() && info[4] == 0 {
            run::sleep_ms(10);
        }
        sys!(SYS_kill, pid, libc::SIGKILL);
        let fate = run::wait(pid);
        say!("{name} {round} {fate}");
        ended += i32::from(!fate.is_empty());
        // What it has made may have no parent now.
        while sys!(SYS_wait4, -1, 0, libc::WNOHANG, 0).0 > 0 {}
    }
    say!("{name} rounds={} all={}", rounds, ended as u64 == rounds);
    census();
}

/// Tells the driver that one process is left, and waits until it has counted.
pub(super) fn census() {
    say!("census=1");
    let mut byte = [0u8];
    sys!(SYS_read, 0, &mut byte, 1);
}

const SLOTS: usize = 8;

/// Results that say: failed, nothing, the first process, a process of the host.
fn results() {
    attack("results", 6, 300, work, |at, rng| {
        let value = [-11i64 as u64, 0, 1, super::host_pid() as u64, !0, 2][rng.below(6) as usize];
        poke(at + OPS + rng.below(SLOTS as u64) as usize * 64 + 56, value);
        if value == !0 {
            // "The call failed", and which.
            poke(at + 0x38, (at + OPS + rng.below(SLOTS as u64) as usize * 64) as u64);
            poke(at + 0x10, 4);
        }
    });
}

/// Threads, of which the kernel is told that they are a process of the host.
fn tid() {
    fn threads(end: i64) {
        while run::now_ms() < end {
            // More than are kept for later, so that each is a clone.
            let hold: Vec<_> =
                (0..12).filter_map(|_| std::thread::Builder::new().spawn(|| run::sleep_ms(3)).ok()).collect();
            hold.into_iter().for_each(|t| drop(t.join()));
        }
    }
    attack("tid", 4, 400, threads, |at, _| {
        (0..SLOTS).for_each(|n| poke(at + OPS + n * 64 + 56, super::host_pid() as u64));
    });
}

/// The list of calls, while the stub works on it: other numbers, other arguments, another length.
fn orders() {
    attack("orders", 6, 300, work, |at, rng| {
        let slot = at + OPS + rng.below(4) as usize * 64;
        match rng.below(5) {
            0 => poke(slot, [9, 56, 11, 3, 60, 56, 57, 101][rng.below(8) as usize]),
            1 => poke(slot + 8, [0x11 | 0x8000, 0x25_0f00, 1, 0][rng.below(4) as usize]),
            2 => poke(slot + 16 + rng.below(5) as usize * 8, rng.next() >> rng.below(64)),
            3 => poke(at + 0x30, rng.next() & 31),
            _ => (),
        }
    });
}

/// A window that says that every signal is blocked, and that the stub may see to it.
fn mask() {
    let (ready, posted) = run::pipe(0);
    let child = spawn(|| {
        let at = window();
        run::post(posted);
        loop {
            poke(at + 0x140, !0);
            poke(at + 0x138, 1);
            sys!(SYS_rt_sigprocmask, 0, &0u64, 0, 8);
        }
    });
    run::await_post(ready);
    run::sleep_ms(50);
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
    say!("{}", status.lines().find(|l| l.starts_with("SigBlk")).unwrap_or_default());
    sys!(SYS_kill, child, libc::SIGSTOP);
    let (mut stopped, end) = (0i32, run::now_ms() + 2000);
    while stopped == 0 && run::now_ms() < end {
        sys!(SYS_wait4, child, &mut stopped, libc::WUNTRACED | libc::WNOHANG, 0);
        run::sleep_ms(1);
    }
    sys!(SYS_kill, child, libc::SIGKILL);
    say!("mask stopped={} {}", show::status(stopped), run::wait(child));
}

/// All of it.
fn all() {
    attack("all", 6, 300, work, |at, rng| {
        match rng.below(8) {
            // Reason, frame, siginfo, signal, where the failure was.
            0 => poke(at + 0x10 + rng.below(6) as usize * 8, rng.next() >> rng.below(64)),
            1 => poke(at + 0x10, rng.below(7)),
            2 => poke(at + 0x18, (at as u64 + rng.below(0x9000)) & !7),
            3 => poke(at + 0x20, (at as u64 + rng.below(0x9000)) & !3),
            // What was read ahead, and how much.
            4 => poke(at + 0x50 + rng.below(2) as usize * 8, rng.next() >> rng.below(64)),
            5 => poke(at + 0x80 + rng.below(18) as usize * 8, rng.next() >> rng.below(64)),
            // Frames with extended registers: pointers and sizes in them.
            6 => poke(at + 0x3000 + rng.below(0xa00) as usize * 8, rng.next() >> rng.below(64)),
            _ => {
                if rng.below(512) == 0 {
                    turn(at).store(rng.below(3) as i32, SeqCst);
                }
            }
        }
    });
}
