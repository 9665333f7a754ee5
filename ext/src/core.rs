//! What reading and writing share: the device, the geometry, the blocks in memory.

use crate::cache::{Bytes, Cache, Intact};
use crate::delayed::Delayed;
use crate::error::{Error, Result};
use crate::group::{self, Group};
use crate::inode::{self, Inode, InodeNumber};
use crate::room::Room;
use crate::stamps::Stamps;
use crate::superblock::Superblock;
use block_device::BlockDevice;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub(crate) struct Core {
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) superblock: Superblock,
    pub(crate) cache: Cache,
    pub(crate) room: Room,
    pub(crate) delayed: Delayed,
    pub(crate) stamps: Stamps,
}

/// Bytes of metadata that are read at once where more than one block of it will be asked for: what the kernel takes of an inode table
/// (inode_readahead_blks, 32 blocks of 4 KiB). A disk needs hardly longer for it than for a block.
const AHEAD: u64 = 128 << 10;

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("superblock", &self.superblock).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn block_size(&self) -> u64 {
        self.superblock.block_size.into()
    }

    /// A block of metadata.
    pub(crate) fn block(&self, block: u64) -> Result<Bytes> {
        if let Some(bytes) = self.cache.get(block) {
            return Ok(bytes);
        }
        let bytes = self.read_block(block)?;
        Ok(self.cache.add(block, Arc::new(bytes)))
    }

    /// A block of metadata, found intact as what the caller takes it for: checked once for as long as it is in memory.
    pub(crate) fn checked(
        &self,
        block: u64,
        intact: Intact,
        check: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<Bytes> {
        let (bytes, known) = match self.cache.get_checked(block) {
            Some(found) => found,
            None => (self.block(block)?, None),
        };
        if known != Some(intact) {
            check(&bytes)?;
            self.cache.set_intact(block, &bytes, intact);
        }
        Ok(bytes)
    }

    /// A block of metadata is about to be asked for. If it is not in memory, it is read together with others of the area around it, all of
    /// which is metadata, or nothing yet.
    pub(crate) fn read_ahead(&self, block: u64, area: impl FnOnce() -> Result<Range<u64>>) -> Result<()> {
        let at_once = (AHEAD / self.block_size()).max(1);
        if at_once == 1 || self.cache.has(block) {
            return Ok(());
        }
        let area = area()?;
        if !area.contains(&block) || area.end > self.superblock.blocks {
            return Ok(());
        }
        let first = block - (block - area.start) % at_once;
        // What is there may be newer than what is on the device. What is not there stays as it is: who asks keeps changes away.
        let missing = self.cache.missing(first..area.end.min(first + at_once));
        let (Some(from), Some(to)) = (missing.first(), missing.last()) else { return Ok(()) };
        let size = self.block_size();
        let mut bytes = vec![0; ((to - from + 1) * size) as usize];
        // If one of them cannot be read, it is for who needs that one to say so.
        if self.device.read_at(&mut bytes, from * size).is_ok() {
            for block in &missing {
                let at = ((block - from) * size) as usize;
                self.cache.add(*block, Arc::new(bytes[at..at + size as usize].to_vec()));
            }
        }
        Ok(())
    }

    /// A block as it is on the device.
    pub(crate) fn read_block(&self, block: u64) -> Result<Vec<u8>> {
        self.check(block)?;
        let size = self.block_size();
        let mut bytes = vec![0; size as usize];
        self.device.read_at(&mut bytes, block * size).map_err(|source| Error::Io { block, source })?;
        Ok(bytes)
    }

    /// Puts a block on the device.
    pub(crate) fn write_block(&self, block: u64, bytes: &[u8]) -> Result<()> {
        self.check(block)?;
        self.device.write_at(bytes, block * self.block_size()).map_err(|source| Error::Io { block, source })
    }

    fn check(&self, block: u64) -> Result<()> {
        if block >= self.superblock.blocks {
            return Err(Error::block(block, "it is beyond the end of the file system"));
        }
        Ok(())
    }

    /// What has been written is durable.
    pub(crate) fn flush(&self) -> Result<()> {
        self.device.flush().map_err(|source| Error::Io { block: 0, source })
    }

    /// A group, as its descriptor is now.
    pub(crate) fn group(&self, number: u64) -> Result<Group> {
        let sb = &self.superblock;
        let (block, at) = group::place(sb, number);
        self.read_ahead(block, || Ok(group::table(sb)))?;
        let bytes = self.checked(block, Intact::Groups, |bytes| group::check(sb, number, bytes))?;
        Group::parse(sb, number, &bytes[at..at + usize::from(sb.desc_size)])
    }

    /// The block that holds an inode, and where in it.
    pub(crate) fn inode_place(&self, number: InodeNumber) -> Result<(u64, usize)> {
        let sb = &self.superblock;
        if number == 0 || number > sb.inodes {
            return Err(Error::inode(number, "there is no such number"));
        }
        let (group, index) = ((number - 1) / sb.inodes_per_group, (number - 1) % sb.inodes_per_group);
        let at = u64::from(index) * u64::from(sb.inode_size);
        Ok((
            self.group(group.into())?.inode_table + at / self.block_size(),
            (at % self.block_size()) as usize,
        ))
    }

    /// An inode by its number; ENOENT for one that is free.
    pub(crate) fn inode(&self, number: InodeNumber) -> Result<Inode> {
        let sb = &self.superblock;
        let (block, at) = self.inode_place(number)?;
        self.read_ahead(block, || self.table_of(number))?;
        let size = usize::from(sb.inode_size);
        let first = number - (at / size) as u32;
        let all = |bytes: &[u8]| {
            bytes.chunks_exact(size).zip(first..).try_for_each(|(b, n)| inode::check(sb, n, b))
        };
        match self.checked(block, Intact::Inodes, all) {
            Ok(bytes) => Inode::parse(sb, number, &bytes[at..at + size])?.ok_or(Error::NotFound),
            // One of them is damaged, or has never been written. The others are as good as ever.
            Err(Error::Inode { .. }) => {
                let bytes = self.block(block)?;
                let bytes = &bytes[at..at + size];
                inode::check(sb, number, bytes)?;
                Inode::parse(sb, number, bytes)?.ok_or(Error::NotFound)
            }
            Err(e) => Err(e),
        }
    }

    /// The blocks of the inode table that an inode is in, without those that have never been used.
    fn table_of(&self, number: InodeNumber) -> Result<Range<u64>> {
        let sb = &self.superblock;
        let group = self.group(u64::from((number - 1) / sb.inodes_per_group))?;
        let used = sb.inodes_per_group
            - if sb.counts_unused() { group.unused_inodes.min(sb.inodes_per_group) } else { 0 };
        let blocks = (u64::from(used) * u64::from(sb.inode_size)).div_ceil(self.block_size());
        Ok(group.inode_table..group.inode_table + blocks)
    }
}
