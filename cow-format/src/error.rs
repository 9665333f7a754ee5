//! What can go wrong with COW files. The texts that scripts of the real tools match are theirs.

use crate::header::HeaderError;
use crate::identity::Root;
use block_device::LockConflict;
use std::io;
use std::path::{Path, PathBuf};

/// A failure, with the file it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The COW file could not be opened.
    #[error("COW file open: {}: {}", strerror(source), path.display())]
    Open {
        /// The COW file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The header is no good.
    #[error("Reading COW header failed: {}: {source}", path.display())]
    Header {
        /// The COW file.
        path: PathBuf,
        /// What is wrong.
        source: HeaderError,
    },
    /// The base is not there, or cannot be opened.
    #[error("{}: {}: {}", if source.kind() == io::ErrorKind::NotFound { "Stating backing file" } else { "Opening backing file" }, strerror(source), path.display())]
    Backing {
        /// The base.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another base was asked for than the one recorded.
    #[error("Backing file mismatch - \"{}\" requested, \"{}\" specified in COW header of \"{}\"", requested.display(), specified.display(), cow.display())]
    BackingMismatch {
        /// What was asked for.
        requested: PathBuf,
        /// What the header names.
        specified: PathBuf,
        /// The COW file.
        cow: PathBuf,
    },
    /// The base has another size than the COW file recorded.
    #[error("Size mismatch ({header} vs {backing}) of COW header vs backing file \"{}\"", path.display())]
    SizeMismatch {
        /// Recorded, in bytes.
        header: u64,
        /// Found, in bytes.
        backing: u64,
        /// The base.
        path: PathBuf,
    },
    /// The base was modified after the COW file was made, and there is no identity to tell whether that matters.
    #[error("mtime mismatch ({header} vs {backing}) of COW header vs backing file \"{}\"{}", path.display(), because(explanation.as_deref()))]
    MtimeMismatch {
        /// Recorded, in seconds since 1970.
        header: u32,
        /// Found.
        backing: u32,
        /// The base.
        path: PathBuf,
        /// What is known about how it came.
        explanation: Option<String>,
    },
    /// The base's content is another one.
    #[error("content mismatch of backing file \"{}\": identity {found}, the COW file was made on {recorded}{}", path.display(), because(explanation.as_deref()))]
    IdentityMismatch {
        /// The base.
        path: PathBuf,
        /// Recorded.
        recorded: Root,
        /// Found.
        found: Root,
        /// What is known about how it came.
        explanation: Option<String>,
    },
    /// The record of the base's identity cannot be read, so nobody knows whether the base is the right one.
    #[error("the identity recorded in \"{}\" is damaged: if its base is right, cowtool identify --force records it anew", path.display())]
    Record {
        /// The COW file.
        path: PathBuf,
    },
    /// An in-place merge into the base was interrupted.
    #[error("backing file \"{}\" is half merged with \"{}\": finish that first (uml_moo -d {})", base.display(), cow.display(), cow.display())]
    HalfMerged {
        /// The base.
        base: PathBuf,
        /// The COW file that was being merged.
        cow: PathBuf,
    },
    /// Somebody else has the file.
    #[error("{0}")]
    Locked(LockConflict),
    /// The chain of layers leads back to itself.
    #[error("\"{}\" is a layer below itself", path.display())]
    Cycle {
        /// The layer that comes again.
        path: PathBuf,
    },
    /// More layers than anybody has.
    #[error("more than {max} layers below \"{}\"", path.display())]
    TooDeep {
        /// The top layer.
        path: PathBuf,
        /// How many are followed.
        max: usize,
    },
    /// There is nowhere to put what was asked for.
    #[error("\"{}\": {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What cannot be done, and what to do instead.
        what: String,
    },
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
}

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The operating system's text alone, as `perror(3)` prints it; any other error whole.
pub fn strerror(e: &io::Error) -> String {
    let text = e.to_string();
    match e.raw_os_error() {
        Some(code) => text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text).to_owned(),
        None => text,
    }
}

fn because(explanation: Option<&str>) -> String {
    explanation.map(|e| format!(": {e}")).unwrap_or_default()
}

impl Error {
    /// For `map_err`: `action` is a participle ("reading").
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.downcast::<LockConflict>() {
            Ok(conflict) => Self::Locked(conflict),
            Err(source) => Self::Io { action, path: path.to_owned(), source },
        }
    }
}
