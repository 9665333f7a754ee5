//! Replies as they are on the wire.

use crate::protocol::{
    CHUNK_LEN, Errno, OPTION_REPLY_MAGIC, SIMPLE_REPLY_LEN, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunk,
};

/// Room before the data of a read: the head of a chunk and the offset. A simple reply takes the end of it.
pub(crate) const DATA_AT: usize = CHUNK_LEN + 8;

/// A reply to an option.
pub(crate) fn option_reply(option: u32, kind: u32, data: &[&[u8]]) -> Vec<u8> {
    let len: usize = data.iter().map(|d| d.len()).sum();
    let mut bytes = Vec::with_capacity(20 + len);
    bytes.extend(OPTION_REPLY_MAGIC.to_be_bytes());
    bytes.extend(option.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend((len as u32).to_be_bytes());
    for d in data {
        bytes.extend(*d);
    }
    bytes
}

/// A simple reply, without payload.
pub(crate) fn simple(cookie: u64, error: Option<Errno>) -> [u8; SIMPLE_REPLY_LEN] {
    let mut bytes = [0; SIMPLE_REPLY_LEN];
    bytes[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.map_or(0, |e| e as u32).to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// The head of a chunk with `len` bytes of payload.
pub(crate) fn chunk_head(cookie: u64, kind: u16, done: bool, len: usize) -> [u8; CHUNK_LEN] {
    let mut bytes = [0; CHUNK_LEN];
    bytes[..4].copy_from_slice(&STRUCTURED_REPLY_MAGIC.to_be_bytes());
    bytes[4..6].copy_from_slice(&(if done { chunk::DONE } else { 0 }).to_be_bytes());
    bytes[6..8].copy_from_slice(&kind.to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    bytes[16..].copy_from_slice(&(len as u32).to_be_bytes());
    bytes
}

/// A chunk that says what went wrong, the last of its reply.
pub(crate) fn error_chunk(cookie: u64, error: Errno, text: &str) -> Vec<u8> {
    let mut end = text.len().min(crate::protocol::MAX_STRING);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text.as_bytes()[..end];
    let mut bytes = chunk_head(cookie, chunk::ERROR, true, 6 + text.len()).to_vec();
    bytes.extend((error as u32).to_be_bytes());
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text);
    bytes
}

/// A chunk of zeros that are not sent.
pub(crate) fn hole_chunk(cookie: u64, offset: u64, len: u32, done: bool) -> Vec<u8> {
    let mut bytes = chunk_head(cookie, chunk::OFFSET_HOLE, done, 12).to_vec();
    bytes.extend(offset.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes
}

/// Puts the head of a chunk of data, which begins at [`DATA_AT`], into a buffer.
pub(crate) fn put_data_head(buf: &mut [u8], cookie: u64, offset: u64, len: usize, done: bool) {
    buf[..CHUNK_LEN].copy_from_slice(&chunk_head(cookie, chunk::OFFSET_DATA, done, 8 + len));
    buf[CHUNK_LEN..DATA_AT].copy_from_slice(&offset.to_be_bytes());
}
