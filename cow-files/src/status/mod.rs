//! What a session did to files. Only metadata that lies in dirty blocks is read, and data of files that have some; the tree is walked only
//! where nothing tells which blocks can differ.

mod content;
mod inodes;
mod links;
mod names;
mod stray;
mod tree;

pub(crate) use content::Compare;

use crate::changed;
use crate::error::Result;
use crate::image::Image;
use block_device::Observer;
use ext::Inode;
use serde::Serialize;

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// It is what another name was, which is gone.
    Renamed,
    /// It is there in both, and differs.
    Changed,
}

/// What differs of something that is there in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Its type.
    Type,
    /// Its bytes, its target, or its device number.
    Content,
    /// Permissions.
    Mode,
    /// Owner or group.
    Owner,
    /// Time of its last change; told only where its content is the same, and of directories only if asked for.
    Time,
    /// Extended attributes, access control lists.
    Xattr,
    /// It has other names besides, or fewer.
    Links,
}

/// One name that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its path, from the root, as text.
    pub path: String,
    /// The path as it is.
    #[serde(skip)]
    pub raw: Vec<u8>,
    /// What became of it.
    pub fate: Fate,
    /// The name that it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// That name as it is; also of what has moved only because its directory has.
    #[serde(skip)]
    pub raw_from: Option<Vec<u8>>,
    /// What differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<What>,
    /// Its type: `file`, `directory`, `link` and so on.
    pub kind: &'static str,
    /// Bytes of a regular file, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<(Option<u64>, Option<u64>)>,
    /// The inodes that the names have, before and after.
    #[serde(skip)]
    pub inodes: (Option<u32>, Option<u32>),
}

/// What is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// By path.
    pub changes: Vec<Change>,
    /// The file system was not unmounted: what is told is what recovery will make of it.
    pub recovered: bool,
}

/// What is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// Times of directories: they change with each name in them, which is told already.
    pub directory_times: bool,
}

/// What a COW file's session did: it against what is below it.
///
/// # Errors
/// Those of reading; [`crate::Error::Refused`] for a raw image; [`crate::Error::Cancelled`].
pub fn status(session: &Image, ask: Ask, observer: &dyn Observer) -> Result<Status> {
    compare_files(&session.open_below()?, session, ask, observer)
}

/// How the files of `new` differ from those of `old`, which it was made from, or which has nothing to do with it.
///
/// # Errors
/// Those of reading; [`crate::Error::Cancelled`].
pub fn compare_files(old: &Image, new: &Image, ask: Ask, observer: &dyn Observer) -> Result<Status> {
    let blocks = changed::between(old, new)?;
    let compare = Compare { old, new, blocks: blocks.as_ref(), ask };
    let mut changes = match &blocks {
        Some(blocks) => {
            let mut pairs = inodes::changed(old, new, blocks, observer)?;
            stray::add(old, new, blocks, &mut pairs, observer)?;
            links::changes(&compare, &pairs, observer)?
        }
        None => tree::changes(&compare, observer)?,
    };
    changes.sort_by(|x, y| x.raw.cmp(&y.raw));
    Ok(Status { changes, recovered: new.ext.was_recovered() })
}

fn size(inode: &Inode) -> Option<u64> {
    inode.is_regular().then_some(inode.size)
}

impl Change {
    /// A name, with the inodes that it had and has.
    pub(crate) fn new(raw: Vec<u8>, fate: Fate, old: Option<&Inode>, new: Option<&Inode>) -> Change {
        let sizes = (old.and_then(size), new.and_then(size));
        Change {
            path: crate::text(&raw),
            raw,
            fate,
            from: None,
            raw_from: None,
            what: Vec::new(),
            kind: new.or(old).map_or("unknown", crate::kind_name),
            size: (sizes != (None, None)).then_some(sizes),
            inodes: (old.map(|i| i.number), new.map(|i| i.number)),
        }
    }

    /// The same, at a path. `before` is where it was, if a directory above it has moved.
    pub(crate) fn at(self, path: Vec<u8>, before: Option<Vec<u8>>) -> Change {
        let raw_from = before.filter(|b| *b != path);
        Change { path: crate::text(&path), raw: path, raw_from, ..self }
    }

    pub(crate) fn with(mut self, what: Vec<What>) -> Change {
        self.what = what;
        self
    }

    pub(crate) fn renamed_from(mut self, from: &[u8]) -> Change {
        (self.from, self.raw_from) = (Some(crate::text(from)), Some(from.to_vec()));
        self
    }
}
