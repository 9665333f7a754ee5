//! Inodes that nobody names and somebody has open, or that are being cut: a list in the superblock, through the inodes, so that a crash does
//! not leave them behind.

use crate::bytes::{put_u32, u32_at};
use crate::checksum::crc32c;
use crate::error::{Error, Result};
use crate::features::RoCompat;
use crate::inode::{Inode, InodeNumber};
use crate::transaction::Op;

/// Where the superblock has the first, and its features.
const FIRST: usize = 0xe8;
const RO_COMPAT: usize = 0x64;
/// Magic number and checksum at the end of each block of the orphan file (EXT4_ORPHAN_BLOCK_MAGIC).
const TAIL: usize = 8;
const MAGIC: u32 = 0x0b10_ca04;

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

    /// Has the list hold what a kernel has put into the orphan file, which is empty then.
    pub(crate) fn empty_orphan_file(&mut self) -> Result<()> {
        let file = self.inode(self.superblock.orphan_file)?;
        let room = self.superblock.block_size as usize - TAIL;
        for logical in 0..file.size / self.block_size() {
            let block = self.directory_block(&file, logical)?;
            let bytes = self.block(block)?;
            let sum = |b: &[u8]| crc32c(crc32c(file.seed, &block.to_le_bytes()), &b[..room]);
            let sums = self.superblock.has_checksums();
            if u32_at(&bytes, room) != MAGIC || sums && sum(&bytes) != u32_at(&bytes, room + 4) {
                return Err(Error::block(block, "a damaged block of the orphan file"));
            }
            let numbers: Vec<u32> =
                bytes[..room].chunks_exact(4).map(|n| u32_at(n, 0)).filter(|n| *n != 0).collect();
            if numbers.is_empty() {
                continue;
            }
            for number in numbers {
                let mut inode = self.inode(number)?;
                self.add_orphan(&mut inode)?;
                self.put_inode(&inode)?;
            }
            self.change(block, |b| {
                b[..room].fill(0);
                if sums {
                    let sum = sum(b);
                    put_u32(b, room + 4, sum);
                }
            })?;
        }
        self.change_superblock(|b| {
            let bits = u32_at(b, RO_COMPAT) & !RoCompat::ORPHAN_PRESENT.bits();
            put_u32(b, RO_COMPAT, bits);
        })
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
