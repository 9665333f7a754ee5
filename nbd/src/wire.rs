//! Bytes from and to a client, whatever they run over, and the buffer that requests are taken from.

use std::io;
use std::time::Instant;

/// A connection. One thread receives; any may send, one at a time.
pub trait Wire: Send + Sync {
    /// Waits for bytes, and says how many there are: 0 where the client will send no more, or the server is to stop.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] after the deadline; those of the connection.
    fn receive(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize>;

    /// Sends all of it.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] where the client does not take it; those of the connection.
    fn send(&self, bytes: &[u8]) -> io::Result<()>;

    /// Says goodbye, where what it runs over has a way to.
    fn close(&self) {}
}

/// Bytes that are buffered at most: a request with a payload of 64 KiB lies in it in one piece.
const CAPACITY: usize = 128 << 10;

/// What has been received of a connection.
pub struct Input<'a> {
    wire: &'a dyn Wire,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    deadline: Option<Instant>,
}

impl<'a> Input<'a> {
    /// Nothing yet. Waiting ends at the deadline.
    pub fn new(wire: &'a dyn Wire, deadline: Option<Instant>) -> Self {
        Self { wire, buf: vec![0; CAPACITY], start: 0, end: 0, deadline }
    }

    /// From now on waiting has no end.
    pub fn wait_for_ever(&mut self) {
        self.deadline = None;
    }

    /// Bytes that are here already.
    pub fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// Waits until `len` bytes, at most 64 KiB and a request, are here. False where the client sends no more.
    ///
    /// # Errors
    /// As [`Wire::receive`]; [`io::ErrorKind::UnexpectedEof`] where it ends in the middle.
    pub fn fill(&mut self, len: usize) -> io::Result<bool> {
        debug_assert!(len <= CAPACITY);
        if self.buffered() >= len {
            return Ok(true);
        }
        if self.start + len > CAPACITY || self.start == self.end {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.buffered() < len {
            match self.wire.receive(&mut self.buf[self.end..], self.deadline)? {
                0 if self.start == self.end => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.end += n,
            }
        }
        Ok(true)
    }

    /// The first `len` bytes, which [`fill`](Self::fill) has seen; they are gone afterwards.
    pub fn take(&mut self, len: usize) -> &[u8] {
        let from = self.start;
        self.start += len.min(self.buffered());
        &self.buf[from..self.start]
    }

    /// The first bytes, as [`take`](Self::take).
    ///
    /// # Errors
    /// As [`fill`](Self::fill); an end is [`io::ErrorKind::UnexpectedEof`].
    pub fn take_array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.take_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Fills `into`: from the buffer, and the rest right from the connection.
    ///
    /// # Errors
    /// As [`take_array`](Self::take_array).
    pub fn take_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let here = self.buffered().min(into.len());
        into[..here].copy_from_slice(self.take(here));
        let mut done = here;
        while done < into.len() {
            match self.wire.receive(&mut into[done..], self.deadline)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }

    /// Drops `len` bytes.
    ///
    /// # Errors
    /// As [`take_array`](Self::take_array).
    pub fn skip(&mut self, mut len: usize) -> io::Result<()> {
        while len > 0 {
            let now = len.min(self.buffered().max(1));
            if !self.fill(now)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let now = len.min(self.buffered());
            self.take(now);
            len -= now;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Gives its bytes in pieces of a size.
    struct Dribble(Mutex<Vec<u8>>, usize);

    impl Wire for Dribble {
        fn receive(&self, buf: &mut [u8], _: Option<Instant>) -> io::Result<usize> {
            let mut left = self.0.lock().unwrap();
            let n = self.1.min(left.len()).min(buf.len());
            buf[..n].copy_from_slice(&left[..n]);
            left.drain(..n);
            Ok(n)
        }

        fn send(&self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_come_in_order_however_they_are_cut() {
        let bytes: Vec<u8> = (0..400_000u32).map(|i| (i * 7 / 3) as u8).collect();
        for piece in [1000, 4097, 1 << 20] {
            let wire = Dribble(Mutex::new(bytes.clone()), piece);
            let mut input = Input::new(&wire, None);
            let mut at = 0;
            for (i, len) in [28usize, 4096, 60_000, 28, 65_536, 1, 100_000].into_iter().enumerate() {
                let wanted = &bytes[at..at + len];
                if i == 6 {
                    input.skip(len).unwrap();
                } else if i % 2 == 0 {
                    assert!(input.fill(len).unwrap());
                    assert_eq!(input.take(len), wanted);
                } else {
                    let mut got = vec![0; len];
                    input.take_exact(&mut got).unwrap();
                    assert_eq!(got, wanted);
                }
                at += len;
            }
            input.skip(bytes.len() - at).unwrap();
            assert!(!input.fill(1).unwrap());
            assert_eq!(input.take_array::<1>().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
