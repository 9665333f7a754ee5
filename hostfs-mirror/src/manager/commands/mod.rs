//! One file a command.

mod create;
mod doctor;
mod events;
mod explain;
mod import;
mod leg;
mod members;
mod meta;
mod metrics;
mod mount;
mod resync;
mod scrub;
mod split_brain;
mod status;
mod umount;
mod work;

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
        Command::Add(o) => members::add(&o),
        Command::Remove(o) => members::remove(&o),
        Command::Replace(o) => members::replace(&o),
        Command::Resync(o) => resync::run(&o),
        Command::Scrub(o) => scrub::run(&o, true),
        Command::Verify(o) => scrub::run(&o, false),
        Command::Explain(o) => explain::run(&o),
        Command::SplitBrain(o) => split_brain::run(&o),
        Command::Import(o) => import::import(&o),
        Command::Export(o) => import::export(&o),
        Command::Events(o) => events::run(&o),
        Command::Metrics(o) => metrics::run(&o),
        Command::Doctor(o) => doctor::run(&o),
        Command::Completions { shell } => meta::completions(shell),
        Command::Man { dir } => meta::man(dir.as_deref()),
    }
}
