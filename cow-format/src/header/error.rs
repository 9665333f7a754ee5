//! What can be wrong with a header.

/// What is wrong with a header. Offsets are bytes from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// No COW magic, in either byte order.
    #[error("not a COW file: 0x{0:08x} at offset 0 instead of 0x4f4f4f4d")]
    Magic(u32),
    /// The file ends inside the header.
    #[error("the file ends at byte {have}, inside the {need}-byte header")]
    Short {
        /// Bytes there are.
        have: u64,
        /// Bytes the header has.
        need: usize,
    },
    /// A version that nobody has defined.
    #[error("unknown version {0} at offset 4")]
    Version(u32),
    /// QEMU's own layout.
    #[error(
        "this is QEMU's own \"version 2\" layout (1024-byte path), which only old QEMUs read: \
         convert it with one of those"
    )]
    Qemu,
    /// The backing path has no end.
    #[error("the backing path at offset {0} has no terminating NUL")]
    PathUnterminated(usize),
    /// The backing path is empty.
    #[error("the backing path at offset {0} is empty")]
    PathEmpty(usize),
    /// A path that does not fit.
    #[error("backing path of {len} bytes: this version holds at most {max}")]
    PathTooLong {
        /// Bytes of the path.
        len: usize,
        /// Bytes that fit.
        max: usize,
    },
    /// A sector size that cannot be.
    #[error("sector size {value} at offset {offset} (a power of two from 512 to 1048576 is needed)")]
    SectorSize {
        /// What it says.
        value: u32,
        /// Where.
        offset: usize,
    },
    /// An alignment that cannot be.
    #[error("alignment 0 at offset {0}")]
    Alignment(usize),
    /// A bitmap format that nobody has defined.
    #[error("unknown cow_format {value} at offset {offset}")]
    CowFormat {
        /// What it says.
        value: u32,
        /// Where.
        offset: usize,
    },
    /// A size that no file can have.
    #[error("impossible device size {value} at offset {offset}")]
    Size {
        /// What it says.
        value: u64,
        /// Where.
        offset: usize,
    },
    /// The bitmap does not lie in the file.
    #[error("the bitmap (bytes {start} to {end}) reaches past the end of the file ({file_len} bytes)")]
    BitmapBeyondEnd {
        /// Its first byte.
        start: u64,
        /// The byte after it.
        end: u64,
        /// Length of the file.
        file_len: u64,
    },
    /// Versions 1 and 2 cannot describe this size without sectors that have no bit.
    #[error("{name} has no bits for the last {missing} sectors of a {size}-byte device: use v3")]
    TruncatedBitmap {
        /// Name of the version.
        name: &'static str,
        /// Sectors without a bit.
        missing: u64,
        /// Size in bytes.
        size: u64,
    },
}
