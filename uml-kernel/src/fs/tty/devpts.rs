//! devpts: the directory of pseudo-terminals, Documentation/filesystems/devpts.rst.

use super::Tty;
use crate::base::{Errno, Mutex, Rank, Result, Timespec, time};
use crate::fs::{
    Attr, Dentry, DirEntry, FileSystem, Inode, Path, SetAttr, StatFs, anonymous_dev, kind, makedev,
};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Magic number (linux/magic.h).
const MAGIC: u64 = 0x1cd1;
/// Pairs there may be at once (`pty_limit`, and numbers of majors 136 to 143).
const LIMIT: u32 = 4096;
const INO_ROOT: u64 = 1;
const INO_PTMX: u64 = 2;
/// Pair 0 has number 3.
const INO_FIRST: u64 = 3;

/// How the nodes look: `mount -o uid=,gid=,mode=,ptmxmode=`.
#[derive(Debug, Clone, Copy)]
pub struct PtsOptions {
    /// Owner of the nodes; of the opener if not given.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Permissions of the nodes.
    pub mode: u32,
    /// Permissions of `ptmx`.
    pub ptmxmode: u32,
}

impl Default for PtsOptions {
    fn default() -> PtsOptions {
        PtsOptions { uid: None, gid: None, mode: 0o600, ptmxmode: 0 }
    }
}

/// One mounted devpts.
pub struct DevPts {
    dev: u64,
    options: PtsOptions,
    pairs: Mutex<BTreeMap<u32, Arc<PtsNode>>>,
    root: Arc<PtsNode>,
    ptmx: Arc<PtsNode>,
}

impl std::fmt::Debug for DevPts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("devpts")
    }
}

/// A node of it.
pub struct PtsNode {
    fs: Weak<DevPts>,
    attr: Mutex<Attr>,
    tty: Option<Arc<Tty>>,
}

/// A pair's place in its file system.
#[derive(Debug)]
pub(super) struct Slot {
    fs: Arc<DevPts>,
    number: u32,
    tty: Arc<Tty>,
}

impl Slot {
    pub(super) fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Takes the node out of the directory.
    pub(super) fn free(&self) {
        self.fs.pairs.lock().remove(&self.number);
    }

    /// The slave's path, from the `ptmx` that was opened.
    pub(super) fn path(&self, ptmx: &Path) -> Option<Path> {
        let root = DevPts::root_near(ptmx)?;
        let node: Arc<dyn Inode> = self.fs.pairs.lock().get(&self.number)?.clone();
        let name = self.number.to_string();
        let dentry =
            root.dentry.child(name.as_bytes()).ok().unwrap_or_else(|| Dentry::root(name.as_bytes(), node));
        Some(Path { mount: root.mount, dentry })
    }
}

/// The terminal whose node a path leads to.
pub(super) fn tty_of(path: &Path) -> Option<Arc<Tty>> {
    path.inode().as_any().downcast_ref::<PtsNode>()?.tty.clone()
}

impl DevPts {
    /// An empty one.
    pub fn new(options: PtsOptions) -> Arc<DevPts> {
        let dev = anonymous_dev();
        Arc::new_cyclic(|fs| {
            let node = |ino, mode, rdev, nlink| {
                let now = time::real();
                let (uid, gid) = (options.uid.unwrap_or(0), options.gid.unwrap_or(0));
                let (uid, gid) = if ino == INO_ROOT { (0, 0) } else { (uid, gid) };
                PtsNode::new(fs.clone(), attr(dev, ino, mode, rdev, nlink, (uid, gid), now), None)
            };
            DevPts {
                dev,
                options,
                pairs: Mutex::new(Rank::Inode, BTreeMap::new()),
                root: node(INO_ROOT, kind::DIR | 0o755, 0, 2),
                ptmx: node(INO_PTMX, kind::CHR | options.ptmxmode, makedev(5, 2), 1),
            }
        })
    }

    /// Puts a terminal at a number: the console.
    pub fn put(self: &Arc<DevPts>, number: u32, tty: Arc<Tty>, uid: u32, gid: u32) {
        let ids = (self.options.uid.unwrap_or(uid), self.options.gid.unwrap_or(gid));
        let rdev = makedev(136, number.into());
        let ino = INO_FIRST + u64::from(number);
        let attr = attr(self.dev, ino, kind::CHR | self.options.mode, rdev, 1, ids, time::real());
        self.pairs.lock().insert(number, PtsNode::new(Arc::downgrade(self), attr, Some(tty)));
    }

    /// Makes a terminal with the lowest free number; ENOSPC.
    pub(super) fn allocate(self: &Arc<DevPts>, make: impl FnOnce(u64) -> Arc<Tty>) -> Result<Slot> {
        let (uid, gid) = super::job::user();
        let number = {
            let pairs = self.pairs.lock();
            (0..LIMIT).find(|n| !pairs.contains_key(n)).ok_or(Errno::ENOSPC)?
        };
        let tty = make(makedev(136, number.into()));
        self.put(number, tty.clone(), uid, gid);
        Ok(Slot { fs: self.clone(), number, tty })
    }

    /// The devpts that a `ptmx` belongs to: the one it lies in, or the one mounted on `pts` beside it.
    pub(super) fn near(ptmx: &Path) -> Option<Arc<DevPts>> {
        let root = DevPts::root_near(ptmx)?;
        root.inode().as_any().downcast_ref::<PtsNode>()?.fs.upgrade()
    }

    fn root_near(ptmx: &Path) -> Option<Path> {
        if ptmx.inode().as_any().is::<PtsNode>() {
            let dentry = ptmx.dentry.parent()?;
            return Some(Path { mount: ptmx.mount.clone(), dentry });
        }
        let dentry = ptmx.dentry.parent()?.child(b"pts").ok()?;
        Some(super::job::cross(Path { mount: ptmx.mount.clone(), dentry }))
    }
}

fn attr(dev: u64, ino: u64, mode: u32, rdev: u64, nlink: u32, (uid, gid): (u32, u32), now: Timespec) -> Attr {
    Attr {
        dev,
        ino,
        mode,
        rdev,
        nlink,
        uid,
        gid,
        blksize: 1024,
        atime: now,
        mtime: now,
        ctime: now,
        ..Attr::default()
    }
}

impl PtsNode {
    fn new(fs: Weak<DevPts>, attr: Attr, tty: Option<Arc<Tty>>) -> Arc<PtsNode> {
        Arc::new(PtsNode { fs, attr: Mutex::new(Rank::Leaf, attr), tty })
    }

    fn fs(&self) -> Result<Arc<DevPts>> {
        self.fs.upgrade().ok_or(Errno::EIO)
    }
}

impl FileSystem for DevPts {
    fn name(&self) -> &'static str {
        "devpts"
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { magic: MAGIC, bsize: 4096, namelen: 255, ..StatFs::default() })
    }
    fn cacheable(&self) -> bool {
        false
    }
    fn options(&self) -> String {
        let PtsOptions { uid, gid, mode, ptmxmode } = self.options;
        let id = |name: &str, id: Option<u32>| id.map_or(String::new(), |id| format!(",{name}={id}"));
        format!("{}{},mode={mode:03o},ptmxmode={ptmxmode:03o}", id("uid", uid), id("gid", gid))
    }
}

impl Inode for PtsNode {
    fn attr(&self) -> Result<Attr> {
        Ok(*self.attr.lock())
    }
    fn file_system(&self) -> Arc<dyn FileSystem> {
        match self.fs.upgrade() {
            Some(fs) => fs,
            // Whoever holds a node holds its mount, or the slot of its pair.
            None => unreachable!("a node outlived its devpts"),
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn set_attr(&self, change: &SetAttr) -> Result<()> {
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
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if self.attr.lock().ino != INO_ROOT {
            return Err(Errno::ENOTDIR);
        }
        let fs = self.fs()?;
        if name == b"ptmx" {
            return Ok(fs.ptmx.clone());
        }
        let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let number: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
        if number.to_string() != text {
            return Err(Errno::ENOENT);
        }
        let found = fs.pairs.lock().get(&number).cloned();
        found.map(|node| -> Arc<dyn Inode> { node }).ok_or(Errno::ENOENT)
    }
    fn entries(&self, from: u64, emit: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        if self.attr.lock().ino != INO_ROOT {
            return Err(Errno::ENOTDIR);
        }
        let fs = self.fs()?;
        let numbers: Vec<u32> = fs.pairs.lock().keys().copied().collect();
        let ptmx = (b"ptmx".to_vec(), INO_PTMX);
        let pairs = numbers.into_iter().map(|n| (n.to_string().into_bytes(), INO_FIRST + u64::from(n)));
        for (name, ino) in std::iter::once(ptmx).chain(pairs) {
            // An entry's place is its inode's number, and one.
            if ino < from {
                continue;
            }
            if !emit(DirEntry { name, ino, kind: kind::CHR, next: ino + 1 }) {
                break;
            }
        }
        Ok(())
    }
}
