//! Calls made from the stub's own instructions, as only a guest that knows the stub would make them.

use crate::mem::{PRIV, RW};
use crate::run;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

/// The stub's text, as `platform/x86_64/layout.rs` has it.
pub(super) const STUB: usize = 0x7fff_e000_0000;
/// The host's vDSO.
pub(super) const HOST_VDSO: usize = 0x7fff_e010_0000;
/// The first window.
pub(super) const WINDOWS: usize = 0x7fff_e100_0000;
/// Bytes of a window.
pub(super) const WINDOW: usize = 0x8000;
/// In a window: registers, the list of calls, the result of its first entry.
const REGS: usize = 0x80;
pub(super) const OPS: usize = 0x200;

std::arch::global_asm!(
    // hostile_at(site, call, window): `call` is number, six arguments, r12. The stub goes on behind its instruction with a window of
    // our own making, notes the result there, and goes back to the registers that it finds there: to 2.
    ".globl hostile_at",
    "hostile_at:",
    "push rbx; push rbp; push r12; push r13; push r14; push r15",
    "mov r15, rdx",
    "mov [r15 + 0x80 + 7*8], rsp",
    "mov [r15 + 0x80 + 15*8], r15",
    "lea rax, [rip + 2f]",
    "mov [r15 + 0x80 + 16*8], rax",
    "pushfq; pop rax",
    "mov [r15 + 0x80 + 17*8], rax",
    "mov ebx, 1",
    "lea rbp, [r15 + 0x200]",
    "mov r13, rdi",
    "mov r11, rsi",
    "mov rax, [r11]",
    "mov rdi, [r11 + 8]",
    "mov rsi, [r11 + 16]",
    "mov rdx, [r11 + 24]",
    "mov r10, [r11 + 32]",
    "mov r8, [r11 + 40]",
    "mov r9, [r11 + 48]",
    "mov r12, [r11 + 56]",
    "jmp r13",
    "2:",
    "mov rax, [r15 + 0x200 + 56]",
    "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
    "ret",
);
unsafe extern "C" {
    fn hostile_at(site: usize, call: *const [usize; 8], window: usize) -> isize;
}

/// The stub's machine code.
pub(super) fn text() -> &'static [u8] {
    unsafe { std::slice::from_raw_parts(STUB as *const u8, 4096) }
}

fn find(pattern: &[u8]) -> Option<usize> {
    text().windows(pattern.len()).position(|w| w == pattern).map(|at| STUB + at)
}

/// The instruction by which the stub makes what the kernel orders: `mov r12, rax; syscall`.
pub(super) fn ops_site() -> usize {
    find(&[0x49, 0x89, 0xc4, 0x0f, 0x05]).map_or(0, |at| at + 3)
}

/// The one by which it goes back to the guest: `mov eax, 15; syscall; ud2`.
pub(super) fn sigreturn_site() -> usize {
    find(&[0xb8, 15, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x0b]).map_or(0, |at| at + 5)
}

/// Memory that looks like a window: the stub's turn, nothing ordered.
pub(super) fn own_window() -> usize {
    let memory = crate::mem::map(2 * WINDOW, RW, PRIV);
    let window = memory.next_multiple_of(WINDOW);
    turn(window).store(1, SeqCst);
    window
}

pub(super) fn turn(window: usize) -> &'static AtomicI32 {
    unsafe { AtomicI32::from_ptr(window as *mut i32) }
}

/// Makes a call from the instruction at `site`. One that the host refuses goes to our kernel, like any other call.
/// Where it fails, the stub waits for its turn in our window: [`with_turns`] gives it.
pub(super) fn call(site: usize, nr: i64, args: [usize; 6], window: usize) -> isize {
    let [a, b, c, d, e, f] = args;
    turn(window).store(1, SeqCst);
    let words = [nr as usize, a, b, c, d, e, f, 0];
    unsafe { hostile_at(site, &raw const words, window) }
}

/// Tries until it works, or for some seconds: the host may be out of threads for a while, where other attacks run beside this one.
fn insist(begin: impl Fn() -> bool) -> bool {
    (0..500).any(|_| {
        let begun = begin();
        if !begun {
            run::sleep_ms(20);
        }
        begun
    })
}

/// Runs `f` while another thread says without end that it is the stub's turn in `window`. A third wants the CPU now and then, so
/// that whoever has gone to sleep on the host before that was said is preempted, and looks again.
pub(super) fn with_turns<T>(window: usize, f: impl FnOnce() -> T) -> T {
    let stop = AtomicI32::new(0);
    std::thread::scope(|s| {
        let spin = || {
            while stop.load(SeqCst) == 0 {
                turn(window).store(1, SeqCst);
                std::hint::spin_loop();
            }
        };
        let disturb = || {
            while stop.load(SeqCst) == 0 {
                run::sleep_ms(5);
            }
        };
        let thread = std::thread::Builder::new;
        let begun = insist(|| thread().spawn_scoped(s, disturb).is_ok())
            && insist(|| thread().spawn_scoped(s, spin).is_ok());
        let result = begun.then(f);
        stop.store(1, SeqCst);
        result
    })
    .expect("threads")
}

/// Calls from the instruction for ordered calls, each in turn, refused or not.
pub(super) fn ordered(calls: &[(i64, [usize; 6])]) -> Vec<isize> {
    let window = own_window();
    with_turns(window, || calls.iter().map(|(nr, args)| call(ops_site(), *nr, *args, window)).collect())
}

/// Writes into a window of the stub's: ours too, because the window is memory of this process.
pub(super) fn poke(address: usize, value: u64) {
    unsafe { (address as *mut u64).write_volatile(value) }
}

const _: () = assert!(REGS + 18 * 8 < OPS);
