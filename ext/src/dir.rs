//! Directories: entries in blocks, whether hashed or not (the nodes of a hash tree look like empty entries).

use crate::bytes::{u16_at, u32_at};
use crate::cache::{Bytes, Intact};
use crate::checksum::crc32c;
use crate::core::Core;
use crate::dir_block::{At, HEAD, Shape, TAIL, TAIL_TYPE, record};
use crate::error::{Error, Result};
use crate::features::Incompat;
use crate::inode::{Flags, Inode, InodeNumber};

/// Where the second entry of a hash tree's root begins, and where its head says how long it is.
const DOT: usize = 12;
const ROOT_INFO: usize = 0x1d;

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
    /// The type of an inode with this mode.
    pub(crate) fn byte_of(mode: u16) -> u8 {
        match mode & 0xf000 {
            0x8000 => 1,
            0x4000 => 2,
            0x2000 => 3,
            0x6000 => 4,
            0x1000 => 5,
            0xc000 => 6,
            0xa000 => 7,
            _ => 0,
        }
    }

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

/// Who is told of entries.
type Found<'a> = dyn FnMut(&[u8], InodeNumber, FileType) + 'a;

impl Core {
    /// All entries of a directory, `.` and `..` among them, in the order in which they lie there.
    pub(crate) fn entries(&self, inode: &Inode) -> Result<Vec<Entry>> {
        let mut out = Vec::new();
        self.each_entry(inode, &mut |name, inode, kind| {
            out.push(Entry { name: name.to_vec(), inode, kind })
        })?;
        Ok(out)
    }

    /// Calls `found` with the name, the inode and the type of each.
    pub(crate) fn each_entry(&self, inode: &Inode, found: &mut Found<'_>) -> Result<()> {
        if !inode.is_directory() {
            return Err(Error::NotDirectory(inode.number));
        }
        if inode.flags.contains(Flags::INLINE_DATA) {
            return self.inline_entries(inode, found);
        }
        let blocks = self.directory_blocks(inode)?;
        for logical in 0..blocks {
            let run = self.run(inode, logical)?;
            let Some(physical) = run.physical.filter(|_| !run.unwritten) else {
                return Err(Error::inode(inode.number, format!("its block {logical} is a hole")));
            };
            let len = run.len.min(blocks - logical);
            self.read_ahead(physical, || Ok(physical..physical.saturating_add(len)))?;
            let bytes = self.directory_bytes(inode, physical, logical == 0)?;
            self.take_entries(inode, &bytes, found);
        }
        Ok(())
    }

    /// How many blocks a directory has.
    fn directory_blocks(&self, inode: &Inode) -> Result<u64> {
        let size = self.block_size();
        if !inode.size.is_multiple_of(size) || inode.size / size > self.superblock.blocks {
            return Err(Error::inode(inode.number, format!("a directory of {} bytes", inode.size)));
        }
        Ok(inode.size / size)
    }

    /// A block of a directory, checked.
    pub(crate) fn directory_bytes(&self, inode: &Inode, block: u64, first: bool) -> Result<Bytes> {
        let intact = Intact::Directory { inode: inode.number, seed: inode.seed, first };
        self.checked(block, intact, |bytes| {
            self.check_block(inode, block, bytes, first && inode.flags.contains(Flags::INDEX))?;
            self.check_entries(inode, bytes)
        })
    }

    /// The inode of a name in a directory.
    pub(crate) fn lookup(&self, directory: &Inode, name: &[u8]) -> Result<InodeNumber> {
        if directory.is_directory() && directory.flags.contains(Flags::INDEX) && !matches!(name, b"." | b"..")
        {
            return self.lookup_indexed(directory, name);
        }
        if !directory.is_directory() || directory.flags.contains(Flags::INLINE_DATA) {
            let found = self.entries(directory)?.into_iter().find(|e| e.name == name);
            return found.map(|e| e.inode).ok_or(Error::NotFound);
        }
        for logical in 0..self.directory_blocks(directory)? {
            let block = self.directory_block(directory, logical)?;
            let bytes = self.directory_bytes(directory, block, logical == 0)?;
            if let Some(found) = self.find_entry(directory, &bytes, name) {
                return Ok(found);
            }
        }
        Err(Error::NotFound)
    }

    /// The inode of a name in a block that has been checked.
    fn find_entry(&self, directory: &Inode, bytes: &[u8], name: &[u8]) -> Option<InodeNumber> {
        let is = |e: &At| e.inode != 0 && bytes[e.at + HEAD..e.at + HEAD + e.name] == *name;
        self.shape(directory).walk(bytes, 0, bytes.len()).flatten().find(is).map(|e| e.inode)
    }

    fn lookup_indexed(&self, directory: &Inode, name: &[u8]) -> Result<InodeNumber> {
        let mut way = self.way(directory, name)?;
        for _ in 0..directory.size / self.block_size() {
            let block = self.directory_block(directory, way.leaf)?;
            let bytes = self.directory_bytes(directory, block, false)?;
            if let Some(found) = self.find_entry(directory, &bytes, name) {
                return Ok(found);
            }
            if !self.next_leaf(directory, &mut way)? {
                return Err(Error::NotFound);
            }
        }
        Err(Error::inode(directory.number, "its hash tree has no end"))
    }

    /// The inode of a path, with links followed nowhere.
    pub(crate) fn find(&self, path: &[u8]) -> Result<Inode> {
        let mut here = self.inode(crate::Ext::ROOT)?;
        for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
            here = self.inode(self.lookup(&here, name)?)?;
        }
        Ok(here)
    }

    pub(crate) fn shape(&self, inode: &Inode) -> Shape {
        Shape {
            block_size: self.superblock.block_size as usize,
            typed: self.superblock.incompat.contains(Incompat::FILETYPE),
            seed: self.superblock.has_checksums().then_some(inode.seed),
        }
    }

    /// Checks the entries of a block, or of a piece of inline data.
    fn check_entries(&self, inode: &Inode, bytes: &[u8]) -> Result<()> {
        for e in self.shape(inode).walk(bytes, 0, bytes.len()) {
            let e = e.ok_or_else(|| Error::inode(inode.number, "a damaged entry in the directory"))?;
            let name = &bytes[e.at + HEAD..e.at + HEAD + e.name];
            let wrong = name.iter().any(|b| matches!(b, 0 | b'/')) || e.inode > self.superblock.inodes;
            if e.inode != 0 && e.name > 0 && wrong {
                return Err(Error::inode(
                    inode.number,
                    format!("an entry for inode {}, {:?}", e.inode, String::from_utf8_lossy(name)),
                ));
            }
        }
        Ok(())
    }

    /// Takes the entries of what has been checked.
    fn take_entries(&self, inode: &Inode, bytes: &[u8], found: &mut Found<'_>) {
        let shape = self.shape(inode);
        for e in shape.walk(bytes, 0, bytes.len()).flatten().filter(|e| e.inode != 0 && e.name > 0) {
            let kind = if shape.typed { FileType::of(bytes[e.at + 7]) } else { FileType::Unknown };
            found(&bytes[e.at + HEAD..e.at + HEAD + e.name], e.inode, kind);
        }
    }

    /// Checks a block by its checksum, which a leaf has in a last entry, and a node of the hash tree behind its room.
    fn check_block(&self, inode: &Inode, block: u64, bytes: &[u8], root: bool) -> Result<()> {
        if !self.superblock.has_checksums() {
            return Ok(());
        }
        let wrong = |what: &str| Err(Error::block(block, format!("{what} in directory {}", inode.number)));
        // Nodes are known by their first entries, which span the block; a root that was a leaf before still has the head of that entry's
        // (make_indexed_dir of Linux leaves it there), and if the last room is not taken, all of it.
        let spans = |at: usize| record(&bytes[at..], bytes.len()) == bytes.len() - at;
        let root = root && record(bytes, bytes.len()) == DOT && spans(DOT) && bytes[ROOT_INFO] == 8;
        if !(root || u32_at(bytes, 0) == 0 && spans(0)) {
            let leaf_end = bytes.len() - TAIL;
            let tail = &bytes[leaf_end..];
            if u32_at(tail, 0) != 0 || u16_at(tail, 4) != TAIL as u16 || tail[6] != 0 || tail[7] != TAIL_TYPE
            {
                return wrong("no checksum");
            }
            let right = crc32c(inode.seed, &bytes[..leaf_end]) == u32_at(tail, 8);
            return if right { Ok(()) } else { wrong("a wrong checksum") };
        }
        // struct dx_root: two entries and eight bytes before the first count; struct dx_node: one entry.
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
    fn inline_entries(&self, inode: &Inode, found: &mut Found<'_>) -> Result<()> {
        let data = self.inline_data(inode)?;
        let parent = u32_at(&data, 0);
        found(b".", inode.number, FileType::Directory);
        found(b"..", parent, FileType::Directory);
        let (first, second) = data.split_at(inode.block.len());
        self.check_entries(inode, &first[4..])?;
        self.check_entries(inode, second)?;
        self.take_entries(inode, &first[4..], found);
        self.take_entries(inode, second, found);
        Ok(())
    }
}
