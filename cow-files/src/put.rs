//! Putting files of the host's into an image that is open for writing.

use crate::error::{Error, Result};
use crate::image::Image;
use crate::make::{self, Attributes, NewFile, parent_of};
use crate::owner::Owner;
use crate::paths::{join, text, tidy};
use block_device::Observer;
use ext::{InodeNumber, Time, Xattr};
use rustix::fs::{SeekFrom, lgetxattr, llistxattr};
use rustix::io::Errno;
use serde::Serialize;
use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// How files are put in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Put {
    /// Whom they belong to there; otherwise to whom they belong here, by number.
    pub owner: Owner,
    /// Permissions of files that are no directories.
    pub mode: Option<u16>,
}

/// What was put in.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Written {
    /// Names, of whatever type.
    pub names: u64,
    /// Bytes of data.
    pub bytes: u64,
    /// What was left out, a line each.
    pub warnings: Vec<String>,
}

struct Work<'a> {
    image: &'a Image,
    how: Put,
    observer: &'a dyn Observer,
    /// Files of several names that are there already.
    linked: HashMap<(u64, u64), InodeNumber>,
    done: Written,
}

/// Puts files and directories in: as `target`, or into it if it is a directory, ends in a slash, or is to take several. A file that is there is
/// replaced, in one step; directories are filled up.
///
/// # Errors
/// Those of reading and writing; [`Error::Cancelled`]. What was put in before stays.
pub fn put(
    image: &Image,
    sources: &[&Path],
    target: &[u8],
    how: Put,
    observer: &dyn Observer,
) -> Result<Written> {
    let into = sources.len() > 1 || target.ends_with(b"/") || is_directory(image, target)?;
    let target = tidy(target);
    let mut work = Work { image, how, observer, linked: HashMap::new(), done: Written::default() };
    if into && !image.follow(&target)?.is_directory() {
        return Err(Error::Refused(format!("{} is not a directory", text(&target))));
    }
    for source in sources {
        let path = match (into, source.file_name()) {
            (false, _) => target.clone(),
            (true, Some(name)) => join(&target, name.as_bytes()),
            (true, None) => {
                return Err(Error::Refused(format!(
                    "\"{}\" has no name of its own: say which it is to get",
                    source.display()
                )));
            }
        };
        let (parent, _) = parent_of(image, &path)?;
        work.put(source, parent, &path)?;
    }
    Ok(work.done)
}

fn is_directory(image: &Image, path: &[u8]) -> Result<bool> {
    match image.follow(path) {
        Ok(inode) => Ok(inode.is_directory()),
        Err(Error::File { source: ext::Error::NotFound, .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

impl Work<'_> {
    fn put(&mut self, source: &Path, parent: InodeNumber, path: &[u8]) -> Result<()> {
        if self.observer.cancelled() {
            return Err(Error::Cancelled(": what was put in before is there"));
        }
        let meta = fs::symlink_metadata(source).map_err(Error::io("stating", source))?;
        let attributes = self.attributes(source, &meta)?;
        let ext = &self.image.ext;
        let name = crate::paths::split(path).map(|(_, name)| name).unwrap_or_default();
        let failed = self.image.at(path);
        self.done.names += 1;
        if meta.is_dir() {
            let (made, new) = make::directory(ext, parent, name, &attributes).map_err(&failed)?;
            let entries = fs::read_dir(source).map_err(Error::io("reading", source))?;
            let mut names: Vec<_> = entries
                .map(|e| e.map(|e| e.file_name()))
                .collect::<std::io::Result<_>>()
                .map_err(Error::io("reading", source))?;
            names.sort();
            for child in names {
                self.put(&source.join(&child), made, &join(path, child.as_bytes()))?;
            }
            if new {
                make::set_attributes(ext, made, &attributes).map_err(&failed)?;
            }
            return Ok(());
        }
        let id = (meta.dev(), meta.ino());
        if let Some(first) = self.linked.get(&id) {
            return make::put_under(ext, *first, parent, name).map_err(&failed);
        }
        let number = match attributes.mode & 0xf000 {
            0x8000 => self.file(source, &meta, parent, path, &attributes)?,
            0xa000 => {
                let target = fs::read_link(source).map_err(Error::io("reading the link", source))?;
                make::special(ext, parent, name, &attributes, target.as_os_str().as_bytes())
                    .map_err(&failed)?
            }
            _ => make::special(ext, parent, name, &attributes, b"").map_err(&failed)?,
        };
        if meta.nlink() > 1 {
            self.linked.insert(id, number);
        }
        Ok(())
    }

    fn file(
        &mut self,
        source: &Path,
        meta: &Metadata,
        parent: InodeNumber,
        path: &[u8],
        a: &Attributes,
    ) -> Result<InodeNumber> {
        let file = File::open(source).map_err(Error::io("opening", source))?;
        let new = NewFile::begin(self.image, parent, path, a)?;
        let (mut at, mut buf) = (0, vec![0; PIECE]);
        loop {
            // What is a hole here is one there; a host that cannot tell has none.
            at = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => break,
                Err(_) => at,
            };
            let most = match rustix::fs::seek(&file, SeekFrom::Hole(at)) {
                Ok(hole) if hole > at => PIECE.min((hole - at) as usize),
                _ => PIECE,
            };
            let n = file.read_at(&mut buf[..most], at).map_err(Error::io("reading", source))?;
            if n == 0 {
                break;
            }
            new.write(at, &buf[..n])?;
            at += n as u64;
            self.done.bytes += n as u64;
            if self.observer.cancelled() {
                return Err(Error::Cancelled(": what was put in before is there"));
            }
        }
        new.finish(parent, meta.len().max(at), a)
    }

    fn attributes(&mut self, source: &Path, meta: &Metadata) -> Result<Attributes> {
        let mut mode = meta.mode() as u16;
        if !meta.is_dir() && !meta.is_symlink() {
            mode = self.how.mode.map_or(mode, |m| mode & 0xf000 | m & 0o7777);
        }
        let rdev = meta.rdev();
        let time = |sec, nsec: i64| Time { sec, nsec: nsec as u32 };
        Ok(Attributes {
            mode,
            uid: self.how.owner.uid.unwrap_or(meta.uid()),
            gid: self.how.owner.gid.unwrap_or(meta.gid()),
            atime: Some(time(meta.atime(), meta.atime_nsec())),
            mtime: Some(time(meta.mtime(), meta.mtime_nsec())),
            device: (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
            xattrs: self.xattrs(source)?,
        })
    }

    fn xattrs(&mut self, source: &Path) -> Result<Vec<Xattr>> {
        let failed = |e: Errno| Error::io("reading attributes of", source)(e.into());
        let mut names = vec![0; 65536];
        let len = match llistxattr(source, &mut names[..]) {
            Ok(len) => len,
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut out = Vec::new();
        for name in names[..len].split(|b| *b == 0).filter(|n| !n.is_empty()) {
            let mut value = vec![0; 65536];
            let shown = std::ffi::OsStr::from_bytes(name);
            match lgetxattr(source, shown, &mut value[..]) {
                Ok(len) => {
                    value.truncate(len);
                    out.push(Xattr { name: name.to_vec(), value });
                }
                Err(e) => self.done.warnings.push(format!("{}: {}: {e}", source.display(), text(name))),
            }
        }
        Ok(out)
    }
}
