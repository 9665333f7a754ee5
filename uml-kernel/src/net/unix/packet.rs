//! What lies in a receive queue, and what it costs its sender.

use super::UnixSocket;
use super::address::Name;
use super::inflight::Passed;
use crate::net::Ucred;
use std::sync::Arc;

/// Overhead of a buffer in Linux on x86-64: `struct skb_shared_info` behind the data, and `struct sk_buff`. The sums are kept as there,
/// because programs see them: where a non-blocking write ends, when poll says writable, SIOCOUTQ.
const SHARED_INFO: usize = 320;
const SK_BUFF: usize = 256;
const PAGE: usize = 4096;
/// Most data in the head of a stream's buffer: SKB_MAX_HEAD(0).
const STREAM_HEAD: usize = PAGE - SHARED_INFO;
/// Most data behind it: UNIX_SKB_FRAGS_SZ.
const STREAM_FRAGS: usize = 32768;
/// Most data in the head of a datagram: SKB_MAX_ALLOC.
const DATAGRAM_HEAD: usize = 4 * PAGE - SHARED_INFO;

fn truesize(head: usize, frags: usize) -> usize {
    let block = (head.next_multiple_of(64) + SHARED_INFO).next_power_of_two().max(512);
    block + SK_BUFF + frags.next_multiple_of(PAGE)
}

/// How much of `left` bytes goes into the next buffer of a stream.
pub(super) fn stream_piece(left: usize, sndbuf: usize) -> usize {
    left.min(sndbuf / 2 - 64).min(STREAM_HEAD + STREAM_FRAGS)
}

/// What a buffer of a stream costs.
pub(super) fn stream_cost(len: usize) -> usize {
    let frags = len.saturating_sub(STREAM_HEAD).next_multiple_of(PAGE).min(len);
    truesize(len - frags, frags)
}

/// What a datagram costs.
pub(super) fn datagram_cost(len: usize) -> usize {
    let frags = len.saturating_sub(DATAGRAM_HEAD).min(17 * PAGE).next_multiple_of(PAGE).min(len);
    truesize(len - frags, frags)
}

/// One buffer of a stream, or one datagram.
pub(super) struct Packet {
    pub(super) data: Vec<u8>,
    /// Bytes that were read.
    pub(super) at: usize,
    pub(super) files: Passed,
    pub(super) creds: Option<Ucred>,
    pub(super) sender: Arc<UnixSocket>,
    /// The sender's name, if it had one when it sent.
    pub(super) from: Option<Arc<Name>>,
    /// What it costs its sender until it is read.
    pub(super) cost: usize,
}

impl Packet {
    pub(super) fn left(&self) -> usize {
        self.data.len() - self.at
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        self.sender.uncharge(self.cost);
    }
}
