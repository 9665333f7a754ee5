//! What can go wrong with files inside disks.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of an operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Of the disk that the file system is on.
    #[error(transparent)]
    Disk(#[from] cow_ops::Error),
    /// The file system on a disk cannot be read or written.
    #[error("the file system on \"{}\": {source}", image.display())]
    FileSystem {
        /// The disk.
        image: PathBuf,
        /// Why.
        source: ext::Error,
    },
    /// Something about one file in it.
    #[error("{path}, in \"{}\": {source}", image.display())]
    File {
        /// The disk.
        image: PathBuf,
        /// Path inside.
        path: String,
        /// Why.
        source: ext::Error,
    },
    /// A file of the host's.
    #[error("{action} \"{}\": {}", path.display(), cow_format::strerror(source))]
    Io {
        /// What was being done, as a participle.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// An archive.
    #[error("{action} the archive: {}", cow_format::strerror(source))]
    Archive {
        /// What was being done, as a participle.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Refused, for a reason and with a way out that the text gives.
    #[error("{0}")]
    Refused(String),
    /// The caller wanted it stopped.
    #[error("interrupted{0}")]
    Cancelled(&'static str),
}

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err`: `action` is a participle ("reading").
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether the caller's own wish ended the work.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled(_) => true,
            Self::Disk(e) => e.is_cancelled(),
            _ => false,
        }
    }
}

impl From<cow_format::Error> for Error {
    fn from(e: cow_format::Error) -> Self {
        Self::Disk(e.into())
    }
}
