//! A directory of the host as a file system: opened once, resolved beneath that descriptor one name at a time, no link
//! followed by the host.

mod content;
mod node;
mod owner;

use super::{FileSystem, Inode, StatFs, anonymous_dev};
use crate::base::{Mutex, Rank, Result};
use node::Node;
use rustix::fs::{Mode, OFlags};
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Weak};

/// A host directory.
#[derive(Debug)]
pub struct HostFs {
    writable: bool,
    root: Mutex<Option<Arc<Node>>>,
    /// The device numbers that the guest sees, by the host's.
    devs: Mutex<HashMap<u64, u64>>,
    dev: u64,
    /// Inodes in use, by the host's device and number: hard links are one.
    inodes: Mutex<HashMap<(u64, u64), Weak<Node>>>,
    /// Nodes that have a descriptor, the oldest first.
    open: Mutex<VecDeque<Weak<Node>>>,
}

/// Descriptors that one file system keeps, beside those of open files.
const MANY: usize = 400;

impl HostFs {
    /// Opens a directory of the host. Without `writable` nothing of it is ever changed.
    pub fn open(dir: &Path, writable: bool) -> Result<Arc<HostFs>> {
        let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let dev = anonymous_dev();
        let fs = Arc::new(HostFs {
            writable,
            root: Mutex::new(Rank::Leaf, None),
            devs: Mutex::new(Rank::Leaf, HashMap::new()),
            dev,
            inodes: Mutex::new(Rank::Leaf, HashMap::new()),
            open: Mutex::new(Rank::Leaf, VecDeque::new()),
        });
        let host = rustix::fs::fstat(&fd)?.st_dev;
        fs.devs.lock().insert(host, dev);
        *fs.root.lock() = Some(Node::root(&fs, fd));
        Ok(fs)
    }

    /// A node has opened a descriptor: another, that has had its one for long, gives it up.
    fn opened(&self, node: &Weak<Node>) -> Option<Arc<Node>> {
        let mut open = self.open.lock();
        open.push_back(node.clone());
        if open.len() <= MANY { None } else { open.pop_front()?.upgrade() }
    }

    /// The guest's number for a device of the host's.
    fn dev_of(&self, host: u64) -> u64 {
        *self.devs.lock().entry(host).or_insert_with(anonymous_dev)
    }
}

impl FileSystem for HostFs {
    fn name(&self) -> &'static str {
        "hostfs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        match self.root.lock().clone() {
            Some(root) => root,
            None => unreachable!("set by open"),
        }
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn statfs(&self) -> Result<StatFs> {
        let root = self.root.lock().clone();
        let s = match root {
            Some(root) => rustix::fs::fstatfs(root.directory()?)?,
            None => return Ok(StatFs::default()),
        };
        Ok(StatFs {
            magic: 0x00c0_ffee,
            bsize: s.f_bsize as u64,
            blocks: s.f_blocks,
            bfree: s.f_bfree,
            bavail: s.f_bavail,
            files: s.f_files,
            ffree: s.f_ffree,
            namelen: 255,
        })
    }

    fn sync(&self) -> Result<()> {
        if self.writable {
            rustix::fs::sync();
        }
        Ok(())
    }
}
