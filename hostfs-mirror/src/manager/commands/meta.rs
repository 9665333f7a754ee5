//! `hostfs-mirror completions` and `hostfs-mirror man`

use crate::options::Cli;
use anyhow::Context as _;
use clap::CommandFactory;
use clap_complete::Shell;
use cli_common::{Format, Outcome, Output};
use std::path::Path;

pub(crate) fn completions(shell: Shell) -> anyhow::Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hostfs-mirror", &mut text);
    Output::new(Format::Human).bytes(&text);
    Ok(Outcome::Success)
}

pub(crate) fn man(dir: Option<&Path>) -> anyhow::Result<Outcome> {
    match dir {
        Some(dir) => {
            let failed = || format!("writing manual pages to \"{}\"", dir.display());
            clap_mangen::generate_to(Cli::command(), dir).with_context(failed)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            Output::new(Format::Human).bytes(&page);
        }
    }
    Ok(Outcome::Success)
}
