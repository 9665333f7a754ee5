//! Open files of the host: its page cache is the guest's. What is in it is taken at once; who has to wait for the host's disk does not keep
//! the vCPU meanwhile.

use super::node::Node;
use crate::base::blocking::blocking;
use crate::base::{Errno, Result};
use crate::fs::{File, FileOps, MapSource, OpenFlags};
use rustix::fs::{AtFlags, FallocateFlags, OFlags, SeekFrom, StatxFlags};
use rustix::io::ReadWriteFlags;
use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Bytes of a write that are copied for so long that the host may find the moment to let its writer wait.
const LONG: usize = 128 << 10;
const PAGE: u64 = 4096;

/// A regular file of the host, open.
#[derive(Debug)]
pub(super) struct Content {
    fd: Arc<OwnedFd>,
    node: Arc<Node>,
    /// What addresses, lengths and positions are multiples of, if the host's page cache is passed by.
    direct: Option<usize>,
}

impl Content {
    /// Opens a node's file.
    pub(super) fn open(node: Arc<Node>, flags: OpenFlags) -> Result<Content> {
        let writes = flags.writes();
        let direct = flags.contains(OpenFlags::DIRECT);
        // Who only reads shares a descriptor: nothing goes by its position.
        let shared = match writes || direct {
            true => None,
            false => node.opened.lock().iter().find_map(|(fd, w)| fd.upgrade().filter(|_| !w)),
        };
        if let Some(fd) = shared {
            return Ok(Content { fd, node, direct: None });
        }
        let path = node.handle()?;
        let extra = if direct { OFlags::DIRECT } else { OFlags::empty() };
        let file = match writes {
            false => node.reopen(&path, OFlags::RDONLY | extra)?,
            // Mappings want both.
            true => match node.reopen(&path, OFlags::RDWR | extra) {
                Err(Errno::EACCES) => node.reopen(&path, OFlags::WRONLY | extra)?,
                opened => opened?,
            },
        };
        if writes {
            // As the host does with those that are real.
            node.lose_capabilities(&path);
        }
        let direct = match direct {
            true => {
                let s = rustix::fs::statx(
                    &file,
                    "",
                    AtFlags::EMPTY_PATH,
                    StatxFlags::from_bits_retain(DIOALIGN),
                )?;
                Some((s.stx_dio_mem_align.max(s.stx_dio_offset_align) as usize).max(512))
            }
            false => None,
        };
        let fd = Arc::new(file);
        let mut opened = node.opened.lock();
        opened.retain(|(fd, _)| fd.strong_count() > 0);
        opened.push((Arc::downgrade(&fd), writes || direct.is_some()));
        drop(opened);
        Ok(Content { fd, node, direct })
    }

    /// What of these bytes is there without waiting: how many, and whether that is all there is.
    fn read_ready(&self, into: &mut [u8], at: u64) -> Result<(usize, bool)> {
        let mut done = 0;
        loop {
            let left = &mut [IoSliceMut::new(&mut into[done..])];
            match rustix::io::preadv2(&*self.fd, left, at + done as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => return Ok((done, true)),
                Ok(n) if done + n == into.len() => return Ok((done + n, true)),
                Ok(n) => done += n,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::OPNOTSUPP) => return Ok((done, false)),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Whether writing there may have to wait: for a page of which a part stays as it is, or because it is much.
    fn waits(&self, len: usize, at: u64) -> bool {
        if self.node.dev.memory {
            return false;
        }
        let end = at.saturating_add(len as u64);
        let missing = |edge: u64| {
            let page = edge / PAGE * PAGE;
            edge != page && matches!(self.read_ready(&mut [0], page), Ok((_, false)))
        };
        len >= LONG || missing(at) || missing(end)
    }

    /// A read or write past the page cache, whose bytes have to lie as the host wants them.
    fn direct(unit: usize, len: usize, transfer: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<usize> {
        let mut room = vec![0; len + unit];
        let start = room.as_ptr().align_offset(unit);
        blocking(|| transfer(&mut room[start..start + len]))
    }

    fn write_at(&self, from: &[u8], at: u64) -> Result<usize> {
        if let Some(unit) = self.direct {
            return Content::direct(unit, from.len(), |room| {
                room.copy_from_slice(from);
                Ok(rustix::io::pwrite(&*self.fd, room, at)?)
            });
        }
        let write = || rustix::io::pwrite(&*self.fd, from, at);
        Ok(if self.waits(from.len(), at) { blocking(write) } else { write() }?)
    }
}

/// STATX_DIOALIGN (linux/stat.h).
const DIOALIGN: u32 = 0x2000;

impl FileOps for Content {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn direct_unit(&self, _file: &File) -> u64 {
        self.direct.unwrap_or(1) as u64
    }

    fn read(&self, _file: &File, into: &mut [u8], at: u64) -> Result<usize> {
        if let Some(unit) = self.direct {
            return Content::direct(unit, into.len(), |room| {
                let n = rustix::io::pread(&*self.fd, &mut *room, at)?;
                into[..n].copy_from_slice(&room[..n]);
                Ok(n)
            });
        }
        if self.node.dev.memory {
            return Ok(rustix::io::pread(&*self.fd, into, at)?);
        }
        let (done, all) = self.read_ready(into, at)?;
        if all {
            return Ok(done);
        }
        let rest = blocking(|| rustix::io::pread(&*self.fd, &mut into[done..], at + done as u64));
        match rest {
            Ok(n) => Ok(done + n),
            Err(_) if done > 0 => Ok(done),
            Err(e) => Err(e.into()),
        }
    }

    fn write(&self, _file: &File, from: &[u8], at: u64) -> Result<usize> {
        let n = self.write_at(from, at)?;
        self.node.written();
        Ok(n)
    }

    fn append(&self, _file: &File, from: &[u8]) -> Result<(usize, u64)> {
        // The host finds the end: another guest, or the host, may be moving it.
        let size = rustix::fs::fstat(&*self.fd)?.st_size as u64;
        let n = match self.direct {
            Some(_) => self.write_at(from, size)?,
            None => {
                let write = || {
                    // By the descriptor's position, which is then behind what was written.
                    rustix::io::pwritev2(&*self.fd, &[IoSlice::new(from)], u64::MAX, ReadWriteFlags::APPEND)
                };
                if self.waits(from.len(), size) { blocking(write) } else { write() }?
            }
        };
        self.node.written();
        let end = match self.direct {
            Some(_) => size + n as u64,
            None => rustix::fs::seek(&*self.fd, SeekFrom::Current(0))?,
        };
        Ok((n, end))
    }

    fn seek_data(&self, _file: &File, at: u64, data: bool) -> Result<u64> {
        let whence = if data { SeekFrom::Data(at) } else { SeekFrom::Hole(at) };
        Ok(rustix::fs::seek(&*self.fd, whence)?)
    }

    fn map(&self, _file: &File, shared_write: bool) -> Result<MapSource> {
        if shared_write {
            self.node.may_shrink()?;
        }
        Ok(MapSource::Host(self.fd.clone()))
    }

    fn sync(&self, _file: &File, data_only: bool) -> Result<()> {
        Ok(blocking(
            || if data_only { rustix::fs::fdatasync(&*self.fd) } else { rustix::fs::fsync(&*self.fd) },
        )?)
    }

    fn allocate(&self, _file: &File, mode: u32, at: u64, len: u64) -> Result<()> {
        let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        if !(flags - FallocateFlags::KEEP_SIZE).is_empty() {
            self.node.may_shrink()?;
        }
        blocking(|| rustix::fs::fallocate(&*self.fd, flags, at, len))?;
        self.node.written();
        Ok(())
    }
}
