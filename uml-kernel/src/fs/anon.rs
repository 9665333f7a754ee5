//! Nodes without a place in the tree: what pipes, sockets, epolls and the like are files of.

use super::{Attr, Dentry, FileSystem, Inode, Mount, MountFlags, Path, SetAttr, StatFs, anonymous_dev};
use crate::base::{Mutex, Rank, Result, time};
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

struct AnonFs {
    dev: u64,
}

impl FileSystem for AnonFs {
    fn name(&self) -> &'static str {
        "anon_inodefs"
    }
    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(AnonInode::new(0o600))
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { magic: 0x0904_1934, bsize: 4096, namelen: 255, ..StatFs::default() })
    }
}

fn fs() -> &'static Arc<AnonFs> {
    static FS: OnceLock<Arc<AnonFs>> = OnceLock::new();
    FS.get_or_init(|| Arc::new(AnonFs { dev: anonymous_dev() }))
}

struct AnonInode {
    attr: Mutex<Attr>,
}

impl AnonInode {
    fn new(mode: u32) -> AnonInode {
        static NEXT: AtomicU64 = AtomicU64::new(1000);
        let now = time::real();
        let attr = Attr {
            dev: fs_dev(),
            ino: NEXT.fetch_add(1, Ordering::Relaxed),
            mode,
            nlink: 1,
            blksize: 4096,
            atime: now,
            mtime: now,
            ctime: now,
            ..Attr::default()
        };
        AnonInode { attr: Mutex::new(Rank::Inode, attr) }
    }
}

fn fs_dev() -> u64 {
    static DEV: OnceLock<u64> = OnceLock::new();
    *DEV.get_or_init(anonymous_dev)
}

impl Inode for AnonInode {
    fn attr(&self) -> Result<Attr> {
        Ok(*self.attr.lock())
    }
    fn file_system(&self) -> Arc<dyn FileSystem> {
        fs().clone()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        let mut attr = self.attr.lock();
        if let Some(mode) = change.mode {
            attr.mode = attr.mode & super::kind::MASK | mode;
        }
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        Ok(())
    }
}

/// A path that leads to a fresh node and to nothing else; `name` is what /proc/PID/fd shows.
pub fn path(name: &str, mode: u32) -> Path {
    let dentry = Dentry::root(name.as_bytes(), Arc::new(AnonInode::new(mode)));
    Path { mount: Mount::new(fs().clone(), dentry.clone(), "none", MountFlags::empty()), dentry }
}

/// As [`path`], with the node's number in the name: `pipe:[1234]`.
pub fn path_of(what: &str, mode: u32) -> Path {
    let inode = AnonInode::new(mode);
    let number = inode.attr.lock().ino;
    let dentry = Dentry::root(format!("{what}:[{number}]").as_bytes(), Arc::new(inode));
    Path { mount: Mount::new(fs().clone(), dentry.clone(), "none", MountFlags::empty()), dentry }
}
