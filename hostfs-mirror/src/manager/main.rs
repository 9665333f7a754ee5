//! `hostfs-mirror`: makes mirror sets, mounts them, and says how they are.

mod commands;
mod options;
mod registry;
mod socket;

use clap::Parser;
use clap::error::ErrorKind;
use cli_common::ExitCodes;
use std::process::ExitCode;

fn main() -> ExitCode {
    match options::Cli::try_parse_from(options::arguments()) {
        Ok(cli) => cli_common::run(ExitCodes::default(), || commands::run(cli)),
        Err(e) => {
            let _ = e.print();
            let asked = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if asked { ExitCode::SUCCESS } else { ExitCode::from(ExitCodes::default().usage) }
        }
    }
}
