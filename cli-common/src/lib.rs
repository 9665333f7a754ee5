//! What every program of the workspace does alike: one progress bar, one JSON writer, one formatter of
//! sizes and durations, one way from an error to an exit code, one way to hear signals.

mod exit;
mod format;
mod output;
mod progress;
mod signals;

pub use exit::{ExitCodes, Outcome, run};
pub use format::{duration, percent, size};
pub use output::{Format, Output, complain, plural};
pub use progress::{Reporter, Show};
