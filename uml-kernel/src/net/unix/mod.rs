//! Local sockets (unix(7), net/unix/af_unix.c).
//!
//! Locks: a socket's state is of rank `Buffer`; two are held together only by `lock_two`. Files on their way are dropped without any.

mod address;
mod connect;
mod inflight;
pub use inflight::collect_late;
mod packet;
mod table;
#[cfg(test)]
mod tests;
mod transfer;

pub use address::{AF_UNIX, Name};

use super::{Caller, Kind, Message, MsgFlags, Options, Received, SOL_SOCKET, Socket, Ucred, so};
use crate::base::wait::{Events, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::{Inode, PollTable};
use packet::Packet;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// net.unix.max_dgram_qlen: datagrams that may wait at a socket that is not the sender's peer.
pub static MAX_DGRAM_QLEN: AtomicUsize = AtomicUsize::new(10);
/// net.core.somaxconn.
pub static SOMAXCONN: AtomicUsize = AtomicUsize::new(4096);

/// Bits of a shutdown.
const RECEIVE: u8 = 1;
const SEND: u8 = 2;
const BOTH: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Listening,
    Connected,
}

struct State {
    phase: Phase,
    shutdown: u8,
    dead: bool,
    error: Option<Errno>,
    /// Kept so that the file system keeps the place where others find this socket.
    inode: Option<Arc<dyn Inode>>,
    peer: Option<Arc<UnixSocket>>,
    peer_creds: Option<(Ucred, Arc<[u32]>)>,
    queue: VecDeque<Packet>,
    /// Connections to be accepted.
    pending: VecDeque<Arc<UnixSocket>>,
    backlog: usize,
}

impl State {
    /// Whether others than the peer have to wait.
    fn is_full(&self) -> bool {
        self.queue.len().max(self.pending.len()) > self.backlog
    }
}

/// A local socket.
pub struct UnixSocket {
    me: Weak<UnixSocket>,
    kind: Kind,
    options: Options,
    /// Once it has a name, that stays.
    address: OnceLock<Arc<Name>>,
    state: Mutex<State>,
    /// What others have not read yet of what was sent from here, with overhead.
    sent: AtomicUsize,
    /// Those who wait for data, room, or a change of state.
    wait: WaitQueue,
    /// Those at other sockets who wait for room here.
    room: WaitQueue,
}

impl std::fmt::Debug for UnixSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnixSocket({:?})", self.kind)
    }
}

impl UnixSocket {
    /// Makes a socket, as socket(AF_UNIX, kind, 0).
    pub fn new(kind: Kind) -> Arc<UnixSocket> {
        Arc::new_cyclic(|me| UnixSocket {
            me: me.clone(),
            kind,
            options: Options::default(),
            address: OnceLock::new(),
            state: Mutex::new(
                Rank::Buffer,
                State {
                    phase: Phase::Closed,
                    shutdown: 0,
                    dead: false,
                    error: None,
                    inode: None,
                    peer: None,
                    peer_creds: None,
                    queue: VecDeque::new(),
                    pending: VecDeque::new(),
                    backlog: MAX_DGRAM_QLEN.load(Ordering::Relaxed),
                },
            ),
            sent: AtomicUsize::new(0),
            wait: WaitQueue::new(),
            room: WaitQueue::new(),
        })
    }

    /// Makes two that are connected, as socketpair(2).
    pub fn pair(kind: Kind, ids: Ucred, groups: Arc<[u32]>) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
        let (a, b) = (UnixSocket::new(kind), UnixSocket::new(kind));
        for (one, other) in [(&a, &b), (&b, &a)] {
            let mut state = one.state.lock();
            state.peer = Some(other.clone());
            state.phase = Phase::Connected;
            state.peer_creds = Some((ids, groups.clone()));
        }
        (a, b)
    }

    /// Its name, for /proc/net/unix.
    pub fn bound(&self) -> Option<Arc<Name>> {
        self.address.get().cloned()
    }

    /// Itself, where a reference is to be kept. `None` only while it is dropped.
    fn strong(&self) -> Result<Arc<UnixSocket>> {
        self.me.upgrade().ok_or(Errno::EBADF)
    }

    fn writable(&self, phase: Phase) -> bool {
        // One more, as Linux counts the socket itself.
        phase != Phase::Listening && (self.sent.load(Ordering::SeqCst) + 1) * 4 <= self.options.sndbuf()
    }

    /// Something that was sent from here has been read.
    fn uncharge(&self, cost: usize) {
        let left = self.sent.fetch_sub(cost, Ordering::SeqCst) - cost;
        if (left + 1) * 4 <= self.options.sndbuf() {
            self.wait.wake(Events::WRITE | Events::WRBAND);
        }
    }

    fn connection_based(&self) -> bool {
        self.kind != Kind::Datagram
    }
}

impl Socket for UnixSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn family(&self) -> i32 {
        AF_UNIX.into()
    }
    fn kind(&self) -> Kind {
        self.kind
    }
    fn bind(&self, address: &[u8], caller: &Caller<'_>) -> Result<()> {
        self.do_bind(address, caller)
    }
    fn listen(&self, backlog: i32, caller: &Caller<'_>) -> Result<()> {
        self.do_listen(backlog, caller)
    }
    fn accept(&self, nonblock: bool) -> Result<Arc<dyn Socket>> {
        Ok(self.do_accept(nonblock)?)
    }
    fn connect(&self, address: &[u8], caller: &Caller<'_>, nonblock: bool) -> Result<()> {
        match self.kind {
            Kind::Datagram => self.connect_datagram(address, caller),
            _ => self.connect_stream(address, caller, nonblock),
        }
    }

    fn shutdown(&self, how: i32) -> Result<()> {
        if !(0..=2).contains(&how) {
            return Err(Errno::EINVAL);
        }
        let bits = how as u8 + 1;
        let mut state = self.state.lock();
        state.shutdown |= bits;
        let peer = state.peer.clone().filter(|_| self.connection_based());
        drop(state);
        self.wait.wake_all();
        if let Some(peer) = peer {
            peer.state.lock().shutdown |= (bits & RECEIVE) << 1 | (bits & SEND) >> 1;
            peer.wait.wake_all();
        }
        Ok(())
    }

    fn send(&self, message: Message<'_>, flags: MsgFlags, caller: &Caller<'_>) -> Result<usize> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        match self.kind {
            Kind::Stream => self.send_stream(message, flags, caller),
            Kind::SeqPacket => self.send_seqpacket(message, flags, caller),
            Kind::Datagram => self.send_datagram(message, flags, caller),
        }
    }

    fn recv(&self, into: &mut [u8], flags: MsgFlags) -> Result<Received> {
        match self.kind {
            Kind::Stream => self.recv_stream(into, flags),
            _ => self.recv_packet(into, flags),
        }
    }

    fn name(&self) -> Result<Vec<u8>> {
        Ok(self.bound().map_or_else(address::unnamed, |n| n.encode()))
    }

    fn peer_name(&self) -> Result<Vec<u8>> {
        let peer = self.state.lock().peer.clone().ok_or(Errno::ENOTCONN)?;
        peer.name()
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        let number = match name {
            so::ERROR => state.error.take().map_or(0, |e| e.0),
            so::ACCEPTCONN => (state.phase == Phase::Listening).into(),
            so::PEERCRED => {
                let none = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
                let c = state.peer_creds.as_ref().map_or(none, |(c, _)| *c);
                return Ok([c.pid.to_ne_bytes(), c.uid.to_ne_bytes(), c.gid.to_ne_bytes()].concat());
            }
            so::PEERGROUPS => {
                let (_, groups) = state.peer_creds.as_ref().ok_or(Errno::ENODATA)?;
                return Ok(groups.iter().flat_map(|g| g.to_ne_bytes()).collect());
            }
            _ => {
                drop(state);
                return self.options.get(self, name);
            }
        };
        Ok(number.to_ne_bytes().to_vec())
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8], privileged: bool) -> Result<()> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        self.options.set(name, value, privileged)
    }

    fn poll(&self, mut table: Option<&mut dyn PollTable>) -> Events {
        if let Some(table) = &mut table {
            table.add(&self.wait);
        }
        let state = self.state.lock();
        let mut events = Events::empty();
        events.set(Events::ERR, state.error.is_some());
        events.set(Events::HUP, state.shutdown == BOTH);
        if state.shutdown & RECEIVE != 0 {
            events |= Events::RDHUP | Events::READ;
        }
        if !state.queue.is_empty() || !state.pending.is_empty() {
            events |= Events::READ;
        }
        if self.connection_based() && state.phase == Phase::Closed {
            events |= Events::HUP;
        }
        let mut writable = self.writable(state.phase);
        let peer = if self.kind == Kind::Stream { None } else { state.peer.clone() };
        drop(state);
        if let Some(peer) = peer.filter(|_| writable) {
            if let Some(table) = table {
                table.add(&peer.room);
            }
            let theirs = peer.state.lock();
            let mutual = theirs.peer.as_ref().is_some_and(|p| std::ptr::eq(Arc::as_ptr(p), self));
            writable = mutual || !theirs.is_full();
        }
        if writable {
            events |= Events::WRITE | Events::WRBAND;
        }
        events
    }

    fn readable_bytes(&self) -> Result<u32> {
        let state = self.state.lock();
        if state.phase == Phase::Listening {
            return Err(Errno::EINVAL);
        }
        let count = if self.connection_based() { usize::MAX } else { 1 };
        Ok(state.queue.iter().take(count).map(|p| p.left() as u32).sum())
    }

    fn unsent_bytes(&self) -> Result<u32> {
        Ok(self.sent.load(Ordering::SeqCst) as u32)
    }

    fn close(&self) {
        self.do_close(false);
        inflight::collect();
    }
}
