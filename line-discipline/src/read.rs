//! Reading: what a reader gets, and when; `termios(3)`, "Canonical and noncanonical mode".

use crate::discipline::LineDiscipline;
use crate::flags::*;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes are in the buffer.
    Data(usize),
    /// An end of file was typed: the read returns 0.
    EndOfFile,
    /// Nothing to read yet: wait as [`LineDiscipline::read_timing`] says, or EAGAIN.
    WouldBlock,
}

/// How long a read waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTiming {
    /// For a line, or an end of file: canonical.
    Line,
    /// Until it has `min` bytes or its buffer is full; VMIN without VTIME.
    Bytes {
        /// Least bytes, not 0.
        min: u8,
    },
    /// Until it has `min` bytes, or no byte came for a time since the last; the first byte is waited for without end.
    /// VMIN with VTIME.
    BytesOrGap {
        /// Least bytes, not 0.
        min: u8,
        /// Tenths of a second, not 0.
        gap: u8,
    },
    /// Until there is a byte, or a time has passed since it began: then it returns 0. VTIME without VMIN; a time of 0
    /// does not wait at all.
    Within {
        /// Tenths of a second.
        time: u8,
    },
}

impl LineDiscipline {
    /// Reads what is there: of a line at most one, or what is left of one; else as many bytes as there are. A reader
    /// that is to have VMIN bytes calls again.
    pub fn read(&mut self, buf: &mut [u8]) -> ReadOutcome {
        if buf.is_empty() {
            return ReadOutcome::Data(0);
        }
        let lines = self.termios.reads_lines();
        if lines && !self.input.has_line() || !lines && self.input.committed_len() == 0 {
            return ReadOutcome::WouldBlock;
        }
        let count = if lines { self.input.read_line(buf) } else { self.input.read_bytes(buf) };
        self.refused = false;
        let lone_end = !lines && self.termios.l(ICANON) && count == 1 && buf[0] == self.cc(VEOF);
        if count == 0 || lone_end && self.input.committed_len() == 0 {
            ReadOutcome::EndOfFile
        } else {
            ReadOutcome::Data(count)
        }
    }

    /// Whether a poll finds something: a line, or as many bytes as VMIN says (one where VTIME is set, or VMIN is 0).
    pub fn readable(&self) -> bool {
        if self.termios.reads_lines() {
            return self.input.has_line();
        }
        let least = if self.cc(VTIME) == 0 { self.cc(VMIN).max(1) } else { 1 };
        self.input.committed_len() >= usize::from(least)
    }

    /// Bytes there are to read: FIONREAD (TIOCINQ). In canonical mode those of whole lines, ends of file not counted.
    pub fn available(&self) -> usize {
        if self.termios.reads_lines() { self.input.line_bytes() } else { self.input.len() }
    }

    /// How a blocking read waits, by the settings of now.
    pub fn read_timing(&self) -> ReadTiming {
        let (min, time) = (self.cc(VMIN), self.cc(VTIME));
        match (self.termios.l(ICANON), min, time) {
            (true, ..) => ReadTiming::Line,
            (false, 0, time) => ReadTiming::Within { time },
            (false, min, 0) => ReadTiming::Bytes { min },
            (false, min, gap) => ReadTiming::BytesOrGap { min, gap },
        }
    }
}
