//! A client that is a list of pieces: each comes at once, the next when that is read.

use nbd::Wire;
use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::time::Instant;

#[derive(Default)]
pub(crate) struct Feed {
    pieces: Mutex<VecDeque<(Vec<u8>, usize)>>,
    sent: Mutex<Vec<u8>>,
}

impl Feed {
    pub(crate) fn new(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let pieces = pieces.into_iter().filter(|p| !p.is_empty()).map(|p| (p, 0)).collect();
        Self { pieces: Mutex::new(pieces), sent: Mutex::default() }
    }

    /// All that the server has sent.
    pub(crate) fn sent(self) -> Vec<u8> {
        self.sent.into_inner().unwrap()
    }
}

impl Wire for Feed {
    fn receive(&self, buf: &mut [u8], _: Option<Instant>) -> io::Result<usize> {
        let mut pieces = self.pieces.lock().unwrap();
        let Some((piece, from)) = pieces.front_mut() else { return Ok(0) };
        let n = (piece.len() - *from).min(buf.len());
        buf[..n].copy_from_slice(&piece[*from..*from + n]);
        *from += n;
        if *from == piece.len() {
            pieces.pop_front();
        }
        Ok(n)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.sent.lock().unwrap().extend(bytes);
        Ok(())
    }
}

/// What is left to be read of the server's bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(n).expect("a reply that ends too early");
        self.0 = rest;
        taken
    }

    /// A big-endian number of `n` bytes.
    pub(crate) fn number(&mut self, n: usize) -> u64 {
        self.take(n).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
