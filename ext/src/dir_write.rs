//! Directories, changed: entries come, go, and name other inodes.

use crate::bytes::{put_u32, u32_at};
use crate::dir::FileType;
use crate::error::{Error, Result};
use crate::features::Compat;
use crate::inode::{Flags, Inode, InodeNumber};
use crate::transaction::Op;
use crate::xattr::INLINE;

/// Longest name.
const MAX_NAME: usize = 255;

/// Checks a name that is to be an entry.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > MAX_NAME {
        return Err(Error::NameTooLong);
    }
    let odd = name.is_empty() || matches!(name, b"." | b"..") || name.iter().any(|b| matches!(b, 0 | b'/'));
    if odd { Err(Error::Invalid) } else { Ok(()) }
}

fn damaged(inode: &Inode) -> Error {
    Error::inode(inode.number, "a damaged block of the directory")
}

impl Op<'_> {
    /// Adds a block to a directory; its number there.
    pub(crate) fn append_block(&mut self, inode: &mut Inode, bytes: Vec<u8>) -> Result<u64> {
        let logical = inode.size / self.block_size();
        let run = self.fill_hole(inode, logical, 1, false)?;
        let block = run.physical.ok_or_else(|| damaged(inode))?;
        self.create(block, bytes);
        inode.size += self.block_size();
        Ok(logical)
    }

    /// The blocks of a directory, as they are numbered there, with that which holds the name in front if it is indexed.
    fn blocks_for(&self, inode: &Inode, name: &[u8]) -> Result<Vec<u64>> {
        if inode.flags.contains(Flags::INDEX) && name != b".." {
            let mut way = self.way(inode, name)?;
            let mut all = vec![way.leaf];
            while all.len() as u64 <= inode.size / self.block_size() && self.next_leaf(inode, &mut way)? {
                all.push(way.leaf);
            }
            return Ok(all);
        }
        Ok((0..inode.size / self.block_size()).collect())
    }

    /// Changes one block of a directory after another, until `change` has found what it looks for; in which block.
    fn each_block(
        &mut self,
        inode: &Inode,
        blocks: &[u64],
        change: impl Fn(&mut [u8], usize) -> Option<bool>,
    ) -> Result<Option<u64>> {
        let end = self.shape(inode).end();
        for logical in blocks {
            let block = self.directory_block(inode, *logical)?;
            let mut bytes = self.directory_bytes(inode, block, *logical == 0)?.to_vec();
            if change(&mut bytes, end).ok_or_else(|| damaged(inode))? {
                self.change(block, |b| b.copy_from_slice(&bytes))?;
                return Ok(Some(*logical));
            }
        }
        Ok(None)
    }

    /// Adds an entry. That there is none of this name is the caller's to know.
    pub(crate) fn add_entry(
        &mut self,
        inode: &mut Inode,
        name: &[u8],
        number: InodeNumber,
        mode: u16,
    ) -> Result<()> {
        let kind = FileType::byte_of(mode);
        if inode.flags.contains(Flags::INLINE_DATA) {
            let mut data = self.inline_data(inode)?;
            data.truncate(inode.size as usize);
            self.leave_inline_directory(inode, &data)?;
        }
        let shape = self.shape(inode);
        for _ in 0..4 {
            let indexed = inode.flags.contains(Flags::INDEX);
            let blocks = match indexed {
                true => vec![self.way(inode, name)?.leaf],
                false => (self.room.before(inode.number)..inode.size / self.block_size()).collect(),
            };
            let place =
                self.each_block(inode, &blocks, |b, end| shape.add(b, 0, end, (name, number, kind)))?;
            if let Some(logical) = place {
                if !indexed {
                    self.room.found(inode.number, logical);
                }
                return Ok(());
            }
            if indexed {
                self.split_leaf(inode, name)?;
                continue;
            }
            if inode.size == self.block_size() && self.superblock.compat.contains(Compat::DIR_INDEX) {
                self.make_index(inode)?;
                continue;
            }
            let mut new = vec![0; shape.block_size];
            shape.fill(&mut new, 0, &[(name, number, kind)]);
            let logical = self.append_block(inode, new)?;
            self.room.found(inode.number, logical);
            return Ok(());
        }
        Err(Error::NoSpace)
    }

    /// Takes an entry out; ENOENT if there is none.
    pub(crate) fn remove_entry(&mut self, inode: &mut Inode, name: &[u8]) -> Result<()> {
        let shape = self.shape(inode);
        if inode.flags.contains(Flags::INLINE_DATA) {
            return self.in_inline(inode, |b, from, end| shape.remove(b, from, end, name));
        }
        let blocks = self.blocks_for(inode, name)?;
        let found = self.each_block(inode, &blocks, |b, end| shape.remove(b, 0, end, name))?;
        self.room.made(inode.number, found.ok_or(Error::NotFound)?);
        Ok(())
    }

    /// Has an entry name another inode.
    pub(crate) fn replace_entry(
        &mut self,
        inode: &mut Inode,
        name: &[u8],
        number: InodeNumber,
        mode: u16,
    ) -> Result<()> {
        let (shape, kind) = (self.shape(inode), FileType::byte_of(mode));
        if inode.flags.contains(Flags::INLINE_DATA) {
            if name == b".." {
                put_u32(&mut inode.block, 0, number);
                return Ok(());
            }
            return self.in_inline(inode, |b, from, end| shape.replace(b, (from, end), name, number, kind));
        }
        if name == b".." && inode.flags.contains(Flags::INDEX) {
            // The root's second entry reaches over the tree; it stays as it is but for its number.
            let block = self.directory_block(inode, 0)?;
            let mut bytes = self.directory_bytes(inode, block, true)?.to_vec();
            put_u32(&mut bytes, 12, number);
            self.seal_root(inode, &mut bytes);
            return self.change(block, |b| b.copy_from_slice(&bytes));
        }
        let blocks = self.blocks_for(inode, name)?;
        let change = |b: &mut [u8], end: usize| shape.replace(b, (0, end), name, number, kind);
        if self.each_block(inode, &blocks, change)?.is_some() { Ok(()) } else { Err(Error::NotFound) }
    }

    /// The first block of a new directory.
    pub(crate) fn begin_directory(&mut self, inode: &mut Inode, parent: InodeNumber) -> Result<()> {
        let shape = self.shape(inode);
        let mut b = vec![0; shape.block_size];
        let directory = if shape.typed { 2 } else { 0 };
        shape.fill(&mut b, 0, &[(b".", inode.number, directory), (b"..", parent, directory)]);
        self.room.made(inode.number, 0);
        self.append_block(inode, b).map(drop)
    }

    /// Changes entries that are in the inode: beside its fields, or among the attributes.
    fn in_inline(
        &mut self,
        inode: &mut Inode,
        change: impl Fn(&mut [u8], usize, usize) -> Option<bool>,
    ) -> Result<()> {
        let size = inode.size as usize;
        let first = size.min(60);
        let mut block = inode.block;
        if change(&mut block, 4, first).ok_or_else(|| damaged(inode))? {
            inode.block = block;
            return Ok(());
        }
        let mut rest = self.inline_data(inode)?.split_off(60);
        rest.truncate(size.saturating_sub(60));
        let len = rest.len();
        if len > 0 && change(&mut rest, 0, len).ok_or_else(|| damaged(inode))? {
            return self.set_inline_rest(inode, rest);
        }
        Err(Error::NotFound)
    }

    /// A directory in its inode gets a block.
    pub(crate) fn leave_inline_directory(&mut self, inode: &mut Inode, data: &[u8]) -> Result<()> {
        let parent = u32_at(data, 0);
        let entries = self.entries(inode)?;
        self.drop_inline(inode)?;
        inode.size = 0;
        self.begin_directory(inode, parent)?;
        for e in entries.iter().filter(|e| !matches!(&e.name[..], b"." | b"..")) {
            self.add_entry(inode, &e.name, e.inode, e.kind.mode())?;
        }
        Ok(())
    }
}

impl FileType {
    /// The type bits of a mode.
    pub fn mode(self) -> u16 {
        use FileType::*;
        match self {
            Unknown => 0,
            Regular => 0x8000,
            Directory => 0x4000,
            Character => 0x2000,
            Block => 0x6000,
            Fifo => 0x1000,
            Socket => 0xc000,
            Link => 0xa000,
        }
    }
}

impl Op<'_> {
    fn set_inline_rest(&mut self, inode: &mut Inode, rest: Vec<u8>) -> Result<()> {
        self.set_raw_xattr(inode, INLINE, Some(rest), crate::XattrMode::Replace).map(drop)
    }
}
