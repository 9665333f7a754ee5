//! One file a command.

mod create;
mod leg;
mod meta;
mod mount;
mod status;
mod umount;

use crate::options::{Cli, Command};
use cli_common::Outcome;

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Outcome> {
    match cli.command {
        Command::Create(o) => create::run(&o),
        // Before any handler of signals, and any thread.
        Command::Mount(o) => mount::run(&o, cli.served),
        Command::Umount(o) => umount::run(&o),
        Command::Status(o) => status::run(&o),
        Command::Fence(o) => leg::fence(&o),
        Command::Online(o) => leg::online(&o),
        Command::Completions { shell } => meta::completions(shell),
        Command::Man { dir } => meta::man(dir.as_deref()),
    }
}
