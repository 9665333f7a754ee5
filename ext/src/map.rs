//! Where the blocks of a file lie: extents, or the block map of ext2 and ext3.

use crate::bytes::{u16_at, u32_at};
use crate::checksum::crc32c;
use crate::error::{Error, Result};
use crate::fs::Ext;
use crate::inode::{Flags, Inode};

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

const EXTENT_MAGIC: u16 = 0xf30a;
/// Levels of an extent tree, at most (fs/ext4/ext4_extents.h).
const MAX_DEPTH: u16 = 5;
/// Lengths above this mark an extent as unwritten.
const MAX_WRITTEN: u16 = 0x8000;
/// Blocks that the inode names itself.
const DIRECT: u64 = 12;
/// No file is longer than this many blocks.
const MOST: u64 = 1 << 32;

impl Ext {
    /// The run that holds the block `logical` of a file, from there on: a hole where nothing is mapped.
    pub fn run(&self, inode: &Inode, logical: u64) -> Result<Run> {
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
            if physical == 0 || end.is_none_or(|end| end > self.superblock().blocks) {
                return Err(Error::inode(inode.number, format!("block {logical} is mapped to {physical}")));
            }
        }
        Ok(run)
    }

    fn in_extents(&self, inode: &Inode, logical: u64) -> Result<Run> {
        let bad = |what: String| Error::inode(inode.number, what);
        let mut node = inode.block.to_vec();
        let (mut depth, mut end) = (None, MOST);
        loop {
            let (magic, count, max, here) =
                (u16_at(&node, 0), u16_at(&node, 2), u16_at(&node, 4), u16_at(&node, 6));
            let room = (node.len() - 12) / 12;
            if magic != EXTENT_MAGIC || count > max || usize::from(max) > room || here > MAX_DEPTH {
                return Err(bad(format!("extent header {magic:#x}, {count} of {max} entries, depth {here}")));
            }
            if depth.is_some_and(|d| d != here) {
                return Err(bad(format!("an extent tree of depth {here} where {depth:?} was to be")));
            }
            let entry = |n: usize| &node[12 + n * 12..24 + n * 12];
            let first = |n: usize| u64::from(u32_at(entry(n), 0));
            let count = usize::from(count);
            // The last entry that begins at or before the block.
            let after = (0..count).take_while(|n| first(*n) <= logical).count();
            if after < count {
                end = end.min(first(after));
            }
            let hole =
                Run { logical, len: end.saturating_sub(logical).max(1), physical: None, unwritten: false };
            let Some(n) = after.checked_sub(1) else { return Ok(hole) };
            let e = entry(n);
            if here == 0 {
                let raw = u16_at(e, 4);
                let unwritten = raw > MAX_WRITTEN;
                let len = u64::from(if unwritten { raw - MAX_WRITTEN } else { raw });
                let into = logical - first(n);
                if len == 0 {
                    return Err(bad(format!("an empty extent at {}", first(n))));
                }
                if into >= len {
                    return Ok(hole);
                }
                let start = u64::from(u32_at(e, 8)) | u64::from(u16_at(e, 6)) << 32;
                return Ok(Run { logical, len: len - into, physical: Some(start + into), unwritten });
            }
            let child = u64::from(u32_at(e, 4)) | u64::from(u16_at(e, 8)) << 32;
            depth = Some(here - 1);
            node = self.block(child)?;
            let at = 12 + usize::from(u16_at(&node, 4)) * 12;
            if self.superblock().has_checksums()
                && (at + 4 > node.len() || crc32c(inode.seed, &node[..at]) != u32_at(&node, at))
            {
                return Err(Error::block(
                    child,
                    format!("the checksum of extents of inode {} is wrong", inode.number),
                ));
            }
        }
    }

    fn in_block_map(&self, inode: &Inode, logical: u64) -> Result<Run> {
        let per = u64::from(self.superblock().block_size / 4);
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
        let mut words: Vec<u8> = inode.block.to_vec();
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
            if block >= self.superblock().blocks {
                return Err(Error::inode(inode.number, format!("its map names block {block}")));
            }
            words = self.block(block)?;
            (level, covers) = (level - 1, covers / per);
            (at, limit) = ((within / covers) as usize, per as usize);
            within %= covers;
        }
    }
}
