//! Free blocks and inodes: bitmaps, and the counts of groups and superblock that go with them.

pub(crate) mod bits;
mod blocks;
mod inodes;

use crate::superblock::Superblock;
use std::collections::HashMap;

/// Blocks that are free by their bitmap, and not to be given away yet: a bitmap for each group that has any.
#[derive(Debug, Default)]
pub(crate) struct Busy(HashMap<u64, Vec<u8>>);

impl Busy {
    pub(crate) fn add(&mut self, sb: &Superblock, block: u64, len: u64) {
        self.put(sb, block, len, true);
    }

    pub(crate) fn remove(&mut self, sb: &Superblock, block: u64, len: u64) {
        self.put(sb, block, len, false);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn put(&mut self, sb: &Superblock, mut block: u64, mut len: u64, set: bool) {
        while len > 0 {
            let (group, within) = sb.group_of(block);
            let here = len.min(u64::from(sb.blocks_per_group) - within);
            let bytes = (sb.blocks_per_group as usize).div_ceil(8);
            let bitmap = self.0.entry(group).or_insert_with(|| vec![0; bytes]);
            bits::put(bitmap, within as usize, here as usize, set);
            (block, len) = (block + here, len - here);
        }
    }

    /// Marks a group's blocks as used in a copy of its bitmap.
    fn mark(&self, group: u64, bitmap: &mut [u8]) {
        if let Some(busy) = self.0.get(&group) {
            bitmap.iter_mut().zip(busy).for_each(|(b, busy)| *b |= busy);
        }
    }

    fn has(&self, group: u64) -> bool {
        self.0.contains_key(&group)
    }
}
