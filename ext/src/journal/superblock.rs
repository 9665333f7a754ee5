//! The journal's superblock: where the log begins, and how it is written.

use super::format::{self, Form, Incompat, be32, put32};
use crate::checksum::crc32c;
use crate::error::{Error, Result};

/// What the checksum covers.
const SIZE: usize = 1024;
const SUM: usize = 0xfc;
const CHECKSUM_CRC32C: u8 = 4;
/// Compatible feature: commit blocks have a checksum of all that they commit (version 1).
const COMPAT_CHECKSUM: u32 = 1;

/// What it says, checked; its bytes are kept, to be written again.
#[derive(Debug, Clone)]
pub(crate) struct JournalSuperblock {
    bytes: Vec<u8>,
    /// First block of the log.
    pub(super) first: u32,
    /// First block behind it.
    pub(super) end: u32,
    /// Sequence of the first transaction in the log.
    pub(super) sequence: u32,
    /// Its block, 0 if there is none.
    pub(super) start: u32,
    pub(super) form: Form,
}

fn bad<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Journal(what.into()))
}

impl JournalSuperblock {
    /// Takes it apart. `blocks` is what the journal's inode has.
    pub(super) fn parse(bytes: Vec<u8>, block_size: u32, blocks: u64) -> Result<JournalSuperblock> {
        let b = &bytes[..];
        let Some((kind @ (format::SUPERBLOCK_V1 | format::SUPERBLOCK_V2), _)) = format::header(b) else {
            return bad("it has no superblock");
        };
        if be32(b, 0xc) != block_size {
            return bad(format!("blocks of {} bytes", be32(b, 0xc)));
        }
        let second = kind == format::SUPERBLOCK_V2;
        let bits = if second { be32(b, 0x28) } else { 0 };
        if bits & !Incompat::all().bits() != 0 {
            return Err(Error::Unsupported(format!(
                "journal incompat {:#x}",
                bits & !Incompat::all().bits()
            )));
        }
        let features = Incompat::from_bits_retain(bits);
        let form = Form { features, seed: crc32c(!0, &b[0x30..0x40]) };
        if form.has_checksums() {
            if b[0x50] != CHECKSUM_CRC32C {
                return Err(Error::Unsupported(format!("journal checksum type {}", b[0x50])));
            }
            if sum(b) != be32(b, SUM) {
                return bad("the checksum of its superblock is wrong");
            }
        }
        let len = be32(b, 0x10);
        let fast = match (features.contains(Incompat::FAST_COMMIT), be32(b, 0x54)) {
            (false, _) => 0,
            // JBD2_DEFAULT_FAST_COMMIT_BLOCKS
            (true, 0) => 256,
            (true, n) => n,
        };
        let (first, end) = (be32(b, 0x14), len.saturating_sub(fast));
        let start = be32(b, 0x1c);
        if u64::from(len) > blocks || first == 0 || first >= end || end - first < 8 {
            return bad(format!("a log from block {first} to {end} of {len}, in {blocks} blocks"));
        }
        if start != 0 && !(first..end).contains(&start) {
            return bad(format!("the log begins at block {start}"));
        }
        let sequence = be32(b, 0x18);
        Ok(JournalSuperblock { first, end, sequence, start, form, bytes })
    }

    /// Whether there is something to replay.
    pub(crate) fn is_dirty(&self) -> bool {
        self.start != 0
    }

    /// Whether there is room for fast commits.
    pub(super) fn is_fast(&self) -> bool {
        self.form.features.contains(Incompat::FAST_COMMIT)
    }

    /// The journal's UUID.
    pub(super) fn uuid(&self) -> [u8; 16] {
        std::array::from_fn(|n| self.bytes[0x30 + n])
    }

    /// The block that follows another in the log.
    pub(super) fn next(&self, block: u32) -> u32 {
        if block + 1 >= self.end { self.first } else { block + 1 }
    }

    /// The block that comes before another.
    pub(super) fn previous(&self, block: u32) -> u32 {
        if block <= self.first { self.end - 1 } else { block - 1 }
    }

    /// Whether commit blocks carry the old checksum of all that they commit.
    pub(super) fn has_commit_sums(&self) -> bool {
        !self.form.has_checksums() && be32(&self.bytes, 0x24) & COMPAT_CHECKSUM != 0
    }

    /// Turns on what this crate writes: revoke records, and checksums where the file system has them.
    pub(super) fn set_features(&mut self, wide: bool, checksums: bool) {
        let mut features = self.form.features | Incompat::REVOKE;
        features.set(Incompat::BIT64, wide || features.contains(Incompat::BIT64));
        if checksums {
            features = (features - Incompat::CSUM_V2) | Incompat::CSUM_V3;
            self.bytes[0x50] = CHECKSUM_CRC32C;
        }
        let compat = be32(&self.bytes, 0x24) & !COMPAT_CHECKSUM;
        put32(&mut self.bytes, 4, format::SUPERBLOCK_V2);
        put32(&mut self.bytes, 0x24, compat);
        put32(&mut self.bytes, 0x28, features.bits());
        self.form.features = features;
    }

    /// Its bytes, for a log that begins with `sequence` at `start`, or is empty at 0.
    pub(super) fn bytes(&mut self, sequence: u32, start: u32) -> &[u8] {
        (self.sequence, self.start) = (sequence, start);
        put32(&mut self.bytes, 0x18, sequence);
        put32(&mut self.bytes, 0x1c, start);
        if self.form.has_checksums() {
            let sum = sum(&self.bytes);
            put32(&mut self.bytes, SUM, sum);
        }
        &self.bytes
    }
}

fn sum(b: &[u8]) -> u32 {
    crc32c(crc32c(crc32c(!0, &b[..SUM]), &[0; 4]), &b[SUM + 4..SIZE])
}
