//! The inodes of a tmpfs.

use super::content::Content;
use super::{IN_MEMFDS, INODE, TmpFs};
use crate::base::{Errno, Mutex, Rank, Result, time};
use crate::fs::{
    Anchor, Attr, DirEntry, FileOps, FileSystem, Inode, NewNode, OpenFlags, RENAME_EXCHANGE, RENAME_WHITEOUT,
    SetAttr, XATTR_CREATE, XATTR_REPLACE, kind,
};
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// An inode.
#[derive(Debug)]
pub struct Node {
    fs: Arc<TmpFs>,
    me: Weak<Node>,
    inner: Mutex<Inner>,
    anchor: Anchor,
    seals: AtomicU32,
}

#[derive(Debug)]
struct Inner {
    attr: Attr,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    body: Body,
    /// Bytes that the file system counts for it. Stores through mappings show only when it is looked at next.
    charged: u64,
    /// Those of them that a memfd holds.
    in_memfd: u64,
    /// What it has of the file system's space for inodes.
    space: u64,
    /// Pages of it may come to be by stores into mappings.
    grows_unseen: bool,
}

/// Files that are mapped so that they can grow by stores.
static GROWING: Mutex<Vec<Weak<Node>>> = Mutex::new(Rank::Leaf, Vec::new());

/// Counts anew what files hold that are mapped.
pub fn recount() {
    let nodes: Vec<Arc<Node>> = {
        let mut growing = GROWING.lock();
        growing.retain(|n| n.strong_count() > 0);
        growing.iter().filter_map(Weak::upgrade).collect()
    };
    for node in nodes {
        node.charge(&mut node.inner.lock());
    }
}

#[derive(Debug)]
enum Body {
    File(Content),
    Dir(Dir),
    Link(Vec<u8>),
    Special,
}

/// Names in the order they were made, which are their cookies.
#[derive(Debug, Default)]
struct Dir {
    by_name: HashMap<Vec<u8>, u64>,
    by_cookie: BTreeMap<u64, (Vec<u8>, Arc<Node>)>,
    last: u64,
}

impl Dir {
    fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        self.by_name.get(name).and_then(|c| self.by_cookie.get(c)).map(|(_, n)| n)
    }

    fn insert(&mut self, name: &[u8], node: Arc<Node>) {
        self.last = self.last.max(2) + 1;
        self.by_name.insert(name.to_vec(), self.last);
        self.by_cookie.insert(self.last, (name.to_vec(), node));
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let cookie = self.by_name.remove(name)?;
        self.by_cookie.remove(&cookie).map(|(_, n)| n)
    }
}

/// A mode without what a write by another takes away: set-user-ID, and set-group-ID of what the group may execute.
pub fn without_setid(mode: u32) -> u32 {
    mode & !if mode & 0o2010 == 0o2010 { 0o6000 } else { 0o4000 }
}

/// `F_SEAL_` bits (linux/fcntl.h).
pub mod seal {
    /// No more seals.
    pub const SEAL: u32 = 1;
    /// It does not shrink.
    pub const SHRINK: u32 = 2;
    /// It does not grow.
    pub const GROW: u32 = 4;
    /// It is not written.
    pub const WRITE: u32 = 8;
    /// It is not written, but by mappings that are.
    pub const FUTURE_WRITE: u32 = 16;
}

impl Node {
    /// Its seals.
    pub fn seals(&self) -> u32 {
        self.seals.load(Ordering::SeqCst)
    }

    /// Lets seals be added, as MFD_ALLOW_SEALING.
    pub fn allow_sealing(&self) {
        self.seals.store(0, Ordering::SeqCst);
    }

    /// Adds seals; EPERM once sealed, EINVAL for unknown ones.
    pub fn add_seals(&self, add: u32) -> Result<()> {
        if add & !0x1f != 0 {
            return Err(Errno::EINVAL);
        }
        if self.seals() & seal::SEAL != 0 {
            return Err(Errno::EPERM);
        }
        self.seals.fetch_or(add, Ordering::SeqCst);
        Ok(())
    }

    /// EPERM if a change of length, or a write, is sealed off.
    pub(super) fn check_seals(&self, old: u64, new: u64, write: bool) -> Result<()> {
        let s = self.seals();
        let sealed = write && s & (seal::WRITE | seal::FUTURE_WRITE) != 0
            || new < old && s & seal::SHRINK != 0
            || new > old && s & seal::GROW != 0;
        if sealed { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// A new inode with one link.
    pub(super) fn new(fs: &Arc<TmpFs>, new: &NewNode<'_>) -> Arc<Node> {
        let now = time::real();
        let body = match new.mode & kind::MASK {
            kind::REG => Body::File(Content::Heap(Vec::new())),
            kind::DIR => Body::Dir(Dir::default()),
            kind::LNK => Body::Link(new.target.to_vec()),
            _ => Body::Special,
        };
        let size = if let Body::Link(target) = &body { target.len() as u64 } else { 0 };
        let attr = Attr {
            dev: fs.dev,
            ino: fs.next_ino.fetch_add(1, Ordering::Relaxed),
            mode: new.mode,
            nlink: if new.mode & kind::MASK == kind::DIR { 2 } else { 1 },
            uid: new.uid,
            gid: new.gid,
            rdev: new.rdev,
            size,
            blksize: 4096,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..Attr::default()
        };
        let inner = Inner {
            attr,
            xattrs: BTreeMap::new(),
            body,
            charged: 0,
            in_memfd: 0,
            space: 0,
            grows_unseen: false,
        };
        Arc::new_cyclic(|me| Node {
            fs: fs.clone(),
            me: me.clone(),
            inner: Mutex::new(Rank::Inode, inner),
            anchor: Anchor::default(),
            seals: AtomicU32::new(seal::SEAL),
        })
    }

    /// The same, as one of those whose number is limited: ENOSPC.
    fn take(fs: &Arc<TmpFs>, new: &NewNode<'_>) -> Result<Arc<Node>> {
        fs.take(INODE)?;
        let node = Node::new(fs, new);
        node.inner.lock().space = INODE;
        Ok(node)
    }

    /// It has no name.
    pub(super) fn unlinked(&self) {
        self.inner.lock().attr.nlink = 0;
    }

    pub(super) fn content<T>(&self, f: impl FnOnce(&Content) -> Result<T>) -> Result<T> {
        match &self.inner.lock().body {
            Body::File(content) => f(content),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn content_mut<T>(&self, f: impl FnOnce(&mut Content) -> Result<T>) -> Result<T> {
        match &mut self.inner.lock().body {
            Body::File(content) => f(content),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Changes content, and counts what it takes then.
    pub(super) fn with_content<T>(&self, f: impl FnOnce(&mut Content, &mut Attr) -> Result<T>) -> Result<T> {
        let mut inner = self.inner.lock();
        let Inner { attr, body, .. } = &mut *inner;
        let Body::File(content) = body else { return Err(Errno::EINVAL) };
        // Full is full; a file that grows beyond is cut back by nobody, but no further write begins.
        if self.fs.used.load(Ordering::Relaxed) >= self.fs.limit {
            return Err(Errno::ENOSPC);
        }
        let result = f(content, attr);
        self.charge(&mut inner);
        result
    }

    /// Counts what the content takes now.
    fn charge(&self, inner: &mut Inner) {
        let Body::File(content) = &inner.body else { return };
        let held = content.held();
        let in_memfd = if content.is_memfd() { held } else { 0 };
        IN_MEMFDS.fetch_add(in_memfd.wrapping_sub(inner.in_memfd), Ordering::Relaxed);
        if held > inner.charged {
            self.fs.grow(held - inner.charged);
        } else {
            self.fs.shrink(inner.charged - held);
        }
        (inner.charged, inner.in_memfd) = (held, in_memfd);
    }

    /// From now on [`recount`] looks at it.
    pub(super) fn watch_growth(&self) {
        let mut inner = self.inner.lock();
        if !std::mem::replace(&mut inner.grows_unseen, true) {
            GROWING.lock().push(self.me.clone());
        }
    }

    fn dir<T>(&self, f: impl FnOnce(&mut Dir, &mut Attr) -> Result<T>) -> Result<T> {
        let mut inner = self.inner.lock();
        let Inner { attr, body, .. } = &mut *inner;
        match body {
            Body::Dir(dir) => f(dir, attr),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn child(&self, name: &[u8]) -> Result<Arc<Node>> {
        self.dir(|dir, _| dir.get(name).cloned().ok_or(Errno::ENOENT))
    }

    fn is_dir(&self) -> bool {
        matches!(self.inner.lock().body, Body::Dir(_))
    }

    fn is_empty(&self) -> bool {
        matches!(&self.inner.lock().body, Body::Dir(dir) if dir.by_name.is_empty())
    }

    fn links(&self, by: i32) {
        let mut inner = self.inner.lock();
        inner.attr.nlink = inner.attr.nlink.saturating_add_signed(by);
        inner.attr.ctime = time::real();
    }

    /// Adds a name for a node; a directory's parent gains a link.
    fn enter(&self, name: &[u8], node: Arc<Node>) -> Result<()> {
        let is_dir = node.is_dir();
        self.dir(|dir, attr| {
            dir.insert(name, node);
            attr.nlink += u32::from(is_dir);
            attr.mtime = time::real();
            attr.ctime = attr.mtime;
            attr.size += 20;
            Ok(())
        })
    }

    fn leave(&self, name: &[u8]) -> Result<Arc<Node>> {
        let node = self.dir(|dir, attr| {
            let node = dir.remove(name).ok_or(Errno::ENOENT)?;
            attr.mtime = time::real();
            attr.ctime = attr.mtime;
            attr.size = attr.size.saturating_sub(20);
            Ok(node)
        })?;
        if node.is_dir() {
            self.dir(|_, attr| {
                attr.nlink = attr.nlink.saturating_sub(1);
                Ok(())
            })?;
        }
        Ok(node)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let inner = self.inner.lock();
        self.fs.shrink(inner.charged);
        self.fs.give_back(inner.space);
        IN_MEMFDS.fetch_sub(inner.in_memfd, Ordering::Relaxed);
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr> {
        let inner = self.inner.lock();
        let mut attr = inner.attr;
        if let Body::File(content) = &inner.body {
            attr.size = content.size();
            attr.blocks = content.held() / 512;
        }
        Ok(attr)
    }

    fn file_system(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        if let Some(size) = change.size {
            let now = self.content(|c| Ok(c.size()))?;
            self.check_seals(now, size, false)?;
            self.with_content(|content, attr| {
                attr.mtime = time::real();
                attr.mode = without_setid(attr.mode);
                content.resize(size)
            })?;
        }
        let mut inner = self.inner.lock();
        let attr = &mut inner.attr;
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
        self.child(name).map(|n| n as Arc<dyn Inode>)
    }

    fn create(&self, name: &[u8], new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let _tree = self.fs.tree.lock();
        if self.child(name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let node = Node::take(&self.fs, new)?;
        self.enter(name, node.clone())?;
        Ok(node)
    }

    fn create_unnamed(&self, new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let node = Node::take(&self.fs, new)?;
        node.unlinked();
        Ok(node)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let _tree = self.fs.tree.lock();
        let target = self.own(target)?;
        if self.child(name).is_ok() {
            return Err(Errno::EEXIST);
        }
        target.links(1);
        self.enter(name, target)
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        let _tree = self.fs.tree.lock();
        if self.child(name)?.is_dir() {
            return Err(Errno::EISDIR);
        }
        let gone = self.leave(name)?;
        gone.links(-1);
        Ok(())
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        let _tree = self.fs.tree.lock();
        let child = self.child(name)?;
        if !child.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if !child.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        let gone = self.leave(name)?;
        gone.links(-2);
        Ok(())
    }

    fn rename(&self, name: &[u8], to: &Arc<dyn Inode>, to_name: &[u8], flags: u32) -> Result<()> {
        let _tree = self.fs.tree.lock();
        let to = self.own(to)?;
        let source = self.child(name)?;
        let target = to.child(to_name).ok();
        if flags & RENAME_EXCHANGE != 0 {
            let target = target.ok_or(Errno::ENOENT)?;
            self.leave(name)?;
            to.leave(to_name)?;
            self.enter(name, target)?;
            return to.enter(to_name, source);
        }
        if let Some(target) = target {
            if Arc::ptr_eq(&target, &source) {
                return Ok(());
            }
            match (source.is_dir(), target.is_dir()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !target.is_empty() => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
            to.leave(to_name)?;
            target.links(if target.is_dir() { -2 } else { -1 });
        }
        self.leave(name)?;
        if flags & RENAME_WHITEOUT != 0 {
            let new = NewNode { mode: kind::CHR, rdev: 0, uid: 0, gid: 0, target: b"" };
            self.enter(name, Node::new(&self.fs, &new))?;
        }
        source.inner.lock().attr.ctime = time::real();
        to.enter(to_name, source)
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.inner.lock().body {
            Body::Link(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn entries(&self, from: u64, emit: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        let list: Vec<(u64, Vec<u8>, Arc<Node>)> = self.dir(|dir, _| {
            let after = dir.by_cookie.range(from + 1..);
            Ok(after.map(|(cookie, (name, node))| (*cookie, name.clone(), node.clone())).collect())
        })?;
        for (next, name, node) in list {
            let attr = node.inner.lock().attr;
            if !emit(DirEntry { name, ino: attr.ino, kind: attr.kind(), next }) {
                break;
            }
        }
        Ok(())
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(self.open_content(flags))
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.inner.lock().xattrs.get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let mut inner = self.inner.lock();
        let exists = inner.xattrs.contains_key(name);
        if flags & XATTR_CREATE != 0 && exists {
            return Err(Errno::EEXIST);
        }
        if flags & XATTR_REPLACE != 0 && !exists {
            return Err(Errno::ENODATA);
        }
        let total: usize = inner.xattrs.iter().map(|(k, v)| k.len() + v.len()).sum();
        if total + name.len() + value.len() > 128 << 10 {
            return Err(Errno::ENOSPC);
        }
        let bytes = (name.len() + value.len()) as u64;
        self.fs.take(bytes)?;
        inner.space += bytes;
        if let Some(old) = inner.xattrs.insert(name.to_vec(), value.to_vec()) {
            let bytes = (name.len() + old.len()) as u64;
            self.fs.give_back(bytes);
            inner.space -= bytes;
        }
        inner.attr.ctime = time::real();
        Ok(())
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        let mut inner = self.inner.lock();
        let old = inner.xattrs.remove(name).ok_or(Errno::ENODATA)?;
        let bytes = (name.len() + old.len()) as u64;
        self.fs.give_back(bytes);
        inner.space -= bytes;
        inner.attr.ctime = time::real();
        Ok(())
    }

    fn xattrs(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.inner.lock().xattrs.keys().cloned().collect())
    }

    fn anchor(&self) -> Option<&Anchor> {
        Some(&self.anchor)
    }
}

impl Node {
    /// An inode as one of this file system; EXDEV.
    fn own(&self, inode: &Arc<dyn Inode>) -> Result<Arc<Node>> {
        let node = inode.as_any().downcast_ref::<Node>().filter(|n| Arc::ptr_eq(&n.fs, &self.fs));
        node.and_then(|n| n.me.upgrade()).ok_or(Errno::EXDEV)
    }
}
