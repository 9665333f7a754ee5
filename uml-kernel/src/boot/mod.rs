//! From the command line to the first program, and back to an exit status.

pub mod cmdline;
mod first;
mod host_signals;
mod init;
mod machine;
mod panic;
mod restart;
mod run;
mod terminal;
mod tree;

pub use init::boot;
pub use run::{RunOptions, run};
