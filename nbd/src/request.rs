//! Requests of the transmission phase: from 28 bytes to a checked type.

use crate::protocol::{MAX_PAYLOAD, REQUEST_LEN, REQUEST_MAGIC, command, flag};

/// The fields of a request, as they are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `NBD_CMD_FLAG_…`
    pub flags: u16,
    /// `NBD_CMD_…`
    pub command: u16,
    /// What the reply is told by; the client's own.
    pub cookie: u64,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
}

impl Header {
    /// Reads the fields; `None` where the magic is another one: then nobody knows where the next request begins.
    pub fn parse(bytes: &[u8; REQUEST_LEN]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| (u32::from(u16_at(at)) << 16) | u32::from(u16_at(at + 2));
        let u64_at = |at: usize| (u64::from(u32_at(at)) << 32) | u64::from(u32_at(at + 4));
        (u32_at(0) == REQUEST_MAGIC).then(|| Self {
            flags: u16_at(4),
            command: u16_at(6),
            cookie: u64_at(8),
            offset: u64_at(16),
            len: u32_at(24),
        })
    }

    /// Bytes that follow.
    pub fn payload(&self) -> u32 {
        if self.command == command::WRITE { self.len } else { 0 }
    }
}

/// What is to be done. Ranges lie within the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Read `len` bytes; in one piece where `whole`.
    Read {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
        /// Not to be split into chunks.
        whole: bool,
    },
    /// Write the payload.
    Write {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
        /// Durable before it is answered.
        durable: bool,
    },
    /// End the session.
    Disconnect,
    /// Make durable what was answered.
    Flush,
    /// Give space back.
    Trim {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
        /// Durable before it is answered.
        durable: bool,
    },
    /// Read ahead.
    Cache {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
    },
    /// Write zeros.
    Zero {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
        /// May become a hole.
        may_unmap: bool,
        /// Only if that is quicker than writing them.
        fast: bool,
        /// Durable before it is answered.
        durable: bool,
    },
    /// Describe a range.
    Status {
        /// First byte.
        offset: u64,
        /// Bytes, not 0.
        len: u32,
        /// One extent is enough.
        one: bool,
    },
}

/// Why a request is answered with an error before anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such command.
    Command,
    /// A flag that the command does not have.
    Flags,
    /// The range reaches past the end; of a command that stores something, or not.
    Range {
        /// Whether it stores something.
        stores: bool,
    },
    /// More payload than is taken, or none where some is needed.
    Length,
    /// The export is read-only.
    ReadOnly,
    /// No metadata context was chosen.
    NoContext,
}

/// What was negotiated, as far as it decides which requests are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Size of the export in bytes.
    pub size: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// Replies are structured.
    pub structured: bool,
    /// There is a metadata context to tell about.
    pub has_contexts: bool,
}

impl Terms {
    /// Checks a request.
    ///
    /// # Errors
    /// The [`Refusal`] that the client is to be told.
    pub fn check(&self, header: &Header) -> Result<Request, Refusal> {
        let Header { flags, offset, len, .. } = *header;
        let has = |bit: u16| flags & bit != 0;
        let durable = has(flag::FUA);
        // FUA is taken on every command, as the specification wants; it means something where something is written.
        let known = flag::FUA
            | match header.command {
                command::READ if self.structured => flag::DF,
                command::WRITE_ZEROES => flag::NO_HOLE | flag::FAST_ZERO,
                command::BLOCK_STATUS => flag::REQ_ONE,
                _ => 0,
            };
        if flags & !known != 0 && header.command <= command::BLOCK_STATUS {
            return Err(Refusal::Flags);
        }
        match header.command {
            command::READ => {
                self.limit(len)?;
                self.range(offset, len, false)?;
                Ok(Request::Read { offset, len, whole: has(flag::DF) })
            }
            command::WRITE => {
                self.limit(len)?;
                self.writable()?;
                self.range(offset, len, true)?;
                Ok(Request::Write { offset, len, durable })
            }
            command::DISC => Ok(Request::Disconnect),
            command::FLUSH if offset != 0 || len != 0 => Err(Refusal::Range { stores: false }),
            command::FLUSH => Ok(Request::Flush),
            command::TRIM => {
                self.writable()?;
                self.range(offset, len, false)?;
                Ok(Request::Trim { offset, len, durable })
            }
            command::CACHE => {
                self.range(offset, len, false)?;
                Ok(Request::Cache { offset, len })
            }
            command::WRITE_ZEROES => {
                self.writable()?;
                self.range(offset, len, true)?;
                let (may_unmap, fast) = (!has(flag::NO_HOLE), has(flag::FAST_ZERO));
                Ok(Request::Zero { offset, len, may_unmap, fast, durable })
            }
            command::BLOCK_STATUS if !self.has_contexts => Err(Refusal::NoContext),
            command::BLOCK_STATUS if len == 0 => Err(Refusal::Length),
            command::BLOCK_STATUS => {
                self.range(offset, len, false)?;
                Ok(Request::Status { offset, len, one: has(flag::REQ_ONE) })
            }
            _ => Err(Refusal::Command),
        }
    }

    fn writable(&self) -> Result<(), Refusal> {
        if self.read_only { Err(Refusal::ReadOnly) } else { Ok(()) }
    }

    fn limit(&self, len: u32) -> Result<(), Refusal> {
        if len > MAX_PAYLOAD { Err(Refusal::Length) } else { Ok(()) }
    }

    fn range(&self, offset: u64, len: u32, stores: bool) -> Result<(), Refusal> {
        match offset.checked_add(u64::from(len)) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Refusal::Range { stores }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { size: 1 << 20, read_only: false, structured: true, has_contexts: true };

    fn header(command: u16, flags: u16, offset: u64, len: u32) -> Header {
        Header { flags, command, cookie: 7, offset, len }
    }

    #[test]
    fn fields_are_where_the_specification_puts_them() {
        // 0x25609513, flags 1, type 6, cookie, offset, length.
        let bytes =
            [0x25, 0x60, 0x95, 0x13, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 16, 0];
        let header = Header::parse(&bytes).unwrap();
        let wanted =
            Header { flags: 1, command: 6, cookie: 0x0102_0304_0506_0708, offset: 0x1_0000_0002, len: 4096 };
        assert_eq!(header, wanted);
        assert_eq!(Header::parse(&[0; REQUEST_LEN]), None);
    }

    #[test]
    fn a_range_that_reaches_past_the_end_or_wraps_is_refused() {
        for (offset, len) in [(1 << 20, 1), (0, (1 << 20) + 1), (u64::MAX, 1), (u64::MAX - 1, 4096)] {
            let refused = |command| TERMS.check(&header(command, 0, offset, len)).unwrap_err();
            assert_eq!(refused(command::READ), Refusal::Range { stores: false });
            assert_eq!(refused(command::WRITE), Refusal::Range { stores: true });
            assert_eq!(refused(command::WRITE_ZEROES), Refusal::Range { stores: true });
            assert_eq!(refused(command::TRIM), Refusal::Range { stores: false });
            assert_eq!(refused(command::BLOCK_STATUS), Refusal::Range { stores: false });
        }
        assert!(TERMS.check(&header(command::READ, 0, 1 << 20, 0)).is_ok());
    }

    #[test]
    fn a_flag_that_a_command_does_not_have_is_refused_and_fua_is_taken_everywhere() {
        for command in 0..=7 {
            let (offset, len) = if command == command::FLUSH { (0, 0) } else { (0, 512) };
            assert!(TERMS.check(&header(command, flag::FUA, offset, len)).is_ok(), "{command}");
            let wrong = TERMS.check(&header(command, 1 << 9, offset, len));
            assert_eq!(wrong, Err(Refusal::Flags), "{command}");
        }
        let simple = Terms { structured: false, ..TERMS };
        assert_eq!(simple.check(&header(command::READ, flag::DF, 0, 512)), Err(Refusal::Flags));
        assert_eq!(TERMS.check(&header(99, 0, 0, 512)), Err(Refusal::Command));
    }

    #[test]
    fn a_read_only_export_refuses_what_writes() {
        let terms = Terms { read_only: true, ..TERMS };
        for command in [command::WRITE, command::TRIM, command::WRITE_ZEROES] {
            assert_eq!(terms.check(&header(command, 0, 0, 512)), Err(Refusal::ReadOnly));
        }
        assert!(terms.check(&header(command::FLUSH, 0, 0, 0)).is_ok());
    }
}
