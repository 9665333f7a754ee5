//! Serving in the background. The process that serves is started anew, so that no thread and no lock has to live through a fork(2); what it
//! complains of until it is there is on the same standard error, and its exit code is ours.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

const READY: &[u8] = b"ready\n";

/// Why nobody serves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The process cannot be started.
    #[error("starting the process that is to serve: {0}")]
    Start(#[from] io::Error),
    /// It ended without a word.
    #[error("the process that was to serve the mount ended: {0}")]
    Ended(ExitStatus),
}

/// Starts this program once more, with `--served` before these arguments, as the process that serves, and waits until it is [`ready`]: 0. Where
/// it ended before that, and has said why: its exit code.
///
/// # Errors
/// [`StartError`].
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> Result<u8, StartError> {
    // By its own name, which others see who find the disk locked.
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--served").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut said = Vec::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_end(&mut said)?;
    }
    if said == READY {
        return Ok(0);
    }
    let ended = child.wait()?;
    match ended.code() {
        Some(code @ 1..) => Ok(code as u8),
        _ => Err(StartError::Ended(ended)),
    }
}

/// In the process that serves: it becomes nobody's, before there are threads.
pub fn detach() {
    // It fails where this is the leader of a group already, and then all is well.
    let _ = rustix::process::setsid();
}

/// In the process that serves: the mount is there. Nobody listens any more.
///
/// # Errors
/// Those of telling that, and of dup(2).
pub fn ready() -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(READY)?;
    out.flush()?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
