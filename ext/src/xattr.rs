//! Extended attributes: in the inode, in a block that inodes may share, values in inodes of their own.

use crate::bytes::{u16_at, u32_at};
use crate::cache::Intact;
use crate::checksum::crc32c;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::xattr_inode::Holder;

/// An extended attribute, as getxattr(2) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// With its prefix: `user.x`.
    pub name: Vec<u8>,
    /// Value; of ACLs in the form of the system call.
    pub value: Vec<u8>,
}

/// One as it lies on disk: the prefix is a number.
#[derive(Debug, Clone)]
pub(crate) struct RawXattr {
    pub(crate) index: u8,
    pub(crate) name: Vec<u8>,
    /// Empty if an inode holds it.
    pub(crate) value: Vec<u8>,
    pub(crate) holder: Option<Holder>,
}

pub(crate) const MAGIC: u32 = 0xea02_0000;
/// Length of the header of a block.
pub(crate) const HEADER: usize = 32;
/// Fixed part of an entry.
pub(crate) const ENTRY: usize = 16;
/// The attribute that holds the rest of a file in its inode: `system.data`.
pub(crate) const INLINE: (u8, &[u8]) = (7, b"data");
/// Longest value (XATTR_SIZE_MAX).
pub(crate) const MAX_VALUE: u32 = 65536;

fn prefix(index: u8) -> Option<&'static str> {
    Some(match index {
        0 => "",
        1 => "user.",
        2 => "system.posix_acl_access",
        3 => "system.posix_acl_default",
        4 => "trusted.",
        6 => "security.",
        7 => "system.",
        8 => "system.richacl",
        _ => return None,
    })
}

impl RawXattr {
    pub(crate) fn is(&self, (index, name): (u8, &[u8])) -> bool {
        self.index == index && self.name == name
    }
}

impl Core {
    /// All extended attributes of an inode; not those that are the file system's own affair.
    pub(crate) fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>> {
        let mut out = Vec::new();
        for raw in self.raw_xattrs(inode)? {
            let Some(prefix) = prefix(raw.index).filter(|_| !raw.is(INLINE)) else { continue };
            let name = [prefix.as_bytes(), &raw.name].concat();
            let stored = match raw.holder {
                Some(holder) => self.held_value(inode, &raw.name, holder)?,
                None => raw.value,
            };
            let value = match raw.index {
                2 | 3 => acl(&stored)
                    .ok_or_else(|| Error::inode(inode.number, "an access control list of no known form"))?,
                _ => stored,
            };
            out.push(Xattr { name, value });
        }
        Ok(out)
    }

    pub(crate) fn raw_xattrs(&self, inode: &Inode) -> Result<Vec<RawXattr>> {
        let mut all = self.xattrs_in_inode(inode)?;
        all.extend(self.xattrs_in_block(inode)?);
        Ok(all)
    }

    pub(crate) fn xattrs_in_inode(&self, inode: &Inode) -> Result<Vec<RawXattr>> {
        let mut out = Vec::new();
        if inode.tail.len() > 4 && u32_at(&inode.tail, 0) == MAGIC {
            let entries = &inode.tail[4..];
            self.take_xattrs(inode, entries, 0, entries, &mut out)?;
        }
        Ok(out)
    }

    pub(crate) fn xattrs_in_block(&self, inode: &Inode) -> Result<Vec<RawXattr>> {
        let mut out = Vec::new();
        let block = inode.xattr_block;
        if block != 0 {
            let bytes = self.checked(block, Intact::Xattrs, |b| self.check_xattrs(inode, block, b))?;
            self.take_xattrs(inode, &bytes, HEADER, &bytes, &mut out)?;
        }
        Ok(out)
    }

    fn check_xattrs(&self, inode: &Inode, block: u64, b: &[u8]) -> Result<()> {
        if u32_at(b, 0) != MAGIC || u32_at(b, 8) != 1 {
            return Err(Error::block(block, format!("not the attributes of inode {}", inode.number)));
        }
        let sb = &self.superblock;
        let sum = || {
            let crc = crc32c(crc32c(sb.seed, &block.to_le_bytes()), &b[..0x10]);
            crc32c(crc32c(crc, &[0; 4]), &b[0x14..])
        };
        if sb.has_checksums() && sum() != u32_at(b, 0x10) {
            let what = format!("a wrong checksum of attributes of inode {}", inode.number);
            return Err(Error::block(block, what));
        }
        Ok(())
    }

    /// Takes the entries in `bytes` from `at` on; values are at offsets into `values`.
    fn take_xattrs(
        &self,
        inode: &Inode,
        bytes: &[u8],
        at: usize,
        values: &[u8],
        out: &mut Vec<RawXattr>,
    ) -> Result<()> {
        let mut at = at;
        // Four zeros end the list.
        while at + 4 <= bytes.len() && u32_at(bytes, at) != 0 {
            let bad = || Error::inode(inode.number, format!("a damaged attribute at {at}"));
            let head = bytes.get(at..at + ENTRY).ok_or_else(bad)?;
            let (name_len, index) = (usize::from(head[0]), head[1]);
            let (offset, owner, size) = (usize::from(u16_at(head, 2)), u32_at(head, 4), u32_at(head, 8));
            let name = bytes.get(at + ENTRY..at + ENTRY + name_len).ok_or_else(bad)?.to_vec();
            if size > MAX_VALUE {
                return Err(bad());
            }
            let hash = u32_at(head, 12);
            let holder = (owner != 0).then_some(Holder { number: owner, size, hash });
            let value = if holder.is_some() || size == 0 {
                Vec::new()
            } else {
                values.get(offset..offset + size as usize).ok_or_else(bad)?.to_vec()
            };
            out.push(RawXattr { index, name, value, holder });
            at += (ENTRY + name_len).next_multiple_of(4);
        }
        Ok(())
    }
}

/// The number of a name's prefix, and the rest of the name.
pub(crate) fn split_name(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => return Some((2, b"")),
        b"system.posix_acl_default" => return Some((3, b"")),
        _ => {}
    }
    [1, 4, 6].into_iter().find_map(|n| {
        let rest = name.strip_prefix(prefix(n)?.as_bytes())?;
        (!rest.is_empty()).then_some((n, rest))
    })
}

/// From the form of the system call to that on disk.
pub(crate) fn acl_to_disk(call: &[u8]) -> Option<Vec<u8>> {
    if call.len() < 4 || u32_at(call, 0) != 2 || !(call.len() - 4).is_multiple_of(8) {
        return None;
    }
    let mut out = 1u32.to_le_bytes().to_vec();
    for entry in call[4..].chunks_exact(8) {
        out.extend_from_slice(&entry[..4]);
        if matches!(u16_at(entry, 0), USER | GROUP) {
            out.extend_from_slice(&entry[4..]);
        }
    }
    Some(out)
}

/// Tags of entries with a number.
const USER: u16 = 2;
const GROUP: u16 = 8;

/// From the form on disk (version 1: entries without a number are short) to that of the system call (version 2: all are long).
fn acl(disk: &[u8]) -> Option<Vec<u8>> {
    if disk.len() < 4 || u32_at(disk, 0) != 1 {
        return None;
    }
    let mut out = 2u32.to_le_bytes().to_vec();
    let mut rest = &disk[4..];
    while !rest.is_empty() {
        let tag = u16_at(rest, 0);
        let len = if matches!(tag, USER | GROUP) { 8 } else { 4 };
        let entry = rest.get(..len)?;
        out.extend_from_slice(&entry[..4]);
        out.extend(if len == 8 { u32_at(entry, 4) } else { u32::MAX }.to_le_bytes());
        rest = &rest[len..];
    }
    Some(out)
}
