//! Directories, read in pieces. Where a piece ends is told by a hash of the last name, as ext4 does it: names that come and go meanwhile
//! move no other, so each name that is there all the time is seen exactly once, and nothing has to be remembered between two calls.

use ext::{Ext, InodeNumber};
use parking_lot::Mutex;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A name of a directory.
#[derive(Debug)]
pub(crate) struct Name {
    /// Where one is after it.
    pub(crate) cookie: u64,
    pub(crate) name: Vec<u8>,
    pub(crate) inode: InodeNumber,
    pub(crate) kind: ext::FileType,
}

/// The last directory that was read: long ones are read in many pieces.
#[derive(Debug, Default)]
pub(crate) struct Listings(Mutex<Option<Listing>>);

#[derive(Debug)]
struct Listing {
    directory: InodeNumber,
    stamp: u64,
    names: Arc<Vec<Name>>,
}

/// `.` is at 1, `..` at 2, names behind; the kernel's offsets are positive numbers of 64 bits.
fn cookie(name: &[u8]) -> u64 {
    match name {
        b"." => 1,
        b".." => 2,
        name => {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            hasher.finish() >> 1 | 4
        }
    }
}

impl Listings {
    /// The names of a directory, in their order.
    pub(crate) fn of(&self, ext: &Ext, directory: InodeNumber) -> ext::Result<Arc<Vec<Name>>> {
        let stamp = ext.stamp(directory);
        if let Some(known) = &*self.0.lock()
            && (known.directory, known.stamp) == (directory, stamp)
        {
            return Ok(known.names.clone());
        }
        let entries = ext.entries(&ext.inode(directory)?)?;
        let mut names: Vec<Name> = entries
            .into_iter()
            .map(|e| Name { cookie: cookie(&e.name), name: e.name, inode: e.inode, kind: e.kind })
            .collect();
        names.sort_unstable_by(|a, b| (a.cookie, &a.name).cmp(&(b.cookie, &b.name)));
        let names = Arc::new(names);
        *self.0.lock() = Some(Listing { directory, stamp, names: names.clone() });
        Ok(names)
    }
}

/// The names after a cookie.
pub(crate) fn after(names: &[Name], cookie: u64) -> &[Name] {
    &names[names.partition_point(|n| n.cookie <= cookie)..]
}
