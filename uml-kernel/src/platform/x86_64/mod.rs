//! What is particular to x86-64: the stub's code, its filter, registers, signal frames, call-site patches.

pub mod filter;
pub mod frame;
pub mod layout;
pub mod patch;
mod regs;
pub mod stub;

pub use regs::{GREGS, Regs, USER_FLAGS, WORDS};

/// The CPU's time stamp counter. Both sides of a window read it; some billions a second.
#[allow(unsafe_code)]
pub fn cycles() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}
