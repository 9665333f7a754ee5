//! A file system looked at from below: what lies in which block. For those who know which blocks have changed, and ask what that means.

use crate::alloc::bits;
use crate::bytes::{u16_at, u32_at};
use crate::cache::Bytes;
use crate::core::Core;
use crate::dir::FileType;
use crate::error::{Error, Result};
use crate::fs::Ext;
use crate::group::{self, GroupFlags};
use crate::inode::{Flags, Inode, InodeNumber};
use lock_api::RawRwLock;
use std::ops::Range;
use std::sync::Arc;

/// Blocks of an inode's, as ranges of blocks of the file system.
type Blocks = Vec<Range<u64>>;

impl<R: RawRwLock> Ext<R> {
    /// The blocks that the journal has other bytes for than the device: what [`Ext::open`] replayed in memory. In order.
    pub fn replayed(&self) -> &[u64] {
        &self.replayed
    }

    /// The blocks of a group's inode table, without those at its end that have never been used.
    pub fn inode_table(&self, group: u64) -> Result<Range<u64>> {
        let _no_change = self.running.read();
        self.core.used_table(group)
    }

    /// Whether an inode is the file system's own, which no directory names: the journal, the orphan file.
    pub fn is_hidden(&self, number: InodeNumber) -> bool {
        let sb = &self.core.superblock;
        number != Ext::ROOT && number < sb.first_inode || number == sb.orphan_file
    }

    /// The inode numbers whose inodes a block of a group's inode table holds.
    pub fn inodes_of_block(&self, group: u64, block: u64) -> Result<Range<InodeNumber>> {
        let sb = &self.core.superblock;
        let per_block = sb.block_size / u32::from(sb.inode_size);
        let table = self.group(group)?.inode_table;
        let nth = block.checked_sub(table).and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX);
        let first = nth.saturating_mul(per_block).min(sb.inodes_per_group);
        let end = first.saturating_add(per_block).min(sb.inodes_per_group);
        let base = group as u32 * sb.inodes_per_group + 1;
        Ok(base + first..base + end)
    }

    /// A block as it is now, whatever it is, unchecked: to be compared.
    pub fn raw_block(&self, block: u64) -> Result<Arc<Vec<u8>>> {
        let _no_change = self.running.read();
        self.core.block(block)
    }

    /// Calls `found` with the number and the mode of each inode of a group that has a name, as far as the table is used. Nothing is checked:
    /// [`inode`](Self::inode) does.
    pub fn each_named_inode(&self, group: u64, found: &mut dyn FnMut(InodeNumber, u16)) -> Result<()> {
        let _no_change = self.running.read();
        let sb = &self.core.superblock;
        let table = self.core.used_table(group)?;
        let size = usize::from(sb.inode_size);
        let first = group as u32 * sb.inodes_per_group + 1;
        let mut numbers = first..first + sb.inodes_per_group;
        for block in table.clone() {
            self.core.read_ahead(block, || Ok(table.clone()))?;
            let bytes = self.core.block(block)?;
            for (b, number) in bytes.chunks_exact(size).zip(&mut numbers) {
                let (mode, links) = (u16_at(b, 0), u16_at(b, 0x1a));
                if mode != 0 && links != 0 && !self.is_hidden(number) {
                    found(number, mode);
                }
            }
        }
        Ok(())
    }

    /// Calls `found` with the name, the inode and the type of each entry of a directory, `.` and `..` among them.
    pub fn each_entry(
        &self,
        directory: &Inode,
        found: &mut dyn FnMut(&[u8], InodeNumber, FileType),
    ) -> Result<()> {
        let _no_change = self.running.read();
        self.core.each_entry(directory, found)
    }

    /// All blocks that an inode has, in no order: of data, of its map, of its attributes.
    pub fn blocks_of(&self, inode: &Inode) -> Result<Blocks> {
        let _no_change = self.running.read();
        self.core.blocks_of(inode)
    }

    /// Whether a block is given to somebody, the file system itself included.
    pub fn is_allocated(&self, block: u64) -> Result<bool> {
        let _no_change = self.running.read();
        let sb = &self.core.superblock;
        if block >= sb.blocks || block < u64::from(sb.first_data_block) {
            return Ok(false);
        }
        let (number, at) = sb.group_of(block);
        let bitmap = self.core.block_bitmap(number, &self.core.group(number)?)?;
        Ok(bits::get(&bitmap, at as usize / sb.blocks_per_cluster as usize))
    }

    /// The blocks that are the file system's own: superblocks, descriptors, bitmaps, inode tables, and those of the inodes that no directory
    /// names, such as the journal. In order.
    pub fn own_blocks(&self) -> Result<Blocks> {
        let _no_change = self.running.read();
        let sb = &self.core.superblock;
        let mut all = vec![sb.mmp_block..sb.mmp_block + 1, 0..u64::from(sb.first_data_block) + 1];
        let table_size = u64::from(sb.inodes_per_group) * u64::from(sb.inode_size);
        for number in 0..sb.groups() {
            let (first, len) = sb.group_span(number);
            all.push(first..first + group::own_blocks(sb, number).min(len));
            let g = self.core.group(number)?;
            all.push(g.block_bitmap..g.block_bitmap + 1);
            all.push(g.inode_bitmap..g.inode_bitmap + 1);
            all.push(g.inode_table..g.inode_table + table_size.div_ceil(self.core.block_size()));
        }
        let hidden = (1..sb.first_inode).filter(|n| *n != Ext::ROOT).chain([sb.orphan_file]);
        for number in hidden.filter(|n| *n != 0) {
            match self.core.inode(number) {
                // What the file system keeps for itself, damaged or of a form of its own, is nobody's file.
                Ok(inode) => all.extend(self.core.blocks_of(&inode).unwrap_or_default()),
                Err(Error::NotFound | Error::Inode { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        all.sort_by_key(|r| r.start);
        Ok(all)
    }
}

impl Core {
    fn used_table(&self, group: u64) -> Result<Range<u64>> {
        let sb = &self.superblock;
        let found = self.group(group)?;
        let mut used = sb.inodes_per_group;
        if sb.counts_unused() {
            used -= found.unused_inodes.min(used);
            if found.flags.contains(GroupFlags::INODE_UNINIT) {
                used = 0;
            }
        }
        let blocks = (u64::from(used) * u64::from(sb.inode_size)).div_ceil(self.block_size());
        Ok(found.inode_table..found.inode_table + blocks)
    }

    fn blocks_of(&self, inode: &Inode) -> Result<Blocks> {
        let mut out = Vec::new();
        if inode.xattr_block != 0 {
            out.push(inode.xattr_block..inode.xattr_block + 1);
        }
        let mapped = matches!(inode.kind(), 0x8000 | 0x4000)
            || inode.is_link() && (inode.flags.contains(Flags::EXTENTS) || inode.size >= 60);
        if !mapped || inode.flags.contains(Flags::INLINE_DATA) {
            return Ok(out);
        }
        if inode.flags.contains(Flags::EXTENTS) {
            self.extent_blocks(inode, &mut out)?;
            return Ok(out);
        }
        for slot in 0..12 {
            self.mapped_blocks(inode, u32_at(&inode.block, slot * 4), 0, &mut out)?;
        }
        for level in 1..=3 {
            self.mapped_blocks(inode, u32_at(&inode.block, (11 + level) * 4), level, &mut out)?;
        }
        Ok(out)
    }

    fn extent_blocks(&self, inode: &Inode, out: &mut Blocks) -> Result<()> {
        let mut nodes = vec![self.extent_root(inode)?];
        while let Some(node) = nodes.pop() {
            for (at, slot) in node.slots.iter().enumerate() {
                if node.depth == 0 {
                    out.push(slot.block..slot.block.saturating_add(slot.len.into()));
                } else {
                    out.push(slot.block..slot.block.saturating_add(1));
                    nodes.push(self.extent_child(inode, &node, at)?);
                }
            }
        }
        Ok(())
    }

    /// A block of the block map, `level` levels above data, and all below it.
    fn mapped_blocks(&self, inode: &Inode, block: u32, level: usize, out: &mut Blocks) -> Result<()> {
        let block = u64::from(block);
        if block == 0 {
            return Ok(());
        }
        // A damaged map may name a block over and over: no file has more than the file system.
        if block >= self.superblock.blocks || out.len() as u64 > self.superblock.blocks {
            return Err(Error::inode(inode.number, format!("its map names block {block}")));
        }
        match out.last_mut() {
            Some(last) if last.end == block => last.end += 1,
            _ => out.push(block..block + 1),
        }
        if level > 0 {
            let bytes: Bytes = self.block(block)?;
            for number in bytes.chunks_exact(4).map(|c| u32_at(c, 0)) {
                self.mapped_blocks(inode, number, level - 1, out)?;
            }
        }
        Ok(())
    }
}
