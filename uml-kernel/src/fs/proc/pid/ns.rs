//! /proc/PID/ns (namespaces(7)): magic links to the files of a small file system, as Linux's nsfs. Two processes share a namespace if
//! device and inode of their links' targets are the same.

use super::{Ask, Class};
use crate::base::{Errno, Result};
use crate::fs::pseudo::{Content, Dir, Entry, Link, Node, Pseudo};
use crate::fs::{Dentry, FileSystem, Mount, MountFlags, Path, kind};
use std::sync::Arc;

/// NSFS_MAGIC (linux/magic.h).
const MAGIC: u64 = 0x6e73_6673;

/// The file system of namespaces.
pub(in crate::fs::proc) struct Namespaces {
    fs: Arc<Pseudo>,
}

/// A namespace cannot be read.
struct Opaque;

impl Content for Opaque {
    fn read(&self) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }
}

impl Namespaces {
    pub(in crate::fs::proc) fn new() -> Namespaces {
        Namespaces { fs: Pseudo::new("nsfs", MAGIC, true, Node::file(1, 0o444, Arc::new(Opaque))) }
    }

    fn path(&self, text: &[u8], number: u32) -> Path {
        let inode = self.fs.inode(Node::file(number.into(), 0o444, Arc::new(Opaque)));
        let dentry = Dentry::root(text, inode);
        let fs: Arc<dyn FileSystem> = self.fs.clone();
        Path { mount: Mount::new(fs, dentry.clone(), "nsfs", MountFlags::empty()), dentry }
    }
}

/// The directory.
pub(super) struct NsDir(pub(super) Ask);

impl Dir for NsDir {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        self.0.alive().map_err(|_| Errno::ENOENT)?;
        let all = self.0.process.ns_ids();
        let n = all.iter().position(|(ns, _)| ns.as_bytes() == name).ok_or(Errno::ENOENT)?;
        let link = NsLink { ask: self.0.clone(), name: all[n].0, number: all[n].1 };
        Ok(Node::link(self.0.ino(Class::Ns, n as u64), Arc::new(link)).owned(self.0.owner()).passing())
    }

    fn list(&self, from: u64) -> Result<Vec<Entry>> {
        self.0.alive().map_err(|_| Errno::ENOENT)?;
        self.0.may_look()?;
        let all = self.0.process.ns_ids().into_iter().enumerate().map(|(n, (name, _))| Entry {
            name: name.into(),
            ino: self.0.ino(Class::Ns, n as u64),
            kind: kind::LNK,
            place: n as u64 + 3,
        });
        Ok(all.filter(|e| e.place > from).collect())
    }
}

struct NsLink {
    ask: Ask,
    name: &'static str,
    number: u32,
}

impl NsLink {
    /// As "mnt:[4026531840]"; that of future children is of the same type.
    fn text(&self) -> Vec<u8> {
        let name = self.name.trim_end_matches("_for_children");
        format!("{name}:[{}]", self.number).into_bytes()
    }
}

impl Link for NsLink {
    fn target(&self) -> Result<Vec<u8>> {
        self.ask.may_look()?;
        Ok(self.text())
    }
    fn jump(&self) -> Option<Result<Path>> {
        Some(self.ask.may_look().map(|()| self.ask.context.namespaces.path(&self.text(), self.number)))
    }
}
