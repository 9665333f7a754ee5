//! Extended attributes, changed: all of an inode's are laid out anew, in the inode as far as there is room, the rest in a block.

use crate::bytes::{put_u16, put_u32, u32_at};
use crate::checksum::crc32c;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::transaction::Op;
use crate::xattr::{self, ENTRY, HEADER, INLINE, MAGIC, RawXattr};

/// A value larger than what a block may hold would need an inode of its own.
fn room_of(x: &RawXattr) -> usize {
    let value = if x.owner.0 == 0 { x.value.len().next_multiple_of(4) } else { 0 };
    (ENTRY + x.name.len()).next_multiple_of(4) + value
}

/// The hash of an entry in a block (ext4_xattr_hash_entry).
fn hash(x: &RawXattr) -> u32 {
    if x.owner.0 != 0 {
        return x.owner.1;
    }
    let name = x.name.iter().fold(0u32, |h, b| h << 5 ^ h >> 27 ^ u32::from(*b));
    x.value.chunks(4).fold(name, |h, word| {
        let mut four = [0; 4];
        four[..word.len()].copy_from_slice(word);
        h << 16 ^ h >> 16 ^ u32::from_le_bytes(four)
    })
}

/// Puts entries from `at` on, and their values from the end downwards; offsets count from `base`.
fn lay_out(b: &mut [u8], base: usize, at: usize, all: &[&RawXattr], hashed: bool) {
    let (mut at, mut end) = (at, b.len());
    for x in all {
        b[at] = x.name.len() as u8;
        b[at + 1] = x.index;
        if x.owner.0 == 0 && !x.value.is_empty() {
            end -= x.value.len().next_multiple_of(4);
            put_u16(b, at + 2, (end - base) as u16);
            b[end..end + x.value.len()].copy_from_slice(&x.value);
        }
        put_u32(b, at + 4, x.owner.0);
        put_u32(b, at + 8, x.value.len() as u32);
        put_u32(b, at + 12, if hashed || x.owner.0 != 0 { hash(x) } else { 0 });
        b[at + ENTRY..at + ENTRY + x.name.len()].copy_from_slice(&x.name);
        at += (ENTRY + x.name.len()).next_multiple_of(4);
    }
}

/// How setxattr(2) is to treat what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// Either.
    Any,
    /// It must not be there.
    Create,
    /// It must be there.
    Replace,
}

impl Op<'_> {
    /// Sets an attribute, or removes it.
    pub(crate) fn set_xattr(
        &mut self,
        inode: &mut Inode,
        name: &[u8],
        value: Option<&[u8]>,
        mode: XattrMode,
    ) -> Result<()> {
        let (index, rest) = xattr::split_name(name).ok_or(Error::NotSupported)?;
        if rest.len() > 255 {
            return Err(Error::NameTooLong);
        }
        let value = match (index, value) {
            (2 | 3, Some(acl)) => Some(xattr::acl_to_disk(acl).ok_or(Error::Invalid)?),
            (_, value) => value.map(<[u8]>::to_vec),
        };
        self.set_raw_xattr(inode, (index, rest), value, mode)
    }

    pub(crate) fn set_raw_xattr(
        &mut self,
        inode: &mut Inode,
        key: (u8, &[u8]),
        value: Option<Vec<u8>>,
        mode: XattrMode,
    ) -> Result<()> {
        let (mut inside, mut outside) = (self.xattrs_in_inode(inode)?, self.xattrs_in_block(inode)?);
        let found = inside.iter().chain(&outside).find(|x| x.is(key));
        match (found, mode) {
            (None, XattrMode::Replace) => return Err(Error::NoAttribute),
            (Some(_), XattrMode::Create) => return Err(Error::Exists),
            (None, _) if value.is_none() => return Err(Error::NoAttribute),
            (Some(x), _) if x.owner.0 != 0 => {
                return Err(Error::Unsupported("changing an attribute whose value is in an inode".into()));
            }
            _ => {}
        }
        inside.retain(|x| !x.is(key));
        outside.retain(|x| !x.is(key));
        if let Some(value) = value {
            let new = RawXattr { index: key.0, name: key.1.to_vec(), value, owner: (0, 0) };
            let taken: usize = inside.iter().map(room_of).sum();
            // Four bytes of magic, four zeros behind the last entry.
            if taken + room_of(&new) + 8 <= inode.tail.len() { inside.push(new) } else { outside.push(new) }
        }
        let size = self.superblock.block_size as usize;
        if HEADER + outside.iter().map(room_of).sum::<usize>() + 4 > size {
            return Err(Error::NoSpace);
        }
        self.put_inside(inode, &inside)?;
        self.put_outside(inode, outside)
    }

    fn put_inside(&self, inode: &mut Inode, all: &[RawXattr]) -> Result<()> {
        let taken: usize = all.iter().map(room_of).sum();
        if !all.is_empty() && taken + 8 > inode.tail.len() {
            return Err(Error::inode(inode.number, "its attributes lie over each other"));
        }
        inode.tail.fill(0);
        if !all.is_empty() {
            put_u32(&mut inode.tail, 0, MAGIC);
            lay_out(&mut inode.tail, 4, 4, &all.iter().collect::<Vec<_>>(), false);
        }
        Ok(())
    }

    fn put_outside(&mut self, inode: &mut Inode, mut all: Vec<RawXattr>) -> Result<()> {
        if all.is_empty() {
            return self.drop_xattr_block(inode);
        }
        all.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
        let shared = match inode.xattr_block {
            0 => true,
            block => u32_at(&self.block(block)?[..], 4) > 1,
        };
        if shared {
            self.drop_xattr_block(inode)?;
            let group = u64::from((inode.number - 1) / self.superblock.inodes_per_group);
            let goal = self.superblock.group_span(group).0;
            inode.xattr_block = self.allocate_metadata(inode, goal)?;
        }
        let (block, seed, sums) = (inode.xattr_block, self.superblock.seed, self.superblock.has_checksums());
        self.change(block, |b| {
            b.fill(0);
            put_u32(b, 0, MAGIC);
            put_u32(b, 4, 1);
            put_u32(b, 8, 1);
            lay_out(b, 0, HEADER, &all.iter().collect::<Vec<_>>(), true);
            let hashes: Vec<u32> = all.iter().map(hash).collect();
            let whole = hashes.iter().fold(0u32, |h, one| h << 16 ^ h >> 16 ^ one);
            put_u32(b, 12, if hashes.contains(&0) { 0 } else { whole });
            seal(b, block, seed, sums);
        })
    }

    /// Gives up its block of attributes, or its share of it.
    fn drop_xattr_block(&mut self, inode: &mut Inode) -> Result<()> {
        let block = inode.xattr_block;
        if block == 0 {
            return Ok(());
        }
        let others = u32_at(&self.block(block)?[..], 4).saturating_sub(1);
        inode.xattr_block = 0;
        if others == 0 {
            return self.free_metadata(inode, block);
        }
        inode.blocks = inode.blocks.saturating_sub(self.block_size() / 512);
        let (seed, sums) = (self.superblock.seed, self.superblock.has_checksums());
        self.change(block, |b| {
            put_u32(b, 4, others);
            seal(b, block, seed, sums);
        })
    }

    /// All attributes go, with their inode.
    pub(crate) fn drop_xattrs(&mut self, inode: &mut Inode) -> Result<()> {
        if self.raw_xattrs(inode)?.iter().any(|x| x.owner.0 != 0) {
            return Err(Error::Unsupported("ending an inode with attributes in inodes".into()));
        }
        self.drop_xattr_block(inode)
    }

    /// The rest of a file's inline data, among the attributes, goes.
    pub(crate) fn drop_inline_xattr(&mut self, inode: &mut Inode) -> Result<()> {
        match self.set_raw_xattr(inode, INLINE, None, XattrMode::Any) {
            Err(Error::NoAttribute) => Ok(()),
            other => other,
        }
    }
}

fn seal(b: &mut [u8], block: u64, seed: u32, sums: bool) {
    if sums {
        put_u32(b, 0x10, 0);
        let sum = crc32c(crc32c(seed, &block.to_le_bytes()), b);
        put_u32(b, 0x10, sum);
    }
}
