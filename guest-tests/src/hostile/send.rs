//! Signals to everybody: the first process, groups, threads that are not there, with forged stories.

use super::{Attack, host_pid};
use crate::run::{self, say, spawn, sys};

pub(super) const ATTACKS: &[Attack] =
    &[("kill-all", kill_all), ("forged-signals", forged), ("on-itself", on_itself)];

/// kill(-1) and what else reaches many: all that die are ours.
fn kill_all() {
    let victims: Vec<i32> = (0..5)
        .map(|_| {
            spawn(|| {
                run::sleep_ms(20_000);
                0
            })
        })
        .collect();
    let first = run::fate(|| {
        for sig in [9, 15, 19, 6] {
            sys!(SYS_kill, 1, sig);
            sys!(SYS_tkill, 1, sig);
            sys!(SYS_tgkill, 1, 1, sig);
            let mut info = [0i32; 32];
            (info[0], info[2]) = (sig, -1);
            sys!(SYS_rt_sigqueueinfo, 1, sig, &info);
            sys!(SYS_rt_tgsigqueueinfo, 1, 1, sig, &info);
            let fd = sys!(SYS_pidfd_open, 1, 0).fd();
            sys!(SYS_pidfd_send_signal, fd, sig, 0, 0);
        }
        // Numbers at the ends of the range.
        for pid in [0x8000_0000u64, 0xffff_ffff_8000_0000, 0x7fff_ffff, u64::MAX - 77_777, 1 << 32 | 1] {
            for sig in [0u64, 9, 64, 65, u64::MAX, 1 << 32 | 9, 0x8000_0000] {
                if pid as i32 != -1 && (pid as i32 != 1 || sig as i32 != 9) {
                    sys!(SYS_kill, pid, sig);
                    sys!(SYS_tkill, pid, sig);
                    sys!(SYS_tgkill, pid, pid, sig);
                }
            }
        }
        5
    });
    // As root it reaches every process of the guest but the first two; as nobody those of nobody.
    run::handler(libc::SIGUSR2, libc::SIG_IGN, 0);
    let killer = spawn(|| {
        sys!(SYS_kill, -1, libc::SIGUSR2);
        0
    });
    let killer = run::wait(killer);
    sys!(SYS_kill, -1, libc::SIGKILL);
    let fates: Vec<String> = victims.into_iter().map(run::wait).collect();
    say!("first={first} killer={killer} victims={fates:?}");
}

extern "C" fn note(_: i32) {}

/// SIGSYS, SIGSEGV, SIGSTOP and the like, as if the CPU or the kernel had sent them.
fn forged() {
    let fate = run::fate(|| {
        for sig in [
            libc::SIGSYS,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGTRAP,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGUSR1,
        ] {
            run::handler(sig, note as *const () as usize, libc::SA_SIGINFO);
        }
        let (pid, tid) = (sys!(SYS_getpid).0, sys!(SYS_gettid).0);
        let mut refused = 0;
        for sig in [31, 11, 7, 5, 4, 8, 10] {
            for code in [1, 2, 0x80, -1, -6, 0, i32::MIN, i32::MAX, -60] {
                for word in [0u64, !0, super::at::STUB as u64, super::at::WINDOWS as u64, 1 << 63] {
                    let mut info = [0u64; 16];
                    info[0] = sig as u64;
                    info[1] = code as u32 as u64;
                    (info[2], info[3]) = (word, word);
                    refused += i32::from(!sys!(SYS_rt_sigqueueinfo, pid, sig, &info).ok());
                    refused += i32::from(!sys!(SYS_rt_tgsigqueueinfo, pid, tid, sig, &info).ok());
                }
            }
        }
        let other = spawn(|| {
            run::sleep_ms(5000);
            0
        });
        let mut info = [0u64; 16];
        (info[0], info[1]) = (11, 1);
        let to_other = sys!(SYS_rt_sigqueueinfo, other, 11, &info);
        sys!(SYS_kill, other, libc::SIGSTOP);
        sys!(SYS_kill, other, libc::SIGKILL);
        say!("to-other={to_other} other={} own-refused={refused}", run::wait(other));
        0
    });
    let host = sys!(SYS_kill, host_pid(), libc::SIGSTOP);
    say!("fate={fate} host={host}");
}

/// What a program can do to itself: filters, personality, segments, limits.
fn on_itself() {
    let strict = run::fate(|| {
        sys!(SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        sys!(SYS_seccomp, 0, 0, 0);
        sys!(SYS_getpgid, 0);
        0
    });
    let killed = run::fate(|| {
        sys!(SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        // Whatever the call: SECCOMP_RET_KILL_PROCESS.
        let code = [6u64 | 0x8000_0000 << 32];
        let program = [1usize, code.as_ptr() as usize];
        sys!(SYS_seccomp, 1, 0, &program);
        run::exit(0)
    });
    let odd = run::fate(|| {
        let page = crate::mem::map(4096, crate::mem::RW, crate::mem::PRIV);
        for persona in [0u64, 8, 0xffff_ffff, 0x0040_0000, 0x0800_0000, 0x1000_0000, 0x00ff_ffff] {
            sys!(SYS_personality, persona);
        }
        sys!(SYS_personality, 0);
        for option in 0..80 {
            for value in [0usize, 1, usize::MAX, page] {
                // Not those that end it by design.
                if !matches!(option, 1 | 22 | 33) {
                    sys!(SYS_prctl, option, value, value, 0, 0);
                }
            }
        }
        for base in
            [0usize, 1, super::at::STUB, super::at::WINDOWS, 1 << 47, usize::MAX, 0xffff_8000_0000_0000]
        {
            // The thread pointer is what this program itself needs: gs only, and fs as it was.
            sys!(SYS_arch_prctl, 0x1001, base);
            sys!(SYS_getpgid, 0);
            let mut fs = 0usize;
            sys!(SYS_arch_prctl, 0x1003, &mut fs);
            if base >= 1 << 47 {
                sys!(SYS_arch_prctl, 0x1002, base);
            }
            sys!(SYS_arch_prctl, 0x1002, fs);
        }
        for code in [0x1011usize, 0x1012, 0x2001, 0x2002, 0x3001, 0x5001] {
            sys!(SYS_arch_prctl, code, 0);
        }
        for function in [0usize, 1, 2, 0x11] {
            sys!(SYS_modify_ldt, function, page, 16);
        }
        sys!(SYS_set_thread_area, page);
        6
    });
    say!("strict={strict} killed={killed} odd={odd}");
}
