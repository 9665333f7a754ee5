//! Where the parts of a COW file lie.

use super::{HeaderError, Version};
use std::io;

/// Where the parts of a COW file lie. All in bytes but `sectors` and `mapped_sectors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Size of the device.
    pub size: u64,
    /// Unit of the bitmap, a power of two.
    pub sector_size: u32,
    /// First byte of the bitmap.
    pub bitmap_offset: u64,
    /// Length of the bitmap.
    pub bitmap_len: u64,
    /// First byte of the data: byte *b* of the device lies at `data_offset + b`.
    pub data_offset: u64,
    /// Sectors of the device, the last one perhaps partial.
    pub sectors: u64,
    /// Sectors that have a bit: fewer than `sectors` where versions 1 and 2 cut the bitmap short. The real
    /// driver never reads the missing bits back from the file, so those sectors are clean whenever it opens it.
    pub mapped_sectors: u64,
}

impl Layout {
    pub(super) fn new(
        version: Version,
        size: u64,
        sector_size: u32,
        alignment: u32,
        size_at: usize,
    ) -> Result<Self, HeaderError> {
        let too_big = HeaderError::Size { value: size, offset: size_at };
        if size == 0 || size > i64::MAX as u64 / 2 {
            return Err(too_big);
        }
        let (ss, align) = (u64::from(sector_size), u64::from(alignment));
        let header_len = version.header_len() as u64;
        let sectors = size.div_ceil(ss);
        let (bitmap_offset, bitmap_len, data_offset) = if version.truncates_bitmap() {
            let len = (size + ss - 1) / (8 * ss);
            (header_len, len, (header_len + len).next_multiple_of(ss))
        } else {
            let start = header_len.next_multiple_of(align);
            let len = sectors.div_ceil(8);
            (start, len, (start + len).next_multiple_of(align))
        };
        if data_offset + size > i64::MAX as u64 {
            return Err(too_big);
        }
        let mapped_sectors = sectors.min(bitmap_len * 8);
        Ok(Self { size, sector_size, bitmap_offset, bitmap_len, data_offset, sectors, mapped_sectors })
    }

    /// The byte after the bitmap.
    pub fn bitmap_end(&self) -> u64 {
        self.bitmap_offset + self.bitmap_len
    }

    /// Length that the file is meant to have.
    pub fn file_len(&self) -> u64 {
        self.data_offset + self.size
    }

    /// The byte in the file after the last sector that has a bit.
    pub fn mapped_end(&self) -> u64 {
        self.data_offset + self.mapped_size()
    }

    /// The byte of the device after the last sector that has a bit.
    pub fn mapped_size(&self) -> u64 {
        (self.mapped_sectors << self.sector_shift()).min(self.size)
    }

    /// Refuses to make sectors up to `end` dirty where some have no bit: they could be written, but nobody
    /// would ever read them back.
    pub(crate) fn check_mapped(&self, end: u64) -> io::Result<()> {
        let mapped = self.mapped_size();
        if end <= mapped {
            return Ok(());
        }
        let text = format!("sectors from byte {mapped} on have no bit in this version: convert to v3 first");
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    /// Where the piece of the device that begins at `offset`, and that a tool should make dirty or clean as a
    /// whole, ends. The real driver misreads what follows a page that is partly dirty, so pieces are whole
    /// pages of 4 KiB, and larger sectors whole. Where sectors have no bit, the first of them begins a page.
    pub fn piece_end(&self, offset: u64) -> u64 {
        let end = (offset + 1).next_multiple_of(u64::from(self.sector_size).max(4096));
        end.min(self.size)
    }

    /// log2 of the sector size.
    pub fn sector_shift(&self) -> u32 {
        self.sector_size.trailing_zeros()
    }
}
