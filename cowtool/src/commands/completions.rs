//! `cowtool completions`

use crate::context::Context;
use crate::options::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use cli_common::Outcome;

pub(crate) fn run(mut cx: Context, shell: Shell) -> anyhow::Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cowtool", &mut text);
    cx.out.bytes(&text);
    Ok(Outcome::Success)
}
