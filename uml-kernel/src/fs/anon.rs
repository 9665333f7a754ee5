//! Nodes without a place in any tree: pipes, sockets, and the files of `eventfd` and its kind.
//!
//! Each kind has an internal file system and one mount of it, as Linux's pipefs, sockfs and anon_inodefs; a node's dentry is a root of its
//! own whose name is what /proc/PID/fd shows.

use super::{
    Anchor, Attr, Dentry, File, FileOps, FileSystem, Inode, Mount, MountFlags, OpenFlags, Path, SetAttr,
    StatFs, anonymous_dev, kind,
};
use crate::base::{Errno, Mutex, Rank, Result, time};
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Which internal file system a node belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnonKind {
    /// Pipes.
    Pipe,
    /// Sockets.
    Socket,
    /// Everything else; they all share one inode.
    Other,
}

struct AnonFs {
    kind: AnonKind,
    dev: u64,
    root: OnceLock<Arc<AnonInode>>,
}

impl FileSystem for AnonFs {
    fn name(&self) -> &'static str {
        match self.kind {
            AnonKind::Pipe => "pipefs",
            AnonKind::Socket => "sockfs",
            AnonKind::Other => "anon_inodefs",
        }
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root.get_or_init(|| AnonInode::make(self.kind, kind::DIR | 0o555, 0, 0)).clone()
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn statfs(&self) -> Result<StatFs> {
        // linux/magic.h
        let magic = match self.kind {
            AnonKind::Pipe => 0x5049_5045,
            AnonKind::Socket => 0x534f_434b,
            AnonKind::Other => 0x0904_1934,
        };
        Ok(StatFs { magic, bsize: 4096, namelen: 255, ..StatFs::default() })
    }
}

struct Instance {
    fs: Arc<AnonFs>,
    mount: Arc<Mount>,
}

fn instance(kind: AnonKind) -> &'static Instance {
    static PIPE: OnceLock<Instance> = OnceLock::new();
    static SOCKET: OnceLock<Instance> = OnceLock::new();
    static OTHER: OnceLock<Instance> = OnceLock::new();
    let slot = match kind {
        AnonKind::Pipe => &PIPE,
        AnonKind::Socket => &SOCKET,
        AnonKind::Other => &OTHER,
    };
    slot.get_or_init(|| {
        let fs = Arc::new(AnonFs { kind, dev: anonymous_dev(), root: OnceLock::new() });
        // Not the root inode: that would ask for this instance again.
        let inode = AnonInode::make(kind, kind::DIR | 0o555, 0, 0);
        let root = Dentry::root(b"/", inode);
        let mount = Mount::new(fs.clone(), root, fs.name(), MountFlags::KERNMOUNT);
        Instance { fs, mount }
    })
}

/// A node without a place.
#[derive(Debug)]
pub struct AnonInode {
    kind: AnonKind,
    ino: u64,
    attr: Mutex<Attr>,
    anchor: Anchor,
}

impl AnonInode {
    fn make(kind: AnonKind, mode: u32, uid: u32, gid: u32) -> Arc<AnonInode> {
        static NEXT: AtomicU64 = AtomicU64::new(1000);
        let ino = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = time::real();
        let attr = Attr {
            ino,
            mode,
            nlink: 1,
            uid,
            gid,
            blksize: 4096,
            atime: now,
            mtime: now,
            ctime: now,
            ..Attr::default()
        };
        Arc::new(AnonInode { kind, ino, attr: Mutex::new(Rank::Leaf, attr), anchor: Anchor::default() })
    }

    /// Its number.
    pub fn ino(&self) -> u64 {
        self.ino
    }
}

impl Inode for AnonInode {
    fn attr(&self) -> Result<Attr> {
        let mut attr = *self.attr.lock();
        attr.dev = instance(self.kind).fs.dev;
        Ok(attr)
    }
    fn file_system(&self) -> Arc<dyn FileSystem> {
        instance(self.kind).fs.clone()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        if self.kind == AnonKind::Other {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut attr = self.attr.lock();
        if let Some(mode) = change.mode {
            attr.mode = attr.mode & kind::MASK | mode & 0o7777;
        }
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        attr.atime = change.atime.unwrap_or(attr.atime);
        attr.mtime = change.mtime.unwrap_or(attr.mtime);
        attr.ctime = time::real();
        Ok(())
    }
    fn anchor(&self) -> Option<&Anchor> {
        Some(&self.anchor)
    }
}

/// A path to a new pipe's or socket's inode, named `pipe:[INO]` or `socket:[INO]`; `mode` with its type.
pub fn new_path(kind: AnonKind, mode: u32, uid: u32, gid: u32) -> Path {
    let inode = AnonInode::make(kind, mode, uid, gid);
    let what = if kind == AnonKind::Pipe { "pipe" } else { "socket" };
    let name = format!("{what}:[{}]", inode.ino);
    Path { mount: instance(kind).mount.clone(), dentry: Dentry::root(name.as_bytes(), inode) }
}

/// A file that is neither: named `anon_inode:WHAT`, where `what` has brackets as Linux has them (`[eventpoll]`, but `inotify`).
pub fn new_file(what: &str, ops: Arc<dyn FileOps>, flags: OpenFlags) -> Arc<File> {
    static SHARED: OnceLock<Arc<AnonInode>> = OnceLock::new();
    let inode = SHARED.get_or_init(|| AnonInode::make(AnonKind::Other, 0o600, 0, 0)).clone();
    let name = format!("anon_inode:{what}");
    let dentry = Dentry::root(name.as_bytes(), inode);
    File::new(ops, Path { mount: instance(AnonKind::Other).mount.clone(), dentry }, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let a = new_path(AnonKind::Pipe, kind::FIFO | 0o600, 5, 6);
        let b = new_path(AnonKind::Socket, kind::SOCK | 0o777, 0, 0);
        let attr = a.inode().attr().unwrap();
        assert_eq!((attr.kind(), attr.uid, attr.gid), (kind::FIFO, 5, 6));
        assert_ne!(attr.dev, b.inode().attr().unwrap().dev);
        assert_eq!(a.text(&b), Some(format!("pipe:[{}]", attr.ino).into_bytes()));
        assert_eq!(a.inode().file_system().name(), "pipefs");
        a.inode().set_attr(&SetAttr { mode: Some(0o640), ..SetAttr::default() }).unwrap();
        assert_eq!(a.inode().attr().unwrap().mode, kind::FIFO | 0o640);
    }
}
