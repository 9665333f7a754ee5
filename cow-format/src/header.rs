//! The header of a COW file: every layout that was ever written, parsed once into a checked type.
//!
//! Offsets and formulas: `docs/cow-format.md`. The facts are those of the real driver
//! (`arch/um/drivers/cow_user.c`) and of files it wrote.

mod error;
mod layout;
#[cfg(test)]
mod tests;

pub use error::HeaderError;
pub use layout::Layout;

use crate::record::RECORD_LEN;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// "OOOM", the first four bytes of versions 2 and 3, and of version 1 in its writer's byte order.
pub const MAGIC: u32 = 0x4f4f_4f4d;
/// Bytes at the start of a file that hold any header whole.
pub const MAX_HEADER_LEN: usize = BROKEN_LEN;
/// The sector size that every real tool writes, in bytes.
pub const DEFAULT_SECTOR_SIZE: u32 = 512;
/// The alignment that the real tools write: the page size.
pub const DEFAULT_ALIGNMENT: u32 = 4096;

const V1_LEN: usize = 280;
const V2_LEN: usize = 4120;
const V3_LEN: usize = 4128;
const BROKEN_LEN: usize = 4136;
const V1_PATH: usize = 256;
const PATH: usize = 4096;
const MAX_SECTOR_SIZE: u32 = 1 << 20;

/// The byte order of a version 1 header, that of the machine which wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// x86 and most others.
    Little,
    /// PowerPC, s390.
    Big,
}

/// Which layout a COW file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Version 1.
    V1(ByteOrder),
    /// Version 2.
    V2,
    /// Version 3, the current one.
    V3,
    /// Version 3 as 64-bit builds wrote it for some years, with the C compiler's padding in it.
    V3Broken,
}

impl Version {
    /// The name used in options and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1(ByteOrder::Little) => "v1-le",
            Self::V1(ByteOrder::Big) => "v1-be",
            Self::V2 => "v2",
            Self::V3 => "v3",
            Self::V3Broken => "v3-broken",
        }
    }

    /// Bytes of the header proper.
    pub fn header_len(self) -> usize {
        match self {
            Self::V1(_) => V1_LEN,
            Self::V2 => V2_LEN,
            Self::V3 => V3_LEN,
            Self::V3Broken => BROKEN_LEN,
        }
    }

    /// Bytes of the backing path, its NUL included.
    fn path_field(self) -> std::ops::Range<usize> {
        let start = match self {
            Self::V1(_) | Self::V2 => 8,
            Self::V3 => 32,
            Self::V3Broken => 36,
        };
        start..start + if matches!(self, Self::V1(_)) { V1_PATH } else { PATH }
    }

    /// Versions 1 and 2 compute the bitmap's length with a division that drops a remainder.
    fn truncates_bitmap(self) -> bool {
        matches!(self, Self::V1(_) | Self::V2)
    }
}

/// A header that has been checked: every offset in it lies where it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which layout.
    pub version: Version,
    /// Path of the backing file, as recorded.
    pub backing: PathBuf,
    /// Modification time of the backing file, seconds since 1970, as recorded (it wraps in 2106).
    pub mtime: u32,
    /// Alignment of the bitmap and of the data, in bytes; the sector size in versions 1 and 2.
    pub alignment: u32,
    /// Where everything lies.
    pub layout: Layout,
}

impl Header {
    /// Describes a new COW file.
    ///
    /// # Errors
    /// [`HeaderError`] for values that no reader would accept, or that would make sectors without a bit.
    pub fn new(
        version: Version,
        backing: &Path,
        mtime: u32,
        size: u64,
        sector_size: u32,
        alignment: u32,
    ) -> Result<Self, HeaderError> {
        let fields = Fields::of(version);
        check_sector_size(sector_size, fields.sector_size)?;
        if alignment == 0 {
            return Err(HeaderError::Alignment(fields.alignment));
        }
        let alignment = if version.truncates_bitmap() { sector_size } else { alignment };
        let layout = Layout::new(version, size, sector_size, alignment, fields.size)?;
        if layout.mapped_sectors < layout.sectors {
            let missing = layout.sectors - layout.mapped_sectors;
            return Err(HeaderError::TruncatedBitmap { name: version.name(), missing, size });
        }
        let (len, max) = (backing.as_os_str().len(), version.path_field().len() - 1);
        if len > max {
            return Err(HeaderError::PathTooLong { len, max });
        }
        if len == 0 {
            return Err(HeaderError::PathEmpty(version.path_field().start));
        }
        Ok(Self { version, backing: backing.to_owned(), mtime, alignment, layout })
    }

    /// Parses the start of a file that is `file_len` bytes long. `prefix` holds its first
    /// [`MAX_HEADER_LEN`] bytes, or the whole file where that is shorter.
    ///
    /// # Errors
    /// The first thing that is wrong, with its offset.
    pub fn parse(prefix: &[u8], file_len: u64) -> Result<Self, HeaderError> {
        let version = detect(prefix, file_len)?;
        match Self::parse_as(version, prefix, file_len) {
            Err(_) if version == Version::V2 && is_qemu(prefix, file_len) => Err(HeaderError::Qemu),
            other => other,
        }
    }

    fn parse_as(version: Version, prefix: &[u8], file_len: u64) -> Result<Self, HeaderError> {
        let need = version.header_len();
        let raw =
            prefix.get(..need).ok_or(HeaderError::Short { have: file_len.min(prefix.len() as u64), need })?;
        let fields = Fields::of(version);
        let read = Reader { raw, big: version != Version::V1(ByteOrder::Little) };
        let path_at = version.path_field();
        let path = &raw[path_at.clone()];
        let end = path.iter().position(|b| *b == 0).ok_or(HeaderError::PathUnterminated(path_at.start))?;
        let sector_size = read.u32(fields.sector_size);
        check_sector_size(sector_size, fields.sector_size)?;
        let alignment = if version.truncates_bitmap() {
            sector_size
        } else {
            let value = read.u32(fields.cow_format);
            if value != 0 {
                return Err(HeaderError::CowFormat { value, offset: fields.cow_format });
            }
            read.u32(fields.alignment)
        };
        if alignment == 0 {
            return Err(HeaderError::Alignment(fields.alignment));
        }
        let layout = Layout::new(version, read.u64(fields.size), sector_size, alignment, fields.size)?;
        if layout.bitmap_end() > file_len {
            let (start, end) = (layout.bitmap_offset, layout.bitmap_end());
            return Err(HeaderError::BitmapBeyondEnd { start, end, file_len });
        }
        if end == 0 {
            return Err(HeaderError::PathEmpty(path_at.start));
        }
        let backing = PathBuf::from(OsStr::from_bytes(&path[..end]));
        Ok(Self { version, backing, mtime: read.u32(fields.mtime), alignment, layout })
    }

    /// The header's bytes, [`Version::header_len`] of them. The path field is padded with zeros.
    pub fn encode(&self) -> Vec<u8> {
        let fields = Fields::of(self.version);
        let big = self.version != Version::V1(ByteOrder::Little);
        let mut raw = vec![0; self.version.header_len()];
        let mut put = |at: usize, bytes: &mut [u8]| {
            if !big {
                bytes.reverse();
            }
            raw[at..at + bytes.len()].copy_from_slice(bytes);
        };
        let number: u32 = match self.version {
            Version::V1(_) => 1,
            Version::V2 => 2,
            Version::V3 | Version::V3Broken => 3,
        };
        put(0, &mut MAGIC.to_be_bytes());
        put(4, &mut number.to_be_bytes());
        put(fields.mtime, &mut self.mtime.to_be_bytes());
        put(fields.size, &mut self.layout.size.to_be_bytes());
        put(fields.sector_size, &mut self.layout.sector_size.to_be_bytes());
        if !self.version.truncates_bitmap() {
            put(fields.alignment, &mut self.alignment.to_be_bytes());
        }
        let path = self.backing.as_os_str().as_bytes();
        raw[self.version.path_field().start..][..path.len()].copy_from_slice(path);
        raw
    }

    /// The same file with another backing path.
    ///
    /// # Errors
    /// [`HeaderError::PathTooLong`] or [`HeaderError::PathEmpty`].
    pub fn with_backing(&self, backing: &Path, mtime: u32) -> Result<Self, HeaderError> {
        let l = &self.layout;
        Self::new(self.version, backing, mtime, l.size, l.sector_size, self.alignment).or_else(|e| match e {
            // An existing file may have the defect; only a new one may not.
            HeaderError::TruncatedBitmap { .. } => {
                Ok(Self { backing: backing.to_owned(), mtime, ..self.clone() })
            }
            e => Err(e),
        })
    }

    /// Where our own record lies between header and bitmap, if there is room for one.
    pub fn record_offset(&self) -> Option<u64> {
        let at = (self.version.header_len() as u64).next_multiple_of(8);
        (at + RECORD_LEN as u64 <= self.layout.bitmap_offset).then_some(at)
    }
}

fn check_sector_size(value: u32, offset: usize) -> Result<(), HeaderError> {
    if value.is_power_of_two() && (512..=MAX_SECTOR_SIZE).contains(&value) {
        return Ok(());
    }
    Err(HeaderError::SectorSize { value, offset })
}

/// Whether a file that begins with `prefix` claims to be a COW file at all.
pub fn has_magic(prefix: &[u8]) -> bool {
    prefix.first_chunk().is_some_and(|m| [MAGIC, MAGIC.swap_bytes()].contains(&u32::from_be_bytes(*m)))
}

fn detect(prefix: &[u8], file_len: u64) -> Result<Version, HeaderError> {
    let short = HeaderError::Short { have: file_len.min(prefix.len() as u64), need: 8 };
    let Some((magic, version)) = prefix.first_chunk::<8>().map(|b| b.split_at(4)) else {
        return Err(match prefix.first_chunk::<4>() {
            Some(m) if !has_magic(prefix) => HeaderError::Magic(u32::from_be_bytes(*m)),
            _ => short,
        });
    };
    let be = |b: &[u8]| b.iter().fold(0u32, |n, x| n << 8 | u32::from(*x));
    match (be(magic), be(version)) {
        (MAGIC, 1) => Ok(Version::V1(ByteOrder::Big)),
        (MAGIC, 2) => Ok(Version::V2),
        // A path never begins with NUL, so four zero bytes where it would begin are the padding after
        // cow_format in the 64-bit layout.
        (MAGIC, 3) if prefix.get(32..36) == Some(&[0; 4]) => Ok(Version::V3Broken),
        (MAGIC, 3) => Ok(Version::V3),
        (MAGIC, n) => Err(HeaderError::Version(n)),
        (m, n) if m.swap_bytes() == MAGIC && n.swap_bytes() == 1 => Ok(Version::V1(ByteOrder::Little)),
        (m, n) if m.swap_bytes() == MAGIC => Err(HeaderError::Version(n.swap_bytes())),
        (m, _) => Err(HeaderError::Magic(m)),
    }
}

/// QEMU's `struct cow_header_v2` (block/cow.c until 2.0), not packed: path 1024 bytes, mtime at 1032, and
/// size and sector size at 1040 and 1048 where the compiler aligned u64 to 8, at 1036 and 1044 on i386.
fn is_qemu(prefix: &[u8], file_len: u64) -> bool {
    let Some(raw) = prefix.get(..1056) else { return false };
    let read = Reader { raw, big: true };
    raw[8..1032].contains(&0)
        && [1036, 1040].into_iter().any(|at| {
            let (size, ss) = (read.u64(at), u64::from(read.u32(at + 8)));
            ss == 512 && size > 0 && (size.div_ceil(ss).div_ceil(8)).saturating_add(1056) <= file_len
        })
}

/// Byte offsets of the numeric fields; unused ones are 0.
struct Fields {
    mtime: usize,
    size: usize,
    sector_size: usize,
    alignment: usize,
    cow_format: usize,
}

impl Fields {
    fn of(version: Version) -> Self {
        let [mtime, size, sector_size, alignment, cow_format] = match version {
            Version::V1(_) => [264, 268, 276, 0, 0],
            Version::V2 => [4104, 4108, 4116, 0, 0],
            Version::V3 => [8, 12, 20, 24, 28],
            Version::V3Broken => [8, 16, 24, 28, 32],
        };
        Self { mtime, size, sector_size, alignment, cow_format }
    }
}

/// Reads numbers at offsets that are known to lie inside `raw`.
struct Reader<'a> {
    raw: &'a [u8],
    big: bool,
}

impl Reader<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.raw[at..at + N]);
        out
    }

    fn u32(&self, at: usize) -> u32 {
        let b = self.bytes(at);
        if self.big { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }
    }

    fn u64(&self, at: usize) -> u64 {
        let b = self.bytes(at);
        if self.big { u64::from_be_bytes(b) } else { u64::from_le_bytes(b) }
    }
}
