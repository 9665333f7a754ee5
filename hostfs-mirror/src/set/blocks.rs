//! Content, block by block, each read from a leg that has it right.

use super::limit::Limit;
use super::side::{Error, Object, Result, Side};
use crate::state::manifest::{BLOCK, Entry, sum};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// A file of one leg, open for reading, and what is known of it.
struct Source<'a> {
    side: Side<'a>,
    file: OwnedFd,
    known: Option<Entry>,
}

/// One file's content, from the legs that have it, the best first.
pub(super) struct Sources<'a> {
    path: PathBuf,
    sources: Vec<Source<'a>>,
    size: u64,
}

/// What a file's content came to.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// The checksums of its blocks.
    pub(super) sums: Vec<u32>,
    pub(super) read: u64,
    pub(super) written: u64,
    /// Legs that had wrong bytes, and where first.
    pub(super) wrong: Vec<(PathBuf, u64)>,
}

impl<'a> Sources<'a> {
    /// The first leg's file, and those of others that should read the same.
    pub(super) fn open(path: &Path, first: (Side<'a>, &Object), others: &[Side<'a>]) -> Result<Self> {
        let (side, object) = first;
        let file = side.leg.open(object.fd.as_fd(), OFlags::RDONLY).map_err(side.failed(path))?;
        let mut sources = vec![Source { known: side.known(path, object)?, side, file }];
        for side in others {
            // What no checksum vouches for helps nobody.
            if let Ok(Some(other)) = side.find(path)
                && other.is_file()
                && other.size() == object.size()
                && let Ok(Some(known)) = side.known(path, &other)
                && let Ok(file) = side.leg.open(other.fd.as_fd(), OFlags::RDONLY)
            {
                sources.push(Source { side: *side, file, known: Some(known) });
            }
        }
        Ok(Self { path: path.to_owned(), sources, size: object.size() })
    }

    /// A block as it should be: by the first leg, whose checksum, where there is one, it has; by another whose checksum it
    /// has, if not; by the first without any, if none can say.
    fn block(&self, block: u64, into: &mut [u8], copied: &mut Copied) -> Result<usize> {
        let at = block * BLOCK as u64;
        let len = (self.size - at).min(BLOCK as u64) as usize;
        let mut first = None;
        for (i, source) in self.sources.iter().enumerate() {
            let right = source.known.as_ref().and_then(|k| k.sums.get(block as usize));
            match source.side.leg.read(source.file.as_fd(), &mut into[..len], at) {
                Ok(n) if n == len && right.is_none_or(|s| *s == sum(&into[..len])) => return Ok(len),
                // Shorter than it was a moment ago: somebody writes to it.
                Ok(n) if n < len && i == 0 && right.is_none() => return Ok(n),
                Ok(_) if i == 0 => {
                    copied.wrong.push((source.side.leg.name().to_owned(), at));
                    first = Some(Errno::BADMSG);
                }
                Ok(_) => {}
                Err(e) if i == 0 => first = Some(e),
                Err(_) => {}
            }
        }
        match first {
            Some(Errno::BADMSG) | None => Err(Error::Undecided {
                path: self.path.clone(),
                why: format!(
                    "the bytes from {at} are wrong on {}, and no leg has them right",
                    self.sources[0].side.name()
                ),
            }),
            Some(e) => Err(self.sources[0].side.failed(&self.path)(e)),
        }
    }

    /// Makes a file of another leg read the same. Only what differs is written; holes stay holes.
    pub(super) fn copy_to(&self, to: &Side<'_>, object: &Object, limit: &mut Limit) -> Result<Copied> {
        let file = open_for_writing(to, object).map_err(to.failed(&self.path))?;
        let fail = || to.failed(&self.path);
        let mut copied = Copied::default();
        if object.size() != self.size {
            crate::fail::point("copy-size").map_err(fail())?;
            let change = crate::leg::Change { size: Some(self.size), ..Default::default() };
            to.leg.change(file.as_fd(), &change).map_err(fail())?;
        }
        let (mut right, mut there) = (vec![0; BLOCK], vec![0; BLOCK]);
        let zeros = vec![0; BLOCK];
        for block in 0..self.size.div_ceil(BLOCK as u64) {
            let at = block * BLOCK as u64;
            let len = self.block(block, &mut right, &mut copied)?;
            copied.sums.push(sum(&right[..len]));
            // What cannot be read there is written anew.
            let n = to.leg.read(file.as_fd(), &mut there[..len], at).unwrap_or(0);
            copied.read += len as u64;
            let mut moved = len as u64;
            if right[..len] != there[..n] {
                crate::fail::point("copy-write").map_err(fail())?;
                moved += len as u64;
                copied.written += len as u64;
                let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let is_zero = right[..len] == zeros[..len];
                if !is_zero || to.leg.allocate(file.as_fd(), hole, at, len as u64).is_err() {
                    write(to, &file, &right[..len], at).map_err(fail())?;
                }
            }
            limit.spent(moved)?;
            limit.advance(len as u64)?;
        }
        Ok(copied)
    }
}

/// Writes all, or says why not.
pub(super) fn write(to: &Side<'_>, file: &OwnedFd, bytes: &[u8], at: u64) -> std::result::Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        match to.leg.write(file.as_fd(), &bytes[done..], at + done as u64)? {
            0 => return Err(Errno::NOSPC),
            n => done += n,
        }
    }
    Ok(())
}

/// An owner who is no superuser may have taken his own right to write.
pub(super) fn open_for_writing(to: &Side<'_>, object: &Object) -> std::result::Result<OwnedFd, Errno> {
    match to.leg.open(object.fd.as_fd(), OFlags::RDWR) {
        Err(Errno::ACCESS) => {
            let mode = rustix::fs::Mode::from_raw_mode(object.stat.st_mode | 0o600);
            to.leg
                .change(object.fd.as_fd(), &crate::leg::Change { mode: Some(mode), ..Default::default() })?;
            to.leg.open(object.fd.as_fd(), OFlags::RDWR)
        }
        opened => opened,
    }
}
