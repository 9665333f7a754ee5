//! The transmission phase of one connection: requests in, replies out.

use crate::execute::{Executor, PIECE};
use crate::handshake::Chosen;
use crate::protocol::{MAX_PAYLOAD, REQUEST_LEN};
use crate::request::{Header, Request, Terms};
use crate::stop::Stop;
use crate::wire::{Input, Wire};
use crate::workers::{Job, Workers};
use std::io;
use std::thread::{self, Scope};

/// A payload up to this is used where it was received.
const SMALL: usize = 64 << 10;
/// A read of more than that takes long enough to be handed over.
const LONG_READ: u32 = 256 << 10;
/// A write that is too long is received all the same, to say so, up to this; beyond, the connection ends.
const MAX_SKIPPED: u32 = MAX_PAYLOAD * 2;

/// Answers the requests of a client until it goes, or the server is to stop. Whatever was received is answered first.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] where the client breaks the protocol; those of the connection.
pub fn run(wire: &dyn Wire, input: &mut Input<'_>, chosen: &Chosen, stop: &Stop) -> io::Result<()> {
    let executor = Executor::new(wire, chosen, stop);
    let workers = Workers::default();
    let device = &chosen.export.device;
    let terms = Terms {
        size: device.len(),
        read_only: device.read_only(),
        structured: chosen.structured,
        has_contexts: !chosen.contexts.is_empty(),
    };
    let ended = thread::scope(|scope| {
        let mut session =
            Session { input, executor: &executor, workers: &workers, scope, terms, stop, buf: Vec::new() };
        let ended = session.requests();
        workers.close();
        ended
    });
    ended.and(workers.failure().map_or(Ok(()), Err))
}

struct Session<'a, 'wire, 'scope, 'env> {
    input: &'a mut Input<'wire>,
    executor: &'scope Executor<'scope>,
    workers: &'scope Workers,
    scope: &'scope Scope<'scope, 'env>,
    terms: Terms,
    stop: &'a Stop,
    /// Replies are put together here.
    buf: Vec<u8>,
}

impl Session<'_, '_, '_, '_> {
    fn requests(&mut self) -> io::Result<()> {
        while !self.stop.is_set() && self.input.fill(REQUEST_LEN)? {
            let bytes = self.input.take_array()?;
            let Some(header) = Header::parse(&bytes) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a request without its magic"));
            };
            match self.terms.check(&header) {
                Ok(Request::Disconnect) => return Ok(()),
                Ok(request @ Request::Write { .. }) => self.write(&header, request)?,
                Ok(request) => self.other(header.cookie, request)?,
                Err(why) => {
                    if header.payload() > MAX_SKIPPED {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "a write of impossible length",
                        ));
                    }
                    self.input.skip(header.payload() as usize)?;
                    self.executor.refuse(header.cookie, why)?;
                }
            }
        }
        Ok(())
    }

    /// Whether others of this connection could go on while one waits.
    fn is_crowded(&self) -> bool {
        self.workers.are_busy() || self.input.buffered() > 0
    }

    fn write(&mut self, header: &Header, request: Request) -> io::Result<()> {
        let (cookie, len) = (header.cookie, header.len as usize);
        if len > PIECE {
            return self.write_in_pieces(header, request);
        }
        let Request::Write { durable, .. } = request else { return Ok(()) };
        if len <= SMALL {
            if !self.input.fill(len)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let alone = self.input.buffered() == len && !self.workers.are_busy();
            if !durable || alone {
                return self.executor.run(cookie, request, self.input.take(len), &mut self.buf);
            }
        }
        let mut payload = vec![0; len];
        self.input.take_exact(&mut payload)?;
        self.hand_over(Job { cookie, request, payload })
    }

    /// A write of more than is kept in memory. It is written as it comes; the first error is the answer.
    fn write_in_pieces(&mut self, header: &Header, request: Request) -> io::Result<()> {
        let Request::Write { offset, durable, .. } = request else { return Ok(()) };
        let device = self.executor.device();
        let (len, mut result) = (header.len as usize, Ok(()));
        let mut payload = vec![0; PIECE];
        for at in (0..len).step_by(PIECE) {
            let piece = &mut payload[..PIECE.min(len - at)];
            self.input.take_exact(piece)?;
            if result.is_ok() {
                result = device.write_at(piece, offset + at as u64);
            }
        }
        if durable && result.is_ok() {
            result = device.flush();
        }
        self.executor.reply(header.cookie, result)
    }

    fn other(&mut self, cookie: u64, request: Request) -> io::Result<()> {
        if let Request::Read { offset, len, .. } = request
            && len <= LONG_READ
            && self.is_crowded()
            && self.executor.read_if_ready(cookie, offset, len, &mut self.buf)?
        {
            return Ok(());
        }
        self.hand_over(Job { cookie, request, payload: Vec::new() })
    }

    /// Has a request done by another thread, where that lets others go on; else does it here and now.
    fn hand_over(&mut self, job: Job) -> io::Result<()> {
        let mine = match self.is_crowded() {
            true => self.workers.give(job, self.scope, self.executor),
            false => Err(job),
        };
        match mine {
            Ok(()) => Ok(()),
            Err(job) => self.executor.run(job.cookie, job.request, &job.payload, &mut self.buf),
        }
    }
}
