//! What files hold, changed: blocks are allocated where something is written, and go when a file is cut.

use crate::bytes::u32_at;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::extents::{MAX_WRITTEN, Slot};
use crate::inode::{Flags, Inode};
use crate::map::Run;
use crate::transaction::Op;

/// Blocks that one operation writes, at most: an operation holds the lock.
pub(crate) const MOST: u64 = 2048;

impl Core {
    /// The largest file there can be.
    pub(crate) fn largest(&self, inode: &Inode) -> u64 {
        let size = self.block_size();
        if inode.flags.contains(Flags::EXTENTS) {
            return ((1 << 32) - 1) * size;
        }
        let per = size / 4;
        (12 + per + per * per + per * per * per).min((1 << 32) - 1) * size
    }

    pub(crate) fn put_data(&self, block: u64, within: u64, data: &[u8]) -> Result<()> {
        self.device
            .write_at(data, block * self.block_size() + within)
            .map_err(|source| Error::Io { block, source })
    }
}

impl Op<'_> {
    /// Where the blocks of a file are best: behind those before them, or beside the inode.
    fn goal(&self, inode: &Inode, logical: u64) -> Result<u64> {
        if logical > 0 {
            let before = self.run(inode, logical - 1)?;
            if let Some(physical) = before.physical {
                return Ok(physical + 1);
            }
        }
        if inode.flags.contains(Flags::EXTENTS) {
            let root = self.extent_root(inode)?;
            if let Some(first) = root.slots.first().filter(|_| root.depth == 0) {
                let ahead = u64::from(first.logical).saturating_sub(logical);
                return Ok(first.block.saturating_sub(ahead));
            }
        }
        let group = u64::from((inode.number - 1) / self.superblock.inodes_per_group);
        let (first, len) = self.superblock.group_span(group);
        // As far into the group as the inode is into its table: files written side by side do not meet.
        let within = u64::from((inode.number - 1) % self.superblock.inodes_per_group);
        Ok(first + within * len / u64::from(self.superblock.inodes_per_group) / 2)
    }

    /// Allocates blocks for a hole of a file, as many in a row as there are, and maps them.
    pub(crate) fn fill_hole(
        &mut self,
        inode: &mut Inode,
        logical: u64,
        want: u64,
        unwritten: bool,
    ) -> Result<Run> {
        let goal = self.goal(inode, logical)?;
        let most = u64::from(if unwritten { MAX_WRITTEN - 1 } else { MAX_WRITTEN });
        let (physical, len) = self.allocate(goal, want.min(most))?;
        if inode.flags.contains(Flags::EXTENTS) {
            let logical = u32::try_from(logical).map_err(|_| Error::TooBig)?;
            let slot = Slot { logical, len: len as u32, unwritten, block: physical };
            self.insert_extent(inode, slot)?;
        } else {
            for n in 0..len {
                self.map_block(inode, logical + n, physical + n)?;
            }
        }
        inode.blocks += len * (self.block_size() / 512);
        Ok(Run { logical, len, physical: Some(physical), unwritten })
    }

    /// Marks a range of unwritten extents as written.
    pub(crate) fn set_written(&mut self, inode: &mut Inode, from: u64, to: u64) -> Result<()> {
        for slot in self.take_extents(inode, from, to)? {
            self.insert_extent(inode, Slot { unwritten: false, ..slot })?;
        }
        Ok(())
    }

    /// Writes to a file, up to [`MOST`] blocks; how many bytes. The data is on the device before the transaction can be committed.
    pub(crate) fn write_some(&mut self, inode: &mut Inode, at: u64, data: &[u8]) -> Result<usize> {
        if at.checked_add(data.len() as u64).is_none_or(|end| end > self.largest(inode)) {
            return Err(Error::TooBig);
        }
        if inode.flags.contains(Flags::INLINE_DATA) {
            self.leave_inline(inode)?;
        }
        let size = self.block_size();
        let len = data.len().min((MOST * size - at % size) as usize);
        let data = &data[..len];
        let mut done = 0;
        while done < len {
            let position = at + done as u64;
            let (logical, within) = (position / size, position % size);
            let left = (len - done) as u64;
            let run = self.run(inode, logical)?;
            let wanted = (within + left).div_ceil(size).min(run.len);
            match run.physical.filter(|_| !run.unwritten) {
                Some(physical) => {
                    let bytes = (wanted * size - within).min(left) as usize;
                    self.put_data(physical, within, &data[done..done + bytes])?;
                    done += bytes;
                }
                None => {
                    let run = match run.physical {
                        Some(_) => Run { len: wanted, ..run },
                        None => self.fill_hole(inode, logical, wanted, false)?,
                    };
                    let bytes = (run.len * size - within).min(left) as usize;
                    self.put_fresh(&run, within, &data[done..done + bytes])?;
                    if run.unwritten {
                        self.set_written(inode, logical, logical + run.len)?;
                    }
                    done += bytes;
                }
            }
        }
        inode.size = inode.size.max(at + len as u64);
        Ok(len)
    }

    /// Writes blocks that hold nothing yet: what is not written of them reads as zeros.
    fn put_fresh(&self, run: &Run, within: u64, data: &[u8]) -> Result<()> {
        let Some(physical) = run.physical else { return Ok(()) };
        let whole = run.len * self.block_size();
        if within == 0 && data.len() as u64 == whole {
            return self.put_data(physical, 0, data);
        }
        let mut bytes = vec![0; whole as usize];
        bytes[within as usize..within as usize + data.len()].copy_from_slice(data);
        self.put_data(physical, 0, &bytes)
    }

    /// Makes a hole of a range of blocks.
    pub(crate) fn punch(&mut self, inode: &mut Inode, from: u64, to: u64) -> Result<()> {
        let runs: Vec<(u64, u64)> = if inode.flags.contains(Flags::EXTENTS) {
            self.take_extents(inode, from, to)?.iter().map(|s| (s.block, s.len.into())).collect()
        } else {
            self.take_mapped(inode, from, to)?
        };
        for (block, len) in runs {
            self.free(block, len)?;
            if inode.is_directory() || inode.is_link() {
                (block..block + len).for_each(|b| self.forget(b));
            }
            inode.blocks = inode.blocks.saturating_sub(len * (self.block_size() / 512));
        }
        Ok(())
    }

    /// Cuts a file, or makes it longer with a hole.
    pub(crate) fn cut(&mut self, inode: &mut Inode, size: u64) -> Result<()> {
        if size > self.largest(inode) {
            return Err(Error::TooBig);
        }
        let mapped =
            matches!(inode.kind(), 0x8000 | 0x4000) || (inode.is_link() && self.link_has_blocks(inode));
        if inode.flags.contains(Flags::INLINE_DATA) {
            if size != 0 || inode.is_directory() {
                if size == inode.size {
                    return Ok(());
                }
                self.leave_inline(inode)?;
            } else {
                self.drop_inline(inode)?;
            }
        } else if !mapped {
            return Ok(());
        }
        let block = self.block_size();
        if size < inode.size {
            self.punch(inode, size.div_ceil(block), 1 << 32)?;
            if !size.is_multiple_of(block) {
                self.clear(inode, size, size.next_multiple_of(block))?;
            }
        }
        inode.size = size;
        Ok(())
    }

    /// Puts zeros into a range within one block, where something is stored.
    pub(crate) fn clear(&mut self, inode: &Inode, from: u64, to: u64) -> Result<()> {
        let size = self.block_size();
        let run = self.run(inode, from / size)?;
        let Some(physical) = run.physical.filter(|_| !run.unwritten) else { return Ok(()) };
        self.put_data(physical, from % size, &vec![0; (to - from) as usize])
    }

    /// A file whose data is in its inode gets blocks.
    fn leave_inline(&mut self, inode: &mut Inode) -> Result<()> {
        let mut data = self.inline_data(inode)?;
        data.truncate(inode.size as usize);
        if inode.is_directory() {
            return self.leave_inline_directory(inode, &data);
        }
        let size = inode.size;
        self.drop_inline(inode)?;
        inode.size = 0;
        if data.iter().any(|b| *b != 0) {
            self.write_some(inode, 0, &data)?;
        }
        inode.size = size;
        Ok(())
    }

    /// What is in the inode goes.
    pub(crate) fn drop_inline(&mut self, inode: &mut Inode) -> Result<()> {
        self.drop_inline_xattr(inode)?;
        inode.flags -= Flags::INLINE_DATA;
        inode.block = [0; 60];
        if self.superblock.incompat.contains(crate::Incompat::EXTENTS) {
            inode.flags |= Flags::EXTENTS;
            inode.block = crate::extents::empty_root();
        }
        Ok(())
    }

    fn link_has_blocks(&self, inode: &Inode) -> bool {
        inode.flags.contains(Flags::EXTENTS)
            || inode.flags.contains(Flags::INLINE_DATA)
            || inode.size >= 60 && u32_at(&inode.block, 0) != 0
    }
}
