//! Serving in the background. The process that serves is started anew, so that no thread and no lock has to live through a fork(2); what it
//! complains of until it is there is on the same standard error, and its exit code is ours.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

const READY: &[u8] = b"ready\n";

/// Starts this program once more, with these arguments, as the process that serves, and waits until it is [`ready`]. Where it ended before
/// that: how.
///
/// # Errors
/// When it cannot be started.
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> io::Result<Option<ExitStatus>> {
    // By its own name, which others see who find the disk locked.
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut said = Vec::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_end(&mut said)?;
    }
    if said == READY { Ok(None) } else { child.wait().map(Some) }
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
