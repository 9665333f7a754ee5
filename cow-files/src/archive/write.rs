//! From an image to an archive.

use super::keys::{encoded, record, time_text};
use super::{BLOCK, XATTR, sparse};
use crate::data::{Content, each_piece, stored};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::paths::{text, tidy};
use crate::walk::{Node, Step, walk};
use block_device::Observer;
use ext::{Flags, Inode, InodeNumber};
use serde::Serialize;
use std::collections::HashMap;
use std::io::{self, Write};
use tar::{EntryType, Header};

/// What a field of eight octal digits can have, and one of twelve.
const MOST_ID: u32 = 0o777_7777;
const MOST_LONG: u64 = 0o777_7777_7777;

/// What was put into an archive.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Archived {
    /// Names, of whatever type.
    pub names: u64,
    /// Bytes of data.
    pub bytes: u64,
    /// What was left out, a line each.
    pub warnings: Vec<String>,
}

struct Work<'a, W> {
    image: &'a Image,
    out: W,
    /// Where the first name of an inode with several is in the archive.
    linked: HashMap<InodeNumber, Vec<u8>>,
    done: Archived,
}

/// Writes paths, with all that is below them, as an archive: names as they are in the image, without the slash at their begin.
///
/// # Errors
/// Those of reading the image and of writing; [`Error::Cancelled`].
pub fn tar_out(
    image: &Image,
    paths: &[Vec<u8>],
    out: impl Write,
    observer: &dyn Observer,
) -> Result<Archived> {
    let mut work = Work { image, out, linked: HashMap::new(), done: Archived::default() };
    for path in paths {
        walk(image, &tidy(path), observer, &mut |node| {
            work.entry(node)?;
            Ok(Step::Into)
        })?;
    }
    // Two blocks of zeros end it; a record is twenty.
    work.put(&[0; 2 * BLOCK as usize])?;
    work.out.flush().map_err(failed)?;
    Ok(work.done)
}

fn failed(e: io::Error) -> Error {
    Error::Archive { action: "writing", source: e }
}

/// What stands in the header and the extended header of one entry.
struct Entry {
    header: Header,
    more: Vec<u8>,
}

impl<W: Write> Work<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(failed)
    }

    fn fill_up(&mut self, len: u64) -> Result<()> {
        let rest = (len.next_multiple_of(BLOCK) - len) as usize;
        self.put(&[0; BLOCK as usize][..rest])
    }

    fn entry(&mut self, node: &Node) -> Result<()> {
        let inode = &node.inode;
        let kind = match inode.kind() {
            0x8000 => EntryType::Regular,
            0x4000 => EntryType::Directory,
            0xa000 => EntryType::Symlink,
            0x2000 => EntryType::Char,
            0x6000 => EntryType::Block,
            0x1000 => EntryType::Fifo,
            _ => {
                self.done.warnings.push(format!("{}: a socket has no place in an archive", text(&node.path)));
                return Ok(());
            }
        };
        let mut name = node.path.strip_prefix(b"/").unwrap_or(&node.path).to_vec();
        if name.is_empty() {
            name.push(b'.');
        }
        if inode.is_directory() {
            name.push(b'/');
        }
        self.done.names += 1;
        let mut entry = self.begin(node)?;
        if !inode.is_directory() && inode.links > 1 {
            if let Some(first) = self.linked.get(&inode.number).cloned() {
                entry.header.set_entry_type(EntryType::Link);
                entry.link_name(&first);
                return self.head(entry, &name, 0);
            }
            self.linked.insert(inode.number, name.clone());
        }
        entry.header.set_entry_type(kind);
        if inode.is_link() {
            let target = self.image.ext.read_link(inode).map_err(self.image.at(&node.path))?;
            entry.link_name(&target);
        }
        if let Some((major, minor)) = inode.device() {
            entry.device(major, minor);
        }
        match inode.is_regular() {
            true => self.file(node, entry, &name),
            false => self.head(entry, &name, 0),
        }
    }

    /// What every entry has.
    fn begin(&self, node: &Node) -> Result<Entry> {
        let inode = &node.inode;
        let mut entry = Entry { header: Header::new_ustar(), more: Vec::new() };
        let header = &mut entry.header;
        header.set_mode(u32::from(inode.mode & 0o7777));
        header.set_uid(u64::from(inode.uid.min(MOST_ID)));
        header.set_gid(u64::from(inode.gid.min(MOST_ID)));
        header.set_mtime(inode.mtime.sec.clamp(0, MOST_LONG as i64) as u64);
        for (key, id) in [("uid", inode.uid), ("gid", inode.gid)] {
            if id > MOST_ID {
                record(&mut entry.more, key.as_bytes(), id.to_string().as_bytes());
            }
        }
        let whole = (0..=MOST_LONG as i64).contains(&inode.mtime.sec) && inode.mtime.nsec == 0;
        if !whole {
            record(&mut entry.more, b"mtime", time_text(inode.mtime).as_bytes());
        }
        for x in self.image.ext.xattrs(inode).map_err(self.image.at(&node.path))? {
            record(&mut entry.more, &[XATTR, &encoded(&x.name)].concat(), &x.value);
        }
        Ok(entry)
    }

    /// Writes the headers of an entry with `size` bytes of content.
    fn head(&mut self, mut entry: Entry, name: &[u8], size: u64) -> Result<()> {
        entry.name(name);
        entry.header.set_size(size.min(MOST_LONG));
        if size > MOST_LONG {
            record(&mut entry.more, b"size", size.to_string().as_bytes());
        }
        if !entry.more.is_empty() {
            let mut extended = Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            put_field(&mut extended.as_ustar_mut().map(|h| &mut h.name[..]), b"pax_header");
            extended.set_mode(0o644);
            extended.set_uid(0);
            extended.set_gid(0);
            extended.set_mtime(0);
            extended.set_size(entry.more.len() as u64);
            extended.set_cksum();
            self.put(extended.as_bytes())?;
            self.put(&entry.more)?;
            self.fill_up(entry.more.len() as u64)?;
        }
        entry.header.set_cksum();
        self.put(entry.header.as_bytes())
    }

    fn file(&mut self, node: &Node, mut entry: Entry, name: &[u8]) -> Result<()> {
        let inode = &node.inode;
        let pieces = stored(self.image, inode).map_err(self.image.at(&node.path))?;
        let bytes: u64 = pieces.iter().map(|c| c.len).sum();
        self.done.bytes += bytes;
        if is_dense(inode, &pieces) {
            self.head(entry, name, inode.size)?;
        } else {
            let list = sparse::list(&pieces, inode.size);
            for (key, value) in [("major", "1".to_owned()), ("minor", "0".to_owned())] {
                record(&mut entry.more, format!("GNU.sparse.{key}").as_bytes(), value.as_bytes());
            }
            record(&mut entry.more, b"GNU.sparse.name", name);
            record(&mut entry.more, b"GNU.sparse.realsize", inode.size.to_string().as_bytes());
            // For who does not know the form: what it would find under the name is not the file.
            let (dir, last) = split_name(name);
            let stand_in = [dir, b"GNUSparseFile.0/", last].concat();
            self.head(entry, &stand_in, list.len() as u64 + bytes)?;
            self.put(&list)?;
        }
        let (image, path) = (self.image, &node.path);
        each_piece(image, path, inode, &mut |_, piece| self.put(piece))?;
        self.fill_up(bytes)
    }
}

/// Whether all of a file is stored.
fn is_dense(inode: &Inode, pieces: &[Content]) -> bool {
    inode.size == 0
        || inode.flags.contains(Flags::INLINE_DATA)
        || matches!(pieces, [one] if one.offset == 0 && one.len == inode.size)
}

/// What comes before the last name, and that.
fn split_name(name: &[u8]) -> (&[u8], &[u8]) {
    name.split_at(name.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1))
}

/// Puts text into a field, as far as it goes.
fn put_field(field: &mut Option<&mut [u8]>, value: &[u8]) {
    if let Some(field) = field {
        let len = value.len().min(field.len());
        field[..len].copy_from_slice(&value[..len]);
    }
}

impl Entry {
    fn name(&mut self, name: &[u8]) {
        if name.len() > 100 {
            record(&mut self.more, b"path", name);
        }
        put_field(&mut self.header.as_ustar_mut().map(|h| &mut h.name[..]), name);
    }

    fn link_name(&mut self, target: &[u8]) {
        if target.len() > 100 {
            record(&mut self.more, b"linkpath", target);
        }
        put_field(&mut self.header.as_ustar_mut().map(|h| &mut h.linkname[..]), target);
    }

    /// The fields hold what ext4 can have of a major number (12 bits) and of a minor one (20 bits): seven octal digits.
    fn device(&mut self, major: u32, minor: u32) {
        if let Some(header) = self.header.as_ustar_mut() {
            header.set_device_major(major);
            header.set_device_minor(minor);
        }
    }
}
