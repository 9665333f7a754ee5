//! Sending and receiving.

use super::address::Name;
use super::inflight::Passed;
use super::packet::{Packet, datagram_cost, stream_cost, stream_piece};
use super::{Phase, RECEIVE, SEND, State, UnixSocket, table};
use crate::base::wait::Events;
use crate::base::{Errno, Result};
use crate::net::{Caller, Kind, Message, MsgFlags, Patience, Received, Ucred, so};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Credentials of what was sent while nobody asked for any: overflowuid(5).
const NOBODY: Ucred = Ucred { pid: 0, uid: 65534, gid: 65534 };

/// How far a read of a stream has come.
struct Progress<'a> {
    into: &'a mut [u8],
    got: Received,
    flags: MsgFlags,
    target: usize,
}

impl UnixSocket {
    /// Waits for room to send and takes it. What went wrong at the socket comes first, then its shutdown.
    fn charge(&self, cost: usize, patience: Patience) -> Result<()> {
        patience.wait(&self.wait, Events::WRITE, || {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Some(Err(error));
            }
            if state.shutdown & SEND != 0 {
                return Some(Err(Errno::EPIPE));
            }
            if self.sent.load(Ordering::SeqCst) < self.options.sndbuf() {
                self.sent.fetch_add(cost, Ordering::SeqCst);
                return Some(Ok(()));
            }
            None
        })
    }

    fn creds_for(&self, to: &UnixSocket, message: Option<Ucred>, caller: &Caller<'_>) -> Option<Ucred> {
        let asked = self.options.on(so::PASSCRED) || to.options.on(so::PASSCRED);
        message.or_else(|| asked.then_some(caller.ids))
    }

    pub(super) fn send_stream(
        &self,
        message: Message<'_>,
        flags: MsgFlags,
        caller: &Caller<'_>,
    ) -> Result<usize> {
        let (peer, shutdown, from) = {
            let state = self.state.lock();
            if message.address.is_some_and(|a| !a.is_empty()) {
                let connected = state.phase == Phase::Connected;
                return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP });
            }
            (state.peer.clone().ok_or(Errno::ENOTCONN)?, state.shutdown, state.address.clone())
        };
        if shutdown & SEND != 0 {
            return Err(Errno::EPIPE);
        }
        let sender = self.strong()?;
        let patience = Patience::new(flags.contains(MsgFlags::DONTWAIT), self.options.send_timeout());
        let creds = self.creds_for(&peer, message.creds, caller);
        let mut files = message.files;
        let mut sent = 0;
        while sent < message.data.len() {
            let len = stream_piece(message.data.len() - sent, self.options.sndbuf());
            let cost = stream_cost(len);
            let result = self.charge(cost, patience).and_then(|()| {
                let data = message.data[sent..sent + len].to_vec();
                let files = Passed::new(std::mem::take(&mut files));
                let packet =
                    Packet { data, at: 0, files, creds, sender: sender.clone(), from: from.clone(), cost };
                let mut theirs = peer.state.lock();
                if theirs.dead || theirs.shutdown & RECEIVE != 0 {
                    drop(theirs);
                    drop(packet);
                    return Err(Errno::EPIPE);
                }
                theirs.queue.push_back(packet);
                Ok(())
            });
            match result {
                Ok(()) => peer.wait.wake(Events::READ | Events::PRI | Events::RDBAND),
                Err(_) if sent > 0 => break,
                Err(e) => return Err(e),
            }
            sent += len;
        }
        Ok(sent)
    }

    pub(super) fn send_seqpacket(
        &self,
        message: Message<'_>,
        flags: MsgFlags,
        caller: &Caller<'_>,
    ) -> Result<usize> {
        {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if state.phase != Phase::Connected {
                return Err(Errno::ENOTCONN);
            }
        }
        self.send_datagram(Message { address: None, ..message }, flags, caller)
    }

    pub(super) fn send_datagram(
        &self,
        message: Message<'_>,
        flags: MsgFlags,
        caller: &Caller<'_>,
    ) -> Result<usize> {
        let name = match message.address {
            Some(address) if !address.is_empty() => Some(Name::parse(address)?),
            _ => None,
        };
        let peer = self.state.lock().peer.clone();
        if name.is_none() && peer.is_none() {
            return Err(Errno::ENOTCONN);
        }
        self.autobind_for_creds()?;
        let len = message.data.len();
        if len > self.options.sndbuf() - 32 {
            return Err(Errno::EMSGSIZE);
        }
        let patience = Patience::new(flags.contains(MsgFlags::DONTWAIT), self.options.send_timeout());
        let cost = datagram_cost(len);
        self.charge(cost, patience)?;
        // From here on the packet gives the room back if it is not delivered.
        let (data, files) = (message.data.to_vec(), Passed::new(message.files));
        let mut packet =
            Packet { data, at: 0, files, creds: None, sender: self.strong()?, from: self.bound(), cost };
        let other = match (&name, peer) {
            (Some(name), _) => table::find(name, self.kind, caller.names)?,
            (None, Some(peer)) => peer,
            (None, None) => return Err(Errno::ENOTCONN),
        };
        packet.creds = self.creds_for(&other, message.creds, caller);
        let mut packet = Some(packet);
        let result = patience.wait(&other.room, Events::WRITE, || self.deliver(&other, &mut packet));
        // A sender that wanted no answer does not learn who was there: only a peer's end is told.
        match result {
            Err(Errno::ECONNREFUSED) if name.is_none() && self.kind == Kind::Datagram => {
                self.peer_died(&other)
            }
            Err(e) => return Err(e),
            Ok(()) => {
                other.wait.wake(Events::READ | Events::PRI | Events::RDBAND);
                return Ok(len);
            }
        }
        Err(Errno::ECONNREFUSED)
    }

    fn deliver(&self, other: &Arc<UnixSocket>, packet: &mut Option<Packet>) -> Option<Result<()>> {
        let mut theirs = other.state.lock();
        let from_peer = theirs.peer.as_ref().is_some_and(|p| std::ptr::eq(Arc::as_ptr(p), self));
        if theirs.dead {
            let refused = if self.kind == Kind::SeqPacket { Errno::EPIPE } else { Errno::ECONNREFUSED };
            return Some(Err(refused));
        }
        if theirs.peer.is_some() && !from_peer {
            return Some(Err(Errno::EPERM));
        }
        if theirs.shutdown & RECEIVE != 0 {
            return Some(Err(Errno::EPIPE));
        }
        if !from_peer && !std::ptr::eq(Arc::as_ptr(other), self) && theirs.is_full() {
            return None;
        }
        theirs.queue.extend(packet.take());
        Some(Ok(()))
    }

    /// The peer of a datagram socket is gone: it is connected no longer.
    fn peer_died(&self, old: &UnixSocket) {
        let mut state = self.state.lock();
        if state.peer.as_ref().is_some_and(|p| std::ptr::eq(Arc::as_ptr(p), old)) {
            let gone = state.peer.take();
            state.phase = Phase::Closed;
            drop(state);
            drop(gone);
            self.disconnected_from(old);
        }
    }

    pub(super) fn recv_stream(&self, into: &mut [u8], flags: MsgFlags) -> Result<Received> {
        if self.state.lock().phase != Phase::Connected {
            return Err(Errno::EINVAL);
        }
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EINVAL);
        }
        let low = if flags.contains(MsgFlags::WAITALL) { usize::MAX } else { self.options.rcvlowat() };
        let target = low.min(into.len()).max(1);
        let patience = Patience::new(flags.contains(MsgFlags::DONTWAIT), self.options.receive_timeout());
        let mut progress = Progress { into, got: Received::default(), flags, target };
        let result = patience.wait(&self.wait, Events::READ, || self.pull(&mut progress));
        let got = progress.got;
        match result {
            Err(e) if got.len == 0 => Err(e),
            _ => Ok(got),
        }
    }

    /// Takes what is there; something once that will do.
    fn pull(&self, p: &mut Progress<'_>) -> Option<Result<()>> {
        let passcred = self.options.on(so::PASSCRED);
        let peek = p.flags.contains(MsgFlags::PEEK);
        let mut state = self.state.lock();
        let mut index = 0;
        loop {
            let Some(packet) = state.queue.get_mut(index) else {
                if p.got.len >= p.target || index > 0 {
                    return Some(Ok(()));
                }
                return end_of(&mut state);
            };
            if passcred {
                // Bytes of two writers are never given as one's.
                let creds = packet.creds.unwrap_or(NOBODY);
                match p.got.creds {
                    Some(before) if before != creds => return Some(Ok(())),
                    _ => p.got.creds = Some(creds),
                }
            }
            if p.got.address.is_empty() {
                p.got.address = packet.from.as_ref().map_or_else(Vec::new, |n| n.encode());
            }
            let room = &mut p.into[p.got.len..];
            let n = packet.left().min(room.len());
            room[..n].copy_from_slice(&packet.data[packet.at..packet.at + n]);
            p.got.len += n;
            let with_files = !packet.files.is_empty();
            if peek {
                if with_files {
                    p.got.files = packet.files.peek();
                    return Some(Ok(()));
                }
                index += 1;
            } else {
                packet.at += n;
                p.got.files.extend(packet.files.take());
                if packet.left() > 0 {
                    return Some(Ok(()));
                }
                state.queue.pop_front();
                if with_files {
                    return Some(Ok(()));
                }
            }
            if p.got.len == p.into.len() {
                return Some(Ok(()));
            }
        }
    }

    pub(super) fn recv_packet(&self, into: &mut [u8], flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.kind == Kind::SeqPacket && self.state.lock().phase != Phase::Connected {
            return Err(Errno::ENOTCONN);
        }
        let nonblock = flags.contains(MsgFlags::DONTWAIT);
        let patience = Patience::new(nonblock, self.options.receive_timeout());
        let got = patience.wait(&self.wait, Events::READ, || {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Some(Err(error));
            }
            let Some(packet) = state.queue.front_mut() else {
                // A datagram socket that may not wait is not told of its shutdown, as in Linux.
                let ended = state.shutdown & RECEIVE != 0 && (!nonblock || self.kind == Kind::SeqPacket);
                return ended.then(|| Ok(Received::default()));
            };
            let mut got = self.copy_packet(packet, into, flags);
            if !flags.contains(MsgFlags::PEEK) {
                got.files = packet.files.take();
                let done = state.queue.pop_front();
                drop(state);
                drop(done);
            }
            Some(Ok(got))
        })?;
        self.room.wake(Events::WRITE | Events::WRBAND);
        Ok(got)
    }

    fn copy_packet(&self, packet: &Packet, into: &mut [u8], flags: MsgFlags) -> Received {
        let n = packet.data.len().min(into.len());
        into[..n].copy_from_slice(&packet.data[..n]);
        let cut = n < packet.data.len();
        Received {
            len: if flags.contains(MsgFlags::TRUNC) { packet.data.len() } else { n },
            address: packet.from.as_ref().map_or_else(Vec::new, |n| n.encode()),
            files: if flags.contains(MsgFlags::PEEK) { packet.files.peek() } else { Vec::new() },
            creds: self.options.on(so::PASSCRED).then(|| packet.creds.unwrap_or(NOBODY)),
            flags: if cut { MsgFlags::TRUNC } else { MsgFlags::empty() },
        }
    }
}

/// What an empty stream says: its error, its end, or nothing yet.
fn end_of(state: &mut State) -> Option<Result<()>> {
    if state.dead {
        return Some(Err(Errno::ECONNRESET));
    }
    if let Some(error) = state.error.take() {
        return Some(Err(error));
    }
    (state.shutdown & RECEIVE != 0).then_some(Ok(()))
}
