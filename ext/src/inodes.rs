//! Inodes in their tables: written, made, and ended.

use crate::error::Result;
use crate::inode::{Flags, Inode, InodeNumber};
use crate::transaction::Op;
use crate::{Incompat, RoCompat};

/// What a new inode begins with.
#[derive(Debug, Clone, Copy)]
pub struct NewInode {
    /// Type and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number, of a device node.
    pub device: (u32, u32),
}

impl Op<'_> {
    /// Writes an inode to its table.
    pub(crate) fn put_inode(&mut self, inode: &Inode) -> Result<()> {
        let (block, at) = self.inode_place(inode.number)?;
        let sb = &self.core().superblock;
        if inode.size > i32::MAX as u64 && !sb.ro_compat.contains(RoCompat::LARGE_FILE) {
            self.change_superblock(|b| b[0x64] |= RoCompat::LARGE_FILE.bits() as u8)?;
        }
        self.change(block, |b| inode.store(sb, &mut b[at..at + usize::from(sb.inode_size)]))?;
        self.stamps.changed(inode.number);
        Ok(())
    }

    /// Makes an inode for a child of a directory. It is in its table, and no directory names it.
    pub(crate) fn new_inode(&mut self, parent: InodeNumber, new: &NewInode) -> Result<Inode> {
        let directory = new.mode & 0xf000 == 0x4000;
        let number = self.allocate_inode(parent, directory)?;
        let (block, at) = self.inode_place(number)?;
        let sb = &self.core().superblock;
        let now = self.now;
        // NFS tells an inode from the one before it by this.
        let generation = (now.sec as u32).wrapping_mul(1_000_003) ^ now.nsec ^ number.rotate_left(16);
        let mut inode = self.change(block, |b| {
            Inode::fresh(sb, number, &mut b[at..at + usize::from(sb.inode_size)], generation)
        })?;
        (inode.mode, inode.uid, inode.gid) = (new.mode, new.uid, new.gid);
        (inode.atime, inode.mtime, inode.ctime) = (now, now, now);
        inode.crtime = inode.crtime.map(|_| now);
        let kind = inode.kind();
        if sb.incompat.contains(Incompat::EXTENTS) && matches!(kind, 0x8000 | 0x4000) {
            inode.flags |= Flags::EXTENTS;
            inode.block = crate::extents::empty_root();
        }
        if matches!(kind, 0x2000 | 0x6000) {
            inode.set_device(new.device);
        }
        Ok(inode)
    }

    /// Ends an inode that nobody names or has open any more, and that has no attributes in other inodes: its blocks and its number become free.
    pub(crate) fn end_inode(&mut self, inode: &mut Inode) -> Result<()> {
        self.cut(inode, 0)?;
        self.drop_xattr_block(inode)?;
        let directory = inode.is_directory();
        inode.links = 0;
        inode.deleted = (self.now.sec as u32).max(1);
        (inode.size, inode.mode) = (0, inode.mode);
        self.put_inode(inode)?;
        self.free_inode(inode.number, directory)
    }

    /// The time of a change.
    pub(crate) fn touch_inode(&mut self, inode: &mut Inode, content: bool) {
        inode.ctime = self.now;
        if content {
            inode.mtime = self.now;
        }
    }
}
