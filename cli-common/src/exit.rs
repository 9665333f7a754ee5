//! From a result to an exit code.

use crate::complain;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a program's work came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Success,
    /// Done, with an answer that has a code of its own (`diff`: 1 for "different").
    Code(u8),
    /// A signal stopped it; everything was left in order first. The process ends as that signal ends one.
    Signal(i32),
}

/// The codes of failures, where a program or subcommand has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCodes {
    /// Something went wrong.
    pub failure: u8,
    /// The command line was no good.
    pub usage: u8,
}

impl Default for ExitCodes {
    fn default() -> Self {
        Self { failure: 1, usage: 2 }
    }
}

/// What the running program ends with when it fails, for failures that no result carries: `Output`'s.
static FAILURE: AtomicU8 = AtomicU8::new(1);

pub(crate) fn failure_code() -> u8 {
    FAILURE.load(Ordering::Relaxed)
}

/// Runs a program's work and reports its failure as one line on standard error.
pub fn run(codes: ExitCodes, work: impl FnOnce() -> anyhow::Result<Outcome>) -> ExitCode {
    FAILURE.store(codes.failure, Ordering::Relaxed);
    match work() {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Code(code)) => ExitCode::from(code),
        Ok(Outcome::Signal(signal)) => {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            ExitCode::from(codes.failure)
        }
        Err(e) => {
            complain(one_line(&message(&e)));
            ExitCode::from(codes.failure)
        }
    }
}

/// The error and its causes, but for those that it already tells in its own text.
fn message(e: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in e.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(cause.split(" (os error").next().unwrap_or(&cause)) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Names of files may hold anything; a message is one line all the same.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
