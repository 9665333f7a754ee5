//! What a kernel does with a file system that it has mounted for writing.

use crate::error::{Error, Result};
use crate::fs::Ext;
use crate::inode::{Inode, InodeNumber, Time};
use crate::inodes::NewInode;
use crate::rename::RenameFlags;
use crate::xattr_write::XattrMode;
use lock_api::RawRwLock;

/// Blocks of a file that one operation frees: each may lie in a group of its own.
const CUT_AT_ONCE: u64 = 8192;

/// Attributes of an inode that change together; what is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes {
    /// Permissions.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last change of the content.
    pub mtime: Option<Time>,
    /// Last change of the inode; now, if none is given.
    pub ctime: Option<Time>,
}

/// Whether it is a file whose data lies in blocks.
fn is_mapped(inode: &Inode) -> bool {
    inode.is_regular() && !inode.flags.contains(crate::Flags::INLINE_DATA)
}

impl<R: RawRwLock> Ext<R> {
    /// Makes a file, a directory, or a node.
    pub fn make(&self, parent: InodeNumber, name: &[u8], new: &NewInode) -> Result<Inode> {
        if new.mode & 0xf000 == 0xa000 {
            return Err(Error::Invalid);
        }
        self.operate(|op| op.make(parent, name, new, b""))
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, parent: InodeNumber, name: &[u8], new: &NewInode, target: &[u8]) -> Result<Inode> {
        let new = NewInode { mode: 0xa000 | 0o777, ..*new };
        self.operate(|op| op.make(parent, name, &new, target))
    }

    /// Makes a file without a name, which is an orphan until it gets one.
    pub fn make_nameless(&self, parent: InodeNumber, new: &NewInode) -> Result<Inode> {
        self.operate(|op| {
            let mut inode = op.new_inode(parent, new)?;
            op.add_orphan(&mut inode)?;
            op.put_inode(&inode)?;
            Ok(inode)
        })
    }

    /// Gives an inode another name.
    pub fn link(&self, inode: InodeNumber, parent: InodeNumber, name: &[u8]) -> Result<()> {
        self.operate(|op| op.link(inode, parent, name))
    }

    /// Removes a name; the inode that had it. Where no links are left it is for the caller to [`release`](Self::release) it once nobody
    /// has it open.
    pub fn unlink(&self, parent: InodeNumber, name: &[u8]) -> Result<Inode> {
        self.operate(|op| op.unlink(parent, name, false))
    }

    /// Removes an empty directory; as [`unlink`](Self::unlink).
    pub fn rmdir(&self, parent: InodeNumber, name: &[u8]) -> Result<Inode> {
        self.operate(|op| op.unlink(parent, name, true))
    }

    /// Renames; what had the new name, if it has none left, as [`unlink`](Self::unlink) gives it.
    pub fn rename(
        &self,
        from: (InodeNumber, &[u8]),
        to: (InodeNumber, &[u8]),
        flags: RenameFlags,
    ) -> Result<Option<Inode>> {
        self.settle_replacing(from, to)?;
        self.operate(|op| op.rename(from, to, flags))
    }

    /// A file that takes another's name has its content on the disk before: who writes a new version, and renames it, must find the one or
    /// the other after a crash, even without fsync (auto_da_alloc of ext4).
    fn settle_replacing(&self, from: (InodeNumber, &[u8]), to: (InodeNumber, &[u8])) -> Result<()> {
        let source = {
            let _no_change = self.running.read();
            if self.core.delayed.blocks() == 0 {
                return Ok(());
            }
            let number = |(dir, name)| self.core.inode(dir).and_then(|dir| self.core.lookup(&dir, name)).ok();
            number(from).filter(|_| number(to).is_some())
        };
        source.map_or(Ok(()), |number| self.settle(number))
    }

    /// Ends an inode without names: its blocks and its number become free.
    pub fn release(&self, number: InodeNumber) -> Result<()> {
        self.core.delayed.forget(number);
        let inode = self.inode(number)?;
        if inode.links != 0 {
            return Err(Error::Invalid);
        }
        if is_mapped(&inode) {
            self.cut_from_end(number, inode.size, 0)?;
        }
        self.drop_values(number)?;
        self.operate(|op| {
            let mut inode = op.inode(number)?;
            op.remove_orphan(&mut inode)?;
            op.end_inode(&mut inode)
        })
    }

    /// Frees blocks behind `size`, from the end on, which is at `old`, in pieces.
    fn cut_from_end(&self, number: InodeNumber, old: u64, size: u64) -> Result<()> {
        let block = self.core.block_size();
        let least = size.div_ceil(block);
        // Whatever lies behind the end (fallocate's KEEP_SIZE, a write that a crash came in between of) goes at once.
        let mut end = old.div_ceil(block);
        let mut upto = 1 << 32;
        loop {
            end = end.saturating_sub(CUT_AT_ONCE).max(least);
            self.operate(|op| {
                let mut inode = op.inode(number)?;
                op.punch(&mut inode, end, upto)?;
                op.put_inode(&inode)
            })?;
            upto = end;
            if end == least {
                return Ok(());
            }
        }
    }

    /// Cuts a file that is on the list of orphans for that, and takes it off.
    pub(crate) fn cut_orphan(&self, number: InodeNumber, old: u64, size: u64) -> Result<()> {
        if is_mapped(&self.inode(number)?) {
            self.cut_from_end(number, old, size)?;
        }
        self.operate(|op| {
            let mut inode = op.inode(number)?;
            op.remove_orphan(&mut inode)?;
            op.put_inode(&inode)
        })
    }

    /// Sets a file's size: ftruncate(2).
    pub fn truncate(&self, number: InodeNumber, size: u64) -> Result<Inode> {
        if size > 0 {
            self.settle(number)?;
        }
        let long = self.operate(|op| {
            let mut inode = op.inode(number)?;
            if !inode.is_regular() {
                return Err(if inode.is_directory() { Error::IsDirectory(number) } else { Error::Invalid });
            }
            let block = op.block_size();
            op.touch_inode(&mut inode, true);
            let many = inode.size.saturating_sub(size) / block > CUT_AT_ONCE && inode.links > 0;
            if many {
                // The size first; the blocks follow, now or after a crash.
                if !size.is_multiple_of(block) {
                    op.clear(&inode, size, size.next_multiple_of(block))?;
                }
                let old = inode.size;
                inode.size = size;
                op.add_orphan(&mut inode)?;
                op.put_inode(&inode)?;
                op.delayed.forget(number);
                return Ok(Some(old));
            }
            op.cut(&mut inode, size)?;
            op.put_inode(&inode)?;
            op.delayed.forget(number);
            Ok(None)
        })?;
        if let Some(old) = long {
            self.cut_orphan(number, old, size)?;
        }
        self.inode(number)
    }

    /// Changes attributes.
    pub fn change(&self, number: InodeNumber, changes: &Changes) -> Result<Inode> {
        self.operate(|op| {
            let mut inode = op.inode(number)?;
            inode.mtime = op.delayed.take_mtime(number).unwrap_or(inode.mtime);
            if let Some(mode) = changes.mode {
                inode.mode = inode.kind() | mode & 0o7777;
            }
            inode.uid = changes.uid.unwrap_or(inode.uid);
            inode.gid = changes.gid.unwrap_or(inode.gid);
            inode.atime = changes.atime.unwrap_or(inode.atime);
            inode.mtime = changes.mtime.unwrap_or(inode.mtime);
            inode.ctime = changes.ctime.unwrap_or(op.now);
            op.put_inode(&inode)?;
            op.delayed.view(&mut inode, op.block_size());
            Ok(inode)
        })
    }

    /// Sets an extended attribute, or removes it.
    pub fn set_xattr(
        &self,
        number: InodeNumber,
        name: &[u8],
        value: Option<&[u8]>,
        mode: XattrMode,
    ) -> Result<Inode> {
        let (inode, unused) = self.operate(|op| {
            let mut inode = op.inode(number)?;
            let unused = op.set_xattr(&mut inode, name, value, mode)?;
            op.touch_inode(&mut inode, false);
            op.put_inode(&inode)?;
            Ok((inode, unused))
        })?;
        if let Some(holder) = unused {
            self.release(holder)?;
        }
        Ok(inode)
    }
}
