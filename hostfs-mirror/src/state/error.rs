//! What can go wrong with a leg's state.

use rustix::io::Errno;

/// The result of an operation on a leg's state.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a leg's state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The leg's file system failed.
    #[error("{what} .hostfs-mirror/{file}: {errno}")]
    Io {
        /// What was done.
        what: &'static str,
        /// The file in the state directory.
        file: String,
        /// The host's answer.
        errno: Errno,
    },
    /// No copy of the file can be read as what it should be.
    #[error(".hostfs-mirror/{file}: {what}")]
    Bad {
        /// The file in the state directory.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A mount, or another command, has the leg.
    #[error("the leg is in use: by a mount of its set, or by another hostfs-mirror")]
    InUse,
    /// The directory has no state: it is no leg of any set.
    #[error("no leg of a mirror set: it has no .hostfs-mirror directory")]
    NoLeg,
}

impl Error {
    /// The errno that a leg is fenced by.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Io { errno, .. } => *errno,
            Self::Bad { .. } => Errno::IO,
            Self::InUse => Errno::BUSY,
            Self::NoLeg => Errno::NOENT,
        }
    }

    pub(super) fn bad(file: &str, what: impl Into<String>) -> Self {
        Self::Bad { file: file.to_owned(), what: what.into() }
    }

    pub(super) fn io(what: &'static str, file: &str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Io { what, file: file.to_owned(), errno }
    }
}
