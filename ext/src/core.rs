//! What reading and writing share: the device, the geometry, the blocks in memory.

use crate::cache::{Bytes, Cache};
use crate::error::{Error, Result};
use crate::group::{self, Group};
use crate::inode::{Inode, InodeNumber};
use crate::superblock::Superblock;
use block_device::BlockDevice;
use std::fmt;
use std::sync::Arc;

pub(crate) struct Core {
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) superblock: Superblock,
    pub(crate) cache: Cache,
}

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
        let bytes = self.block(block)?;
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
        let (block, at) = self.inode_place(number)?;
        let bytes = self.block(block)?;
        let bytes = &bytes[at..at + usize::from(self.superblock.inode_size)];
        Inode::parse(&self.superblock, number, bytes)?.ok_or(Error::NotFound)
    }
}
