//! Unmounting, and waiting until the process that serves the directory has brought everything to where it belongs, and ended.

use crate::control::Server;
use crate::mountpoint::detach;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::path::Path;

/// Why a directory is not unmounted, or not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnmountError {
    /// It is not a mount of this project's.
    #[error("not one of our mounts")]
    NotOurs,
    /// What served it had been killed; it is unmounted now.
    #[error("what served it had been killed")]
    Killed,
    /// Something in it is open.
    #[error("it is in use")]
    Busy,
    /// It is unmounted, and not all that was written is where it belongs.
    #[error("not all that was written is there: {0}")]
    Unfinished(String),
    /// The host.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Unmounts a directory. With `lazily`, it is gone at once, and what is open in it stays so.
///
/// # Errors
/// [`UnmountError`].
pub fn unmount(directory: &Path, lazily: bool) -> Result<(), UnmountError> {
    let away = || {
        detach(directory, lazily).map_err(|e| match e.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::BUSY) => UnmountError::Busy,
            _ => e.into(),
        })
    };
    let mut server = match Server::of(directory) {
        Ok(Some(server)) => server,
        Ok(None) => return Err(UnmountError::NotOurs),
        Err(e) if e.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => {
            away()?;
            return Err(UnmountError::Killed);
        }
        Err(e) => return Err(e.into()),
    };
    let pid = Pid::from_raw(server.pid).ok_or_else(|| io::Error::from(Errno::SRCH))?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
    away()?;
    // A process's descriptor is readable once it has ended.
    loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(e) => return Err(io::Error::from(e).into()),
        }
    }
    server.said()?.map_or(Ok(()), |why| Err(UnmountError::Unfinished(why)))
}
