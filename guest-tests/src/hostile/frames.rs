//! Frames for rt_sigreturn that no kernel has written.

use super::Attack;
use super::at::{self, poke};
use crate::mem::{PRIV, RW};
use crate::run::{self, say, spawn, sys};
use crate::wildcalls::Rng;

pub(super) const ATTACKS: &[Attack] =
    &[("frames", frames), ("frames-random", random), ("frames-stub", by_the_stub)];

extern "C" fn came_back() -> ! {
    run::exit(33)
}

/// A frame that would go on in [`came_back`]; `change` bends it.
fn frame(change: impl Fn(usize)) -> usize {
    let at = crate::mem::map(0x8000, RW, PRIV) + 0x4000;
    let greg = |n: usize| at + 40 + n * 8;
    poke(greg(15), (at - 0x1008) as u64);
    poke(greg(16), came_back as *const () as u64);
    poke(greg(17), 0x202);
    poke(greg(18), 0x002b_0000_0000_0033);
    change(at);
    at
}

/// rt_sigreturn(2) on a frame.
fn go(frame: usize) -> ! {
    unsafe {
        std::arch::asm!("mov rsp, rdx", "mov eax, 15", "syscall", "ud2", in("rdx") frame, options(noreturn))
    }
}

/// The words of a frame that mean something, each with values that mean harm.
fn frames() {
    const RIP: usize = 40 + 16 * 8;
    const FLAGS: usize = 40 + 17 * 8;
    const SELECTORS: usize = 40 + 18 * 8;
    const FP: usize = 40 + 23 * 8;
    let stub = at::STUB as u64;
    let cases: &[(&str, usize, u64)] = &[
        ("plain", 0, 0),
        ("rip-stub", RIP, stub),
        ("rip-stub-syscall", RIP, at::ops_site() as u64),
        ("rip-window", RIP, at::WINDOWS as u64),
        ("rip-above", RIP, 0xffff_8000_0000_0000),
        ("rip-odd", RIP, 0x8000_0000_0000),
        ("rip-last", RIP, stub - 1),
        ("iopl", FLAGS, 0x3202),
        ("trap-flag", FLAGS, 0x302),
        ("nested", FLAGS, 0x4202),
        ("virtual", FLAGS, 0x20202),
        ("interrupts-off", FLAGS, 0x2),
        ("all-flags", FLAGS, !0),
        ("cs-kernel", SELECTORS, 0x0018_0000_0000_0010),
        ("cs-32", SELECTORS, 0x002b_0000_0000_0023),
        ("cs-null", SELECTORS, 0),
        ("fp-kernel", FP, 0xffff_8000_0000_0000),
        ("fp-stub", FP, stub),
        ("fp-odd", FP, 1),
        ("flags-odd", 0, !0),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .map(|(name, word, value)| (name, run::fate(|| go(frame(|at| poke(at + word, *value))))))
        .filter(|(_, fate)| !(fate == "exited:33" || fate.starts_with("killed")))
        .map(|(name, fate)| format!("{name}:{fate}"))
        .collect();
    let gone = run::fate(|| go(at::STUB - 64));
    let window = run::fate(|| go(at::WINDOWS + 0x3000));
    say!("wrong={wrong:?} gone={gone} window={}", window.starts_with("killed"));
}

/// Extended registers with sizes, masks and control words of chance.
fn random() {
    let mut fates = [0; 3];
    for round in 0..200 {
        let fate = run::fate(|| {
            let at = frame(|at| {
                let mut rng = Rng(round);
                let fp = (at + 0x800) & !63;
                poke(at + 40 + 23 * 8, fp as u64);
                for _ in 0..rng.below(200) {
                    poke(fp + rng.below(336) as usize * 8, rng.next() >> rng.below(64));
                }
                // MAGIC1, sizes, and which states: now right, now not.
                poke(
                    fp + 464,
                    0x4650_5853 | [2696u64, 576, 832, 512, 16384, !0 >> 32][rng.below(6) as usize] << 32,
                );
                poke(fp + 472, [7, 0xe7, !0, 3, 0x2e7][rng.below(5) as usize]);
                poke(fp + 480, [2692, 572, 828, 0, 0xffff_ffff][rng.below(5) as usize]);
                poke(fp + 512, [7, 0xe7, !0, 1 << 63, 0][rng.below(5) as usize]);
                if rng.below(4) == 0 {
                    for _ in 0..rng.below(6) {
                        poke(at + rng.below(38) as usize * 8, rng.next() >> rng.below(64));
                    }
                }
            });
            go(at)
        });
        fates[if fate == "exited:33" {
            0
        } else if fate.starts_with("killed") {
            1
        } else {
            2
        }] += 1;
    }
    say!("came-back={} others={}", fates[0] > 0, fates[2]);
}

/// The same by the stub's own rt_sigreturn, which the host does: every signal blocked, an alternate stack of our own, no way back.
fn by_the_stub() {
    let children: Vec<i32> = (0..6)
        .map(|n| {
            spawn(move || {
                let at = frame(|at| {
                    // The host's stack for signals: nowhere, the stub's text, the window of another thread.
                    let stack = [0, at::STUB as u64, at::WINDOWS as u64 + 0x8000, !0, 8, at as u64][n];
                    poke(at, 7);
                    poke(at + 16, stack);
                    poke(at + 24, [2, 0, 0, 0, 0, 1 << 31][n]);
                    poke(at + 32, 0x3000);
                    poke(at + 296, if n % 2 == 0 { !0 } else { 0 });
                });
                unsafe {
                    std::arch::asm!("mov rsp, rdx", "mov eax, 15", "jmp rcx", in("rdx") at, in("rcx") at::sigreturn_site(), options(noreturn))
                }
            })
        })
        .collect();
    run::sleep_ms(200);
    let mut ended = 0;
    for child in children {
        sys!(SYS_kill, child, libc::SIGKILL);
        ended += i32::from(!run::wait(child).is_empty());
    }
    say!("ended={ended}");
}
