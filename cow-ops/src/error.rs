//! What can go wrong while working on COW disks.

use cow_format::strerror;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of an operation. Unless the text says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Of the COW file or its base.
    #[error(transparent)]
    Cow(#[from] cow_format::Error),
    /// Input or output failed.
    #[error("{action} \"{}\": {}", path.display(), strerror(source))]
    Io {
        /// What was being done, as a participle.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A merge in place failed half way.
    #[error("merging into \"{}\": {}: it is partly merged; run the same command again to finish", base.display(), strerror(source))]
    HalfDone {
        /// What is being merged into.
        base: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Other COW files need the base as it is.
    #[error("other COW files use \"{}\" and would no longer open: {} (--force to go on)", base.display(), list(users))]
    OtherUsers {
        /// The base.
        base: PathBuf,
        /// The COW files found.
        users: Vec<PathBuf>,
    },
    /// A new file does not read back as its source.
    #[error("\"{}\" does not read back as written at offset {offset}: it was not put in place", path.display())]
    Verify {
        /// The file that was being made.
        path: PathBuf,
        /// First byte that differs.
        offset: u64,
    },
    /// The file system that is meant is not found on a disk.
    #[error("\"{}\": {source}", path.display())]
    Volume {
        /// The disk.
        path: PathBuf,
        /// Why.
        source: crate::volume::Error,
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
        matches!(self, Self::Cancelled(_))
    }
}

/// Turns the error that an engine gives when it is cancelled into [`Error::Cancelled`].
pub(crate) fn or_cancelled(
    action: &'static str,
    path: &Path,
    left: &'static str,
) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::Interrupted => Error::Cancelled(left),
        _ => Error::Io { action, path: path.to_owned(), source },
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| format!("\"{}\"", p.display())).collect::<Vec<_>>().join(", ")
}
