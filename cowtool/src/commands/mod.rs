//! One file a command.

mod adjust;
mod check;
mod commit;
mod completions;
mod convert;
mod create;
mod diff;
mod files;
mod info;
mod man;
mod map;
mod mount;
mod serve;
mod snapshot;
mod status;
mod umount;
mod verify;

use crate::context::Context;
use crate::options::{Cli, Command};
use cli_common::Outcome;

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Outcome> {
    // Before any handler of signals, and any thread.
    if let Command::Mount(o) = &cli.command {
        return mount::run(o, cli.served);
    }
    let cx = Context::new(&cli)?;
    match cli.command {
        Command::Create(o) => create::run(cx, &o),
        Command::Info(o) => info::run(cx, &o),
        Command::Map(o) => map::run(cx, &o),
        Command::Check(o) => check::run(cx, &o),
        Command::Diff(o) if o.files => files::diff(cx, &o),
        Command::Diff(o) => diff::run(cx, &o.two(), false),
        Command::Compare(o) => diff::run(cx, &o, true),
        Command::Commit(o) => commit::run(cx, &o),
        Command::Convert(o) => convert::run(cx, &o),
        Command::Rebase(o) => adjust::rebase(cx, &o),
        Command::Relocate(o) => adjust::relocate(cx, &o),
        Command::Compact(o) => adjust::compact(cx, &o),
        Command::Identify(o) => adjust::identify(cx, &o),
        Command::Snapshot(o) => snapshot::snapshot(cx, &o),
        Command::Revert(o) => snapshot::revert(cx, &o),
        Command::Status(o) => status::run(cx, &o),
        Command::Serve(o) => serve::run(cx, &o),
        Command::Ls(o) => files::ls(cx, &o),
        Command::Cat(o) => files::cat(cx, &o),
        Command::Find(o) => files::find(cx, &o),
        Command::Extract(o) => files::extract(cx, &o),
        Command::Put(o) => files::put(cx, &o),
        Command::Rm(o) => files::rm(cx, &o),
        Command::Merge(o) => files::merge(cx, &o),
        Command::TarOut(o) => files::tar_out(cx, &o),
        Command::TarIn(o) => files::tar_in(cx, &o),
        Command::Verify(o) => verify::run(cx, &o),
        Command::Locks(o) => info::locks(cx, &o),
        Command::Mount(_) => Ok(Outcome::Success),
        Command::Umount(o) => umount::run(&o),
        Command::Completions { shell } => completions::run(cx, shell),
        Command::Man { dir } => man::run(cx, dir.as_deref()),
    }
}
