//! COW files, written byte by byte from the description of the format.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: u32 = 0x4f4f_4f4d;
const SECTOR: u64 = 512;
const ALIGN: u64 = 4096;

/// Header fields of a version 2 or 3 file with sectors of 512 bytes.
#[derive(Debug, Clone)]
pub struct RawCow {
    /// 2 or 3.
    pub version: u32,
    /// Path of the base, as it is to stand in the header.
    pub backing: PathBuf,
    /// Modification time of the base.
    pub mtime: u32,
    /// Size of the device.
    pub size: u64,
}

impl RawCow {
    /// First byte of the bitmap.
    pub fn bitmap_offset(&self) -> u64 {
        if self.version == 2 { 4120 } else { 4128u64.next_multiple_of(ALIGN) }
    }

    /// Its length; version 2 cuts it short.
    pub fn bitmap_len(&self) -> u64 {
        match self.version {
            2 => (self.size + SECTOR - 1) / (8 * SECTOR),
            _ => self.size.div_ceil(SECTOR).div_ceil(8),
        }
    }

    /// First byte of the data.
    pub fn data_offset(&self) -> u64 {
        let align = if self.version == 2 { SECTOR } else { ALIGN };
        (self.bitmap_offset() + self.bitmap_len()).next_multiple_of(align)
    }

    fn header(&self) -> Vec<u8> {
        let mut path = self.backing.as_os_str().as_bytes().to_vec();
        path.resize(4096, 0);
        let mut raw = [MAGIC.to_be_bytes(), self.version.to_be_bytes()].concat();
        let mtime = self.mtime.to_be_bytes();
        let rest = [&self.size.to_be_bytes()[..], &(SECTOR as u32).to_be_bytes()].concat();
        if self.version == 2 {
            raw.extend([&path[..], &mtime, &rest].concat());
        } else {
            raw.extend([&mtime[..], &rest, &(ALIGN as u32).to_be_bytes(), &[0; 4], &path].concat());
        }
        raw
    }

    /// Makes the file, with every sector clean.
    pub fn create(&self, path: &Path) -> RawFile {
        let file = File::create(path).unwrap();
        file.set_len(self.data_offset() + self.size).unwrap();
        file.write_all_at(&self.header(), 0).unwrap();
        // One byte more than there is: bits that version 2 has no room for go where the driver puts them.
        let bits = vec![0; self.size.div_ceil(SECTOR).div_ceil(8) as usize];
        RawFile { raw: self.clone(), file, bits }
    }
}

/// A COW file that is being filled.
#[derive(Debug)]
pub struct RawFile {
    raw: RawCow,
    file: File,
    bits: Vec<u8>,
}

impl RawFile {
    /// Makes sectors dirty, from `sector` on, with this content.
    pub fn put(&mut self, sector: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, self.raw.data_offset() + sector * SECTOR).unwrap();
        for s in sector..sector + (bytes.len() as u64).div_ceil(SECTOR) {
            self.bits[(s / 8) as usize] |= 1 << (s % 8);
        }
    }

    /// Writes the bitmap, with bits past its end where a bitmap cut short has none.
    pub fn finish(self) {
        self.file.write_all_at(&self.bits, self.raw.bitmap_offset()).unwrap();
    }
}

/// QEMU's "version 2" as x86-64 lays it out (u64 aligned to 8), from one as i386 does.
pub fn qemu_x86_64(i386: &[u8]) -> Vec<u8> {
    let mut raw = i386.to_vec();
    raw[1036..1056].fill(0);
    raw[1040..1048].copy_from_slice(&i386[1036..1044]);
    raw[1048..1052].copy_from_slice(&i386[1044..1048]);
    raw
}
