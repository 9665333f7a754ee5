//! What files and links hold.

use crate::core::Core;
use crate::error::{Error, Result};
use crate::features::Incompat;
use crate::inode::{Flags, Inode};
use crate::xattr::INLINE;

/// Longest target of a link, with its NUL.
const MAX_LINK: u64 = 4096;

impl Core {
    /// Reads from a file at a byte; how many bytes there were before its end.
    pub(crate) fn read(&self, inode: &Inode, at: u64, into: &mut [u8]) -> Result<usize> {
        if at >= inode.size {
            return Ok(0);
        }
        let len = into.len().min(usize::try_from(inode.size - at).unwrap_or(usize::MAX));
        let into = &mut into[..len];
        if inode.flags.contains(Flags::INLINE_DATA) {
            let data = self.inline_data(inode)?;
            for (n, byte) in into.iter_mut().enumerate() {
                *byte = data.get(at as usize + n).copied().unwrap_or(0);
            }
            return Ok(len);
        }
        let size = u64::from(self.superblock.block_size);
        let mut done = 0;
        while done < len {
            let position = at + done as u64;
            let (logical, within) = (position / size, position % size);
            let run = self.run(inode, logical)?;
            let most = (run.len.saturating_mul(size) - within).min((len - done) as u64) as usize;
            let piece = &mut into[done..done + most];
            match run.physical.filter(|_| !run.unwritten) {
                Some(block) => self
                    .device
                    .read_at(piece, block * size + within)
                    .map_err(|source| Error::Io { block, source })?,
                None => piece.fill(0),
            }
            done += most;
        }
        Ok(len)
    }

    /// The data of a file that is kept in its inode: what fits beside the fields, then the rest among the attributes.
    pub(crate) fn inline_data(&self, inode: &Inode) -> Result<Vec<u8>> {
        let mut data = inode.block.to_vec();
        if let Some(rest) = self.raw_xattrs(inode)?.into_iter().find(|x| x.is(INLINE)) {
            data.extend(rest.value);
        }
        Ok(data)
    }

    /// Where a symbolic link points.
    pub(crate) fn read_link(&self, inode: &Inode) -> Result<Vec<u8>> {
        if !inode.is_link() || inode.size >= MAX_LINK {
            return Err(Error::inode(
                inode.number,
                format!("a link of mode {:o}, {} bytes", inode.mode, inode.size),
            ));
        }
        let len = inode.size as usize;
        // A short one is where the map would be, and takes no block of its own.
        let short = len < inode.block.len() && !inode.flags.contains(Flags::EXTENTS);
        if short && !inode.flags.contains(Flags::INLINE_DATA) {
            let own = inode.blocks - self.xattr_blocks(inode).min(inode.blocks);
            // A file is charged for attributes in inodes too: there the length alone tells (ext4_inode_is_fast_symlink).
            if own == 0 || self.superblock.incompat.contains(Incompat::EA_INODE) {
                return Ok(inode.block[..len].to_vec());
            }
        }
        let mut target = vec![0; len];
        self.read(inode, 0, &mut target)?;
        Ok(target)
    }

    /// Units of 512 bytes of its block of attributes.
    fn xattr_blocks(&self, inode: &Inode) -> u64 {
        if inode.xattr_block == 0 { 0 } else { u64::from(self.superblock.block_size / 512) }
    }
}
