//! One inode in use.

use super::content::Mapped;
use super::{ExtFs, errno};
use crate::base::time::Timespec;
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::{
    Anchor, Attr, DirEntry, FileOps, FileSystem, Inode, NewNode, OpenFlags, SetAttr, XATTR_CREATE,
    XATTR_REPLACE, kind, major, makedev, minor,
};
use ext::{Changes, InodeNumber, NewInode, RenameFlags, Time, XattrMode};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An inode of a disk.
pub(super) struct Node {
    pub(super) fs: Arc<ExtFs>,
    number: InodeNumber,
    /// It has no name any more.
    unnamed: AtomicBool,
    pub(super) mapped: Mutex<Option<Mapped>>,
    /// Its attributes, and the stamp with which they were taken.
    known: parking_lot::Mutex<Option<(u64, Attr)>>,
    anchor: Anchor,
}

fn time(t: Time) -> Timespec {
    Timespec { sec: t.sec, nsec: t.nsec.into() }
}

fn back(t: Timespec) -> Time {
    Time { sec: t.sec, nsec: t.nsec as u32 }
}

impl Node {
    pub(super) fn new(fs: Arc<ExtFs>, number: InodeNumber) -> Arc<Node> {
        Arc::new(Node {
            fs,
            number,
            unnamed: AtomicBool::new(false),
            mapped: Mutex::new(Rank::Inode, None),
            known: parking_lot::Mutex::new(None),
            anchor: Anchor::default(),
        })
    }

    pub(super) fn number(&self) -> InodeNumber {
        self.number
    }

    pub(super) fn set_unnamed(&self) {
        self.unnamed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_unnamed(&self) -> bool {
        self.unnamed.load(Ordering::SeqCst)
    }

    pub(super) fn inode(&self) -> Result<ext::Inode> {
        self.fs.ext().inode(self.number).map_err(errno)
    }

    fn own<'a>(&self, inode: &'a Arc<dyn Inode>) -> Result<&'a Node> {
        let node = inode.as_any().downcast_ref::<Node>().filter(|n| Arc::ptr_eq(&n.fs, &self.fs));
        node.ok_or(Errno::EXDEV)
    }

    fn changes(new: &NewNode<'_>) -> NewInode {
        let device = (major(new.rdev) as u32, minor(new.rdev) as u32);
        NewInode { mode: new.mode as u16, uid: new.uid, gid: new.gid, device }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.is_unnamed() {
            self.fs.release(self.number);
        } else if let Err(e) = self.write_back() {
            crate::log!("ext: inode {}: stores into its mapping are lost: {e}", self.number);
        }
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr> {
        let ext = self.fs.ext();
        // Before the inode is looked at: a change after that shows.
        let stamp = ext.stamp(self.number);
        if let Some((_, attr)) = self.known.lock().filter(|k| k.0 == stamp) {
            return Ok(attr);
        }
        let i = ext.inode(self.number).map_err(errno)?;
        let (major, minor) = i.device().unwrap_or((0, 0));
        let attr = Attr {
            dev: self.fs.dev,
            ino: i.number.into(),
            mode: i.mode.into(),
            nlink: i.links.into(),
            uid: i.uid,
            gid: i.gid,
            rdev: makedev(major.into(), minor.into()),
            size: i.size,
            blocks: i.blocks,
            blksize: ext.superblock().block_size,
            atime: time(i.atime),
            mtime: time(i.mtime),
            ctime: time(i.ctime),
            btime: time(i.crtime.unwrap_or_default()),
        };
        *self.known.lock() = Some((stamp, attr));
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
            self.resize(size)?;
        }
        let changes = Changes {
            mode: change.mode.map(|m| m as u16),
            uid: change.uid,
            gid: change.gid,
            atime: change.atime.map(back),
            mtime: change.mtime.map(back),
            ctime: None,
        };
        self.fs.changing().change(self.number, &changes).map(drop).map_err(errno)
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let number = self.fs.ext().lookup(&self.inode()?, name).map_err(errno)?;
        self.fs.node(number).map(|n| n as Arc<dyn Inode>)
    }

    fn create(&self, name: &[u8], new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let _tree = self.fs.tree.lock();
        let made = match new.mode & kind::MASK {
            kind::LNK => self.fs.changing().symlink(self.number, name, &Node::changes(new), new.target),
            _ => self.fs.changing().make(self.number, name, &Node::changes(new)),
        };
        self.fs.node(made.map_err(errno)?.number).map(|n| n as Arc<dyn Inode>)
    }

    fn create_unnamed(&self, new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let made = self.fs.changing().make_nameless(self.number, &Node::changes(new)).map_err(errno)?;
        let node = self.fs.node(made.number)?;
        node.set_unnamed();
        Ok(node)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let _tree = self.fs.tree.lock();
        let target = self.own(target)?;
        self.fs.changing().link(target.number, self.number, name).map_err(errno)?;
        target.unnamed.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        let _tree = self.fs.tree.lock();
        let inode = self.fs.changing().unlink(self.number, name).map_err(errno)?;
        self.fs.unnamed(&inode);
        Ok(())
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        let _tree = self.fs.tree.lock();
        let inode = self.fs.changing().rmdir(self.number, name).map_err(errno)?;
        self.fs.unnamed(&inode);
        Ok(())
    }

    fn rename(&self, name: &[u8], to: &Arc<dyn Inode>, to_name: &[u8], flags: u32) -> Result<()> {
        let _tree = self.fs.tree.lock();
        let to = self.own(to)?;
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        let places = ((self.number, name), (to.number, to_name));
        let replaced = self.fs.changing().rename(places.0, places.1, flags).map_err(errno)?;
        if let Some(inode) = replaced {
            self.fs.unnamed(&inode);
        }
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        let inode = self.inode()?;
        if !inode.is_link() {
            return Err(Errno::EINVAL);
        }
        self.fs.ext().read_link(&inode).map_err(errno)
    }

    fn entries(&self, from: u64, emit: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        let all = self.fs.ext().entries(&self.inode()?).map_err(errno)?;
        let all = all.into_iter().filter(|e| !matches!(&e.name[..], b"." | b".."));
        for (n, e) in all.enumerate().skip(from.saturating_sub(2) as usize) {
            let kind = u32::from(e.kind.mode());
            if !emit(DirEntry { name: e.name, ino: e.inode.into(), kind, next: n as u64 + 3 }) {
                break;
            }
        }
        Ok(())
    }

    fn entries_are_a_list(&self) -> bool {
        true
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(super::content::Opened::new(self, flags.writes())))
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        let all = self.fs.ext().xattrs(&self.inode()?).map_err(errno)?;
        all.into_iter().find(|x| x.name == name).map(|x| x.value).ok_or(Errno::ENODATA)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let mode = match (flags & XATTR_CREATE != 0, flags & XATTR_REPLACE != 0) {
            (true, _) => XattrMode::Create,
            (_, true) => XattrMode::Replace,
            _ => XattrMode::Any,
        };
        self.fs.changing().set_xattr(self.number, name, Some(value), mode).map(drop).map_err(errno)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        self.fs.changing().set_xattr(self.number, name, None, XattrMode::Any).map(drop).map_err(errno)
    }

    fn xattrs(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.fs.ext().xattrs(&self.inode()?).map_err(errno)?.into_iter().map(|x| x.name).collect())
    }

    fn anchor(&self) -> Option<&Anchor> {
        Some(&self.anchor)
    }
}
