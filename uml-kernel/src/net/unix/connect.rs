//! Names, connections, and their end.

use super::address::{self, Asked, Name};
use super::{BOTH, Phase, RECEIVE, SOMAXCONN, UnixSocket, table};
use crate::base::wait::Events;
use crate::base::{Errno, Mutex, Result};
use crate::net::{Caller, Kind, Patience, so};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl UnixSocket {
    pub(super) fn do_bind(&self, address: &[u8], caller: &Caller<'_>) -> Result<()> {
        let name = match address::asked(address)? {
            Asked::Any => return self.autobind(),
            Asked::Name(name) => name,
        };
        let bound = || self.address.get().is_some();
        let me = self.strong()?;
        let mut inode = None;
        match &name {
            Name::Abstract(bytes) => {
                if bound() {
                    return Err(Errno::EINVAL);
                }
                table::take(bytes, &me)?;
            }
            Name::Path(path) => {
                if bound() {
                    return Err(Errno::EINVAL);
                }
                let made = caller.names.create(path).map_err(|e| match e {
                    Errno::EEXIST => Errno::EADDRINUSE,
                    e => e,
                })?;
                table::attach(&made, &me)?;
                inode = Some(made);
            }
        }
        self.state.lock().inode = inode;
        self.address.set(Arc::new(name)).map_err(|_| Errno::EINVAL)
    }

    /// Takes any abstract name, unless there is a name.
    pub(super) fn autobind(&self) -> Result<()> {
        if self.address.get().is_some() {
            return Ok(());
        }
        let name = table::take_any(&self.strong()?)?;
        self.address.set(Arc::new(Name::Abstract(name))).map_err(|_| Errno::EINVAL)
    }

    /// Who receives credentials has to be known to the other side.
    pub(super) fn autobind_for_creds(&self) -> Result<()> {
        if self.options.on(so::PASSCRED) { self.autobind() } else { Ok(()) }
    }

    pub(super) fn do_listen(&self, backlog: i32, caller: &Caller<'_>) -> Result<()> {
        if !self.connection_based() {
            return Err(Errno::EOPNOTSUPP);
        }
        // Negative is as many as there may be: the comparison is unsigned.
        let backlog = (backlog as u32 as usize).min(SOMAXCONN.load(Ordering::Relaxed));
        let mut state = self.state.lock();
        if self.address.get().is_none() || state.phase == Phase::Connected || state.dead {
            return Err(Errno::EINVAL);
        }
        state.backlog = backlog;
        state.phase = Phase::Listening;
        state.peer_creds = Some((caller.ids, caller.groups.clone()));
        drop(state);
        self.room.wake_all();
        Ok(())
    }

    pub(super) fn do_accept(&self, nonblock: bool) -> Result<Arc<UnixSocket>> {
        if !self.connection_based() {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.state.lock().phase != Phase::Listening {
            return Err(Errno::EINVAL);
        }
        let patience = Patience::new(nonblock, self.options.receive_timeout());
        let new = patience.wait(&self.wait, Events::READ, || {
            let mut state = self.state.lock();
            match state.pending.pop_front() {
                Some(new) => Some(Ok(new)),
                // Linux tells of a shutdown only to those who wait.
                None if state.shutdown & RECEIVE != 0 && !nonblock => Some(Err(Errno::EINVAL)),
                None => None,
            }
        })?;
        self.room.wake(Events::WRITE);
        Ok(new)
    }

    pub(super) fn connect_stream(&self, address: &[u8], caller: &Caller<'_>, nonblock: bool) -> Result<()> {
        let name = Name::parse(address)?;
        self.autobind_for_creds()?;
        let patience = Patience::new(nonblock, self.options.send_timeout());
        let other = table::find(&name, self.kind, caller.names)?;
        // The other end, which accept will give. Set up before, as no more than two states are locked together.
        let new = UnixSocket::new(self.kind);
        for name in [so::PASSCRED, so::PASSSEC] {
            if other.options.on(name) {
                new.options.set(name, &1i32.to_ne_bytes(), false)?;
            }
        }
        {
            new.address.get_or_init(|| other.bound().unwrap_or_else(|| Arc::new(name)));
            let mut state = new.state.lock();
            state.phase = Phase::Connected;
            state.peer = Some(self.strong()?);
            state.peer_creds = Some((caller.ids, caller.groups.clone()));
        }
        patience.wait(&other.room, Events::WRITE, || {
            let (mut mine, theirs) = Mutex::lock_two(&self.state, &other.state);
            let listener = theirs.as_deref().unwrap_or(&mine);
            if listener.phase != Phase::Listening || listener.shutdown & RECEIVE != 0 {
                return Some(Err(Errno::ECONNREFUSED));
            }
            if listener.is_full() {
                return None;
            }
            let Some(mut theirs) = theirs.filter(|_| mine.phase == Phase::Closed) else {
                // A listener cannot connect, not even to itself.
                let connected = mine.phase == Phase::Connected;
                return Some(Err(if connected { Errno::EISCONN } else { Errno::EINVAL }));
            };
            mine.phase = Phase::Connected;
            mine.peer = Some(new.clone());
            mine.peer_creds = theirs.peer_creds.clone();
            theirs.pending.push_back(new.clone());
            Some(Ok(()))
        })?;
        other.wait.wake(Events::READ);
        Ok(())
    }

    pub(super) fn connect_datagram(&self, address: &[u8], caller: &Caller<'_>) -> Result<()> {
        let other = if address::is_unspec(address) {
            None
        } else {
            let name = Name::parse(address)?;
            self.autobind_for_creds()?;
            Some(table::find(&name, Kind::Datagram, caller.names)?)
        };
        if let Some(other) = &other {
            if !other.takes_from(self) {
                return Err(Errno::EPERM);
            }
            other.state.lock().phase = Phase::Connected;
        }
        let mut state = self.state.lock();
        state.phase = if other.is_some() { Phase::Connected } else { Phase::Closed };
        let old = std::mem::replace(&mut state.peer, other.clone());
        drop(state);
        if let Some(old) = old
            && !other.is_some_and(|o| Arc::ptr_eq(&o, &old))
        {
            self.disconnected_from(&old);
        }
        self.wait.wake_all();
        Ok(())
    }

    /// Whether a datagram from `sender` is welcome: from anyone, or from the peer alone.
    pub(super) fn takes_from(&self, sender: &UnixSocket) -> bool {
        self.state.lock().peer.as_ref().is_none_or(|p| std::ptr::eq(Arc::as_ptr(p), sender))
    }

    /// A datagram socket has left its peer: what waited here is lost, and the peer is told if it was connected in turn.
    pub(super) fn disconnected_from(&self, old: &UnixSocket) {
        let lost = std::mem::take(&mut self.state.lock().queue);
        if lost.is_empty() {
            return;
        }
        drop(lost);
        self.room.wake_all();
        let mut theirs = old.state.lock();
        if !theirs.dead && theirs.peer.as_ref().is_some_and(|p| std::ptr::eq(Arc::as_ptr(p), self)) {
            theirs.error = Some(Errno::ECONNRESET);
            drop(theirs);
            old.wait.wake_all();
        }
    }

    /// The end. `embryo` if it was never accepted.
    pub(super) fn do_close(&self, embryo: bool) {
        let mut state = self.state.lock();
        state.dead = true;
        state.shutdown = BOTH;
        state.phase = Phase::Closed;
        let peer = state.peer.take();
        let queue = std::mem::take(&mut state.queue);
        let pending = std::mem::take(&mut state.pending);
        let inode = state.inode.take();
        let name = self.bound();
        drop(state);
        if let Some(name) = name {
            table::release(self, &name, inode.as_ref());
        }
        self.room.wake_all();
        self.wait.wake_all();
        if let Some(peer) = peer.filter(|_| self.connection_based()) {
            let mut theirs = peer.state.lock();
            theirs.shutdown = BOTH;
            // Linux passes over an empty packet at the front (it looks for a consumed urgent byte there).
            let unread = queue.len() > usize::from(queue.front().is_some_and(|p| p.left() == 0));
            if unread || embryo {
                theirs.error = Some(Errno::ECONNRESET);
            }
            drop(theirs);
            peer.wait.wake_all();
        }
        for new in pending {
            new.do_close(true);
        }
    }
}
