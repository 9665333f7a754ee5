//! Where the blocks of a file lie: extents, or the block map of ext2 and ext3.

use crate::bytes::u32_at;
use crate::cache::Bytes;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::inode::{Flags, Inode};
use std::sync::Arc;

/// A stretch of blocks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First block, counted from the file's begin.
    pub logical: u64,
    /// Blocks, at least 1.
    pub len: u64,
    /// Where it lies; `None` for a hole.
    pub physical: Option<u64>,
    /// There is space, but nothing has been written: it reads as zeros.
    pub unwritten: bool,
}

/// Blocks that the inode names itself.
pub(crate) const DIRECT: u64 = 12;
/// No file is longer than this many blocks.
const MOST: u64 = 1 << 32;

impl Core {
    /// The run that holds the block `logical` of a file, from there on: a hole where nothing is mapped.
    pub(crate) fn run(&self, inode: &Inode, logical: u64) -> Result<Run> {
        let hole =
            Run { logical, len: MOST.saturating_sub(logical).max(1), physical: None, unwritten: false };
        if logical >= MOST || inode.flags.contains(Flags::INLINE_DATA) {
            return Ok(hole);
        }
        let run = if inode.flags.contains(Flags::EXTENTS) {
            self.in_extents(inode, logical)?
        } else {
            self.in_block_map(inode, logical)?
        };
        if let Some(physical) = run.physical {
            let end = physical.checked_add(run.len);
            if physical == 0 || end.is_none_or(|end| end > self.superblock.blocks) {
                return Err(Error::inode(inode.number, format!("block {logical} is mapped to {physical}")));
            }
        }
        Ok(run)
    }

    fn in_extents(&self, inode: &Inode, logical: u64) -> Result<Run> {
        let mut node = self.extent_root(inode)?;
        let mut end = MOST;
        loop {
            let after = node.slots.partition_point(|s| u64::from(s.logical) <= logical);
            if let Some(next) = node.slots.get(after) {
                end = end.min(next.logical.into());
            }
            let hole =
                Run { logical, len: end.saturating_sub(logical).max(1), physical: None, unwritten: false };
            let Some(slot) = after.checked_sub(1).map(|n| node.slots[n]) else { return Ok(hole) };
            if node.depth == 0 {
                let into = logical - u64::from(slot.logical);
                if into >= slot.len.into() {
                    return Ok(hole);
                }
                let (len, unwritten) = (u64::from(slot.len) - into, slot.unwritten);
                return Ok(Run { logical, len, physical: Some(slot.block + into), unwritten });
            }
            node = self.extent_child(inode, &node, after - 1)?;
        }
    }

    fn in_block_map(&self, inode: &Inode, logical: u64) -> Result<Run> {
        let per = u64::from(self.superblock.block_size / 4);
        // Which slot of the inode, how many levels there are below it, how much each slot covers, and the block among that.
        let (mut within, mut level, mut covers, mut slot) = (0, 0, 1, logical);
        if logical >= DIRECT {
            (within, level, covers) = (logical - DIRECT, 1, per);
            while within >= covers {
                within -= covers;
                (level, covers) = (level + 1, covers.saturating_mul(per));
                if level > 3 {
                    return Ok(Run { logical, len: MOST - logical, physical: None, unwritten: false });
                }
            }
            slot = DIRECT + level - 1;
        }
        let mut words: Bytes = Arc::new(inode.block.to_vec());
        let (mut at, mut limit) =
            (slot as usize, if level == 0 { DIRECT as usize } else { slot as usize + 1 });
        loop {
            let block = u64::from(u32_at(&words, at * 4));
            if level == 0 {
                // As far as the neighbours go on.
                let next = |n: usize| u64::from(u32_at(&words, (at + n) * 4));
                let goes_on =
                    |n: &usize| if block == 0 { next(*n) == 0 } else { next(*n) == block + *n as u64 };
                let len = 1 + (1..limit - at).take_while(goes_on).count() as u64;
                let physical = (block != 0).then_some(block);
                return Ok(Run { logical, len, physical, unwritten: false });
            }
            if block == 0 {
                return Ok(Run { logical, len: covers - within, physical: None, unwritten: false });
            }
            if block >= self.superblock.blocks {
                return Err(Error::inode(inode.number, format!("its map names block {block}")));
            }
            words = self.block(block)?;
            (level, covers) = (level - 1, covers / per);
            (at, limit) = ((within / covers) as usize, per as usize);
            within %= covers;
        }
    }
}
