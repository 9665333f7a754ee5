//! From an archive into an image that is open for writing.

use super::keys::{decoded, time_of};
use super::{XATTR, sparse};
use crate::data::Content;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::make::{self, Attributes, NewFile};
use crate::paths::{join, split, text, tidy};
use crate::put::Written;
use block_device::Observer;
use ext::{InodeNumber, Time, Xattr};
use std::io::{self, Read};
use std::path::Path;
use tar::{Archive, Entry, EntryType};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// What is left out as a hole, where it is all zeros in a sparse file.
const GRAIN: usize = 4096;

/// Puts the content of an archive into an image, below `target`, which is there or is made. Files that are there are replaced, in one step;
/// directories are filled up, and get the attributes that the archive has for them.
///
/// # Errors
/// Those of reading the archive and of writing; [`Error::Refused`] for a name that leads out; [`Error::Cancelled`]. What was put in before
/// stays.
pub fn tar_in(image: &Image, from: impl Read, target: &[u8], observer: &dyn Observer) -> Result<Written> {
    let mut work =
        Work { image, target: tidy(target), above: None, directories: Vec::new(), done: Written::default() };
    let mut archive = Archive::new(from);
    for entry in archive.entries().map_err(failed)? {
        if observer.cancelled() {
            return Err(Error::Cancelled(": what was put in before is there"));
        }
        work.entry(entry.map_err(failed)?)?;
    }
    // Each name in them has changed their times.
    for (number, path, attributes) in std::mem::take(&mut work.directories) {
        make::set_attributes(&image.ext, number, &attributes).map_err(image.at(&path))?;
    }
    Ok(work.done)
}

fn failed(e: io::Error) -> Error {
    Error::io("reading", Path::new("the archive"))(e)
}

/// What an extended header says.
#[derive(Default)]
struct Extended {
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Time>,
    atime: Option<Time>,
    xattrs: Vec<Xattr>,
    sparse: Sparse,
}

#[derive(Default)]
struct Sparse {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Version 1.0: the list is in front of the data.
    listed: bool,
    map: Option<Vec<u8>>,
}

impl Extended {
    fn of<R: Read>(entry: &mut Entry<'_, R>) -> Result<Extended> {
        let mut out = Extended::default();
        let number = |v: &[u8]| std::str::from_utf8(v).ok().and_then(|t| t.parse::<u64>().ok());
        let Some(records) = entry.pax_extensions().map_err(failed)? else { return Ok(out) };
        for record in records {
            let record = record.map_err(failed)?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            match key {
                b"uid" => out.uid = number(value).and_then(|n| n.try_into().ok()),
                b"gid" => out.gid = number(value).and_then(|n| n.try_into().ok()),
                b"mtime" => out.mtime = time_of(value),
                b"atime" => out.atime = time_of(value),
                b"GNU.sparse.name" => out.sparse.name = Some(value.to_vec()),
                b"GNU.sparse.realsize" | b"GNU.sparse.size" => out.sparse.size = number(value),
                b"GNU.sparse.major" => out.sparse.listed = value == b"1",
                b"GNU.sparse.map" => out.sparse.map = Some(value.to_vec()),
                key => {
                    if let Some(name) = key.strip_prefix(XATTR) {
                        out.xattrs.push(Xattr { name: decoded(name), value: value.to_vec() });
                    }
                }
            }
        }
        Ok(out)
    }
}

struct Work<'a> {
    image: &'a Image,
    target: Vec<u8>,
    /// The directory that the last entry was in.
    above: Option<(Vec<u8>, InodeNumber)>,
    /// Those that the archive has, with what they are to get.
    directories: Vec<(InodeNumber, Vec<u8>, Attributes)>,
    done: Written,
}

impl Work<'_> {
    /// The path in the image of a name in the archive.
    fn path(&self, name: &[u8]) -> Result<Vec<u8>> {
        if name.split(|b| *b == b'/').any(|part| part == b"..") {
            return Err(Error::Refused(format!("the archive names {}, which leads out of it", text(name))));
        }
        let name = tidy(name);
        Ok(if name == b"/" { self.target.clone() } else { join(&self.target, &name[1..]) })
    }

    /// The directory that a path is in; links on the way are followed, what is missing is made.
    fn parent(&mut self, path: &[u8]) -> Result<InodeNumber> {
        let above = split(path).map_or(&b"/"[..], |(above, _)| above);
        if let Some((known, number)) = &self.above
            && known == above
        {
            return Ok(*number);
        }
        let number = match self.image.follow(above) {
            Ok(inode) => inode.number,
            Err(Error::File { source: ext::Error::NotFound, .. }) => {
                let parent = self.parent(above)?;
                let name = split(above).map_or(&b""[..], |(_, name)| name);
                let plain = Attributes::plain(0o40755);
                make::directory(&self.image.ext, parent, name, &plain).map_err(self.image.at(above))?.0
            }
            Err(e) => return Err(e),
        };
        self.above = Some((above.to_vec(), number));
        Ok(number)
    }

    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<()> {
        let extended = Extended::of(&mut entry)?;
        let kind = entry.header().entry_type();
        let mode = match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => 0x8000,
            EntryType::Directory => 0x4000,
            EntryType::Symlink => 0xa000,
            EntryType::Char => 0x2000,
            EntryType::Block => 0x6000,
            EntryType::Fifo => 0x1000,
            EntryType::Link => 0,
            EntryType::XGlobalHeader => return Ok(()),
            other => {
                let name = text(&entry.path_bytes());
                self.done.warnings.push(format!("{name}: left out, an entry of type {:?}", other.as_byte()));
                return Ok(());
            }
        };
        let name = extended.sparse.name.clone().unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = self.path(&name)?;
        let a = attributes(&entry, &extended, mode)?;
        self.done.names += 1;
        let ext = &self.image.ext;
        if mode == 0x4000 {
            let number = match split(&path) {
                None => ext::Ext::ROOT,
                Some((_, name)) => {
                    let parent = self.parent(&path)?;
                    self.directory(parent, &path, name, &a)?
                }
            };
            self.directories.push((number, path, a));
            return Ok(());
        }
        let parent = self.parent(&path)?;
        let name = split(&path).map_or(&b""[..], |(_, name)| name);
        let link = entry.link_name_bytes().map(|l| l.into_owned()).unwrap_or_default();
        match mode {
            0 => {
                let target = self.path(&link)?;
                let first = self.image.find(&target)?;
                make::put_under(ext, first.number, parent, name).map_err(self.image.at(&path))
            }
            0x8000 => self.file(entry, extended.sparse, parent, &path, &a),
            _ => make::special(ext, parent, name, &a, &link).map_err(self.image.at(&path)).map(drop),
        }
    }

    /// A directory that a link leads to is as good.
    fn directory(
        &mut self,
        parent: InodeNumber,
        path: &[u8],
        name: &[u8],
        a: &Attributes,
    ) -> Result<InodeNumber> {
        if let Ok(there) = self.image.follow(path)
            && there.is_directory()
        {
            return Ok(there.number);
        }
        let made = make::directory(&self.image.ext, parent, name, a).map_err(self.image.at(path))?;
        Ok(made.0)
    }

    fn file<R: Read>(
        &mut self,
        mut entry: Entry<'_, R>,
        sparse: Sparse,
        parent: InodeNumber,
        path: &[u8],
        a: &Attributes,
    ) -> Result<()> {
        let new = NewFile::begin(self.image, parent, path, a)?;
        let whole = entry.header().entry_type() != EntryType::GNUSparse;
        let mut size = entry.size();
        let pieces = match sparse {
            Sparse { listed: true, size: Some(real), .. } => {
                size = real;
                Some(sparse::read_list(&mut entry).map_err(failed)?)
            }
            Sparse { map: Some(map), size: Some(real), .. } => {
                size = real;
                Some(sparse::parse_map(&map).map_err(failed)?)
            }
            _ => None,
        };
        let pieces = pieces.unwrap_or_else(|| vec![Content { offset: 0, len: size }]);
        sparse::check(&pieces, size).map_err(failed)?;
        let mut buf = vec![0; PIECE];
        for piece in pieces {
            let mut done = 0;
            while done < piece.len {
                let n = (piece.len - done).min(PIECE as u64) as usize;
                entry.read_exact(&mut buf[..n]).map_err(failed)?;
                write(&new, piece.offset + done, &buf[..n], whole)?;
                done += n as u64;
            }
            self.done.bytes += piece.len;
        }
        new.finish(parent, size, a).map(drop)
    }
}

/// Writes a piece; what is zeros in a file that is sparse is left out.
fn write(new: &NewFile<'_>, at: u64, data: &[u8], whole: bool) -> Result<()> {
    if whole {
        return new.write(at, data);
    }
    for (n, grain) in data.chunks(GRAIN).enumerate() {
        if !block_device::is_zero(grain) {
            new.write(at + (n * GRAIN) as u64, grain)?;
        }
    }
    Ok(())
}

fn attributes<R: Read>(entry: &Entry<'_, R>, extended: &Extended, kind: u16) -> Result<Attributes> {
    let header = entry.header();
    let id = |more: Option<u32>, plain: io::Result<u64>| match more {
        Some(id) => Ok(id),
        None => plain.map(|n| n as u32).map_err(failed),
    };
    let mtime = header.mtime().map_err(failed)?;
    let device = (header.device_major().ok().flatten(), header.device_minor().ok().flatten());
    Ok(Attributes {
        mode: kind | (header.mode().map_err(failed)? & 0o7777) as u16,
        uid: id(extended.uid, header.uid())?,
        gid: id(extended.gid, header.gid())?,
        atime: extended.atime,
        mtime: Some(extended.mtime.unwrap_or(Time { sec: mtime as i64, nsec: 0 })),
        device: (device.0.unwrap_or(0), device.1.unwrap_or(0)),
        xattrs: extended.xattrs.clone(),
    })
}
