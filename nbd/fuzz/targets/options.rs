//! Any bytes as the options of a client.
//!
//! Input: a byte (bit 0: the rest is the client's bytes as they are, else options that are put together from it: code, length in two
//! bytes, data; bit 1: TLS is required; bit 2: all comes byte by byte), then the rest.

use crate::feed::{Feed, Reader};
use block_device::MemDevice;
use nbd::{Export, Exports, Input, Next, Tls, greet, negotiate, protocol};
use std::sync::Arc;

/// # Panics
/// When the server sends what is no reply, or more or fewer than there were options.
pub(crate) fn run(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let bytes =
        if mode & 1 == 1 { rest.to_vec() } else { [&3u32.to_be_bytes()[..], &options(rest)].concat() };
    let feed = match mode & 4 {
        0 => Feed::new([bytes]),
        _ => Feed::new(bytes.iter().map(|b| vec![*b])),
    };
    let device = Arc::new(MemDevice::new(vec![7; 4096]));
    let export = |name: &str| Export::new(name, "a disk", Arc::clone(&device) as _);
    let exports = Exports::new(vec![export("a"), export("other")]).unwrap();
    let mut input = Input::new(&feed, None);
    let Ok(Some(no_zeroes)) = greet(&feed, &mut input) else { return };
    let tls = if mode & 2 == 0 { Tls::Off } else { Tls::Required };
    let next = negotiate(&feed, &mut input, &exports, tls, no_zeroes);
    if let Ok(Next::Use(chosen)) = &next {
        assert_eq!(tls, Tls::Off);
        assert!(chosen.contexts.iter().all(|c| *c == 0), "{:?}", chosen.contexts);
        assert!(chosen.structured || chosen.contexts.is_empty());
    }
    drop(input);
    replies(&feed.sent(), next.is_ok());
}

fn options(mut rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((&[code, high, low], data)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([high, low]) % 512).min(data.len());
        bytes.extend(protocol::OPTION_MAGIC.to_be_bytes());
        bytes.extend(u32::from(code % 13).to_be_bytes());
        bytes.extend((len as u32).to_be_bytes());
        bytes.extend(&data[..len]);
        rest = &data[len..];
    }
    bytes
}

fn replies(sent: &[u8], ended_well: bool) {
    let mut reader = Reader(sent);
    assert_eq!(reader.number(8), protocol::SERVER_MAGIC);
    assert_eq!(reader.number(8), protocol::OPTION_MAGIC);
    assert_eq!(reader.number(2), 3);
    while !reader.0.is_empty() {
        // The answer to the old way to choose is no reply to an option.
        if ended_well && [10, 134].contains(&reader.0.len()) && reader.0[..8] == 4096u64.to_be_bytes() {
            assert!(reader.0[10..].iter().all(|b| *b == 0));
            return;
        }
        assert_eq!(reader.number(8), protocol::OPTION_REPLY_MAGIC);
        reader.number(4);
        let kind = reader.number(4) as u32;
        let len = reader.number(4) as usize;
        let data = reader.take(len);
        match kind {
            protocol::reply::ACK => assert_eq!(len, 0),
            protocol::reply::SERVER | protocol::reply::META_CONTEXT => assert!(len >= 4),
            protocol::reply::INFO => assert!(len > 2),
            error => assert!(error >> 31 == 1 && std::str::from_utf8(data).is_ok(), "{error:#x}"),
        }
    }
}
