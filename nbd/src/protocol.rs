//! The numbers of the NBD protocol, as its specification gives them (NetworkBlockDevice/nbd, doc/proto.md). All integers on the wire are
//! big-endian.

/// First eight bytes of a server: `NBDMAGIC`.
pub const SERVER_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// `IHAVEOPT`: newstyle negotiation, and the head of each option of a client.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Head of each reply to an option.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Head of each request.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// Head of a simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// Head of a chunk of a structured reply.
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

/// Bytes of a request before its payload.
pub const REQUEST_LEN: usize = 28;
/// Bytes of a simple reply before its payload.
pub const SIMPLE_REPLY_LEN: usize = 16;
/// Bytes of a chunk of a structured reply before its payload.
pub const CHUNK_LEN: usize = 20;
/// Bytes of an option before its data.
pub const OPTION_LEN: usize = 16;

/// Strings on the wire have at most this many bytes.
pub const MAX_STRING: usize = 4096;
/// Payload in bytes that a client may ask for, or send, in one request: what the specification wants of every server.
pub const MAX_PAYLOAD: u32 = 32 << 20;

/// Handshake flags, of server and client alike.
pub mod handshake {
    /// The server takes options, and answers those that it does not know.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// No 124 zeros after the answer to `NBD_OPT_EXPORT_NAME`.
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// Transmission flags: what an export can do.
pub mod transmission {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Writes are refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// `NBD_CMD_FLUSH`.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// `NBD_CMD_FLAG_FUA`.
    pub const SEND_FUA: u16 = 1 << 3;
    /// `NBD_CMD_TRIM`.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// `NBD_CMD_WRITE_ZEROES`, and `NBD_CMD_FLAG_NO_HOLE` with it.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// `NBD_CMD_FLAG_DF`.
    pub const SEND_DF: u16 = 1 << 7;
    /// What one connection has written and flushed all of them see.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// `NBD_CMD_CACHE`.
    pub const SEND_CACHE: u16 = 1 << 10;
    /// `NBD_CMD_FLAG_FAST_ZERO`.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// Options of a client.
pub mod option {
    /// Chooses an export and ends the negotiation; cannot be refused but by disconnecting.
    pub const EXPORT_NAME: u32 = 1;
    /// Ends the session.
    pub const ABORT: u32 = 2;
    /// Asks for the names of the exports.
    pub const LIST: u32 = 3;
    /// Goes on under TLS.
    pub const STARTTLS: u32 = 5;
    /// Asks about an export.
    pub const INFO: u32 = 6;
    /// Chooses an export and ends the negotiation.
    pub const GO: u32 = 7;
    /// Wants structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// Asks which metadata contexts there are.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Chooses metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
}

/// Replies to options.
pub mod reply {
    /// Done.
    pub const ACK: u32 = 1;
    /// An export.
    pub const SERVER: u32 = 2;
    /// A fact about an export.
    pub const INFO: u32 = 3;
    /// A metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// The server does not know the option.
    pub const ERR_UNSUP: u32 = (1 << 31) + 1;
    /// The option is malformed.
    pub const ERR_INVALID: u32 = (1 << 31) + 3;
    /// Only under TLS.
    pub const ERR_TLS_REQD: u32 = (1 << 31) + 5;
    /// There is no such export.
    pub const ERR_UNKNOWN: u32 = (1 << 31) + 6;
    /// The option has more data than the server takes.
    pub const ERR_TOO_BIG: u32 = (1 << 31) + 9;
}

/// Facts about an export.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// Its name.
    pub const NAME: u16 = 1;
    /// A line about it.
    pub const DESCRIPTION: u16 = 2;
    /// Least, preferred and largest size of a request.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Flags of requests.
pub mod flag {
    /// Answered only once what it wrote is durable.
    pub const FUA: u16 = 1 << 0;
    /// Zeros are not to become a hole.
    pub const NO_HOLE: u16 = 1 << 1;
    /// The data of a read in one chunk.
    pub const DF: u16 = 1 << 2;
    /// One extent is enough.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Zeros only if that is quicker than writing them.
    pub const FAST_ZERO: u16 = 1 << 4;
}

/// Types of requests.
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write.
    pub const WRITE: u16 = 1;
    /// Disconnect; has no reply.
    pub const DISC: u16 = 2;
    /// Make durable what was answered.
    pub const FLUSH: u16 = 3;
    /// Give space back.
    pub const TRIM: u16 = 4;
    /// Read ahead.
    pub const CACHE: u16 = 5;
    /// Write zeros.
    pub const WRITE_ZEROES: u16 = 6;
    /// Describe a range in all chosen metadata contexts.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Chunks of structured replies.
pub mod chunk {
    /// Flag: the last one.
    pub const DONE: u16 = 1 << 0;
    /// Nothing.
    pub const NONE: u16 = 0;
    /// Offset and data.
    pub const OFFSET_DATA: u16 = 1;
    /// Offset and length of zeros.
    pub const OFFSET_HOLE: u16 = 2;
    /// Extents in one metadata context.
    pub const BLOCK_STATUS: u16 = 5;
    /// An error, with a line for people.
    pub const ERROR: u16 = (1 << 15) + 1;
}

/// The bits of `base:allocation`.
pub mod state {
    /// Nothing is stored.
    pub const HOLE: u32 = 1 << 0;
    /// Reads as zeros.
    pub const ZERO: u32 = 1 << 1;
}

/// An error as a client is told it: the errno values that the specification allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Errno {
    /// `EPERM`: a write to a read-only export.
    NotPermitted = 1,
    /// `EIO`.
    Io = 5,
    /// `ENOMEM`.
    NoMemory = 12,
    /// `EINVAL`.
    Invalid = 22,
    /// `ENOSPC`: the host is full, or a write reaches past the end.
    NoSpace = 28,
    /// `ENOTSUP`: zeros that would not be fast.
    NotSupported = 95,
    /// `ESHUTDOWN`.
    ShuttingDown = 108,
}

impl Errno {
    /// The closest one to an error of a device.
    pub fn of(e: &std::io::Error) -> Self {
        use rustix::io::Errno as Host;
        use std::io::ErrorKind;
        match Host::from_io_error(e) {
            Some(Host::NOSPC | Host::DQUOT | Host::FBIG) => return Self::NoSpace,
            Some(Host::ROFS | Host::PERM | Host::ACCESS) => return Self::NotPermitted,
            Some(Host::NOMEM) => return Self::NoMemory,
            Some(Host::INVAL) => return Self::Invalid,
            Some(Host::OPNOTSUPP) => return Self::NotSupported,
            _ => {}
        }
        match e.kind() {
            ErrorKind::InvalidInput => Self::Invalid,
            ErrorKind::Unsupported => Self::NotSupported,
            ErrorKind::OutOfMemory => Self::NoMemory,
            _ => Self::Io,
        }
    }
}
