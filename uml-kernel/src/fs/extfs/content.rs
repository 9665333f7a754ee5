//! What a file holds. While it is mapped, all of it is in a memfd, which reading and writing see as well; what was stored there goes to the
//! disk when it is synced, and at the end.

use super::errno;
use super::node::Node;
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::{File, FileOps, MapSource};
use crate::platform::sys;
use ext::Space;
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// A file's bytes, where mappings have them.
pub(super) struct Mapped {
    fd: Arc<OwnedFd>,
    /// Stores into it are to reach the file.
    stored: bool,
}

/// What mapped files hold, and what waits to get its place, for `mem=`: stores into holes of them show only when it is looked at.
static MAPPED: Mutex<Vec<Weak<OwnedFd>>> = Mutex::new(Rank::Leaf, Vec::new());

/// Bytes that mapped files hold now.
pub fn held() -> u64 {
    let files: Vec<Arc<OwnedFd>> = {
        let mut all = MAPPED.lock();
        all.retain(|f| f.strong_count() > 0);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    let mapped = files.iter().filter_map(|f| rustix::fs::fstat(f).ok()).map(|s| s.st_blocks as u64 * 512);
    mapped.sum::<u64>() + super::all().iter().map(|fs| fs.ext().waiting()).sum::<u64>()
}

/// Bytes that are copied at a time.
const PIECE: usize = 256 << 10;

impl Node {
    /// Sets the length.
    pub(super) fn resize(&self, size: u64) -> Result<()> {
        let mapped = self.mapped.lock();
        self.fs.changing().truncate(self.number(), size).map_err(errno)?;
        if let Some(mapped) = &*mapped {
            rustix::fs::ftruncate(&*mapped.fd, size)?;
        }
        Ok(())
    }

    /// Puts what has been stored into mappings onto the disk: the pieces that differ from what is there.
    pub(super) fn write_back(&self) -> Result<()> {
        let mapped = self.mapped.lock();
        let Some(mapped) = mapped.as_ref().filter(|m| m.stored) else { return Ok(()) };
        let mut inode = self.inode()?;
        let (mut ours, mut theirs) = (vec![0; PIECE], vec![0; PIECE]);
        let mut at = 0;
        while at < inode.size {
            let n = PIECE.min((inode.size - at) as usize);
            let read = rustix::io::pread(&*mapped.fd, &mut ours[..n], at)?;
            ours[read..n].fill(0);
            self.fs.ext().read(self.number(), at, &mut theirs[..n]).map_err(errno)?;
            for from in (0..n).step_by(4096) {
                let end = (from + 4096).min(n);
                if ours[from..end] != theirs[from..end] {
                    let written = self.fs.changing().write(self.number(), at + from as u64, &ours[from..end]);
                    inode = written.map_err(errno)?;
                }
            }
            at += n as u64;
        }
        Ok(())
    }

    fn map(&self, shared_write: bool) -> Result<Arc<OwnedFd>> {
        let mut mapped = self.mapped.lock();
        if let Some(mapped) = &mut *mapped {
            mapped.stored |= shared_write;
            return Ok(mapped.fd.clone());
        }
        self.fs.ext().settle(self.number()).map_err(errno)?;
        let inode = self.inode()?;
        let fd = Arc::new(sys::memfd(c"disk", inode.size)?);
        MAPPED.lock().push(Arc::downgrade(&fd));
        let mut buffer = vec![0; PIECE];
        let mut at = 0;
        while at < inode.size {
            let run = self.fs.ext().run(self.number(), at / self.block_size()).map_err(errno)?;
            let end = (run.logical + run.len).saturating_mul(self.block_size()).min(inode.size);
            if run.physical.is_none() && !inode.flags.contains(ext::Flags::INLINE_DATA) {
                at = end;
                continue;
            }
            at += self.read_into(&fd, &inode, at, &mut buffer)?;
        }
        *mapped = Some(Mapped { fd: fd.clone(), stored: shared_write });
        Ok(fd)
    }

    /// Copies a piece of the file into the memfd, as the buffer has room; how many bytes.
    fn read_into(&self, fd: &OwnedFd, inode: &ext::Inode, at: u64, buffer: &mut [u8]) -> Result<u64> {
        let n = buffer.len().min((inode.size - at) as usize);
        self.fs.ext().read(inode.number, at, &mut buffer[..n]).map_err(errno)?;
        let mut done = 0;
        while done < n {
            done += rustix::io::pwrite(fd, &buffer[done..n], at + done as u64)?;
        }
        Ok(n as u64)
    }

    fn block_size(&self) -> u64 {
        self.fs.ext().superblock().block_size.into()
    }
}

/// An open file.
pub(super) struct Opened {
    node: Arc<Node>,
    writes: bool,
}

impl Opened {
    pub(super) fn new(node: Arc<Node>, writes: bool) -> Opened {
        if writes {
            node.fs.writers.fetch_add(1, Ordering::SeqCst);
        }
        Opened { node, writes }
    }

    fn write_at(&self, from: &[u8], at: u64) -> Result<usize> {
        let node = &self.node;
        let mapped = node.mapped.lock();
        let (written, inode) = node.fs.changing().write_part(node.number(), at, from).map_err(errno)?;
        if let Some(mapped) = &*mapped {
            rustix::io::pwrite(&*mapped.fd, &from[..written], at)?;
        }
        drop(mapped);
        let mode = u32::from(inode.mode);
        let without = crate::fs::tmpfs::without_setid(mode);
        if without != mode {
            node.fs
                .changing()
                .change(node.number(), &ext::Changes { mode: Some(without as u16), ..Default::default() })
                .map_err(errno)?;
        }
        Ok(written)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if self.writes {
            self.node.fs.writers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl FileOps for Opened {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, into: &mut [u8], at: u64) -> Result<usize> {
        if let Some(mapped) = &*self.node.mapped.lock() {
            return Ok(rustix::io::pread(&*mapped.fd, into, at)?);
        }
        self.node.fs.ext().read(self.node.number(), at, into).map_err(errno)
    }

    fn write(&self, _: &File, from: &[u8], at: u64) -> Result<usize> {
        if from.is_empty() {
            return Ok(0);
        }
        self.write_at(from, at)
    }

    fn append(&self, _: &File, from: &[u8]) -> Result<(usize, u64)> {
        let _one_at_a_time = self.node.fs.tree.lock();
        let end = self.node.inode()?.size;
        let n = self.write_at(from, end)?;
        Ok((n, end + n as u64))
    }

    fn seek_data(&self, _: &File, at: u64, data: bool) -> Result<u64> {
        let node = &self.node;
        node.fs.ext().settle(node.number()).map_err(errno)?;
        let inode = node.inode()?;
        if at >= inode.size {
            return Err(Errno::ENXIO);
        }
        let size = node.block_size();
        let mut here = at;
        while here < inode.size {
            let run = node.fs.ext().run(node.number(), here / size).map_err(errno)?;
            let is_data =
                run.physical.is_some() && !run.unwritten || inode.flags.contains(ext::Flags::INLINE_DATA);
            if is_data == data {
                return Ok(here);
            }
            here = (run.logical + run.len).saturating_mul(size);
        }
        if data { Err(Errno::ENXIO) } else { Ok(inode.size) }
    }

    fn map(&self, file: &File, shared_write: bool) -> Result<MapSource> {
        let fd = self.node.map(shared_write || file.flags().writes())?;
        if shared_write || file.flags().writes() {
            return Ok(MapSource::Host(fd));
        }
        MapSource::for_reading(&fd)
    }

    fn sync(&self, _: &File, _: bool) -> Result<()> {
        self.node.write_back()?;
        let ext = self.node.fs.ext();
        ext.fsync(self.node.number()).map_err(|e| {
            self.node.fs.volume.tell_of_failure(&ext);
            errno(e)
        })
    }

    fn allocate(&self, _: &File, mode: u32, at: u64, len: u64) -> Result<()> {
        const KEEP: u32 = 1;
        let keep_size = mode & KEEP != 0;
        let how = match mode & !KEEP {
            0 => Space::Allocate { keep_size },
            2 if keep_size => Space::Punch,
            8 if !keep_size => Space::Collapse,
            16 => Space::Zero { keep_size },
            32 if !keep_size => Space::Insert,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let node = &self.node;
        node.write_back()?;
        let inode = node.fs.changing().fallocate(node.number(), how, at, len).map_err(errno)?;
        let moved = !matches!(how, Space::Allocate { .. });
        if let Some(mapped) = &*node.mapped.lock() {
            rustix::fs::ftruncate(&*mapped.fd, inode.size)?;
            if moved {
                // What lies behind has moved, or is zeros now: the memfd gets it anew.
                let (mut at, mut buffer) = (at, vec![0; PIECE]);
                while at < inode.size {
                    at += node.read_into(&mapped.fd, &inode, at, &mut buffer)?;
                }
            }
        }
        Ok(())
    }
}
