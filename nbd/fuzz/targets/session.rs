//! Any bytes as the requests of a client; and requests put together from them, against a model of the disk.
//!
//! Input: a byte of mode, then the rest. Bit 0: the rest is the client's bytes as they are; else 16 bytes a request. Bit 1: structured
//! replies. Bit 2: a metadata context. Bit 3: all requests come at once, so that they are done in any order, by several threads.

use crate::feed::{Feed, Reader};
use block_device::MemDevice;
use nbd::protocol::{REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunk, command, flag};
use nbd::{Chosen, Export, Input, Stop, run_session};
use std::sync::Arc;

/// More than the server keeps in memory at once.
const SIZE: usize = (1 << 20) + (1 << 18) + 77;

/// # Panics
/// When a request has no answer or two, an answer is malformed, or a read shows what was never written.
pub(crate) fn run(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let device = Arc::new(MemDevice::new(vec![7; SIZE]));
    let export = Arc::new(Export::new("", "", Arc::clone(&device) as _));
    let (structured, has_context) = (mode & 2 != 0, mode & 6 == 6);
    let chosen = Chosen { export, structured, contexts: if has_context { vec![0] } else { Vec::new() } };
    let frames = if mode & 1 == 0 { frames(rest) } else { Vec::new() };
    let at_once = mode & 8 != 0;
    let feed = match (mode & 1, at_once) {
        (1, _) => Feed::new([rest.to_vec()]),
        (_, true) => Feed::new([frames.iter().enumerate().flat_map(|(i, f)| f.bytes(i)).collect()]),
        (_, false) => Feed::new(frames.iter().enumerate().map(|(i, f)| f.bytes(i))),
    };
    let ended = run_session(&feed, &mut Input::new(&feed, None), &chosen, &Stop::new().unwrap());
    let sent = feed.sent();
    if mode & 1 == 0 {
        ended.expect("good requests end badly");
        let model = Model { structured, has_context, at_once };
        model.check(&frames, &sent, &device.snapshot());
    }
}

struct Frame {
    command: u16,
    flags: u16,
    offset: u64,
    len: u32,
}

fn frames(data: &[u8]) -> Vec<Frame> {
    let mut all = Vec::new();
    // So many that they go through all threads and the queue, and no run takes long.
    for piece in data.as_chunks::<16>().0.iter().take(40) {
        let number = |at: usize| u32::from_be_bytes([piece[at], piece[at + 1], piece[at + 2], piece[at + 3]]);
        // Mostly within the disk, mostly small; sometimes anything.
        let offset = match piece[2] % 16 {
            0 => u64::from(number(4)) << 32 | u64::from(number(8)),
            1 => SIZE as u64 - u64::from(number(8) % 5000),
            _ => u64::from(number(8)) % SIZE as u64,
        };
        let len = match piece[3] % 16 {
            0 => number(12) % (40 << 20),
            1 => number(12) % (SIZE as u32 + 1),
            _ => number(12) % 5000,
        };
        let command = u16::from(piece[0] % 9);
        // A write whose payload is longer than the disk only costs time.
        let len = if command == command::WRITE { len % (SIZE as u32 + 100) } else { len };
        let (offset, len) =
            if command == command::FLUSH && piece[2] % 4 != 0 { (0, 0) } else { (offset, len) };
        let flags = u16::from(piece[1] & 31) & if piece[2] & 16 == 0 { 31 } else { 0 };
        let end = command == command::DISC && flags & !flag::FUA == 0;
        all.push(Frame { command, flags, offset, len });
        if end {
            break;
        }
    }
    all
}

impl Frame {
    fn byte(&self, cookie: usize) -> u8 {
        cookie as u8 ^ 0x5a
    }

    fn bytes(&self, cookie: usize) -> Vec<u8> {
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.command.to_be_bytes());
        bytes.extend((cookie as u64).to_be_bytes());
        bytes.extend(self.offset.to_be_bytes());
        bytes.extend(self.len.to_be_bytes());
        if self.command == command::WRITE {
            bytes.resize(bytes.len() + self.len as usize, self.byte(cookie));
        }
        bytes
    }
}

struct Model {
    structured: bool,
    has_context: bool,
    at_once: bool,
}

impl Model {
    /// Whether the specification lets the server do it.
    fn is_good(&self, f: &Frame) -> bool {
        let known = flag::FUA
            | match f.command {
                command::READ if self.structured => flag::DF,
                command::WRITE_ZEROES => flag::NO_HOLE | flag::FAST_ZERO,
                command::BLOCK_STATUS => flag::REQ_ONE,
                _ => 0,
            };
        let in_range = f.offset.checked_add(u64::from(f.len)).is_some_and(|end| end <= SIZE as u64);
        f.flags & !known == 0
            && match f.command {
                command::FLUSH => f.offset == 0 && f.len == 0,
                command::BLOCK_STATUS => self.has_context && f.len > 0 && in_range,
                // A device in memory has no way to make zeros that is faster than writing them.
                command::WRITE_ZEROES => in_range && f.flags & flag::FAST_ZERO == 0,
                command::READ | command::WRITE | command::TRIM | command::CACHE => in_range,
                _ => false,
            }
    }

    fn check(&self, frames: &[Frame], sent: &[u8], device: &[u8]) {
        let mut disk = vec![7; SIZE];
        let mut done = vec![false; frames.len()];
        let mut reader = Reader(sent);
        let mut next = 0;
        let mut reads: Vec<Vec<bool>> = frames.iter().map(|_| Vec::new()).collect();
        while !reader.0.is_empty() {
            let (cookie, last, error) = self.reply(&mut reader, frames, &disk, &mut reads);
            assert!(!done[cookie], "two answers to request {cookie}");
            if !last {
                continue;
            }
            done[cookie] = true;
            let f = &frames[cookie];
            assert_eq!(error.is_none(), self.is_good(f), "request {cookie}: {error:?}");
            if error.is_none() && f.command == command::READ && self.structured {
                let covered = &reads[cookie];
                assert!(covered.len() == f.len as usize && covered.iter().all(|c| *c), "a read with gaps");
            }
            if !self.at_once {
                assert_eq!(cookie, next, "out of order, though one came after the other");
                next += 1;
                if error.is_none() {
                    let range = f.offset as usize..f.offset as usize + f.len as usize;
                    match f.command {
                        command::WRITE => disk[range].fill(f.byte(cookie)),
                        command::WRITE_ZEROES | command::TRIM => disk[range].fill(0),
                        _ => {}
                    }
                }
            }
        }
        for (i, f) in frames.iter().enumerate() {
            let goodbye = f.command == command::DISC && f.flags & !flag::FUA == 0;
            assert!(done[i] || goodbye, "no answer to request {i}");
        }
        assert!(self.at_once || disk == device, "the disk is not what the answers say");
    }

    /// One reply or chunk: whose it is, whether it is the last, and the error.
    fn reply(
        &self,
        reader: &mut Reader<'_>,
        frames: &[Frame],
        disk: &[u8],
        reads: &mut [Vec<bool>],
    ) -> (usize, bool, Option<u64>) {
        let magic = reader.number(4) as u32;
        if magic == SIMPLE_REPLY_MAGIC {
            let error = Some(reader.number(4)).filter(|e| *e != 0);
            let cookie = reader.number(8) as usize;
            let f = &frames[cookie];
            if f.command == command::READ {
                assert!(!self.structured, "a read with a simple reply");
                let data = reader.take(if error.is_none() { f.len as usize } else { 0 });
                self.same(f.offset as usize, data, disk);
            }
            assert!(f.command != command::BLOCK_STATUS || error.is_some());
            return (cookie, true, error);
        }
        assert!(self.structured && magic == STRUCTURED_REPLY_MAGIC);
        let last = reader.number(2) as u16 & chunk::DONE != 0;
        let kind = reader.number(2) as u16;
        let cookie = reader.number(8) as usize;
        let len = reader.number(4) as usize;
        let mut payload = Reader(reader.take(len));
        let f = &frames[cookie];
        let mut error = None;
        match kind {
            chunk::NONE => assert!(len == 0 && last),
            chunk::OFFSET_DATA => {
                let at = payload.number(8) as usize;
                self.cover(&mut reads[cookie], f, at, payload.0.len());
                self.same(at, payload.0, disk);
            }
            chunk::OFFSET_HOLE => {
                let (at, n) = (payload.number(8) as usize, payload.number(4) as usize);
                assert_eq!(f.flags & flag::DF, 0);
                self.cover(&mut reads[cookie], f, at, n);
                self.same(at, &vec![0; n], disk);
            }
            chunk::BLOCK_STATUS => {
                assert_eq!(payload.number(4), 0);
                let extents = payload.0.as_chunks::<8>().0;
                assert_eq!(extents.len() * 8, payload.0.len());
                let total: u64 = extents.iter().map(|e| Reader(e).number(4)).sum();
                assert!(total > 0 && total <= u64::from(f.len));
                assert!(f.flags & flag::REQ_ONE == 0 || extents.len() == 1);
            }
            chunk::ERROR => {
                error = Some(payload.number(4));
                let text = payload.number(2) as usize;
                assert_eq!(payload.0.len(), text);
                assert!(last && error != Some(0) && std::str::from_utf8(payload.0).is_ok());
            }
            other => panic!("a chunk of type {other}"),
        }
        (cookie, last, error)
    }

    fn cover(&self, covered: &mut Vec<bool>, f: &Frame, at: usize, n: usize) {
        assert!(n > 0 && f.command == command::READ);
        let from = at.checked_sub(f.offset as usize).expect("data from before the range");
        covered.resize(f.len as usize, false);
        let part = covered.get_mut(from..from + n).expect("data from after the range");
        assert!(part.iter().all(|c| !c), "data that comes twice");
        part.fill(true);
    }

    fn same(&self, at: usize, data: &[u8], disk: &[u8]) {
        // A read that failed shows nothing, wherever it was.
        assert!(
            self.at_once || data.is_empty() || disk[at..at + data.len()] == *data,
            "a read at {at} shows something else"
        );
    }
}
