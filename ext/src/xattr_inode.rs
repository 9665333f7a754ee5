//! Values of extended attributes in inodes of their own (the feature `ea_inode`). Such an inode has no name; attributes of several files may
//! have it, and where it would keep times and a version it keeps how many they are and the hash of the value: fs/ext4/xattr.c.

use crate::checksum::crc32c;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::features::Incompat;
use crate::fs::Ext;
use crate::inode::{Flags, Inode, InodeNumber, Time};
use crate::inodes::NewInode;
use crate::transaction::Op;
use lock_api::RawRwLock;

/// Where a value is that is not beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) number: InodeNumber,
    /// Bytes of the value.
    pub(crate) size: u32,
    /// Hash of the attribute: of its name and the hash of its value.
    pub(crate) hash: u32,
}

/// Attributes that one operation takes from a file that ends: each touches another inode.
const AT_ONCE: usize = 32;

/// The hash of a name and of the words of its value (ext4_xattr_hash_entry).
pub(crate) fn hash(name: &[u8], value: &[u8]) -> u32 {
    let name = name.iter().fold(0u32, |h, b| h << 5 ^ h >> 27 ^ u32::from(*b));
    value.chunks(4).fold(name, |h, word| {
        let mut four = [0; 4];
        four[..word.len()].copy_from_slice(word);
        h << 16 ^ h >> 16 ^ u32::from_le_bytes(four)
    })
}

fn references(holder: &Inode) -> u64 {
    u64::from(holder.ctime.sec as u32) << 32 | u64::from(holder.version)
}

fn set_references(holder: &mut Inode, n: u64) {
    holder.ctime = Time { sec: (n >> 32) as i64, nsec: 0 };
    holder.version = n as u32;
}

/// Whether it is of the older kind, which Lustre made: it belongs to one file, which it names, and counts and hashes nothing.
fn is_lustres(holder: &Inode, inode: &Inode, hash: u32) -> bool {
    hash != holder.atime.sec as u32
        && holder.mtime.sec as u32 == inode.number
        && holder.generation == inode.generation
}

impl Core {
    fn holder(&self, inode: &Inode, at: Holder) -> Result<Inode> {
        let bad = |what: &str| {
            let number = at.number;
            Err(Error::inode(inode.number, format!("an attribute in inode {number}, which {what}")))
        };
        if inode.flags.contains(Flags::EA_INODE) {
            return bad("is in one itself");
        }
        let holder = match self.inode(at.number) {
            Err(Error::NotFound) => return bad("is free"),
            other => other?,
        };
        if !holder.flags.contains(Flags::EA_INODE) || !holder.is_regular() || holder.links == 0 {
            return bad("holds none");
        }
        if holder.size != u64::from(at.size) {
            return bad("has another size");
        }
        Ok(holder)
    }

    /// The value of an attribute of an inode.
    pub(crate) fn held_value(&self, inode: &Inode, name: &[u8], at: Holder) -> Result<Vec<u8>> {
        let holder = self.holder(inode, at)?;
        let mut value = vec![0; at.size as usize];
        self.read(&holder, 0, &mut value)?;
        let sum = crc32c(self.superblock.seed, &value);
        // Kernels before 6.3 took the bytes of names as signed: only plain ones have one hash.
        let named = !name.is_ascii() || hash(name, &sum.to_le_bytes()) == at.hash;
        if (sum != holder.atime.sec as u32 || !named) && !is_lustres(&holder, inode, at.hash) {
            return Err(Error::inode(at.number, "the hash of the attribute that it holds is wrong"));
        }
        Ok(value)
    }

    /// Units of 512 bytes that a file is charged for a value, beside those of the inode that holds it.
    fn charge(&self, size: u32) -> u64 {
        u64::from(size).next_multiple_of(self.block_size()) / 512
    }

    /// Whether a value of this length goes into an inode though a block might hold it (EXT4_XATTR_MIN_LARGE_EA_SIZE).
    pub(crate) fn is_large_value(&self, len: usize) -> bool {
        self.superblock.incompat.contains(Incompat::EA_INODE)
            && len.next_multiple_of(4) > self.superblock.block_size as usize - 56
    }
}

impl Op<'_> {
    /// Makes an inode that holds a value for an attribute of another.
    pub(crate) fn hold_value(&mut self, inode: &mut Inode, name: &[u8], value: &[u8]) -> Result<Holder> {
        if inode.flags.contains(Flags::EA_INODE) {
            return Err(Error::NotSupported);
        }
        let new = NewInode { mode: 0x8180, uid: inode.uid, gid: inode.gid, device: (0, 0) };
        let mut holder = self.new_inode(inode.number, &new)?;
        let sum = crc32c(self.superblock.seed, value);
        holder.flags |= Flags::EA_INODE;
        holder.links = 1;
        holder.atime = Time { sec: sum.into(), nsec: 0 };
        set_references(&mut holder, 1);
        self.write_some(&mut holder, 0, value)?;
        self.put_inode(&holder)?;
        let size = value.len() as u32;
        inode.blocks += self.charge(size);
        Ok(Holder { number: holder.number, size, hash: hash(name, &sum.to_le_bytes()) })
    }

    /// A copy of an attribute lies in another block too.
    pub(crate) fn share_value(&mut self, inode: &Inode, at: Holder) -> Result<()> {
        let mut holder = self.holder(inode, at)?;
        if is_lustres(&holder, inode, at.hash) {
            return Ok(());
        }
        let n = references(&holder);
        set_references(&mut holder, n.saturating_add(1));
        self.put_inode(&holder)
    }

    /// An attribute goes. If the inode that held its value holds it for no other, it is an orphan now, for the caller to release: then its
    /// number.
    pub(crate) fn drop_value(&mut self, inode: &mut Inode, at: Holder) -> Result<Option<InodeNumber>> {
        let mut holder = self.holder(inode, at)?;
        let left = if is_lustres(&holder, inode, at.hash) {
            0
        } else {
            self.uncharge(inode, at);
            let n = references(&holder);
            n.checked_sub(1).ok_or_else(|| Error::inode(at.number, "it holds a value for nobody"))?
        };
        set_references(&mut holder, left);
        if left == 0 {
            holder.links = 0;
            self.add_orphan(&mut holder)?;
        }
        self.put_inode(&holder)?;
        Ok((left == 0).then_some(at.number))
    }

    /// A file has an attribute no more that others have with it.
    pub(crate) fn uncharge(&self, inode: &mut Inode, at: Holder) {
        inode.blocks = inode.blocks.saturating_sub(self.charge(at.size));
    }

    /// Takes some attributes with values in inodes from a file that ends; which of those are orphans, and whether these were all.
    fn drop_some_values(&mut self, number: InodeNumber) -> Result<(Vec<InodeNumber>, bool)> {
        let mut inode = self.inode(number)?;
        let (mut inside, mut outside) = (self.xattrs_in_inode(&inode)?, self.xattrs_in_block(&inode)?);
        if inside.iter().chain(&outside).all(|x| x.holder.is_none()) {
            return Ok((Vec::new(), true));
        }
        if self.shares_xattr_block(&inode)? {
            self.drop_xattr_block(&mut inode)?;
            outside.drain(..).filter_map(|x| x.holder).for_each(|held| self.uncharge(&mut inode, held));
        }
        let mut held = Vec::new();
        for all in [&mut inside, &mut outside] {
            all.retain(|x| match x.holder {
                Some(holder) if held.len() < AT_ONCE => {
                    held.push(holder);
                    false
                }
                _ => true,
            });
        }
        let last = held.len() < AT_ONCE;
        let mut orphans = Vec::new();
        for holder in held {
            orphans.extend(self.drop_value(&mut inode, holder)?);
        }
        self.put_inside(&mut inode, &inside)?;
        self.put_outside(&mut inode, outside)?;
        self.put_inode(&inode)?;
        Ok((orphans, last))
    }
}

impl<R: RawRwLock> Ext<R> {
    /// Values in inodes go, with the file whose attributes they are.
    pub(crate) fn drop_values(&self, number: InodeNumber) -> Result<()> {
        if !self.core.superblock.incompat.contains(Incompat::EA_INODE) {
            return Ok(());
        }
        loop {
            let (orphans, last) = self.operate(|op| op.drop_some_values(number))?;
            for orphan in orphans {
                self.release(orphan)?;
            }
            if last {
                return Ok(());
            }
        }
    }
}
