//! Which terminal a session has: credentials(7), "Sessions and process groups".

use super::{Tty, job};
use crate::base::{Errno, Mutex, Rank, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// What a session has.
enum Terminal {
    Has(Arc<Tty>),
    /// It was hung up; the group that was in front is told when the leader ends.
    Lost(i32),
}

static OF_SESSION: LazyLock<Mutex<BTreeMap<i32, Terminal>>> =
    LazyLock::new(|| Mutex::new(Rank::Leaf, BTreeMap::new()));

/// The terminal of a session.
pub fn of_session(session: i32) -> Option<Arc<Tty>> {
    match OF_SESSION.lock().get(&session) {
        Some(Terminal::Has(tty)) => Some(tty.clone()),
        _ => None,
    }
}

/// The leader of a session ends: the group in front is told, and the terminal is free.
pub fn leader_exits(session: i32) {
    let Some(had) = OF_SESSION.lock().remove(&session) else { return };
    match had {
        Terminal::Has(tty) => {
            let foreground = tty.free();
            job::signal(foreground, libc::SIGHUP);
        }
        Terminal::Lost(foreground) => {
            job::signal(foreground, libc::SIGHUP);
            job::signal(foreground, libc::SIGCONT);
        }
    }
}

/// The outside of a terminal is gone: its session has none any more, and its leader is told.
pub(super) fn lose(tty: &Tty) {
    let session = tty.state.lock().session;
    if session == 0 {
        return;
    }
    let foreground = tty.free();
    OF_SESSION.lock().insert(session, Terminal::Lost(foreground));
    job::signal_process(session, libc::SIGHUP);
    job::signal_process(session, libc::SIGCONT);
}

impl Tty {
    /// Gives it to a session.
    pub fn set_session(self: &Arc<Tty>, session: i32, foreground: i32) {
        {
            let mut state = self.state.lock();
            (state.session, state.foreground) = (session, foreground);
        }
        OF_SESSION.lock().insert(session, Terminal::Has(self.clone()));
    }

    /// Session leaders without a terminal get the one they open.
    pub(super) fn adopt_session(self: &Arc<Tty>) {
        let Some(who) = job::who().filter(|w| w.is_leader) else { return };
        let free = self.state.lock().session == 0;
        if free && of_session(who.sid).is_none() {
            self.set_session(who.sid, who.pgid);
        }
    }

    /// TIOCSCTTY; `steal` takes it from another session, which root may.
    pub(super) fn take(self: &Arc<Tty>, steal: bool) -> Result<()> {
        let who = job::who().ok_or(Errno::EPERM)?;
        let session = self.state.lock().session;
        if session == who.sid {
            return Ok(());
        }
        if !who.is_leader || of_session(who.sid).is_some() {
            return Err(Errno::EPERM);
        }
        if session != 0 {
            if !(steal && who.is_admin) {
                return Err(Errno::EPERM);
            }
            OF_SESSION.lock().remove(&session);
        }
        self.set_session(who.sid, who.pgid);
        Ok(())
    }

    /// TIOCNOTTY: a leader gives it up for its whole session.
    pub(super) fn give_up(&self) -> Result<()> {
        self.own()?;
        let Some(who) = job::who().filter(|w| w.is_leader) else { return Ok(()) };
        OF_SESSION.lock().remove(&who.sid);
        let foreground = self.free();
        job::signal(foreground, libc::SIGHUP);
        job::signal(foreground, libc::SIGCONT);
        Ok(())
    }

    /// Session and foreground group, if this is the caller's controlling terminal; ENOTTY.
    pub(super) fn own(&self) -> Result<(i32, i32)> {
        let who = job::who();
        let state = self.state.lock();
        match who {
            Some(who) if state.session != 0 && who.sid == state.session => {
                Ok((state.session, state.foreground))
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    /// Device number and foreground group.
    pub fn number_and_foreground(&self) -> (u64, i32) {
        (self.rdev, self.state.lock().foreground)
    }

    /// Nobody has it; the group that was in front.
    fn free(&self) -> i32 {
        let mut state = self.state.lock();
        state.session = 0;
        std::mem::take(&mut state.foreground)
    }
}
