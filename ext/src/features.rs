//! The three sets of features, and which of them this crate has.

use crate::error::{Error, Result};

bitflags::bitflags! {
    /// Features that whoever does not know them may ignore.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Compat: u32 {
        /// There is a journal.
        const HAS_JOURNAL = 0x4;
        /// Extended attributes.
        const EXT_ATTR = 0x8;
        /// Room for more group descriptors.
        const RESIZE_INODE = 0x10;
        /// Hashed directories.
        const DIR_INDEX = 0x20;
        /// Backups in two groups only.
        const SPARSE_SUPER2 = 0x200;
        /// Journal commits of a faster kind.
        const FAST_COMMIT = 0x400;
        /// Orphans in a file of their own.
        const ORPHAN_FILE = 0x1000;
    }

    /// Features without which nothing can be read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Incompat: u32 {
        /// Directory entries carry the type.
        const FILETYPE = 0x2;
        /// The journal has to be replayed.
        const RECOVER = 0x4;
        /// This is a journal, no file system.
        const JOURNAL_DEV = 0x8;
        /// Group descriptors lie in their groups.
        const META_BG = 0x10;
        /// Files are mapped by extents.
        const EXTENTS = 0x40;
        /// Block numbers of 64 bits.
        const BIT64 = 0x80;
        /// Multiple mount protection.
        const MMP = 0x100;
        /// Metadata of several groups together.
        const FLEX_BG = 0x200;
        /// Values of extended attributes in inodes.
        const EA_INODE = 0x400;
        /// The seed of checksums is kept apart from the UUID.
        const CSUM_SEED = 0x2000;
        /// Directories of more than 2 GiB, or three levels.
        const LARGEDIR = 0x4000;
        /// Small files inside their inode.
        const INLINE_DATA = 0x8000;
        /// Encrypted files.
        const ENCRYPT = 0x1_0000;
        /// Directories without regard to case.
        const CASEFOLD = 0x2_0000;
    }

    /// Features without which nothing may be written.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct RoCompat: u32 {
        /// Backups in few groups only.
        const SPARSE_SUPER = 0x1;
        /// Files of more than 2 GiB.
        const LARGE_FILE = 0x2;
        /// Files counted in file system blocks.
        const HUGE_FILE = 0x8;
        /// Group descriptors with crc16, uninitialized groups.
        const GDT_CSUM = 0x10;
        /// More than 65,000 subdirectories.
        const DIR_NLINK = 0x20;
        /// Times with nanoseconds.
        const EXTRA_ISIZE = 0x40;
        /// Quota in hidden inodes.
        const QUOTA = 0x100;
        /// Blocks in clusters.
        const BIGALLOC = 0x200;
        /// crc32c on all metadata.
        const METADATA_CSUM = 0x400;
        /// Read-only for good.
        const READONLY = 0x1000;
        /// Project quota.
        const PROJECT = 0x2000;
        /// Files with fs-verity.
        const VERITY = 0x8000;
        /// There are entries in the orphan file.
        const ORPHAN_PRESENT = 0x1_0000;
    }
}

/// Known, and read here.
const HAVE: Incompat = Incompat::FILETYPE
    .union(Incompat::RECOVER)
    .union(Incompat::META_BG)
    .union(Incompat::EXTENTS)
    .union(Incompat::BIT64)
    .union(Incompat::MMP)
    .union(Incompat::FLEX_BG)
    .union(Incompat::EA_INODE)
    .union(Incompat::CSUM_SEED)
    .union(Incompat::LARGEDIR)
    .union(Incompat::INLINE_DATA);

/// Refuses what cannot be read, by name.
pub(crate) fn check(bits: u32) -> Result<Incompat> {
    let unknown = bits & !HAVE.bits();
    if unknown == 0 {
        return Ok(Incompat::from_bits_retain(bits));
    }
    let named = Incompat::from_bits_truncate(unknown);
    let mut names: Vec<String> = named.iter_names().map(|(n, _)| n.to_lowercase()).collect();
    if unknown & !named.bits() != 0 {
        names.push(format!("incompat {:#x}", unknown & !named.bits()));
    }
    Err(Error::Unsupported(names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert!(check(0x2c2).is_ok());
        let error = check(0x2c2 | 0x1_0000 | 0x2_0000 | 0x8000_0000).expect_err("refused").to_string();
        assert_eq!(error, "unsupported feature: encrypt, casefold, incompat 0x80000000");
    }
}
