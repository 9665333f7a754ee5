//! Allocation of blocks: many at once, near a goal, so that files stay together.

use super::bits;
use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::cache::{Bytes, Intact};
use crate::checksum::crc32c;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::features::Incompat;
use crate::group::{self, Group, GroupFlags};
use crate::superblock;
use crate::transaction::Op;

impl Core {
    /// The block bitmap of a group, checked; built, where nothing has ever been allocated.
    pub(crate) fn block_bitmap(&self, number: u64, group: &Group) -> Result<Bytes> {
        if group.flags.contains(GroupFlags::BLOCK_UNINIT) {
            return Ok(std::sync::Arc::new(self.fresh_bitmap(number, group)));
        }
        let sb = &self.superblock;
        self.read_bitmaps_ahead(number, group.block_bitmap, |g| g.block_bitmap)?;
        self.checked(group.block_bitmap, Intact::BlockBitmap(number), |bytes| {
            let sum = || crc32c(sb.seed, &bytes[..sb.blocks_per_group as usize / 8]);
            if !sb.has_checksums() || group.block_bitmap_sum_is(sum()) {
                return Ok(());
            }
            let what = format!("the checksum of the block bitmap of group {number} is wrong");
            Err(Error::block(group.block_bitmap, what))
        })
    }

    /// Bitmaps of groups from one on that lie behind each other (FLEX_BG) are read together: a search goes through them in this order.
    pub(crate) fn read_bitmaps_ahead(
        &self,
        number: u64,
        block: u64,
        which: impl Fn(&Group) -> u64,
    ) -> Result<()> {
        if !self.superblock.incompat.contains(Incompat::FLEX_BG) {
            return Ok(());
        }
        self.read_ahead(block, || {
            let mut end = block + 1;
            for next in number + 1..self.superblock.groups().min(number + 32) {
                if which(&self.group(next)?) != end {
                    break;
                }
                end += 1;
            }
            Ok(block..end)
        })
    }

    /// What a group holds to which no block has been given: its part of the file system's own.
    fn fresh_bitmap(&self, number: u64, group: &Group) -> Vec<u8> {
        let sb = &self.superblock;
        let mut bytes = vec![0; sb.block_size as usize];
        let (first, len) = sb.group_span(number);
        let own = group::own_blocks(sb, number);
        bits::put(&mut bytes, 0, own.min(len) as usize, true);
        let table = u64::from(sb.inodes_per_group) * u64::from(sb.inode_size);
        let table = table.div_ceil(u64::from(sb.block_size));
        for (start, count) in [(group.block_bitmap, 1), (group.inode_bitmap, 1), (group.inode_table, table)] {
            for block in start..start + count {
                if (first..first + len).contains(&block) {
                    bits::put(&mut bytes, (block - first) as usize, 1, true);
                }
            }
        }
        let end = sb.block_size as usize * 8;
        bits::put(&mut bytes, len as usize, end - len as usize, true);
        bytes
    }

    /// Free blocks of the file system.
    pub(crate) fn free_blocks(&self) -> Result<u64> {
        let (block, at) = self.superblock.place();
        let bytes = self.block(block)?;
        let high = if self.superblock.incompat.contains(Incompat::BIT64) {
            u64::from(u32_at(&bytes, at + 0x158)) << 32
        } else {
            0
        };
        Ok(u64::from(u32_at(&bytes, at + 0xc)) | high)
    }
}

/// Where a search has found blocks.
#[derive(Debug, Clone, Copy)]
struct Found {
    group: u64,
    at: usize,
    len: usize,
}

impl Op<'_> {
    /// Changes the superblock.
    pub(crate) fn change_superblock(&mut self, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let (block, at) = self.superblock.place();
        let sums = self.superblock.has_checksums();
        self.change(block, |bytes| {
            let sb = &mut bytes[at..at + superblock::SIZE];
            change(sb);
            if sums {
                let sum = crc32c(!0, &sb[..superblock::CHECKED]);
                put_u32(sb, superblock::CHECKED, sum);
            }
        })
    }

    /// Changes a group's descriptor; its checksum follows.
    pub(crate) fn change_group(&mut self, number: u64, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let sb = &self.core().superblock;
        let (block, at) = group::place(sb, number);
        self.change(block, |bytes| {
            let b = &mut bytes[at..at + usize::from(sb.desc_size)];
            change(b);
            if let Some(sum) = group::checksum(sb, number, b) {
                put_u16(b, 0x1e, sum);
            }
        })
    }

    /// Adds to the free blocks that group and superblock count.
    fn count_blocks(&mut self, number: u64, group: &Group, more: i64, bitmap_sum: u32) -> Result<()> {
        let wide = self.superblock.desc_size >= 64;
        let free = u64::from(group.free_blocks).checked_add_signed(more).ok_or_else(|| {
            Error::block(group.block_bitmap, format!("group {number} counts its blocks wrong"))
        })?;
        let sums = self.superblock.has_checksums();
        self.change_group(number, |b| {
            put_u16(b, 0xc, free as u16);
            let flags = u16_at(b, 0x12) & !GroupFlags::BLOCK_UNINIT.bits();
            put_u16(b, 0x12, flags);
            if wide {
                put_u16(b, 0x2c, (free >> 16) as u16);
            }
            if sums {
                put_u16(b, 0x18, bitmap_sum as u16);
                if wide {
                    put_u16(b, 0x38, (bitmap_sum >> 16) as u16);
                }
            }
        })?;
        let all = self.free_blocks()?.saturating_add_signed(more);
        let big = self.superblock.incompat.contains(Incompat::BIT64);
        self.change_superblock(|b| {
            put_u32(b, 0xc, all as u32);
            if big {
                put_u32(b, 0x158, (all >> 32) as u32);
            }
        })
    }

    /// Sets or clears bits of a group's bitmap, which are all of the other kind.
    fn set_blocks(&mut self, number: u64, at: usize, len: usize, used: bool) -> Result<()> {
        let group = self.group(number)?;
        let fresh = group.flags.contains(GroupFlags::BLOCK_UNINIT);
        let bitmap = self.block_bitmap(number, &group)?;
        if !bits::all(&bitmap, at, len, !used) {
            let what = if used { "allocated" } else { "free" };
            return Err(Error::block(
                group.block_bitmap,
                format!("blocks {at} to {} of group {number} are {what} already", at + len - 1),
            ));
        }
        if fresh {
            self.create(group.block_bitmap, bitmap.to_vec());
        }
        drop(bitmap);
        let (seed, covered) = (self.superblock.seed, self.superblock.blocks_per_group as usize / 8);
        let sum = self.change(group.block_bitmap, |bytes| {
            bits::put(bytes, at, len, used);
            crc32c(seed, &bytes[..covered])
        })?;
        let more = if used { -(len as i64) } else { len as i64 };
        self.count_blocks(number, &group, more, sum)
    }

    /// Allocates up to `want` blocks in a row, at the goal or as near to it as there are so many: the first, and how many.
    pub(crate) fn allocate(&mut self, goal: u64, want: u64) -> Result<(u64, u64)> {
        let sb = &self.superblock;
        let goal = if goal < u64::from(sb.first_data_block) || goal >= sb.blocks { 0 } else { goal };
        // What waits to get a place has a right to it.
        let spare = self.free_blocks()?.saturating_sub(self.delayed.blocks());
        if spare == 0 {
            return Err(Error::NoSpace);
        }
        let want = want.clamp(1, spare.min(sb.blocks_per_group.into())) as usize;
        let found = self.search(goal, want)?.ok_or(Error::NoSpace)?;
        let (first, _) = self.superblock.group_span(found.group);
        self.set_blocks(found.group, found.at, found.len, true)?;
        Ok((first + found.at as u64, found.len as u64))
    }

    fn search(&self, goal: u64, want: usize) -> Result<Option<Found>> {
        let groups = self.superblock.groups();
        let (home, within) = self.superblock.group_of(goal);
        let mut best: Option<Found> = None;
        for n in 0..groups {
            let number = (home + n) % groups;
            let group = self.group(number)?;
            // Where there are fewer in all than the best so far in a row, there is nothing to find.
            if group.free_blocks as usize <= best.map_or(0, |b| b.len) {
                continue;
            }
            let from = if n == 0 { within as usize } else { 0 };
            if let Some(found) = self.search_group(number, &group, from, want, n == 0)?
                && best.is_none_or(|b| b.len < found.len)
            {
                best = Some(found);
            }
            if best.is_some_and(|b| b.len >= want || n == 0 && b.at == from && from > 0) {
                break;
            }
        }
        Ok(best)
    }

    /// The first run of `want` blocks behind the goal, what there is at the goal itself, or the longest there is.
    fn search_group(
        &self,
        number: u64,
        group: &Group,
        from: usize,
        want: usize,
        home: bool,
    ) -> Result<Option<Found>> {
        let bitmap = self.block_bitmap(number, group)?;
        let (_, len) = self.superblock.group_span(number);
        let len = len as usize;
        let marked;
        let bitmap: &[u8] = if self.running.freed.has(number) || self.running.freezing.has(number) {
            let mut copy = bitmap.to_vec();
            self.running.freed.mark(number, &mut copy);
            self.running.freezing.mark(number, &mut copy);
            marked = copy;
            &marked
        } else {
            &bitmap
        };
        let mut best: Option<Found> = None;
        for (start, end) in [(from, len), (0, from)] {
            let mut at = start;
            while let Some(found) = bits::find_clear(bitmap, at, end) {
                let run = bits::clear_run(bitmap, found, len, want);
                if best.is_none_or(|b| b.len < run) {
                    best = Some(Found { group: number, at: found, len: run });
                }
                // At the goal: better a short piece that goes on than a long one elsewhere.
                let goes_on = home && found == from && from > 0;
                if run >= want || goes_on {
                    return Ok(Some(Found { group: number, at: found, len: run }));
                }
                at = found + run;
            }
        }
        Ok(best)
    }

    /// Frees blocks. Nobody gets them before that is committed.
    pub(crate) fn free(&mut self, mut block: u64, mut len: u64) -> Result<()> {
        let sb = &self.core().superblock;
        if block < u64::from(sb.first_data_block) || block.checked_add(len).is_none_or(|end| end > sb.blocks)
        {
            return Err(Error::block(block, format!("{len} blocks to be freed lie beyond the end")));
        }
        self.set_freed(block, len);
        while len > 0 {
            let (group, within) = sb.group_of(block);
            let here = len.min(u64::from(sb.blocks_per_group) - within);
            self.set_blocks(group, within as usize, here as usize, false)?;
            (block, len) = (block + here, len - here);
        }
        Ok(())
    }
}
