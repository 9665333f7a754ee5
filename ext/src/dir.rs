//! Directories: entries in blocks, whether hashed or not (the nodes of a hash tree look like empty entries).

use crate::bytes::{u16_at, u32_at};
use crate::checksum::crc32c;
use crate::error::{Error, Result};
use crate::features::Incompat;
use crate::fs::Ext;
use crate::inode::{Flags, Inode, InodeNumber};

/// What an entry says its inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// The file system does not keep it here, or it is none of those below.
    Unknown,
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Character device.
    Character,
    /// Block device.
    Block,
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
    /// Symbolic link.
    Link,
}

impl FileType {
    fn of(byte: u8) -> FileType {
        use FileType::*;
        [Unknown, Regular, Directory, Character, Block, Fifo, Socket, Link]
            .get(usize::from(byte))
            .copied()
            .unwrap_or(Unknown)
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: up to 255 bytes, neither empty nor with a slash or NUL.
    pub name: Vec<u8>,
    /// Its inode.
    pub inode: InodeNumber,
    /// What that is.
    pub kind: FileType,
}

/// Fixed part of an entry.
const HEAD: usize = 8;
/// Length, and type, of the entry that holds a block's checksum.
const TAIL: usize = 12;
const TAIL_TYPE: u8 = 0xde;
/// A directory is refused beyond this many bytes: it could only be damaged.
const MOST: u64 = 1 << 40;

impl Ext {
    /// All entries of a directory, `.` and `..` among them, in the order in which they lie there.
    pub fn entries(&self, inode: &Inode) -> Result<Vec<Entry>> {
        if !inode.is_directory() {
            return Err(Error::NotDirectory(inode.number));
        }
        let mut out = Vec::new();
        if inode.flags.contains(Flags::INLINE_DATA) {
            self.inline_entries(inode, &mut out)?;
            return Ok(out);
        }
        let size = u64::from(self.superblock().block_size);
        if !inode.size.is_multiple_of(size) || inode.size > MOST {
            return Err(Error::inode(inode.number, format!("a directory of {} bytes", inode.size)));
        }
        for logical in 0..inode.size / size {
            let run = self.run(inode, logical)?;
            let Some(physical) = run.physical.filter(|_| !run.unwritten) else {
                return Err(Error::inode(inode.number, format!("its block {logical} is a hole")));
            };
            let bytes = self.block(physical)?;
            let indexed = inode.flags.contains(Flags::INDEX);
            self.check_block(inode, physical, &bytes, indexed && logical == 0)?;
            self.take_entries(inode, &bytes, &mut out)?;
        }
        Ok(out)
    }

    /// The inode of a name in a directory.
    pub fn lookup(&self, directory: &Inode, name: &[u8]) -> Result<InodeNumber> {
        let found = self.entries(directory)?.into_iter().find(|e| e.name == name);
        found.map(|e| e.inode).ok_or(Error::NotFound)
    }

    /// The inode of a path, with links followed nowhere.
    pub fn find(&self, path: &[u8]) -> Result<Inode> {
        let mut here = self.inode(Ext::ROOT)?;
        for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
            here = self.inode(self.lookup(&here, name)?)?;
        }
        Ok(here)
    }

    /// The bytes of an entry: 64 KiB do not fit into the field.
    fn record(&self, b: &[u8]) -> usize {
        let raw = usize::from(u16_at(b, 4));
        match self.superblock().block_size as usize {
            size @ 65536 if raw == 0 || raw == 65535 => size,
            65536 => raw & 0xfffc | (raw & 3) << 16,
            _ => raw,
        }
    }

    fn take_entries(&self, inode: &Inode, bytes: &[u8], out: &mut Vec<Entry>) -> Result<()> {
        let typed = self.superblock().incompat.contains(Incompat::FILETYPE);
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let record = if rest.len() < HEAD { 0 } else { self.record(rest) };
            let name_len = usize::from(if typed {
                u16::from(rest.get(6).copied().unwrap_or(0))
            } else {
                u16_at(rest, 6)
            });
            if record < HEAD || !record.is_multiple_of(4) || record > rest.len() || HEAD + name_len > record {
                return Err(Error::inode(
                    inode.number,
                    format!("a damaged entry at {at}: {record} bytes, name of {name_len}"),
                ));
            }
            let number = u32_at(rest, 0);
            if number != 0 && name_len > 0 {
                let name = rest[HEAD..HEAD + name_len].to_vec();
                if name.iter().any(|b| matches!(b, 0 | b'/')) || number > self.superblock().inodes {
                    return Err(Error::inode(
                        inode.number,
                        format!("an entry for inode {number}, {:?}", String::from_utf8_lossy(&name)),
                    ));
                }
                let kind = if typed { FileType::of(rest[7]) } else { FileType::Unknown };
                out.push(Entry { name, inode: number, kind });
            }
            at += record;
        }
        Ok(())
    }

    /// Checks a block by its checksum, which a leaf has in a last entry, and a node of the hash tree behind its room.
    fn check_block(&self, inode: &Inode, block: u64, bytes: &[u8], root: bool) -> Result<()> {
        if !self.superblock().has_checksums() {
            return Ok(());
        }
        let wrong = |what: &str| Err(Error::block(block, format!("{what} in directory {}", inode.number)));
        let leaf_end = bytes.len() - TAIL;
        let tail = &bytes[leaf_end..];
        if u32_at(tail, 0) == 0 && u16_at(tail, 4) == TAIL as u16 && tail[6] == 0 && tail[7] == TAIL_TYPE {
            let right = crc32c(inode.seed, &bytes[..leaf_end]) == u32_at(tail, 8);
            return if right { Ok(()) } else { wrong("a wrong checksum") };
        }
        // struct dx_root: two entries and eight bytes before the first count; struct dx_node: one entry.
        let node = u32_at(bytes, 0) == 0 && self.record(bytes) == bytes.len();
        if !root && !node {
            return wrong("no checksum");
        }
        let counts = if root { 0x20 } else { 8 };
        let (limit, count) = (usize::from(u16_at(bytes, counts)), usize::from(u16_at(bytes, counts + 2)));
        let place = counts + limit * 8;
        if count > limit || place + 8 > bytes.len() {
            return wrong("a damaged node of the hash tree");
        }
        let crc = crc32c(crc32c(inode.seed, &bytes[..counts + count * 8]), &bytes[place..place + 4]);
        if crc32c(crc, &[0; 4]) == u32_at(bytes, place + 4) { Ok(()) } else { wrong("a wrong checksum") }
    }

    /// A directory in its inode: the parent's number, then entries; more of them among the attributes.
    fn inline_entries(&self, inode: &Inode, out: &mut Vec<Entry>) -> Result<()> {
        let data = self.inline_data(inode)?;
        let parent = u32_at(&data, 0);
        let directory = |name: &[u8], inode| Entry { name: name.to_vec(), inode, kind: FileType::Directory };
        out.extend([directory(b".", inode.number), directory(b"..", parent)]);
        let (first, second) = data.split_at(inode.block.len());
        self.take_entries(inode, &first[4..], out)?;
        self.take_entries(inode, second, out)
    }
}
