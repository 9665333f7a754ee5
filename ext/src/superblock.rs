//! The superblock: 1024 bytes at byte 1024.

use crate::bytes::{halves, put_u32, u16_at, u32_at};
use crate::checksum::crc32c;
use crate::error::{Error, Result};
use crate::features::{self, Compat, Incompat, RoCompat};

/// Where it begins on the device, and how long it is.
pub(crate) const OFFSET: u64 = 1024;
pub(crate) const SIZE: usize = 1024;
const MAGIC: u16 = 0xef53;
/// What the checksum covers.
pub(crate) const CHECKED: usize = 0x3fc;

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
    /// Blocks that are allocated together (BIGALLOC), a power of two: what is free in a group is counted in these.
    pub blocks_per_cluster: u32,
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
    /// Clusters that are the file system's own, where that has been counted.
    pub(crate) overhead: u32,
    /// Blocks kept for more group descriptors, behind those that there are.
    pub(crate) reserved_gdt: u16,
    /// The two groups with backups (SPARSE_SUPER2).
    pub(crate) backup_groups: [u32; 2],
    /// Bytes of the extra fields of new inodes.
    pub(crate) extra_isize: u16,
    /// First inode that is not the file system's own.
    pub(crate) first_inode: u32,
    /// How signed the bytes of names are to their hash, and with what it begins.
    pub(crate) unsigned_hash: bool,
    pub(crate) hash_seed: [u32; 4],
    pub(crate) hash_version: u8,
    /// First group whose descriptors lie in the group itself (META_BG).
    pub first_meta_bg: u32,
    /// Inode of the journal; 0 for none, or one on another device.
    pub(crate) journal_inode: u32,
    /// Inode of the orphan file.
    pub(crate) orphan_file: u32,
    /// Block of multiple mount protection, and the seconds between two counts in it; 0 where that is left to who mounts.
    pub(crate) mmp_block: u64,
    pub(crate) mmp_interval: u16,
    /// A crash came in the middle of writing it; what it says of mounts may be of either time.
    pub(crate) torn: bool,
    /// Seed of all checksums.
    pub(crate) seed: u32,
}

/// Blocks of a cluster; 0 for what cannot be.
fn clusters(b: &[u8; SIZE]) -> u32 {
    u32_at(b, 0x1c).checked_sub(u32_at(b, 0x18)).and_then(|log| 1u32.checked_shl(log)).unwrap_or(0)
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
            blocks_per_cluster: if ro_compat.contains(RoCompat::BIGALLOC) { clusters(b) } else { 1 },
            inodes_per_group: u32_at(b, 0x28),
            inode_size: if first { 128 } else { u16_at(b, 0x58) },
            desc_size: if wide { u16_at(b, 0xfe) } else { 32 },
            compat: Compat::from_bits_retain(if first { 0 } else { u32_at(b, 0x5c) }),
            incompat,
            ro_compat,
            uuid,
            label: b[0x78..0x88].iter().copied().take_while(|c| *c != 0).collect(),
            overhead: u32_at(b, 0x248),
            reserved_gdt: if first { 0 } else { u16_at(b, 0xce) },
            backup_groups: [u32_at(b, 0x24c), u32_at(b, 0x250)],
            extra_isize: if u16_at(b, 0x15e) == 0 { 32 } else { u16_at(b, 0x15e) },
            first_inode: if first { 11 } else { u32_at(b, 0x54) },
            unsigned_hash: u32_at(b, 0x160) & 2 != 0,
            hash_seed: std::array::from_fn(|n| u32_at(b, 0xec + 4 * n)),
            hash_version: b[0xfc],
            first_meta_bg: u32_at(b, 0x104),
            journal_inode: if first { 0 } else { u32_at(b, 0xe0) },
            orphan_file: u32_at(b, 0x280),
            mmp_block: halves(b, 0x168, 0x16c),
            mmp_interval: u16_at(b, 0x166),
            torn: false,
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

    /// Where the first copy is to be, by what a superblock says of itself; 0 for nowhere.
    pub(crate) fn first_copy(b: &[u8; SIZE]) -> u64 {
        let (log, first, per) = (u32_at(b, 0x18), u32_at(b, 0x14), u32_at(b, 0x20));
        let block = u64::from(first) + u64::from(per);
        if log > 6 || block >= u64::from(u32_at(b, 4)) { 0 } else { block << (10 + log) }
    }

    /// Gives bytes the checksum that they are to have.
    pub(crate) fn seal(b: &mut [u8; SIZE]) {
        let sum = crc32c(!0, &b[..CHECKED]);
        put_u32(b, CHECKED, sum);
    }

    /// Whether this is a copy of the same file system's superblock: what is laid down for good is the same.
    pub(crate) fn is_copy_of(copy: &[u8; SIZE], b: &[u8; SIZE]) -> bool {
        let recover = Incompat::RECOVER.bits();
        let stays = [0x18, 0x1c, 0x20, 0x28, 0x14, 0x54, 0x68, 0x6c, 0x70, 0x74, 0xe0, 0xfc, 0x104, 0x150];
        stays.into_iter().all(|at| u32_at(copy, at) == u32_at(b, at))
            && u16_at(copy, 0x58) == u16_at(b, 0x58)
            && (u32_at(copy, 0), u32_at(copy, 4)) == (u32_at(b, 0), u32_at(b, 4))
            && u32_at(copy, 0x60) & !recover == u32_at(b, 0x60) & !recover
    }

    /// What later computations rely on.
    fn check(self) -> Result<Superblock> {
        let bad = |what: String| Err(Error::block(u64::from(self.first_data_block), what));
        let bits = self.block_size * 8;
        // In clusters, the first begins with the first block, whatever the size of blocks.
        let in_clusters = self.ro_compat.contains(RoCompat::BIGALLOC);
        if self.first_data_block != u32::from(self.block_size == 1024 && !in_clusters) {
            return bad(format!("first data block {}", self.first_data_block));
        }
        // With clusters the bitmap counts those, and a group may have more blocks.
        let most = if in_clusters { u32::MAX } else { bits };
        if !(1..=most).contains(&self.blocks_per_group) {
            return bad(format!("{} blocks a group", self.blocks_per_group));
        }
        if self.blocks_per_cluster == 0 {
            return bad("clusters of no size that there is".into());
        }
        if !(1..=bits).contains(&self.inodes_per_group) {
            return bad(format!("{} inodes a group", self.inodes_per_group));
        }
        if !(11..=self.inodes).contains(&self.first_inode) {
            return bad(format!("first inode {}", self.first_inode));
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

    /// Whether the journal may have something to replay.
    pub(crate) fn asks_for_recovery(&self) -> bool {
        self.incompat.contains(Incompat::RECOVER) || self.torn && self.journal_inode != 0
    }

    /// Number of block groups.
    pub fn groups(&self) -> u64 {
        (self.blocks - u64::from(self.first_data_block)).div_ceil(u64::from(self.blocks_per_group))
    }

    /// The group of a block, and where it is there.
    pub(crate) fn group_of(&self, block: u64) -> (u64, u64) {
        let at = block.saturating_sub(u64::from(self.first_data_block));
        let per = u64::from(self.blocks_per_group);
        (at / per, at % per)
    }

    /// First block of a group, and how many it has.
    pub(crate) fn group_span(&self, group: u64) -> (u64, u64) {
        let first = u64::from(self.first_data_block) + group * u64::from(self.blocks_per_group);
        (first, u64::from(self.blocks_per_group).min(self.blocks - first))
    }

    /// The block that it is in, and where.
    pub(crate) fn place(&self) -> (u64, usize) {
        if self.block_size == 1024 { (1, 0) } else { (0, OFFSET as usize) }
    }

    /// Whether groups count the inodes that have never been used.
    pub(crate) fn counts_unused(&self) -> bool {
        self.ro_compat.intersects(RoCompat::GDT_CSUM | RoCompat::METADATA_CSUM)
    }

    /// Whether all metadata carries a crc32c.
    pub fn has_checksums(&self) -> bool {
        self.ro_compat.contains(RoCompat::METADATA_CSUM)
    }
}
