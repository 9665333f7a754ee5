//! Job control: what terminals ask about sessions and groups.

use super::Tty;
use crate::base::{Errno, Result};
use crate::fs::Path;
use std::sync::OnceLock;

/// The task that asks.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    /// Its process.
    pub pid: i32,
    /// Its group.
    pub pgid: i32,
    /// Its session.
    pub sid: i32,
    /// Whether it leads the session.
    pub is_leader: bool,
    /// Whether it has CAP_SYS_ADMIN.
    pub is_admin: bool,
}

/// Sessions and groups: the task layer answers.
pub trait Sessions: Send + Sync {
    /// The task that runs.
    fn current(&self) -> Option<Who>;
    /// Sends a signal to a group.
    fn signal(&self, pgid: i32, signo: i32);
    /// Sends a signal to a process.
    fn signal_process(&self, pid: i32, signo: i32);
    /// User and group of the task that runs, for files it makes.
    fn user(&self) -> (u32, u32);
    /// What is mounted at a place, as the task that runs sees it.
    fn cross(&self, place: Path) -> Path;
    /// Whether the task that runs blocks or ignores a signal.
    fn is_deaf(&self, signo: i32) -> bool;
    /// Whether a group is orphaned.
    fn is_orphaned(&self, pgid: i32) -> bool;
    /// The session of a group; `None` if there is no such group.
    fn session_of_group(&self, pgid: i32) -> Option<i32>;
}

static SESSIONS: OnceLock<Box<dyn Sessions>> = OnceLock::new();

/// Says who answers; once, at the start.
pub fn register_sessions(sessions: Box<dyn Sessions>) {
    let _ = SESSIONS.set(sessions);
}

pub(super) fn who() -> Option<Who> {
    SESSIONS.get()?.current()
}

pub(super) fn signal(pgid: i32, signo: i32) {
    if let Some(sessions) = SESSIONS.get().filter(|_| pgid > 0) {
        sessions.signal(pgid, signo);
    }
}

pub(super) fn signal_process(pid: i32, signo: i32) {
    if let Some(sessions) = SESSIONS.get().filter(|_| pid > 0) {
        sessions.signal_process(pid, signo);
    }
}

pub(super) fn cross(place: Path) -> Path {
    match SESSIONS.get() {
        Some(sessions) => sessions.cross(place),
        None => place,
    }
}

pub(super) fn user() -> (u32, u32) {
    SESSIONS.get().map_or((0, 0), |s| s.user())
}

pub(super) fn session_of_group(pgid: i32) -> Option<i32> {
    SESSIONS.get()?.session_of_group(pgid)
}

impl Tty {
    /// Whether the caller is in a background group of this terminal's session: then it is stopped by `signo`, or told EIO
    /// where that could not be undone by anybody.
    pub(super) fn check_background(&self, signo: i32) -> Result<()> {
        let Some((sessions, who)) = SESSIONS.get().and_then(|s| Some((s, s.current()?))) else {
            return Ok(());
        };
        let (session, foreground) = {
            let state = self.state.lock();
            (state.session, state.foreground)
        };
        if session != who.sid || foreground == 0 || foreground == who.pgid {
            return Ok(());
        }
        if sessions.is_deaf(signo) {
            return if signo == libc::SIGTTIN { Err(Errno::EIO) } else { Ok(()) };
        }
        if sessions.is_orphaned(who.pgid) {
            return Err(Errno::EIO);
        }
        sessions.signal(who.pgid, signo);
        Err(Errno::ERESTARTSYS)
    }
}
