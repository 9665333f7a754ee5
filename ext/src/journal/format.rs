//! The shapes of the journal's blocks, all of them big-endian: include/linux/jbd2.h, Documentation/filesystems/ext4/journal.rst.

use crate::checksum::crc32c;

pub(super) const MAGIC: u32 = 0xc03b_3998;
pub(super) const DESCRIPTOR: u32 = 1;
pub(super) const COMMIT: u32 = 2;
pub(super) const SUPERBLOCK_V1: u32 = 3;
pub(super) const SUPERBLOCK_V2: u32 = 4;
pub(super) const REVOKE: u32 = 5;
/// Magic, type and sequence, with which every block begins.
pub(super) const HEADER: usize = 12;

/// The block's first word is the magic number itself: it is zero in the log.
pub(super) const ESCAPED: u32 = 1;
/// No UUID follows the tag.
pub(super) const SAME_UUID: u32 = 2;
/// The last tag of its descriptor.
pub(super) const LAST: u32 = 8;

/// Where a commit block has its checksum, and its time.
pub(super) const COMMIT_SUM: usize = 0x10;
pub(super) const COMMIT_SEC: usize = 0x30;

bitflags::bitflags! {
    /// Features without which a journal cannot be read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Incompat: u32 {
        /// There are revoke records.
        const REVOKE = 0x1;
        /// Block numbers of 64 bits.
        const BIT64 = 0x2;
        /// Commit blocks are written together with what they commit.
        const ASYNC_COMMIT = 0x4;
        /// Checksums, the first form for single blocks.
        const CSUM_V2 = 0x8;
        /// Checksums.
        const CSUM_V3 = 0x10;
        /// Fast commits behind the log.
        const FAST_COMMIT = 0x20;
    }
}

pub(super) fn be16(b: &[u8], at: usize) -> u16 {
    b.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes)
}

pub(super) fn be32(b: &[u8], at: usize) -> u32 {
    b.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

pub(super) fn put32(b: &mut [u8], at: usize, value: u32) {
    b[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Type and sequence of a block of the journal's own.
pub(super) fn header(b: &[u8]) -> Option<(u32, u32)> {
    (be32(b, 0) == MAGIC).then(|| (be32(b, 4), be32(b, 8)))
}

pub(super) fn put_header(b: &mut [u8], kind: u32, sequence: u32) {
    put32(b, 0, MAGIC);
    put32(b, 4, kind);
    put32(b, 8, sequence);
}

/// How this journal writes its tags and checksums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) features: Incompat,
    /// crc32c of the journal's UUID.
    pub(super) seed: u32,
}

/// One block of a transaction, by its descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) block: u64,
    pub(super) flags: u32,
    pub(super) checksum: u32,
}

impl Form {
    pub(super) fn has_checksums(&self) -> bool {
        self.features.intersects(Incompat::CSUM_V2 | Incompat::CSUM_V3)
    }

    fn wide(&self) -> bool {
        self.features.contains(Incompat::BIT64)
    }

    /// Bytes of a tag without a UUID (journal_tag_bytes).
    pub(super) fn tag_len(&self) -> usize {
        if self.features.contains(Incompat::CSUM_V3) {
            return 16;
        }
        8 + if self.features.contains(Incompat::CSUM_V2) { 2 } else { 0 } + if self.wide() { 4 } else { 0 }
    }

    /// Bytes at the end of descriptor and revoke blocks that hold their checksum.
    pub(super) fn tail_len(&self) -> usize {
        if self.has_checksums() { 4 } else { 0 }
    }

    /// Bytes of a revoked block's number.
    pub(super) fn revoke_len(&self) -> usize {
        if self.wide() { 8 } else { 4 }
    }

    pub(super) fn read_tag(&self, b: &[u8]) -> Tag {
        if self.features.contains(Incompat::CSUM_V3) {
            let high = if self.wide() { u64::from(be32(b, 8)) << 32 } else { 0 };
            return Tag { block: u64::from(be32(b, 0)) | high, flags: be32(b, 4), checksum: be32(b, 12) };
        }
        let high = if self.wide() { u64::from(be32(b, 8)) << 32 } else { 0 };
        Tag { block: u64::from(be32(b, 0)) | high, flags: be16(b, 6).into(), checksum: be16(b, 4).into() }
    }

    pub(super) fn write_tag(&self, b: &mut [u8], tag: &Tag) {
        put32(b, 0, tag.block as u32);
        if self.features.contains(Incompat::CSUM_V3) {
            put32(b, 4, tag.flags);
            put32(b, 8, (tag.block >> 32) as u32);
            put32(b, 12, tag.checksum);
            return;
        }
        b[4..6].copy_from_slice(&(tag.checksum as u16).to_be_bytes());
        b[6..8].copy_from_slice(&(tag.flags as u16).to_be_bytes());
        if self.wide() {
            put32(b, 8, (tag.block >> 32) as u32);
        }
    }

    /// The checksum of a block as it lies in the log, as its tag has it.
    pub(super) fn block_sum(&self, sequence: u32, block: &[u8]) -> u32 {
        let whole = crc32c(crc32c(self.seed, &sequence.to_be_bytes()), block);
        match self.features {
            f if f.contains(Incompat::CSUM_V3) => whole,
            f if f.contains(Incompat::CSUM_V2) => whole & 0xffff,
            _ => 0,
        }
    }

    /// The checksum of a block of the journal's own, whose field for it is at `at`.
    pub(super) fn own_sum(&self, b: &[u8], at: usize) -> u32 {
        crc32c(crc32c(crc32c(self.seed, &b[..at]), &[0; 4]), &b[at + 4..])
    }

    /// Whether such a block is as it was written.
    pub(super) fn is_intact(&self, b: &[u8], at: usize) -> bool {
        !self.has_checksums() || self.own_sum(b, at) == be32(b, at)
    }

    pub(super) fn seal(&self, b: &mut [u8], at: usize) {
        if self.has_checksums() {
            let sum = self.own_sum(b, at);
            put32(b, at, sum);
        }
    }
}
