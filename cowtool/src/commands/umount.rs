//! `cowtool umount`

use crate::options::Umount;
use anyhow::{Context as _, bail};
use cli_common::Outcome;
use cow_fuse::control::Server;
use cow_fuse::detach;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::path::Path;

/// Unmounts, and waits until the process that serves the directory has brought everything to the disk and ended.
pub(crate) fn run(o: &Umount) -> anyhow::Result<Outcome> {
    let dir = &std::path::absolute(&o.dir).with_context(|| format!("\"{}\"", o.dir.display()))?;
    let mut server = match Server::of(dir) {
        Ok(Some(server)) => server,
        Ok(None) => bail!("\"{}\" is no mount of cowtool's", dir.display()),
        Err(e) if e.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => {
            unmount(dir, o.lazy)?;
            bail!(
                "\"{}\" is unmounted; what served it had been killed: what was synced before is there",
                dir.display()
            );
        }
        Err(e) => return Err(e).with_context(|| format!("\"{}\"", dir.display())),
    };
    let pid = Pid::from_raw(server.pid).context("the process that serves it has no number")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).context("the process that serves it")?;
    unmount(dir, o.lazy)?;
    wait(&process)?;
    match server.said().context("what the process that served it has said")? {
        None => Ok(Outcome::Success),
        Some(why) => {
            bail!("\"{}\" is unmounted, but not all that was written is on the disk: {why}", dir.display())
        }
    }
}

fn unmount(dir: &Path, lazily: bool) -> anyhow::Result<()> {
    detach(dir, lazily).map_err(|e| match e.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::BUSY) => anyhow::anyhow!(
            "\"{}\" is in use: something in it is open, or somebody's directory (fuser -vm \"{}\" says whose); --lazy detaches it all the same",
            dir.display(),
            dir.display()
        ),
        _ => anyhow::Error::new(e).context(format!("unmounting \"{}\"", dir.display())),
    })
}

/// A process's descriptor is readable once it has ended.
fn wait(process: &impl std::os::fd::AsFd) -> anyhow::Result<()> {
    loop {
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e).context("waiting for the process that serves it"),
        }
    }
}
