//! How guest code runs and comes back: stub processes, traps, windows, ordered host calls, call-site patches.
//!
//! All `unsafe` of the kernel is in here and in [`crate::base::context`].

pub mod apart;
pub mod elf;
mod gate;
mod handoff;
mod host_pid;
mod kicker;
mod ops;
mod process;
mod remains;
mod spawn;
pub mod sys;
mod thread;
mod window;
pub mod x86_64;

pub use host_pid::HostPid;
pub use kicker::Kicker;
pub use ops::Op;
pub use process::{Platform, Stub};
pub use remains::Peak;
pub use thread::{HostSignal, StubThread, Trap};
pub use x86_64::Regs;
pub use x86_64::patch::Patches;

/// The stub's process has ended.
#[derive(Debug, Clone, Copy)]
pub struct Dead;

impl From<Dead> for std::io::Error {
    fn from(_: Dead) -> Self {
        std::io::Error::from_raw_os_error(libc::ESRCH)
    }
}
