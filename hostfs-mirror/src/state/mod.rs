//! What a leg remembers of its set, in a directory that the mount hides.
//!
//! | file | module | written |
//! | --- | --- | --- |
//! | `leg.state` | [`slots`] | when the set changes: a leg fenced, mounted, unmounted |
//! | `intent` | [`intent`] | before a directory is first touched, in place |
//! | `missed.<leg>` | [`missed`] | while that leg is away, at the end |
//! | `manifest/` | [`manifest`] | some seconds after a file changed, at the end |
//!
//! Every one of them is read as if a stranger had written it: a length is never believed, every record has a
//! checksum, and what cannot be read makes the set do more work (compare a whole tree), never less.

mod codec;
mod collapse;
pub mod dir;
mod error;
pub mod intent;
pub mod manifest;
pub mod missed;
pub mod slots;
#[cfg(test)]
mod testing;

pub use dir::{NAME, StateDir};
pub use error::{Error, Result};
pub use intent::IntentMap;
pub use manifest::Manifest;
pub use missed::MissedLog;
pub use slots::{LegState, Member, Role, Slots, Standing};
pub use uuid::Uuid;

/// How much of the tree a path in a log stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// In the intent map: the directory's own entries, and the files directly in it. In a missed log: the
    /// object at the path (or that there is none), not what is beneath.
    One,
    /// In a missed log: the directory's own entries, and the files directly in it.
    Entries,
    /// Everything at the path and beneath. The root's subtree is the whole tree.
    Subtree,
}

impl Kind {
    /// Its number on the disk.
    fn code(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Subtree => 2,
            Self::Entries => 4,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Self::One, Self::Entries, Self::Subtree].into_iter().find(|k| k.code() == code)
    }
}

/// A path relative to the leg's root (empty for the root itself), and how much it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region {
    /// Relative to the leg's root, without `.` or `..`.
    pub path: std::path::PathBuf,
    /// How much of it.
    pub kind: Kind,
}

impl Region {
    /// The object or directory at a path.
    pub fn one(path: impl Into<std::path::PathBuf>) -> Self {
        Self { path: path.into(), kind: Kind::One }
    }

    /// A directory's entries, and the files directly in it.
    pub fn entries(path: impl Into<std::path::PathBuf>) -> Self {
        Self { path: path.into(), kind: Kind::Entries }
    }

    /// Everything at a path and beneath.
    pub fn subtree(path: impl Into<std::path::PathBuf>) -> Self {
        Self { path: path.into(), kind: Kind::Subtree }
    }

    /// Everything.
    pub fn whole() -> Self {
        Self::subtree("")
    }
}
