//! The superblock: 1024 bytes at byte 1024.

use crate::bytes::{halves, u16_at, u32_at};
use crate::checksum::crc32c;
use crate::error::{Error, Result};
use crate::features::{self, Compat, Incompat, RoCompat};

/// Where it begins on the device, and how long it is.
pub(crate) const OFFSET: u64 = 1024;
pub(crate) const SIZE: usize = 1024;
const MAGIC: u16 = 0xef53;
/// What the checksum covers.
const CHECKED: usize = 0x3fc;

/// What a superblock says, checked.
#[derive(Debug, Clone)]
pub struct Superblock {
    /// Bytes of a block: 1 to 64 KiB.
    pub block_size: u32,
    /// Blocks of the file system.
    pub blocks: u64,
    /// Inodes of the file system.
    pub inodes: u32,
    /// Blocks that are free, those kept for root among them.
    pub free_blocks: u64,
    /// Blocks kept for root.
    pub reserved_blocks: u64,
    /// Inodes that are free.
    pub free_inodes: u32,
    /// Block of the superblock itself: 1 with blocks of 1 KiB, else 0.
    pub first_data_block: u32,
    /// Blocks of a group.
    pub blocks_per_group: u32,
    /// Inodes of a group.
    pub inodes_per_group: u32,
    /// Bytes of an inode.
    pub inode_size: u16,
    /// Bytes of a group descriptor: 32 or 64.
    pub desc_size: u16,
    /// Features.
    pub compat: Compat,
    /// Features.
    pub incompat: Incompat,
    /// Features.
    pub ro_compat: RoCompat,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Volume name, up to its NUL.
    pub label: Vec<u8>,
    /// First group whose descriptors lie in the group itself (META_BG).
    pub first_meta_bg: u32,
    /// Seed of all checksums.
    pub(crate) seed: u32,
}

impl Superblock {
    /// Takes it apart.
    pub fn parse(b: &[u8; SIZE]) -> Result<Superblock> {
        if u16_at(b, 0x38) != MAGIC {
            return Err(Error::NotExt("the magic number is missing".into()));
        }
        let bad = |what: &str| Err(Error::NotExt(what.into()));
        let log = u32_at(b, 0x18);
        if log > 6 {
            return bad("the block size is more than 64 KiB");
        }
        let block_size = 1024 << log;
        let first = u32_at(b, 0x4c) == 0;
        let incompat = features::check(if first { 0 } else { u32_at(b, 0x60) })?;
        let ro_compat = RoCompat::from_bits_retain(if first { 0 } else { u32_at(b, 0x64) });
        let wide = incompat.contains(Incompat::BIT64);
        let count = |lo, hi| if wide { halves(b, lo, hi) } else { u32_at(b, lo).into() };
        let uuid: [u8; 16] = std::array::from_fn(|n| b[0x68 + n]);
        let seed = match incompat.contains(Incompat::CSUM_SEED) {
            true => u32_at(b, 0x270),
            false => crc32c(!0, &uuid),
        };
        let sb = Superblock {
            block_size,
            blocks: count(4, 0x150),
            inodes: u32_at(b, 0),
            free_blocks: count(0xc, 0x158),
            reserved_blocks: count(8, 0x154),
            free_inodes: u32_at(b, 0x10),
            first_data_block: u32_at(b, 0x14),
            blocks_per_group: u32_at(b, 0x20),
            inodes_per_group: u32_at(b, 0x28),
            inode_size: if first { 128 } else { u16_at(b, 0x58) },
            desc_size: if wide { u16_at(b, 0xfe) } else { 32 },
            compat: Compat::from_bits_retain(if first { 0 } else { u32_at(b, 0x5c) }),
            incompat,
            ro_compat,
            uuid,
            label: b[0x78..0x88].iter().copied().take_while(|c| *c != 0).collect(),
            first_meta_bg: u32_at(b, 0x104),
            seed,
        };
        if sb.has_checksums() {
            if b[0x175] != 1 {
                return Err(Error::Unsupported(format!("checksum type {}", b[0x175])));
            }
            if crc32c(!0, &b[..CHECKED]) != u32_at(b, CHECKED) {
                return Err(Error::block(0, "the superblock's checksum is wrong"));
            }
        }
        sb.check()
    }

    /// What later computations rely on.
    fn check(self) -> Result<Superblock> {
        let bad = |what: String| Err(Error::block(u64::from(self.first_data_block), what));
        let bits = self.block_size * 8;
        if self.first_data_block != u32::from(self.block_size == 1024) {
            return bad(format!("first data block {}", self.first_data_block));
        }
        if !(1..=bits).contains(&self.blocks_per_group) && !self.ro_compat.contains(RoCompat::BIGALLOC) {
            return bad(format!("{} blocks a group", self.blocks_per_group));
        }
        if !(1..=bits).contains(&self.inodes_per_group) {
            return bad(format!("{} inodes a group", self.inodes_per_group));
        }
        let size = u32::from(self.inode_size);
        if size < 128 || !size.is_power_of_two() || size > self.block_size {
            return bad(format!("inodes of {size} bytes"));
        }
        let desc = u32::from(self.desc_size);
        if !(32..=self.block_size).contains(&desc) || !desc.is_power_of_two() {
            return bad(format!("group descriptors of {desc} bytes"));
        }
        let least = u64::from(self.first_data_block) + 1;
        if self.blocks < least || self.blocks > u64::MAX / u64::from(self.block_size) {
            return bad(format!("{} blocks", self.blocks));
        }
        if u64::from(self.inodes) > self.groups() * u64::from(self.inodes_per_group) || self.inodes == 0 {
            return bad(format!("{} inodes in {} groups", self.inodes, self.groups()));
        }
        Ok(self)
    }

    /// Number of block groups.
    pub fn groups(&self) -> u64 {
        (self.blocks - u64::from(self.first_data_block)).div_ceil(u64::from(self.blocks_per_group))
    }

    /// Whether all metadata carries a crc32c.
    pub fn has_checksums(&self) -> bool {
        self.ro_compat.contains(RoCompat::METADATA_CSUM)
    }
}
