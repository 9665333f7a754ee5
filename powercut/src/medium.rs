//! The bytes of one device, live and durable, and what lies between.

use crate::XorShift;
use crate::survive::Survive;
use std::ops::Range;

/// Bytes that are written whole or not at all: the sector of every disk there is.
pub const ATOM: u64 = 512;

/// A change that no flush has covered yet.
enum Change {
    /// Live bytes after a write, for the whole atoms it touched (the last one may end with the device). The
    /// write of a part of an atom goes to the medium with whatever else the atom then holds: a later part
    /// never survives an earlier one of the same atom.
    Atoms { offset: usize, bytes: Vec<u8> },
    /// A new length.
    Len(usize),
}

/// One device's storage.
pub(crate) struct Medium {
    pub(crate) live: Vec<u8>,
    pub(crate) durable: Vec<u8>,
    pending: Vec<Change>,
}

impl Medium {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), live: bytes, pending: Vec::new() }
    }

    /// Changes a range of the live bytes, which lies in the device.
    pub(crate) fn write(&mut self, range: Range<usize>, change: impl FnOnce(&mut [u8])) {
        if range.is_empty() {
            return;
        }
        change(&mut self.live[range.clone()]);
        let atom = ATOM as usize;
        let offset = range.start / atom * atom;
        let end = range.end.next_multiple_of(atom).min(self.live.len());
        self.pending.push(Change::Atoms { offset, bytes: self.live[offset..end].to_vec() });
    }

    pub(crate) fn set_len(&mut self, len: usize) {
        self.live.resize(len, 0);
        self.pending.push(Change::Len(len));
    }

    pub(crate) fn flush(&mut self) {
        // Everything in order is what the live bytes show; cheaper than copying them where little changed.
        let pending = std::mem::take(&mut self.pending);
        pending.iter().for_each(|change| apply(&mut self.durable, change, || true));
    }

    /// What may be read after a cut.
    pub(crate) fn survive(&self, mode: Survive, rng: &mut XorShift) -> Vec<u8> {
        match mode {
            Survive::None => self.durable.clone(),
            Survive::All => self.live.clone(),
            Survive::Random(_) => {
                // From nearly all lost to nearly all kept: mistakes in order hide at either end.
                let odds = [1, 4, 7][rng.below(3) as usize];
                let mut image = self.durable.clone();
                self.pending.iter().for_each(|change| apply(&mut image, change, || rng.chance(odds, 8)));
                image
            }
        }
    }
}

/// Applies the pieces of a change that `keep` says yes to. Pieces past a length that did not survive are lost.
fn apply(image: &mut Vec<u8>, change: &Change, mut keep: impl FnMut() -> bool) {
    match change {
        Change::Len(len) => {
            if keep() {
                image.resize(*len, 0);
            }
        }
        Change::Atoms { offset, bytes } => {
            for (i, piece) in bytes.chunks(ATOM as usize).enumerate() {
                let at = (offset + i * ATOM as usize).min(image.len());
                let room = piece.len().min(image.len() - at);
                if keep() {
                    image[at..at + room].copy_from_slice(&piece[..room]);
                }
            }
        }
    }
}
