//! From an archive into an image that is open for writing.

use super::reader::{Member, Reader};
use crate::data::Content;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::make::{self, Attributes, NewFile};
use crate::paths::{join, split, text, tidy};
use crate::put::Written;
use block_device::Observer;
use ext::InodeNumber;
use std::io::{self, Read};
use tar::EntryType;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// Bytes of a name: PATH_MAX, beyond which no program of Linux can name it.
const MOST_PATH: usize = 4096;

/// Puts the content of an archive into an image, below `target`, which is there or is made. Files that are there are replaced, in one step;
/// directories are filled up, and get the attributes that the archive has for them.
///
/// # Errors
/// Those of reading the archive and of writing; [`Error::Refused`] for a name that leads out; [`Error::Cancelled`]. What was put in before
/// stays.
pub fn tar_in(image: &Image, from: impl Read, target: &[u8], observer: &dyn Observer) -> Result<Written> {
    let mut work =
        Work { image, target: tidy(target), above: None, directories: Vec::new(), done: Written::default() };
    let mut archive = Reader::new(from);
    while let Some(member) = archive.next().map_err(failed)? {
        if observer.cancelled() {
            return Err(Error::Cancelled(": what was put in before is there"));
        }
        work.entry(member, &mut archive)?;
    }
    // Each name in them has changed their times.
    for (number, path, attributes) in std::mem::take(&mut work.directories) {
        make::set_attributes(&image.ext, number, &attributes).map_err(image.at(&path))?;
    }
    Ok(work.done)
}

fn failed(e: io::Error) -> Error {
    Error::Archive { action: "reading", source: e }
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
        if name.len() > MOST_PATH {
            return Err(Error::Refused(format!(
                "the archive has a name of {} bytes, and no program can open that",
                name.len()
            )));
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
            Err(Error::File { source: ext::Error::NotFound, .. }) => self.make_all(above)?,
            Err(e) => return Err(e),
        };
        self.above = Some((above.to_vec(), number));
        Ok(number)
    }

    /// Makes what of a directory's path is missing. A stranger's path may have two thousand parts: how many of them are there is found by
    /// halves, and nothing here calls itself.
    fn make_all(&self, path: &[u8]) -> Result<InodeNumber> {
        let slashes = path.iter().enumerate().skip(1).filter(|(_, b)| **b == b'/');
        let ends: Vec<usize> = slashes.map(|(at, _)| at).chain([path.len()]).collect();
        let (mut there, mut missing, mut number) = (0, ends.len(), ext::Ext::ROOT);
        while there + 1 < missing {
            let middle = there + (missing - there) / 2;
            match self.image.follow(&path[..ends[middle - 1]]) {
                Ok(inode) => (there, number) = (middle, inode.number),
                Err(Error::File { source: ext::Error::NotFound, .. }) => missing = middle,
                Err(e) => return Err(e),
            }
        }
        for end in &ends[there..] {
            let here = &path[..*end];
            let name = split(here).map_or(&b""[..], |(_, name)| name);
            let plain = Attributes::plain(0o40755);
            number = make::directory(&self.image.ext, number, name, &plain).map_err(self.image.at(here))?.0;
        }
        Ok(number)
    }

    fn entry<R: Read>(&mut self, member: Member, archive: &mut Reader<R>) -> Result<()> {
        let mode = match member.header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => 0x8000,
            EntryType::Directory => 0x4000,
            EntryType::Symlink => 0xa000,
            EntryType::Char => 0x2000,
            EntryType::Block => 0x6000,
            EntryType::Fifo => 0x1000,
            EntryType::Link => 0,
            other => {
                let name = text(&member.name);
                self.done.warnings.push(format!("{name}: left out, an entry of type {:?}", other.as_byte()));
                return Ok(());
            }
        };
        let path = self.path(&member.name)?;
        let a = attributes(&member, mode)?;
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
        match mode {
            0 => {
                let target = self.path(&member.link)?;
                let first = self.image.find(&target)?;
                make::put_under(ext, first.number, parent, name).map_err(self.image.at(&path))
            }
            0x8000 => self.file(&member, archive, parent, &path, &a),
            _ => make::special(ext, parent, name, &a, &member.link).map_err(self.image.at(&path)).map(drop),
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
        member: &Member,
        archive: &mut Reader<R>,
        parent: InodeNumber,
        path: &[u8],
        a: &Attributes,
    ) -> Result<()> {
        let new = NewFile::begin(self.image, parent, path, a)?;
        let all = [Content { offset: 0, len: member.size }];
        let mut buf = vec![0; PIECE.min(member.size as usize)];
        for piece in member.stored.as_deref().unwrap_or(&all) {
            let mut done = 0;
            while done < piece.len {
                let n = (piece.len - done).min(buf.len() as u64) as usize;
                archive.read_exact(&mut buf[..n]).map_err(failed)?;
                new.write(piece.offset + done, &buf[..n])?;
                done += n as u64;
            }
            self.done.bytes += piece.len;
        }
        new.finish(parent, member.size, a).map(drop)
    }
}

fn attributes(member: &Member, kind: u16) -> Result<Attributes> {
    let header = &member.header;
    let device = (header.device_major().ok().flatten(), header.device_minor().ok().flatten());
    Ok(Attributes {
        mode: kind | (header.mode().map_err(failed)? & 0o7777) as u16,
        uid: member.uid,
        gid: member.gid,
        atime: member.atime,
        mtime: Some(member.mtime),
        device: (device.0.unwrap_or(0), device.1.unwrap_or(0)),
        xattrs: member.xattrs.clone(),
    })
}
