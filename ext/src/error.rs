//! What can go wrong with a file system.

use crate::inode::InodeNumber;
use std::io;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, with the inode or block it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device could not be read.
    #[error("block {block}: {source}")]
    Io {
        /// File system block.
        block: u64,
        /// Why.
        source: io::Error,
    },
    /// There is no such file system.
    #[error("not an ext2, ext3 or ext4 file system: {0}")]
    NotExt(String),
    /// It uses what this crate does not have.
    #[error("unsupported feature: {0}")]
    Unsupported(String),
    /// The journal is damaged.
    #[error("the journal: {0}")]
    Journal(String),
    /// Metadata is damaged (EUCLEAN).
    #[error("inode {inode}: {what}")]
    Inode {
        /// Whose.
        inode: InodeNumber,
        /// What is wrong.
        what: String,
    },
    /// Metadata is damaged (EUCLEAN).
    #[error("block {block}: {what}")]
    Block {
        /// File system block.
        block: u64,
        /// What is wrong.
        what: String,
    },
    /// Another node has it (EBUSY): multiple mount protection.
    #[error("{what}: node {node}, device {device}")]
    InUse {
        /// How.
        what: &'static str,
        /// Name of the machine.
        node: String,
        /// What that calls the device.
        device: String,
    },
    /// EROFS.
    #[error("the file system is read-only")]
    ReadOnly,
    /// ENOSPC.
    #[error("no space left on device")]
    NoSpace,
    /// EFBIG.
    #[error("file too large")]
    TooBig,
    /// ENOENT.
    #[error("no such file or directory")]
    NotFound,
    /// EEXIST.
    #[error("it exists")]
    Exists,
    /// ENOTEMPTY.
    #[error("the directory is not empty")]
    NotEmpty,
    /// EISDIR.
    #[error("inode {0} is a directory")]
    IsDirectory(InodeNumber),
    /// EMLINK.
    #[error("too many links")]
    TooManyLinks,
    /// ENAMETOOLONG.
    #[error("name too long")]
    NameTooLong,
    /// EINVAL.
    #[error("invalid argument")]
    Invalid,
    /// ENODATA.
    #[error("no such attribute")]
    NoAttribute,
    /// EOPNOTSUPP.
    #[error("not supported")]
    NotSupported,
    /// ENOTDIR.
    #[error("inode {0} is not a directory")]
    NotDirectory(InodeNumber),
}

impl Error {
    /// What a system call returns for it (errno(3)): the host's own number where the device failed, EUCLEAN where the disk is damaged.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Io { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
            Error::NotFound => libc::ENOENT,
            Error::InUse { .. } => libc::EBUSY,
            Error::NotDirectory(_) => libc::ENOTDIR,
            Error::IsDirectory(_) => libc::EISDIR,
            Error::Exists => libc::EEXIST,
            Error::NotEmpty => libc::ENOTEMPTY,
            Error::NoSpace => libc::ENOSPC,
            Error::ReadOnly => libc::EROFS,
            Error::TooBig => libc::EFBIG,
            Error::TooManyLinks => libc::EMLINK,
            Error::NameTooLong => libc::ENAMETOOLONG,
            Error::Invalid | Error::NotExt(_) => libc::EINVAL,
            Error::NoAttribute => libc::ENODATA,
            Error::NotSupported | Error::Unsupported(_) => libc::EOPNOTSUPP,
            _ => libc::EUCLEAN,
        }
    }

    pub(crate) fn inode(inode: InodeNumber, what: impl Into<String>) -> Error {
        Error::Inode { inode, what: what.into() }
    }

    pub(crate) fn block(block: u64, what: impl Into<String>) -> Error {
        Error::Block { block, what: what.into() }
    }
}
