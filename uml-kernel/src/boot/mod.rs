//! From the command line to the first program, and back to an exit status.

mod run;
mod tree;

pub use run::{RunOptions, run};
