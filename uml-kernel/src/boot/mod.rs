//! From the command line to the first program, and back to an exit status.

mod run;

pub use run::{RunOptions, run};
