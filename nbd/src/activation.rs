//! A listening socket that whoever started this process has left open for it (sd_listen_fds(3)): `nbdcopy [ cowtool serve … ]`.
#![allow(unsafe_code)]

use crate::server::Listener;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::AddressFamily;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that is passed, by the convention.
const FIRST: i32 = 3;

/// The socket is taken once: two owners of one descriptor would close it under each other.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the one listening socket that was passed, where `LISTEN_PID` and `LISTEN_FDS` say that there is one for this process.
/// `None` where they do not, or it has been taken.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for more than one, or no socket.
pub fn passed_listener(pid: Option<&str>, count: Option<&str>) -> io::Result<Option<Listener>> {
    let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
    if pid.and_then(|p| p.parse().ok()) != Some(std::process::id()) || TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(None);
    }
    if count != Some("1") {
        return Err(bad("one socket is served, and other than one were passed (LISTEN_FDS)"));
    }
    // SAFETY: by the convention the descriptor is open and this process's to use: LISTEN_PID has named it, so nobody here opened it. It is
    // owned once: `TAKEN`. Were it not open after all, the calls below would fail, and so does closing it, harmlessly.
    let socket = unsafe { OwnedFd::from_raw_fd(FIRST) };
    let flags = fcntl_getfd(&socket)?;
    fcntl_setfd(&socket, flags | FdFlags::CLOEXEC)?;
    match rustix::net::sockopt::socket_domain(&socket)? {
        AddressFamily::UNIX => Ok(Some(Listener::Unix(socket.into()))),
        AddressFamily::INET | AddressFamily::INET6 => Ok(Some(Listener::Tcp(socket.into()))),
        _ => Err(bad("the socket that was passed is neither of TCP nor of Unix")),
    }
}
