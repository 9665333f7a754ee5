//! Inodes.

use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::checksum::crc32c;
use crate::error::{Error, Result};
use crate::features::RoCompat;
use crate::superblock::Superblock;

/// Number of an inode; the first is 1, the root directory 2.
pub type InodeNumber = u32;

bitflags::bitflags! {
    /// Flags of an inode (EXT4_*_FL).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// It must not be changed.
        const IMMUTABLE = 0x10;
        /// It may only grow.
        const APPEND = 0x20;
        /// Encrypted.
        const ENCRYPT = 0x800;
        /// A hashed directory.
        const INDEX = 0x1000;
        /// Its blocks are counted in blocks of the file system.
        const HUGE_FILE = 0x4_0000;
        /// Mapped by extents.
        const EXTENTS = 0x8_0000;
        /// It holds the value of an extended attribute.
        const EA_INODE = 0x20_0000;
        /// Its data is in the inode.
        const INLINE_DATA = 0x1000_0000;
        /// Names without regard to case.
        const CASEFOLD = 0x4000_0000;
    }
}

/// A time of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970, from 1901 to 2446.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: u32,
}

/// An inode, parsed and checked.
#[derive(Debug, Clone)]
pub struct Inode {
    /// Its number.
    pub number: InodeNumber,
    /// Type and permissions, as `st_mode`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Names.
    pub links: u16,
    /// Units of 512 bytes that it takes, as `st_blocks`.
    pub blocks: u64,
    /// Flags.
    pub flags: Flags,
    /// Last access.
    pub atime: Time,
    /// Last change of its content.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Its birth, where that is kept.
    pub crtime: Option<Time>,
    /// Generation, as NFS has it.
    pub generation: u32,
    /// Seconds of its end; of an orphan, the next one.
    pub(crate) deleted: u32,
    /// Changes, as NFS counts them; of one that holds a value, the attributes that have it.
    pub(crate) version: u32,
    /// Block of extended attributes, 0 for none.
    pub(crate) xattr_block: u64,
    /// Block map, extents, the target of a short link, or data.
    pub(crate) block: [u8; 60],
    /// What follows the fields: extended attributes.
    pub(crate) tail: Vec<u8>,
    /// Seed of the checksums of what belongs to it.
    pub(crate) seed: u32,
}

/// Length of the fields that every inode has.
const OLD: usize = 128;

impl Inode {
    /// Takes one apart, which has been checked. `None` for one that has never been used, or is free.
    pub(crate) fn parse(sb: &Superblock, number: InodeNumber, b: &[u8]) -> Result<Option<Inode>> {
        let extra = if b.len() > OLD { usize::from(u16_at(b, 0x80)) } else { 0 };
        let (mode, links) = (u16_at(b, 0), u16_at(b, 0x1a));
        if mode == 0 {
            return Ok(None);
        }
        if OLD + extra > b.len() || !extra.is_multiple_of(4) {
            return Err(Error::inode(number, format!("extra size {extra}")));
        }
        let generation = u32_at(b, 0x64);
        let seed = seed(sb, number, generation);
        let flags = Flags::from_bits_retain(u32_at(b, 0x20));
        let has = |end: usize| extra >= end - OLD;
        let time = |at: usize, more: usize| {
            let sec = i64::from(u32_at(b, at) as i32);
            let more = if has(more + 4) { u32_at(b, more) } else { 0 };
            Time { sec: sec + (i64::from(more & 3) << 32), nsec: (more >> 2).min(999_999_999) }
        };
        let mut size = u64::from(u32_at(b, 4));
        let kind = mode & 0xf000;
        if matches!(kind, 0x8000 | 0x4000) || sb.incompat.contains(crate::Incompat::LARGEDIR) {
            size |= u64::from(u32_at(b, 0x6c)) << 32;
        }
        if size > i64::MAX as u64 {
            return Err(Error::inode(number, format!("size {size}")));
        }
        let mut blocks = u64::from(u32_at(b, 0x1c));
        if sb.ro_compat.contains(RoCompat::HUGE_FILE) {
            blocks |= u64::from(u16_at(b, 0x74)) << 32;
            if flags.contains(Flags::HUGE_FILE) {
                blocks = blocks.saturating_mul(u64::from(sb.block_size / 512));
            }
        }
        let wide = |lo: usize, hi: usize| u32::from(u16_at(b, lo)) | u32::from(u16_at(b, hi)) << 16;
        Ok(Some(Inode {
            number,
            mode,
            uid: wide(2, 0x78),
            gid: wide(0x18, 0x7a),
            size,
            links,
            blocks,
            flags,
            atime: time(8, 0x8c),
            mtime: time(0x10, 0x88),
            ctime: time(0xc, 0x84),
            crtime: has(0x98).then(|| time(0x90, 0x94)),
            generation,
            deleted: u32_at(b, 0x14),
            version: u32_at(b, 0x24),
            xattr_block: u64::from(u32_at(b, 0x68)) | u64::from(u16_at(b, 0x76)) << 32,
            block: std::array::from_fn(|n| b[0x28 + n]),
            tail: b.get(OLD + extra..).unwrap_or_default().to_vec(),
            seed,
        }))
    }

    /// Puts what may change into its bytes on disk; the checksum too. What this crate does not know stays.
    pub(crate) fn store(&self, sb: &Superblock, b: &mut [u8]) {
        let extra = if b.len() > OLD { usize::from(u16_at(b, 0x80)) } else { 0 };
        put_u16(b, 0, self.mode);
        put_u16(b, 2, self.uid as u16);
        put_u16(b, 0x78, (self.uid >> 16) as u16);
        put_u16(b, 0x18, self.gid as u16);
        put_u16(b, 0x7a, (self.gid >> 16) as u16);
        put_u32(b, 4, self.size as u32);
        if matches!(self.kind(), 0x8000 | 0x4000) {
            put_u32(b, 0x6c, (self.size >> 32) as u32);
        }
        put_u16(b, 0x1a, self.links);
        let mut flags = self.flags - Flags::HUGE_FILE;
        let mut blocks = self.blocks;
        if blocks >> 48 != 0 {
            flags |= Flags::HUGE_FILE;
            blocks /= u64::from(sb.block_size / 512);
        }
        put_u32(b, 0x1c, blocks as u32);
        put_u16(b, 0x74, (blocks >> 32) as u16);
        put_u32(b, 0x20, flags.bits());
        put_u32(b, 0x64, self.generation);
        put_u32(b, 0x68, self.xattr_block as u32);
        put_u16(b, 0x76, (self.xattr_block >> 32) as u16);
        b[0x28..0x64].copy_from_slice(&self.block);
        put_u32(b, 0x14, self.deleted);
        put_u32(b, 0x24, self.version);
        let has = |end: usize| extra >= end - OLD;
        let mut time = |at: usize, more: usize, t: Time| {
            put_u32(b, at, t.sec as u32);
            if has(more + 4) {
                let epoch = (t.sec.wrapping_sub(i64::from(t.sec as i32)) >> 32) as u32 & 3;
                put_u32(b, more, t.nsec << 2 | epoch);
            }
        };
        time(8, 0x8c, self.atime);
        time(0x10, 0x88, self.mtime);
        time(0xc, 0x84, self.ctime);
        if let Some(birth) = self.crtime.filter(|_| has(0x98)) {
            time(0x90, 0x94, birth);
        }
        if let Some(tail) = b.get_mut(OLD + extra..) {
            let len = tail.len().min(self.tail.len());
            tail[..len].copy_from_slice(&self.tail[..len]);
        }
        if sb.has_checksums() {
            let sum = checksum(b, extra, self.seed);
            put_u16(b, 0x7c, sum as u16);
            if extra >= 4 {
                put_u16(b, 0x82, (sum >> 16) as u16);
            }
        }
    }

    /// A new one; `b` is where it will be, cleared here.
    pub(crate) fn fresh(sb: &Superblock, number: InodeNumber, b: &mut [u8], generation: u32) -> Inode {
        b.fill(0);
        let room = b.len() - OLD;
        if room > 0 {
            // To i_projid, as the kernel has it; or all there is.
            put_u16(b, 0x80, usize::from(sb.extra_isize).min(room) as u16);
        }
        let extra = if room > 0 { usize::from(u16_at(b, 0x80)) } else { 0 };
        Inode {
            number,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            links: 0,
            blocks: 0,
            flags: Flags::empty(),
            atime: Time::default(),
            mtime: Time::default(),
            ctime: Time::default(),
            crtime: (extra >= 0x98 - OLD).then(Time::default),
            generation,
            deleted: 0,
            version: 0,
            xattr_block: 0,
            block: [0; 60],
            tail: vec![0; room - extra],
            seed: seed(sb, number, generation),
        }
    }

    /// The type bits of its mode, as `S_IFMT`.
    pub fn kind(&self) -> u16 {
        self.mode & 0xf000
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind() == 0x4000
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.kind() == 0xa000
    }

    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        self.kind() == 0x8000
    }

    /// Makes it a node of this device.
    pub(crate) fn set_device(&mut self, (major, minor): (u32, u32)) {
        self.block = [0; 60];
        if major < 256 && minor < 256 {
            put_u32(&mut self.block, 0, major << 8 | minor);
        } else {
            put_u32(&mut self.block, 4, minor & 0xff | major << 8 | (minor & !0xff) << 12);
        }
    }

    /// The number of a device node: major and minor.
    pub fn device(&self) -> Option<(u32, u32)> {
        if !matches!(self.kind(), 0x2000 | 0x6000) {
            return None;
        }
        let (old, new) = (u32_at(&self.block, 0), u32_at(&self.block, 4));
        Some(match old {
            0 => ((new & 0xf_ff00) >> 8, new & 0xff | new >> 12 & 0xfff00),
            old => (old >> 8 & 0xff, old & 0xff),
        })
    }
}

/// With what the checksums of an inode's things begin.
fn seed(sb: &Superblock, number: InodeNumber, generation: u32) -> u32 {
    crc32c(crc32c(sb.seed, &number.to_le_bytes()), &generation.to_le_bytes())
}

/// Checks one by its checksum; one that is all zeros has never been used, and has none.
pub(crate) fn check(sb: &Superblock, number: InodeNumber, b: &[u8]) -> Result<()> {
    if !sb.has_checksums() || (u16_at(b, 0) == 0 && b.iter().all(|b| *b == 0)) {
        return Ok(());
    }
    let extra = if b.len() > OLD { usize::from(u16_at(b, 0x80)) } else { 0 };
    if OLD + extra > b.len() || !extra.is_multiple_of(4) {
        return Err(Error::inode(number, format!("extra size {extra}")));
    }
    if !is_intact(b, extra, seed(sb, number, u32_at(b, 0x64))) {
        return Err(Error::inode(number, "the checksum is wrong"));
    }
    Ok(())
}

/// Whether the checksum is right. Half of it is kept where there is room for half.
fn is_intact(b: &[u8], extra: usize, seed: u32) -> bool {
    let whole = extra >= 4;
    let crc = checksum(b, extra, seed);
    let kept = u32::from(u16_at(b, 0x7c)) | if whole { u32::from(u16_at(b, 0x82)) << 16 } else { 0 };
    if whole { crc == kept } else { crc & 0xffff == kept }
}

fn checksum(b: &[u8], extra: usize, seed: u32) -> u32 {
    let whole = extra >= 4;
    let mut crc = crc32c(crc32c(crc32c(seed, &b[..0x7c]), &[0; 2]), &b[0x7e..OLD]);
    if b.len() > OLD {
        crc = crc32c(crc, &b[OLD..0x82]);
        crc = if whole { crc32c(crc, &[0; 2]) } else { crc32c(crc, &b[0x82..0x84]) };
        crc = crc32c(crc, &b[0x84..]);
    }
    crc
}
