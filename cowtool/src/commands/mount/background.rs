//! Serving in the background. The process that serves is started anew, so that no thread and no lock has to live through a fork(2); what it
//! complains of until it is there is on the same standard error, and its exit code is ours.

use anyhow::Context as _;
use cli_common::Outcome;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

const READY: &[u8] = b"ready\n";

/// Starts the process that serves, and waits until the directory is mounted.
pub(super) fn start() -> anyhow::Result<Outcome> {
    // By its own name, which others see who find the disk locked.
    let program = std::env::current_exe().context("finding this program")?;
    let arguments = crate::helper::arguments().into_iter().skip(1);
    let mut command = Command::new(&program);
    command.arg("--served").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting \"{}\"", program.display()))?;
    let mut said = Vec::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_end(&mut said).context("waiting for the mount")?;
    }
    if said == READY {
        return Ok(Outcome::Success);
    }
    let status = child.wait().context("waiting for the mount")?;
    match status.code() {
        // It has said why.
        Some(code @ 1..) => Ok(Outcome::Code(code as u8)),
        _ => anyhow::bail!("the process that was to serve the mount ended: {status}"),
    }
}

/// In the process that serves: it becomes nobody's, before there are threads.
pub(super) fn detach() {
    // It fails where this is the leader of a group already, and then all is well.
    let _ = rustix::process::setsid();
}

/// In the process that serves: the mount is there. Nobody listens any more.
pub(super) fn ready() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(READY).and_then(|()| out.flush()).context("telling that the mount is there")?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").context("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
