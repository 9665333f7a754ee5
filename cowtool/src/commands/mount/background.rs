//! Starting the process that serves, and what becomes of it.

use anyhow::Context as _;
use cli_common::Outcome;

/// Starts the process that serves, and waits until the directory is mounted.
pub(super) fn start() -> anyhow::Result<Outcome> {
    let arguments = std::iter::once("--served".into()).chain(crate::helper::arguments().into_iter().skip(1));
    let ended = cow_fuse::background::start(arguments).context("starting the process that is to serve")?;
    match ended.map(|status| (status.code(), status)) {
        None => Ok(Outcome::Success),
        // It has said why.
        Some((Some(code @ 1..), _)) => Ok(Outcome::Code(code as u8)),
        Some((_, status)) => anyhow::bail!("the process that was to serve the mount ended: {status}"),
    }
}
