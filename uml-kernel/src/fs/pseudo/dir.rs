//! Directories: computed ones, and those whose entries never change.

use super::{Content, Link, Node};
use crate::base::{Errno, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One entry of a listing.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its inode number.
    pub ino: u64,
    /// Type bits of its mode.
    pub kind: u32,
    /// Its place in the listing, over 2, the same as long as the entry exists.
    pub place: u64,
}

impl Entry {
    /// The entry of a node.
    pub fn of(name: &[u8], node: &Node, place: u64) -> Entry {
        Entry { name: name.to_vec(), ino: node.ino, kind: node.kind(), place }
    }
}

/// A directory that is computed.
pub trait Dir: Send + Sync {
    /// Finds a name; ENOENT.
    fn lookup(&self, name: &[u8]) -> Result<Node>;
    /// All entries whose place is beyond `from`, in the order of their places.
    fn list(&self, from: u64) -> Result<Vec<Entry>>;
    /// Directories in it, for the number of links.
    fn subdirs(&self) -> u32 {
        0
    }
}

/// A directory whose entries are given once.
#[derive(Debug, Default)]
pub struct Fixed {
    entries: Vec<(Vec<u8>, Node)>,
    index: HashMap<Vec<u8>, usize>,
    subdirs: u32,
}

impl Fixed {
    /// Empty.
    pub fn new() -> Fixed {
        Fixed::default()
    }

    /// With one more entry, which takes the place of an earlier one of that name.
    pub fn with(mut self, name: &str, node: Node) -> Fixed {
        self.put(name, node);
        self
    }

    /// Adds an entry.
    pub fn put(&mut self, name: &str, node: Node) {
        self.subdirs += u32::from(node.kind() == crate::fs::kind::DIR);
        if let Some(at) = self.index.get(name.as_bytes()) {
            self.entries[*at].1 = node;
            return;
        }
        self.index.insert(name.into(), self.entries.len());
        self.entries.push((name.into(), node));
    }

    /// With a file.
    pub fn file(self, name: &str, mode: u32, content: Arc<dyn Content>) -> Fixed {
        self.with(name, Node::file(next_ino(), mode, content))
    }

    /// With a file whose text never changes.
    pub fn text(self, name: &str, text: &str) -> Fixed {
        self.file(name, 0o444, Arc::new(text.to_string()))
    }

    /// With a directory of mode 0555.
    pub fn dir(self, name: &str, dir: Fixed) -> Fixed {
        self.with(name, dir.node(0o555))
    }

    /// With a directory of mode 0755, as sysfs has them.
    pub fn dir755(self, name: &str, dir: Fixed) -> Fixed {
        self.with(name, dir.node(0o755))
    }

    /// With a symbolic link.
    pub fn link(self, name: &str, target: &str) -> Fixed {
        let link: Arc<dyn Link> = Arc::new(target.to_string());
        self.with(name, Node::link(next_ino(), link))
    }

    /// As a node.
    pub fn node(self, mode: u32) -> Node {
        Node::dir(next_ino(), mode, Arc::new(self))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Dir for Fixed {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let at = self.index.get(name).ok_or(Errno::ENOENT)?;
        Ok(self.entries[*at].1.clone())
    }

    fn list(&self, from: u64) -> Result<Vec<Entry>> {
        let start = from.saturating_sub(2) as usize;
        let rest = self.entries.iter().enumerate().skip(start);
        Ok(rest.map(|(n, (name, node))| Entry::of(name, node, n as u64 + 3)).collect())
    }

    fn subdirs(&self) -> u32 {
        self.subdirs
    }
}

/// A number for a node that lasts. They stay below 2^24, which leaves the numbers above to nodes that compute theirs.
pub fn next_ino() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(16);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
