//! Allocation of inodes: directories apart from each other, files beside their directory.

use super::bits;
use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::cache::{Bytes, Intact};
use crate::checksum::crc32c;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::group::{Group, GroupFlags};
use crate::inode::InodeNumber;
use crate::transaction::Op;

impl Core {
    fn inode_bitmap(&self, number: u64, group: &Group) -> Result<Bytes> {
        let sb = &self.superblock;
        let per = sb.inodes_per_group as usize;
        if group.flags.contains(GroupFlags::INODE_UNINIT) {
            let mut bytes = vec![0; sb.block_size as usize];
            bits::put(&mut bytes, per, sb.block_size as usize * 8 - per, true);
            return Ok(std::sync::Arc::new(bytes));
        }
        self.read_bitmaps_ahead(number, group.inode_bitmap, |g| g.inode_bitmap)?;
        self.checked(group.inode_bitmap, Intact::InodeBitmap(number), |bytes| {
            if !sb.has_checksums() || group.inode_bitmap_sum_is(crc32c(sb.seed, &bytes[..per / 8])) {
                return Ok(());
            }
            let what = format!("the checksum of the inode bitmap of group {number} is wrong");
            Err(Error::block(group.inode_bitmap, what))
        })
    }

    /// Free inodes of the file system.
    pub(crate) fn free_inodes(&self) -> Result<u32> {
        let (block, at) = self.superblock.place();
        Ok(u32_at(&self.block(block)?[..], at + 0x10))
    }
}

impl Op<'_> {
    /// Allocates an inode for a child of a directory. Its bytes are whatever they were.
    pub(crate) fn allocate_inode(&mut self, parent: InodeNumber, directory: bool) -> Result<InodeNumber> {
        let group = self.group_for_inode(parent, directory)?;
        let groups = self.superblock.groups();
        for n in 0..groups {
            let number = (group + n) % groups;
            let group = self.group(number)?;
            if group.free_inodes == 0 {
                continue;
            }
            let per = self.superblock.inodes_per_group;
            let bitmap = self.inode_bitmap(number, &group)?;
            let from = if number == 0 { self.superblock.first_inode as usize - 1 } else { 0 };
            let Some(index) = bits::find_clear(&bitmap, from, per as usize) else { continue };
            let inode = number as u32 * per + index as u32 + 1;
            if inode > self.superblock.inodes {
                continue;
            }
            self.set_inode(number, &group, bitmap, index, true, directory)?;
            return Ok(inode);
        }
        Err(Error::NoSpace)
    }

    /// Frees an inode.
    pub(crate) fn free_inode(&mut self, inode: InodeNumber, directory: bool) -> Result<()> {
        let per = self.superblock.inodes_per_group;
        let (number, index) = (u64::from((inode - 1) / per), ((inode - 1) % per) as usize);
        let group = self.group(number)?;
        let bitmap = self.inode_bitmap(number, &group)?;
        self.set_inode(number, &group, bitmap, index, false, directory)
    }

    fn set_inode(
        &mut self,
        number: u64,
        group: &Group,
        bitmap: Bytes,
        index: usize,
        used: bool,
        directory: bool,
    ) -> Result<()> {
        if bits::get(&bitmap, index) == used {
            let what = if used { "allocated" } else { "free" };
            return Err(Error::block(
                group.inode_bitmap,
                format!("inode {index} of group {number} is {what} already"),
            ));
        }
        if group.flags.contains(GroupFlags::INODE_UNINIT) {
            self.create(group.inode_bitmap, bitmap.to_vec());
        }
        drop(bitmap);
        let (seed, per) = (self.superblock.seed, self.superblock.inodes_per_group);
        let sum = self.change(group.inode_bitmap, |bytes| {
            bits::put(bytes, index, 1, used);
            crc32c(seed, &bytes[..per as usize / 8])
        })?;
        let (sums, wide) = (self.superblock.has_checksums(), self.superblock.desc_size >= 64);
        let by = |n: u32, more: bool| if more { n.saturating_add(1) } else { n.saturating_sub(1) };
        let free = by(group.free_inodes, !used);
        let directories = if directory { by(group.directories, used) } else { group.directories };
        let unused = if used { group.unused_inodes.min(per - 1 - index as u32) } else { group.unused_inodes };
        let counted = self.superblock.counts_unused();
        self.change_group(number, |b| {
            let mut put = |lo: usize, hi: usize, value: u32| {
                put_u16(b, lo, value as u16);
                if wide {
                    put_u16(b, hi, (value >> 16) as u16);
                }
            };
            put(0xe, 0x2e, free);
            put(0x10, 0x30, directories);
            if counted {
                put(0x1c, 0x32, unused);
            }
            if sums {
                put(0x1a, 0x3a, sum);
            }
            let flags = u16_at(b, 0x12) & !GroupFlags::INODE_UNINIT.bits();
            put_u16(b, 0x12, flags);
        })?;
        let all = by(self.free_inodes()?, !used);
        self.change_superblock(|b| put_u32(b, 0x10, all))
    }

    /// A directory goes to a group that has more room than most, those of the root spread over all; a file to its directory's.
    fn group_for_inode(&self, parent: InodeNumber, directory: bool) -> Result<u64> {
        let home = u64::from((parent - 1) / self.superblock.inodes_per_group);
        if !directory {
            return Ok(home);
        }
        let groups = self.superblock.groups();
        let least_inodes = u64::from(self.free_inodes()?) / groups;
        let least_blocks = self.free_blocks()? / groups;
        let start = if parent == crate::Ext::ROOT { 0 } else { home };
        let mut best: Option<(u32, u64)> = None;
        for n in 0..groups {
            let number = (start + n) % groups;
            let g = self.group(number)?;
            let roomy =
                u64::from(g.free_inodes) >= least_inodes.max(1) && u64::from(g.free_blocks) >= least_blocks;
            if !roomy {
                continue;
            }
            if parent != crate::Ext::ROOT {
                return Ok(number);
            }
            if best.is_none_or(|(d, _)| g.directories < d) {
                best = Some((g.directories, number));
            }
        }
        Ok(best.map_or(home, |(_, number)| number))
    }
}
