//! The merged inodes.

use super::Overlay;
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::{
    Anchor, Attr, DirEntry, FileOps, FileSystem, Inode, NewNode, OpenFlags, RENAME_EXCHANGE,
    RENAME_NOREPLACE, SetAttr, kind,
};
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

/// Marks the inode numbers of what is in the upper layer only: the two layers number alike.
const UPPER_INO: u64 = 1 << 52;

/// An inode of either layer, or of both.
pub(super) struct Node {
    fs: Arc<Overlay>,
    me: Weak<Node>,
    inner: Mutex<Inner>,
    lower: Option<Arc<dyn Inode>>,
    anchor: Anchor,
    /// Nodes of names in this directory that somebody holds: one name, one node, or a copy made of one would not be
    /// seen through the other.
    children: Mutex<HashMap<Vec<u8>, Weak<Node>>>,
}

struct Inner {
    upper: Option<Arc<dyn Inode>>,
    place: Option<(Arc<Node>, Vec<u8>)>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("overlay node")
    }
}

impl Node {
    /// A node found at a place.
    pub(super) fn new(
        fs: &Arc<Overlay>,
        place: Option<(Arc<Node>, Vec<u8>)>,
        upper: Option<Arc<dyn Inode>>,
        lower: Option<Arc<dyn Inode>>,
    ) -> Arc<Node> {
        Arc::new_cyclic(|me| Node {
            fs: fs.clone(),
            me: me.clone(),
            inner: Mutex::new(Rank::Leaf, Inner { upper, place }),
            lower,
            anchor: Anchor::default(),
            children: Mutex::new(Rank::Leaf, HashMap::new()),
        })
    }

    pub(super) fn upper(&self) -> Option<Arc<dyn Inode>> {
        self.inner.lock().upper.clone()
    }

    pub(super) fn lower(&self) -> Option<Arc<dyn Inode>> {
        self.lower.clone()
    }

    pub(super) fn place(&self) -> Option<(Arc<Node>, Vec<u8>)> {
        self.inner.lock().place.clone()
    }

    pub(super) fn set_upper(&self, upper: Arc<dyn Inode>) {
        self.inner.lock().upper = Some(upper);
    }

    /// What counts: the upper, or else the lower.
    fn real(&self) -> Result<Arc<dyn Inode>> {
        self.upper().or_else(|| self.lower.clone()).ok_or(Errno::ESTALE)
    }

    /// The lower directory, unless the upper one hides it.
    fn lower_dir(&self) -> Option<Arc<dyn Inode>> {
        let lower = self.lower.clone()?;
        match self.upper() {
            Some(upper) if self.fs.is_opaque(&upper) => None,
            _ => Some(lower),
        }
    }

    /// What the lower layer has under a name.
    fn lower_child(&self, name: &[u8]) -> Option<Arc<dyn Inode>> {
        self.lower_dir()?.lookup(name).ok()
    }

    /// What the upper layer has under a name, and whether that is a whiteout.
    fn upper_child(&self, name: &[u8]) -> Result<Option<(Arc<dyn Inode>, bool)>> {
        let Some(upper) = self.upper() else { return Ok(None) };
        match upper.lookup(name) {
            Ok(child) => {
                let white = self.fs.is_whiteout(&child.attr()?, &child);
                Ok(Some((child, white)))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn child(&self, name: &[u8]) -> Result<Arc<Node>> {
        let known = self.children.lock().get(name).and_then(Weak::upgrade);
        if let Some(node) = known {
            return Ok(node);
        }
        let node = self.find(name)?;
        Ok(self.remember(name, node))
    }

    /// Keeps a node for as long as somebody holds it; another's, if that was quicker.
    fn remember(&self, name: &[u8], node: Arc<Node>) -> Arc<Node> {
        let mut children = self.children.lock();
        if children.len() >= 64 && children.len().is_power_of_two() {
            children.retain(|_, w| w.strong_count() > 0);
        }
        if let Some(there) = children.get(name).and_then(Weak::upgrade) {
            return there;
        }
        children.insert(name.to_vec(), Arc::downgrade(&node));
        node
    }

    fn forget(&self, name: &[u8]) {
        self.children.lock().remove(name);
    }

    fn find(&self, name: &[u8]) -> Result<Arc<Node>> {
        let place = self.me.upgrade().map(|me| (me, name.to_vec()));
        match self.upper_child(name)? {
            Some((_, true)) => Err(Errno::ENOENT),
            Some((upper, false)) => {
                let attr = upper.attr()?;
                // Below a directory there may be more of it; below a file, only the number that it keeps.
                let lower =
                    self.lower_child(name).filter(|l| l.attr().is_ok_and(|a| a.kind() == attr.kind()));
                Ok(Node::new(&self.fs, place, Some(upper), lower))
            }
            None => {
                let lower = self.lower_dir().ok_or(Errno::ENOENT)?.lookup(name)?;
                Ok(Node::new(&self.fs, place, None, Some(lower)))
            }
        }
    }

    fn own<'a>(&self, inode: &'a Arc<dyn Inode>) -> Result<&'a Node> {
        inode.as_any().downcast_ref::<Node>().filter(|n| Arc::ptr_eq(&n.fs, &self.fs)).ok_or(Errno::EXDEV)
    }

    /// Takes a name away: from the upper layer, and the lower's by a whiteout.
    fn take_away(&self, name: &[u8], dir: bool) -> Result<()> {
        let upper_dir = self.copy_up(true)?;
        self.forget(name);
        let hides = self.lower_child(name).is_some();
        if let Some((child, false)) = self.upper_child(name)? {
            if dir {
                self.fs.clear_whiteouts(&child)?;
                upper_dir.rmdir(name)?;
            } else {
                upper_dir.unlink(name)?;
            }
        }
        if hides { self.fs.put_whiteout(&upper_dir, name) } else { Ok(()) }
    }

    /// It has another name now.
    fn moved(self: &Arc<Node>, from: &Node, name: &[u8], to: &Node, to_name: &[u8]) {
        let was_here = from.children.lock().get(name).is_some_and(|w| w.as_ptr() == Arc::as_ptr(self));
        if was_here {
            from.forget(name);
        }
        to.children.lock().insert(to_name.to_vec(), Arc::downgrade(self));
        let place = to.me.upgrade().map(|to| (to, to_name.to_vec()));
        // The old place may be the last to hold its directory.
        let old = std::mem::replace(&mut self.inner.lock().place, place);
        drop(old);
    }

    fn is_merged_empty(&self) -> Result<bool> {
        let mut empty = true;
        Inode::entries(self, 0, &mut |_| {
            empty = false;
            false
        })?;
        Ok(empty)
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr> {
        let upper = self.upper();
        let mut attr = match &upper {
            Some(upper) => upper.attr()?,
            None => self.lower.as_ref().ok_or(Errno::ESTALE)?.attr()?,
        };
        attr.dev = self.fs.dev;
        if upper.is_some() {
            attr.ino = match &self.lower {
                Some(lower) => lower.attr()?.ino,
                None => attr.ino | UPPER_INO,
            };
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
        let _change = self.fs.change.lock();
        self.copy_up(change.size != Some(0))?.set_attr(change)
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.child(name).map(|n| n as Arc<dyn Inode>)
    }

    fn create(&self, name: &[u8], new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let _change = self.fs.change.lock();
        let dir = self.copy_up(true)?;
        let white = match self.upper_child(name)? {
            Some((_, true)) => true,
            Some((_, false)) => return Err(Errno::EEXIST),
            None if self.lower_child(name).is_some() => return Err(Errno::EEXIST),
            None => false,
        };
        if white {
            dir.unlink(name)?;
        }
        let made = dir.create(name, new);
        let upper = match made {
            Ok(upper) => upper,
            Err(e) => {
                if white {
                    self.fs.put_whiteout(&dir, name)?;
                }
                return Err(e);
            }
        };
        if white && new.mode & kind::MASK == kind::DIR {
            self.fs.set_opaque(&upper)?;
        }
        let place = self.me.upgrade().map(|me| (me, name.to_vec()));
        self.forget(name);
        Ok(self.remember(name, Node::new(&self.fs, place, Some(upper), None)))
    }

    fn create_unnamed(&self, new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let _change = self.fs.change.lock();
        let upper = self.copy_up(true)?.create_unnamed(new)?;
        Ok(Node::new(&self.fs, None, Some(upper), None))
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let _change = self.fs.change.lock();
        let target = self.own(target)?.copy_up(true)?;
        let dir = self.copy_up(true)?;
        if let Some((_, white)) = self.upper_child(name)? {
            if !white {
                return Err(Errno::EEXIST);
            }
            dir.unlink(name)?;
        }
        self.forget(name);
        dir.link(name, &target)
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        let _change = self.fs.change.lock();
        if self.child(name)?.real()?.attr()?.is_dir() {
            return Err(Errno::EISDIR);
        }
        self.take_away(name, false)
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        let _change = self.fs.change.lock();
        let child = self.child(name)?;
        if !child.real()?.attr()?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if !child.is_merged_empty()? {
            return Err(Errno::ENOTEMPTY);
        }
        self.take_away(name, true)
    }

    fn rename(&self, name: &[u8], to: &Arc<dyn Inode>, to_name: &[u8], flags: u32) -> Result<()> {
        let _change = self.fs.change.lock();
        let to = self.own(to)?;
        let source = self.child(name)?;
        let is_dir = source.real()?.attr()?.is_dir();
        let target = match to.child(to_name) {
            Ok(target) => Some(target),
            Err(Errno::ENOENT) => None,
            Err(e) => return Err(e),
        };
        if flags & RENAME_NOREPLACE != 0 && target.is_some() {
            return Err(Errno::EEXIST);
        }
        // A directory of the lower layer stays where it is: who moves it copies it (redirect_dir=off).
        let merged =
            |n: &Node| n.lower.is_some() && n.real().and_then(|r| r.attr()).is_ok_and(|a| a.is_dir());
        if merged(&source) || (flags & RENAME_EXCHANGE != 0 && target.as_ref().is_some_and(|t| merged(t))) {
            return Err(Errno::EXDEV);
        }
        if let Some(target) = target.as_ref().filter(|_| flags & RENAME_EXCHANGE == 0) {
            let target_dir = target.real()?.attr()?.is_dir();
            match (is_dir, target_dir) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !target.is_merged_empty()? => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
        }
        let upper_source = source.copy_up(true)?;
        let (from_dir, to_dir) = (self.copy_up(true)?, to.copy_up(true)?);
        if flags & RENAME_EXCHANGE != 0 {
            let target = target.ok_or(Errno::ENOENT)?;
            target.copy_up(true)?;
            from_dir.rename(name, &to_dir, to_name, flags)?;
            target.moved(to, to_name, self, name);
            source.moved(self, name, to, to_name);
            return Ok(());
        }
        let hides_source = self.lower_child(name).is_some();
        let hides_target = to.lower_child(to_name).is_some();
        match to.upper_child(to_name)? {
            // What is replaced may not fit what replaces it: whiteouts are files.
            Some((_, true)) => to_dir.unlink(to_name)?,
            Some((child, false)) if is_dir => {
                to.fs.clear_whiteouts(&child)?;
            }
            _ => {}
        }
        from_dir.rename(name, &to_dir, to_name, 0)?;
        if is_dir && hides_target {
            self.fs.set_opaque(&upper_source)?;
        }
        source.moved(self, name, to, to_name);
        if hides_source {
            self.fs.put_whiteout(&from_dir, name)?;
        }
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        self.real()?.read_link()
    }

    fn entries(&self, _from: u64, emit: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        let mut hidden = HashSet::new();
        if let Some(upper) = self.upper() {
            let mut list = Vec::new();
            upper.entries(0, &mut |e| {
                list.push(e);
                true
            })?;
            for mut entry in list {
                let maybe_white = matches!(entry.kind, kind::CHR | kind::REG | 0);
                let white = maybe_white && self.upper_child(&entry.name)?.is_some_and(|(_, w)| w);
                let name = entry.name.clone();
                entry.ino |= UPPER_INO;
                if !white && !emit(entry) {
                    return Ok(());
                }
                hidden.insert(name);
            }
        }
        match self.lower_dir() {
            Some(lower) => lower.entries(0, &mut |entry| hidden.contains(&entry.name) || emit(entry)),
            None => Ok(()),
        }
    }

    fn entries_are_a_list(&self) -> bool {
        // The positions of two file systems cannot be told apart: each uses all 64 bits.
        true
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        if flags.writes() {
            let _change = self.fs.change.lock();
            return self.copy_up(!flags.contains(OpenFlags::TRUNC))?.open(flags);
        }
        self.real()?.open(flags)
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        if self.fs.is_mark(name) { Err(Errno::ENODATA) } else { self.real()?.xattr(name) }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        if self.fs.is_mark(name) {
            return Err(Errno::EPERM);
        }
        let _change = self.fs.change.lock();
        self.copy_up(true)?.set_xattr(name, value, flags)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        let _change = self.fs.change.lock();
        self.copy_up(true)?.remove_xattr(name)
    }

    fn xattrs(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = self.real()?.xattrs()?;
        names.retain(|n| !self.fs.is_mark(n));
        Ok(names)
    }

    fn anchor(&self) -> Option<&Anchor> {
        Some(&self.anchor)
    }
}
