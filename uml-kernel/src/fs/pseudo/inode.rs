//! The file system and the inodes made of nodes.

use super::file::{Made, OpenDir};
use super::{Node, What};
use crate::base::{Errno, Result, Timespec, time};
use crate::fs::{
    Attr, DirEntry, FileOps, FileSystem, Inode, NewNode, OpenFlags, Path, SetAttr, StatFs, anonymous_dev,
};
use std::any::Any;
use std::sync::{Arc, Weak};

/// A mounted pseudo file system.
pub struct Pseudo {
    name: &'static str,
    magic: u64,
    dev: u64,
    cacheable: bool,
    born: Timespec,
    root: Node,
    me: Weak<Pseudo>,
}

impl std::fmt::Debug for Pseudo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Pseudo {
    /// A file system of a type, with its magic number (linux/magic.h) and its root. `cacheable` if every name in it lasts.
    pub fn new(name: &'static str, magic: u64, cacheable: bool, root: Node) -> Arc<Pseudo> {
        let (dev, born) = (anonymous_dev(), time::real());
        Arc::new_cyclic(|me| Pseudo { name, magic, dev, cacheable, born, root, me: me.clone() })
    }

    /// An inode of this file system for a node that is reached otherwise than by names.
    pub fn inode(self: &Arc<Pseudo>, node: Node) -> Arc<dyn Inode> {
        Arc::new(PseudoInode { fs: self.clone(), node })
    }
}

impl FileSystem for Pseudo {
    fn name(&self) -> &'static str {
        self.name
    }
    fn root(&self) -> Arc<dyn Inode> {
        let Some(fs) = self.me.upgrade() else {
            unreachable!("made by new_cyclic, and called through its Arc")
        };
        fs.inode(self.root.clone())
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { magic: self.magic, bsize: 4096, namelen: 255, ..StatFs::default() })
    }
    fn cacheable(&self) -> bool {
        self.cacheable
    }
}

/// A node of a mounted pseudo file system.
pub struct PseudoInode {
    fs: Arc<Pseudo>,
    node: Node,
}

impl std::fmt::Debug for PseudoInode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{:?}", self.fs.name, self.node)
    }
}

impl PseudoInode {
    /// Its node.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

impl Inode for PseudoInode {
    fn attr(&self) -> Result<Attr> {
        let node = &self.node;
        // What lasts is as old as the mount; what passes was made when it was looked up.
        let since = if node.lasting { self.fs.born } else { time::real() };
        let nlink = match &node.what {
            What::Dir(dir) => 2 + dir.subdirs(),
            _ => 1,
        };
        Ok(Attr {
            dev: self.fs.dev,
            ino: node.ino,
            mode: node.mode | node.kind(),
            nlink,
            uid: node.uid,
            gid: node.gid,
            size: node.size,
            blksize: if self.fs.magic == super::super::proc::MAGIC { 1024 } else { 4096 },
            atime: since,
            mtime: since,
            ctime: since,
            ..Attr::default()
        })
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    /// `O_TRUNC` and utimes(2) are accepted and do nothing, everything else is refused.
    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        let refused = change.mode.is_some() || change.uid.is_some() || change.gid.is_some();
        if refused { Err(Errno::EPERM) } else { Ok(()) }
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let What::Dir(dir) = &self.node.what else { return Err(Errno::ENOTDIR) };
        Ok(self.fs.inode(dir.lookup(name)?))
    }

    /// Nothing can be made; in /proc not even the name can be looked up for that.
    fn create(&self, _: &[u8], _: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let in_proc = self.fs.magic == super::super::proc::MAGIC;
        Err(if in_proc { Errno::ENOENT } else { Errno::EPERM })
    }

    fn lasting(&self) -> bool {
        self.node.lasting
    }

    fn entries(&self, from: u64, emit: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        let What::Dir(dir) = &self.node.what else { return Err(Errno::ENOTDIR) };
        for entry in dir.list(from)? {
            let entry = DirEntry { name: entry.name, ino: entry.ino, kind: entry.kind, next: entry.place };
            if !emit(entry) {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.node.what {
            What::Link(link) => link.target(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn jump(&self) -> Option<Result<Path>> {
        match &self.node.what {
            What::Link(link) => link.jump(),
            _ => None,
        }
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        match &self.node.what {
            What::Dir(_) => Ok(Arc::new(OpenDir)),
            What::Link(_) => Err(Errno::ELOOP),
            What::File(content) => {
                content.check(flags)?;
                match content.clone().ops(flags) {
                    Some(ops) => ops,
                    None => Ok(Made::new(content.clone())),
                }
            }
        }
    }
}
