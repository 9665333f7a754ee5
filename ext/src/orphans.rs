//! Inodes that nobody names and somebody has open, or that are being cut: a list in the superblock, through the inodes, so that a crash does
//! not leave them behind.

use crate::bytes::{put_u32, u32_at};
use crate::error::{Error, Result};
use crate::inode::{Inode, InodeNumber};
use crate::transaction::Op;

/// Where the superblock has the first.
const FIRST: usize = 0xe8;

impl Op<'_> {
    fn first_orphan(&self) -> Result<InodeNumber> {
        let (block, at) = self.superblock.place();
        Ok(u32_at(&self.block(block)?[..], at + FIRST))
    }

    /// All on the list.
    pub(crate) fn orphans(&self) -> Result<Vec<InodeNumber>> {
        let mut all = Vec::new();
        let mut next = self.first_orphan()?;
        while next != 0 {
            if all.len() > self.superblock.inodes as usize {
                return Err(Error::inode(next, "the list of orphans has no end"));
            }
            all.push(next);
            next = self.inode(next)?.deleted;
        }
        Ok(all)
    }

    /// Puts an inode on the list. It is the caller's to write.
    pub(crate) fn add_orphan(&mut self, inode: &mut Inode) -> Result<()> {
        inode.deleted = self.first_orphan()?;
        let number = inode.number;
        self.change_superblock(|b| put_u32(b, FIRST, number))
    }

    /// Takes it off again.
    pub(crate) fn remove_orphan(&mut self, inode: &mut Inode) -> Result<()> {
        let next = std::mem::take(&mut inode.deleted);
        let mut before = self.first_orphan()?;
        if before == inode.number {
            return self.change_superblock(|b| put_u32(b, FIRST, next));
        }
        for _ in 0..self.superblock.inodes {
            if before == 0 {
                break;
            }
            let mut other = self.inode(before)?;
            if other.deleted == inode.number {
                other.deleted = next;
                return self.put_inode(&other);
            }
            before = other.deleted;
        }
        Err(Error::inode(inode.number, "it is not on the list of orphans"))
    }
}
