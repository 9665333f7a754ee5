//! What a request does to a device, and its reply.

use crate::encode::{self, DATA_AT};
use crate::handshake::Chosen;
use crate::protocol::{Errno, SIMPLE_REPLY_LEN, chunk};
use crate::request::{Refusal, Request};
use crate::status;
use crate::stop::Stop;
use crate::wire::Wire;
use block_device::{BlockDevice, ExtentKind};
use std::io::{self, IoSliceMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a request that are in memory at once. A larger one is done in pieces.
pub(crate) const PIECE: usize = 1 << 20;

/// Least length of a hole for which it pays to ask whether there is one.
const MIN_HOLE: u64 = 32 << 10;

/// Where replies of one connection go.
pub(crate) struct Executor<'a> {
    wire: &'a dyn Wire,
    chosen: &'a Chosen,
    stop: &'a Stop,
    /// Whose turn it is to send.
    turn: Mutex<()>,
}

/// A refusal as a client is told it.
fn refusal(why: Refusal) -> (Errno, &'static str) {
    match why {
        Refusal::Command => (Errno::Invalid, "no such command"),
        Refusal::Flags => (Errno::Invalid, "a flag that this command does not have"),
        Refusal::Range { stores: true } => (Errno::NoSpace, "the range reaches past the end"),
        Refusal::Range { stores: false } => (Errno::Invalid, "the range reaches past the end"),
        Refusal::Length => (Errno::Invalid, "more than 32 MiB, or nothing at all"),
        Refusal::ReadOnly => (Errno::NotPermitted, "the export is read-only"),
        Refusal::NoContext => (Errno::Invalid, "no metadata context was chosen"),
    }
}

impl<'a> Executor<'a> {
    pub(crate) fn new(wire: &'a dyn Wire, chosen: &'a Chosen, stop: &'a Stop) -> Self {
        Self { wire, chosen, stop, turn: Mutex::new(()) }
    }

    pub(crate) fn device(&self) -> &dyn BlockDevice {
        &*self.chosen.export.device
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let _turn = self.turn();
        self.wire.send(bytes)
    }

    fn fail(&self, cookie: u64, error: Errno, text: &str) -> io::Result<()> {
        match self.chosen.structured {
            true => self.send(&encode::error_chunk(cookie, error, text)),
            false => self.send(&encode::simple(cookie, Some(error))),
        }
    }

    pub(crate) fn refuse(&self, cookie: u64, why: Refusal) -> io::Result<()> {
        let (error, text) = refusal(why);
        self.fail(cookie, error, text)
    }

    pub(crate) fn reply(&self, cookie: u64, result: io::Result<()>) -> io::Result<()> {
        match result {
            // Allowed in place of a structured one where there is no payload, and shorter.
            Ok(()) => self.send(&encode::simple(cookie, None)),
            Err(e) => self.fail(cookie, Errno::of(&e), &e.to_string()),
        }
    }

    /// Does a request whose payload, if it has one, is all there, and answers it. Fails only where the connection does.
    pub(crate) fn run(
        &self,
        cookie: u64,
        request: Request,
        payload: &[u8],
        buf: &mut Vec<u8>,
    ) -> io::Result<()> {
        let device = self.device();
        let then_flush = |result: io::Result<()>, durable: bool| match durable {
            true => result.and_then(|()| device.flush()),
            false => result,
        };
        let result = match request {
            Request::Read { offset, len, whole } => return self.read(cookie, offset, len, whole, buf),
            Request::Status { offset, len, one } => return self.status(cookie, offset, len, one),
            Request::Disconnect => return Ok(()),
            Request::Write { offset, durable, .. } => then_flush(device.write_at(payload, offset), durable),
            Request::Flush => device.flush(),
            Request::Trim { offset, len, durable } => then_flush(device.discard(offset, len.into()), durable),
            Request::Cache { offset, len } => self.read_ahead(offset, len, buf),
            Request::Zero { offset, len, may_unmap, fast, durable } => {
                let zeroed = match fast {
                    true => match device.zero_fast(offset, len.into(), may_unmap) {
                        Ok(true) => Ok(()),
                        Ok(false) => Err(rustix::io::Errno::OPNOTSUPP.into()),
                        Err(e) => Err(e),
                    },
                    false => device.write_zeroes(offset, len.into(), may_unmap),
                };
                then_flush(zeroed, durable)
            }
        };
        self.reply(cookie, result)
    }

    /// Answers a read of at most [`PIECE`] bytes if the device has them in memory. False, and nothing done, where it may have to wait.
    pub(crate) fn read_if_ready(
        &self,
        cookie: u64,
        offset: u64,
        len: u32,
        buf: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let data = room(buf, len as usize);
        match self.device().read_ready_at(&mut [IoSliceMut::new(data)], offset) {
            Ok(true) => self.send_data(cookie, offset, len as usize, true, buf).map(|()| true),
            // An error shows again to whoever reads it without this haste.
            Ok(false) | Err(_) => Ok(false),
        }
    }

    fn read(&self, cookie: u64, offset: u64, len: u32, whole: bool, buf: &mut Vec<u8>) -> io::Result<()> {
        let len = len as usize;
        if len <= PIECE && (whole || !self.chosen.structured || (len as u64) < MIN_HOLE) {
            return match self.device().read_at(room(buf, len), offset) {
                Ok(()) => self.send_data(cookie, offset, len, true, buf),
                Err(e) => self.fail(cookie, Errno::of(&e), &e.to_string()),
            };
        }
        match self.chosen.structured {
            true if whole => self.read_whole(cookie, offset, len, buf),
            true => self.read_chunks(cookie, offset, len, buf),
            false => self.read_stream(cookie, offset, len, buf),
        }
    }

    /// Sends data that lies in the buffer from [`DATA_AT`] on.
    fn send_data(&self, cookie: u64, offset: u64, len: usize, done: bool, buf: &mut [u8]) -> io::Result<()> {
        if !self.chosen.structured {
            let start = DATA_AT - SIMPLE_REPLY_LEN;
            buf[start..DATA_AT].copy_from_slice(&encode::simple(cookie, None));
            return self.send(&buf[start..DATA_AT + len]);
        }
        if len == 0 {
            // No chunk of data is empty.
            return self.send(&encode::chunk_head(cookie, chunk::NONE, true, 0));
        }
        encode::put_data_head(buf, cookie, offset, len, done);
        self.send(&buf[..DATA_AT + len])
    }

    /// A read in as many chunks as it takes, holes told in place of sent. An error may still come after data.
    fn read_chunks(&self, cookie: u64, offset: u64, len: usize, buf: &mut Vec<u8>) -> io::Result<()> {
        let (mut at, end) = (offset, offset + len as u64);
        while at < end {
            let left = end - at;
            let hole = match self.device().extent(at) {
                Ok(extent) if extent.kind == ExtentKind::Hole => extent.len.min(left),
                _ => 0,
            };
            if hole >= MIN_HOLE || hole == left {
                self.send(&encode::hole_chunk(cookie, at, hole as u32, hole == left))?;
                at += hole;
                continue;
            }
            let n = left.min(PIECE as u64) as usize;
            if let Err(e) = self.device().read_at(room(buf, n), at) {
                return self.fail(cookie, Errno::of(&e), &e.to_string());
            }
            self.send_data(cookie, at, n, n as u64 == left, buf)?;
            at += n as u64;
        }
        Ok(())
    }

    /// A read in one chunk that is larger than what is kept in memory: it is checked before it is promised. An error after that ends
    /// the chunk with zeros, and a chunk follows that says so.
    fn read_whole(&self, cookie: u64, offset: u64, len: usize, buf: &mut Vec<u8>) -> io::Result<()> {
        let _turn = self.turn();
        room(buf, 0);
        encode::put_data_head(buf, cookie, offset, len, false);
        self.wire.send(&buf[..DATA_AT])?;
        let mut failed = None;
        for at in (0..len).step_by(PIECE) {
            let data = room(buf, PIECE.min(len - at));
            if failed.is_none() {
                failed = self.device().read_at(data, offset + at as u64).err();
            }
            if failed.is_some() {
                data.fill(0);
            }
            self.wire.send(data)?;
        }
        match failed {
            None => self.wire.send(&encode::chunk_head(cookie, chunk::NONE, true, 0)),
            Some(e) => self.wire.send(&encode::error_chunk(cookie, Errno::of(&e), &e.to_string())),
        }
    }

    /// A simple reply that is larger than what is kept in memory: once it has begun, an error can only end the connection.
    fn read_stream(&self, cookie: u64, offset: u64, len: usize, buf: &mut Vec<u8>) -> io::Result<()> {
        let _turn = self.turn();
        for at in (0..len).step_by(PIECE) {
            let data = room(buf, PIECE.min(len - at));
            match self.device().read_at(data, offset + at as u64) {
                Err(e) if at == 0 => return self.wire.send(&encode::simple(cookie, Some(Errno::of(&e)))),
                other => other?,
            }
            if at == 0 {
                self.wire.send(&encode::simple(cookie, None))?;
            }
            self.wire.send(data)?;
        }
        Ok(())
    }

    fn read_ahead(&self, offset: u64, len: u32, buf: &mut Vec<u8>) -> io::Result<()> {
        let (mut at, end) = (offset, offset + u64::from(len));
        while at < end {
            if self.stop.is_set() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let n = (end - at).min(PIECE as u64);
            self.device().read_at(room(buf, n as usize), at)?;
            at += n;
        }
        Ok(())
    }

    fn status(&self, cookie: u64, offset: u64, len: u32, one: bool) -> io::Result<()> {
        let mut bytes = Vec::new();
        let ids = &self.chosen.contexts;
        for (n, id) in ids.iter().enumerate() {
            let context = &*self.chosen.export.contexts[*id];
            let head = (cookie, *id as u32, n + 1 == ids.len());
            if let Err(e) = status::describe(&mut bytes, head, context, (offset, len), one) {
                return self.fail(cookie, Errno::of(&e), &e.to_string());
            }
        }
        self.send(&bytes)
    }
}

/// Room for `len` bytes of data behind the head of a reply.
fn room(buf: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buf.len() < DATA_AT + len {
        buf.resize(DATA_AT + len, 0);
    }
    &mut buf[DATA_AT..DATA_AT + len]
}
