//! Extended attributes, changed: all of an inode's are laid out anew, in the inode as far as there is room, the rest in a block.

use crate::bytes::{put_u16, put_u32, u32_at};
use crate::checksum::crc32c;
use crate::error::{Error, Result};
use crate::inode::{Inode, InodeNumber};
use crate::transaction::Op;
use crate::xattr::{self, ENTRY, HEADER, INLINE, MAGIC, MAX_VALUE, RawXattr};
use crate::{Incompat, xattr_inode};

/// Bytes that an attribute takes where its name is.
fn room_of(x: &RawXattr) -> usize {
    (ENTRY + x.name.len()).next_multiple_of(4) + x.value.len().next_multiple_of(4)
}

/// The hash of an entry in a block.
fn hash(x: &RawXattr) -> u32 {
    x.holder.map_or_else(|| xattr_inode::hash(&x.name, &x.value), |held| held.hash)
}

/// Puts entries from `at` on, and their values from the end downwards; offsets count from `base`.
fn lay_out(b: &mut [u8], base: usize, at: usize, all: &[&RawXattr], hashed: bool) {
    let (mut at, mut end) = (at, b.len());
    for x in all {
        b[at] = x.name.len() as u8;
        b[at + 1] = x.index;
        if !x.value.is_empty() {
            end -= x.value.len().next_multiple_of(4);
            put_u16(b, at + 2, (end - base) as u16);
            b[end..end + x.value.len()].copy_from_slice(&x.value);
        }
        put_u32(b, at + 4, x.holder.map_or(0, |held| held.number));
        put_u32(b, at + 8, x.holder.map_or(x.value.len() as u32, |held| held.size));
        put_u32(b, at + 12, if hashed || x.holder.is_some() { hash(x) } else { 0 });
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
    /// Sets an attribute, or removes it. If the value that it had was in an inode which nobody needs now: the number of that, for the
    /// caller to release.
    pub(crate) fn set_xattr(
        &mut self,
        inode: &mut Inode,
        name: &[u8],
        value: Option<&[u8]>,
        mode: XattrMode,
    ) -> Result<Option<InodeNumber>> {
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
    ) -> Result<Option<InodeNumber>> {
        let (mut inside, mut outside) = (self.xattrs_in_inode(inode)?, self.xattrs_in_block(inode)?);
        let found = inside.iter().chain(&outside).find(|x| x.is(key));
        match (found, mode) {
            (None, XattrMode::Replace) => return Err(Error::NoAttribute),
            (Some(_), XattrMode::Create) => return Err(Error::Exists),
            (None, _) if value.is_none() => return Err(Error::NoAttribute),
            _ => {}
        }
        let held = found.and_then(|x| x.holder);
        let shared = self.shares_xattr_block(inode)?;
        let others_have_it = shared && outside.iter().any(|x| x.is(key));
        inside.retain(|x| !x.is(key));
        outside.retain(|x| !x.is(key));
        if shared {
            // The block will be copied, and each of the two has what it names.
            for held in outside.iter().filter_map(|x| x.holder) {
                self.share_value(inode, held)?;
            }
        }
        if let Some(value) = value {
            self.place(inode, key, value, &mut inside, &mut outside)?;
        }
        self.put_inside(inode, &inside)?;
        self.put_outside(inode, outside)?;
        match held {
            Some(held) if others_have_it => self.uncharge(inode, held),
            Some(held) => return self.drop_value(inode, held),
            None => {}
        }
        Ok(None)
    }

    /// Finds room for a new attribute: in the inode, in the block, with its value in an inode.
    fn place(
        &mut self,
        inode: &mut Inode,
        key: (u8, &[u8]),
        value: Vec<u8>,
        inside: &mut Vec<RawXattr>,
        outside: &mut Vec<RawXattr>,
    ) -> Result<()> {
        let (in_inode, in_block) = (inode.tail.len(), self.superblock.block_size as usize);
        // Four bytes of magic, or a header, and four zeros behind the last entry.
        let room =
            |taken: &[RawXattr], whole: usize| whole.saturating_sub(taken.iter().map(room_of).sum::<usize>());
        let (in_inode, in_block) = (room(inside, in_inode), room(outside, in_block));
        let mut new = RawXattr { index: key.0, name: key.1.to_vec(), value, holder: None };
        let own_inode = self.superblock.incompat.contains(Incompat::EA_INODE) && key != INLINE;
        let mut hold = own_inode && self.is_large_value(new.value.len());
        loop {
            if hold {
                if new.value.len() > MAX_VALUE as usize {
                    return Err(Error::NoSpace);
                }
                let value = std::mem::take(&mut new.value);
                new.holder = Some(self.hold_value(inode, key.1, &value)?);
            }
            if room_of(&new) + 8 <= in_inode {
                inside.push(new);
                return Ok(());
            }
            if HEADER + room_of(&new) + 4 <= in_block {
                outside.push(new);
                return Ok(());
            }
            if hold || !own_inode || new.value.is_empty() {
                return Err(Error::NoSpace);
            }
            hold = true;
        }
    }

    pub(crate) fn put_inside(&self, inode: &mut Inode, all: &[RawXattr]) -> Result<()> {
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

    pub(crate) fn put_outside(&mut self, inode: &mut Inode, mut all: Vec<RawXattr>) -> Result<()> {
        if all.is_empty() {
            return self.drop_xattr_block(inode);
        }
        all.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
        if inode.xattr_block == 0 || self.shares_xattr_block(inode)? {
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

    /// Whether other inodes have its block of attributes too.
    pub(crate) fn shares_xattr_block(&self, inode: &Inode) -> Result<bool> {
        Ok(inode.xattr_block != 0 && u32_at(&self.block(inode.xattr_block)?[..], 4) > 1)
    }

    /// Gives up its block of attributes, or its share of it.
    pub(crate) fn drop_xattr_block(&mut self, inode: &mut Inode) -> Result<()> {
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

    /// The rest of a file's inline data, among the attributes, goes.
    pub(crate) fn drop_inline_xattr(&mut self, inode: &mut Inode) -> Result<()> {
        match self.set_raw_xattr(inode, INLINE, None, XattrMode::Any) {
            Err(Error::NoAttribute) => Ok(()),
            other => other.map(drop),
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
