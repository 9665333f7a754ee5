//! What is particular to x86-64: the stub's code, its filter, registers, signal frames, call-site patches.

pub mod filter;
pub mod frame;
pub mod layout;
pub mod patch;
mod regs;
pub mod stub;

pub use regs::{GREGS, Regs, USER_FLAGS, WORDS};
