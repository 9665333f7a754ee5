//! `cowtool`: looks into COW disks, compares, checks, converts, moves, shrinks, stacks and mounts them.

mod commands;
mod context;
mod helper;
mod options;

use clap::Parser;
use clap::error::ErrorKind;
use cli_common::ExitCodes;
use options::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::try_parse_from(helper::arguments()) {
        Ok(cli) => cli_common::run(codes(cli.command.name()), || commands::run(cli)),
        Err(e) => {
            let _ = e.print();
            if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
                return ExitCode::SUCCESS;
            }
            let first = std::env::args().skip(1).find(|a| !a.starts_with('-'));
            ExitCode::from(codes(first.as_deref().unwrap_or_default()).usage)
        }
    }
}

/// `check`, `diff`, `compare` and `verify` answer with their exit code, so their failures have others.
fn codes(command: &str) -> ExitCodes {
    match command {
        "check" => ExitCodes { failure: 1, usage: 1 },
        "diff" | "compare" | "verify" => ExitCodes { failure: 2, usage: 2 },
        _ => ExitCodes::default(),
    }
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Check(_) => "check",
            Self::Diff(_) => "diff",
            Self::Compare(_) => "compare",
            Self::Verify(_) => "verify",
            _ => "",
        }
    }
}
