//! From the command line to the first program, and back to an exit status.

mod panic;
mod run;
pub mod terminal;
mod tree;

pub use run::{RunOptions, run};
