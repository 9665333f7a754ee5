//! A mounted file system.

use crate::error::{Error, Result};
use crate::features::Incompat;
use crate::group::{self, Group};
use crate::inode::{Inode, InodeNumber};
use crate::superblock::{self, Superblock};
use block_device::BlockDevice;
use std::fmt;
use std::sync::Arc;

/// A mounted file system: its superblock and groups are read and checked, everything else is read when it is asked for.
pub struct Ext {
    device: Arc<dyn BlockDevice>,
    superblock: Superblock,
    groups: Vec<Group>,
}

impl fmt::Debug for Ext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ext").field("superblock", &self.superblock).finish_non_exhaustive()
    }
}

impl Ext {
    /// The root directory.
    pub const ROOT: InodeNumber = 2;

    /// Mounts what is on a device, for reading.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Ext> {
        let mut bytes = [0; superblock::SIZE];
        if device.len() < superblock::OFFSET + superblock::SIZE as u64 {
            return Err(Error::NotExt("the device is too small".into()));
        }
        device.read_at(&mut bytes, superblock::OFFSET).map_err(|source| Error::Io { block: 0, source })?;
        let superblock = Superblock::parse(&bytes)?;
        if superblock.incompat.contains(Incompat::RECOVER) {
            return Err(Error::NeedsRecovery);
        }
        if superblock.blocks.saturating_mul(superblock.block_size.into()) > device.len() {
            return Err(Error::NotExt(format!(
                "it has {} blocks of {} bytes, and the device {} bytes",
                superblock.blocks,
                superblock.block_size,
                device.len()
            )));
        }
        let mut ext = Ext { device, superblock, groups: Vec::new() };
        ext.groups = ext.read_groups()?;
        Ok(ext)
    }

    fn read_groups(&self) -> Result<Vec<Group>> {
        let sb = &self.superblock;
        let mut groups = Vec::new();
        let mut held = (0, Vec::new());
        for number in 0..sb.groups() {
            let (block, at) = group::place(sb, number);
            if held.0 != block {
                held = (block, self.block(block)?);
            }
            groups.push(Group::parse(sb, number, &held.1[at..at + usize::from(sb.desc_size)])?);
        }
        Ok(groups)
    }

    /// What the superblock says.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The block groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(crate) fn device(&self) -> &dyn BlockDevice {
        &*self.device
    }

    /// A block's bytes.
    pub(crate) fn block(&self, block: u64) -> Result<Vec<u8>> {
        let size = self.superblock.block_size as usize;
        let mut bytes = vec![0; size];
        if block >= self.superblock.blocks {
            return Err(Error::block(block, "it is beyond the end of the file system"));
        }
        self.device.read_at(&mut bytes, block * size as u64).map_err(|source| Error::Io { block, source })?;
        Ok(bytes)
    }

    /// An inode by its number; ENOENT for one that is free.
    pub fn inode(&self, number: InodeNumber) -> Result<Inode> {
        let sb = &self.superblock;
        if number == 0 || number > sb.inodes {
            return Err(Error::inode(number, "there is no such number"));
        }
        let (group, index) = ((number - 1) / sb.inodes_per_group, (number - 1) % sb.inodes_per_group);
        let group =
            self.groups.get(group as usize).ok_or_else(|| Error::inode(number, "it is in no group"))?;
        let size = usize::from(sb.inode_size);
        let at = u64::from(index) * size as u64;
        let block = group.inode_table + at / u64::from(sb.block_size);
        let mut bytes = vec![0; size];
        self.device
            .read_at(&mut bytes, group.inode_table * u64::from(sb.block_size) + at)
            .map_err(|source| Error::Io { block, source })?;
        Inode::parse(sb, number, &bytes)?.ok_or(Error::NotFound)
    }
}
