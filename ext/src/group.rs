//! Block groups: where the bitmaps and the inode table of each lie.

use crate::bytes::{u16_at, u32_at};
use crate::checksum::{crc16, crc32c};
use crate::error::{Error, Result};
use crate::features::{Compat, Incompat, RoCompat};
use crate::superblock::Superblock;
use std::ops::Range;

bitflags::bitflags! {
    /// Flags of a group (EXT4_BG_*).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct GroupFlags: u16 {
        /// Its inode bitmap is not written: no inode is used.
        const INODE_UNINIT = 1;
        /// Its block bitmap is not written: no block is used but the file system's own.
        const BLOCK_UNINIT = 2;
        /// Its inode table is all zeros where it is not used.
        const INODE_ZEROED = 4;
    }
}

/// One block group, by its descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Block of the block bitmap.
    pub block_bitmap: u64,
    /// Block of the inode bitmap.
    pub inode_bitmap: u64,
    /// First block of the inode table.
    pub inode_table: u64,
    /// Free blocks.
    pub free_blocks: u32,
    /// Free inodes.
    pub free_inodes: u32,
    /// Directories.
    pub directories: u32,
    /// Flags.
    pub flags: GroupFlags,
    /// Inodes at the table's end that have never been used.
    pub(crate) unused_inodes: u32,
    /// Checksums of the two bitmaps; the upper half where there is room.
    sums: (u32, u32),
    wide: bool,
}

/// The block that holds the descriptor of a group, and where in it.
pub(crate) fn place(sb: &Superblock, group: u64) -> (u64, usize) {
    let per_block = u64::from(sb.block_size / u32::from(sb.desc_size));
    let (nth, within) = (group / per_block, (group % per_block) as usize * usize::from(sb.desc_size));
    let meta = sb.incompat.contains(Incompat::META_BG) && nth >= u64::from(sb.first_meta_bg);
    if !meta {
        return (sb.place().0 + 1 + nth, within);
    }
    // The first group of those that the block describes holds it, behind the superblock if there is a backup.
    let holder = nth * per_block;
    let start = u64::from(sb.first_data_block) + holder * u64::from(sb.blocks_per_group);
    // The superblock of the first group is in block 1 where there are blocks of 1 KiB, whichever block is the first.
    let before = if holder == 0 { sb.place().0 - u64::from(sb.first_data_block) } else { 0 };
    (start + before + u64::from(has_backup(sb, holder)), within)
}

/// Blocks at a group's begin that hold the superblock, or a copy of it, and descriptors.
pub(crate) fn own_blocks(sb: &Superblock, group: u64) -> u64 {
    let per_block = u64::from(sb.block_size / u32::from(sb.desc_size));
    let backup = has_backup(sb, group);
    let meta = sb.incompat.contains(Incompat::META_BG) && group / per_block >= u64::from(sb.first_meta_bg);
    if meta {
        let within = group % per_block;
        let holds = within == 0 || within == 1 || within == per_block - 1;
        return u64::from(backup) + u64::from(holds);
    }
    if !backup {
        return 0;
    }
    let all = sb.groups().div_ceil(per_block);
    let descriptors = match sb.incompat.contains(Incompat::META_BG) {
        true => all.min(sb.first_meta_bg.into()),
        false => all,
    };
    1 + descriptors + u64::from(sb.reserved_gdt)
}

/// Whether a group begins with a copy of the superblock.
fn has_backup(sb: &Superblock, group: u64) -> bool {
    if sb.compat.contains(Compat::SPARSE_SUPER2) {
        return group == 0 || sb.backup_groups.iter().any(|b| u64::from(*b) == group);
    }
    let power = |base: u64| {
        let mut n = base;
        while n < group {
            n *= base;
        }
        n == group
    };
    let sparse = sb.ro_compat.contains(RoCompat::SPARSE_SUPER);
    group <= 1 || !sparse || [3, 5, 7].into_iter().any(power)
}

impl Group {
    /// Takes a descriptor apart, of a block that has been checked.
    pub(crate) fn parse(sb: &Superblock, group: u64, b: &[u8]) -> Result<Group> {
        let wide = sb.desc_size >= 64;
        let block = |lo, hi| u64::from(u32_at(b, lo)) | if wide { u64::from(u32_at(b, hi)) << 32 } else { 0 };
        let count = |lo, hi| u32::from(u16_at(b, lo)) | if wide { u32::from(u16_at(b, hi)) << 16 } else { 0 };
        let found = Group {
            block_bitmap: block(0, 0x20),
            inode_bitmap: block(4, 0x24),
            inode_table: block(8, 0x28),
            free_blocks: count(0xc, 0x2c),
            free_inodes: count(0xe, 0x2e),
            directories: count(0x10, 0x30),
            flags: GroupFlags::from_bits_retain(u16_at(b, 0x12)),
            unused_inodes: count(0x1c, 0x32),
            sums: (count(0x18, 0x38), count(0x1a, 0x3a)),
            wide,
        };
        let (holder, _) = place(sb, group);
        let table = u64::from(sb.inodes_per_group) * u64::from(sb.inode_size);
        let end = found.inode_table.saturating_add(table.div_ceil(u64::from(sb.block_size)));
        if end > sb.blocks || found.block_bitmap >= sb.blocks || found.inode_bitmap >= sb.blocks {
            return Err(Error::block(holder, format!("group {group} lies beyond the end")));
        }
        Ok(found)
    }

    pub(crate) fn block_bitmap_sum_is(&self, sum: u32) -> bool {
        self.sums.0 == if self.wide { sum } else { sum & 0xffff }
    }

    pub(crate) fn inode_bitmap_sum_is(&self, sum: u32) -> bool {
        self.sums.1 == if self.wide { sum } else { sum & 0xffff }
    }
}

/// Checks all descriptors of the block that holds a group's.
pub(crate) fn check(sb: &Superblock, group: u64, block: &[u8]) -> Result<()> {
    let size = usize::from(sb.desc_size);
    let per_block = (block.len() / size) as u64;
    let first = group / per_block * per_block;
    for (b, group) in block.chunks_exact(size).zip(first..sb.groups()) {
        if checksum(sb, group, b).is_some_and(|sum| sum != u16_at(b, 0x1e)) {
            let (holder, _) = place(sb, group);
            return Err(Error::block(holder, format!("the checksum of group {group} is wrong")));
        }
    }
    Ok(())
}

/// The blocks of descriptors that lie one after the other.
pub(crate) fn table(sb: &Superblock) -> Range<u64> {
    let per_block = u64::from(sb.block_size / u32::from(sb.desc_size));
    let first = sb.place().0 + 1;
    let all = sb.groups().div_ceil(per_block);
    let meta = sb.incompat.contains(Incompat::META_BG);
    first..first + if meta { all.min(sb.first_meta_bg.into()) } else { all }
}

/// The checksum of a descriptor, where there is one.
pub(crate) fn checksum(sb: &Superblock, group: u64, b: &[u8]) -> Option<u16> {
    let number = (group as u32).to_le_bytes();
    if sb.has_checksums() {
        let crc = crc32c(crc32c(sb.seed, &number), &b[..0x1e]);
        return Some(crc32c(crc32c(crc, &[0; 2]), &b[0x20..]) as u16);
    }
    sb.ro_compat.contains(RoCompat::GDT_CSUM).then(|| {
        let crc = crc16(crc16(crc16(!0, &sb.uuid), &number), &b[..0x1e]);
        crc16(crc, &b[0x20..])
    })
}
