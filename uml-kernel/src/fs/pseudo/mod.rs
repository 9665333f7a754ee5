//! What procfs and sysfs share: trees that are computed, not stored (Linux has fs/libfs.c and fs/kernfs for this).
//!
//! A [`Node`] is a value: type, permissions, number, and what answers for it. Inodes are made from nodes when they are looked up.

mod dir;
mod file;
mod inode;

pub use dir::{Dir, Entry, Fixed, next_ino};
pub use file::{Content, Made, Stored, Text};
pub use inode::{Pseudo, PseudoInode};

use super::{Path, kind};
use crate::base::Result;
use std::sync::Arc;

/// A symbolic link that is computed.
pub trait Link: Send + Sync {
    /// What readlink(2) tells.
    fn target(&self) -> Result<Vec<u8>>;
    /// Where it leads without a path, for a magic link.
    fn jump(&self) -> Option<Result<Path>> {
        None
    }
}

impl Link for String {
    fn target(&self) -> Result<Vec<u8>> {
        Ok(self.clone().into_bytes())
    }
}

/// What answers for a node.
#[derive(Clone)]
pub enum What {
    /// A directory.
    Dir(Arc<dyn Dir>),
    /// A regular file.
    File(Arc<dyn Content>),
    /// A symbolic link.
    Link(Arc<dyn Link>),
}

/// A node of a pseudo file system.
#[derive(Clone)]
pub struct Node {
    /// Inode number.
    pub ino: u64,
    /// Permissions, without the type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// It stays as long as the file system does, so that its name can be kept, and mounted on.
    pub lasting: bool,
    /// `st_size`.
    pub size: u64,
    /// What answers for it.
    pub what: What,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({}, {:o})", self.ino, self.mode | self.kind())
    }
}

impl Node {
    fn new(ino: u64, mode: u32, what: What) -> Node {
        Node { ino, mode, uid: 0, gid: 0, lasting: true, size: 0, what }
    }

    /// A directory of root's.
    pub fn dir(ino: u64, mode: u32, dir: Arc<dyn Dir>) -> Node {
        Node::new(ino, mode, What::Dir(dir))
    }

    /// A file of root's.
    pub fn file(ino: u64, mode: u32, content: Arc<dyn Content>) -> Node {
        Node::new(ino, mode, What::File(content))
    }

    /// A symbolic link.
    pub fn link(ino: u64, link: Arc<dyn Link>) -> Node {
        Node::new(ino, 0o777, What::Link(link))
    }

    /// With another owner.
    pub fn owned(mut self, (uid, gid): (u32, u32)) -> Node {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// May be gone with the next look.
    pub fn passing(mut self) -> Node {
        self.lasting = false;
        self
    }

    /// With a size.
    pub fn sized(mut self, size: u64) -> Node {
        self.size = size;
        self
    }

    /// Type bits of its mode.
    pub fn kind(&self) -> u32 {
        match self.what {
            What::Dir(_) => kind::DIR,
            What::File(_) => kind::REG,
            What::Link(_) => kind::LNK,
        }
    }
}

#[cfg(test)]
mod tests;
