//! Open files: the description that descriptors refer to, and what it does.

use super::inotify::Mask;
use super::writers::Claim;
use super::{Attr, Inode, OpenFlags, Path, Writing, inotify};
use crate::base::wait::{Events, How, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::mm::UserMemory;
use std::any::Any;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Collects the queues on which a poller is to be told of changes.
pub trait PollTable {
    /// Wait on this queue, too.
    fn add(&mut self, queue: &WaitQueue);
}

/// What can be mapped into a guest.
#[derive(Debug)]
pub enum MapSource {
    /// A host descriptor with the same bytes at the same offsets: read-only where the file was opened so.
    Host(Arc<OwnedFd>),
    /// Fresh zeros (/dev/zero).
    Zero,
}

impl MapSource {
    /// A memfd, opened anew for reading: no mapping of it can be made writable.
    pub(super) fn for_reading(fd: &OwnedFd) -> Result<MapSource> {
        use rustix::fs::{Mode, OFlags};
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let reader = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(MapSource::Host(Arc::new(reader)))
    }
}

/// How a file behaves. Blocking calls look at `file.nonblocking()`, return EAGAIN or wait on a queue; an interrupted wait is
/// ERESTARTSYS.
pub trait FileOps: Send + Sync + 'static {
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
    /// Reads at an offset, which streams ignore. 0 at the end.
    fn read(&self, _file: &File, _into: &mut [u8], _at: u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Writes at an offset, which streams ignore.
    fn write(&self, _file: &File, _from: &[u8], _at: u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Writes at the end, in one step with finding it; returns the bytes and the new end.
    fn append(&self, file: &File, from: &[u8]) -> Result<(usize, u64)> {
        let end = file.inode().attr()?.size;
        self.write(file, from, end).map(|n| (n, end + n as u64))
    }
    /// Whether it has positions; a stream has not (ESPIPE).
    fn seekable(&self) -> bool {
        true
    }
    /// Whether `lseek` knows where it ends.
    fn has_end(&self) -> bool {
        true
    }
    /// Where it ends.
    fn end(&self, file: &File) -> Result<u64> {
        Ok(file.attr()?.size)
    }
    /// How far `lseek` goes, where it does not go anywhere (fixed_size_llseek).
    fn farthest(&self, _file: &File) -> Option<u64> {
        None
    }
    /// What addresses and lengths are multiples of under O_DIRECT.
    fn direct_unit(&self, _file: &File) -> u64 {
        1
    }
    /// Whether its position never moves: `lseek` accepts anything, and stays (null_lseek).
    fn stays_at_zero(&self) -> bool {
        false
    }
    /// The start of the next data (true) or hole (false) at or after `at`; ENXIO beyond the end.
    fn seek_data(&self, file: &File, at: u64, data: bool) -> Result<u64> {
        let size = file.inode().attr()?.size;
        if at >= size {
            return Err(Errno::ENXIO);
        }
        Ok(if data { at } else { size })
    }
    /// What is ready; `table` is given if the caller will wait.
    fn poll(&self, _file: &File, _table: Option<&mut dyn PollTable>) -> Events {
        Events::READ | Events::WRITE
    }
    /// ioctl(2). ENOTTY if it is none of its.
    fn ioctl(&self, _file: &File, _command: u32, _arg: u64, _memory: &UserMemory) -> Result<u64> {
        Err(Errno::ENOTTY)
    }
    /// What mmap(2) maps; `shared_write` if stores are to reach the file.
    fn map(&self, _file: &File, _shared_write: bool) -> Result<MapSource> {
        Err(Errno::ENODEV)
    }
    /// Makes data (and, unless `data_only`, attributes) durable.
    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// fallocate(2), its mode bits.
    fn allocate(&self, _file: &File, _mode: u32, _at: u64, _len: u64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// A descriptor of it was closed, others may remain.
    fn flush(&self, _file: &File) -> Result<()> {
        Ok(())
    }
    /// The last descriptor is closed.
    fn release(&self, _file: &File) {}
    /// Its flags were changed by F_SETFL.
    fn flags_changed(&self, _file: &File) {}
}

/// An open file description.
pub struct File {
    ops: Arc<dyn FileOps>,
    path: Path,
    flags: AtomicU32,
    pos: Mutex<u64>,
    /// That it writes to a program's file, or runs it.
    claim: OnceLock<Claim>,
    /// That it is open for writing, for its mount.
    writing: OnceLock<Writing>,
    /// Whether it was opened by a path: those who watch that hear of its end.
    opened: AtomicBool,
    /// F_SETOWN: whom SIGIO goes to, positive a process, negative a group; and F_SETSIG.
    pub owner: Mutex<(i32, i32)>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({:?})", self.path)
    }
}

impl File {
    /// An open file at a path.
    pub fn new(ops: Arc<dyn FileOps>, path: Path, flags: OpenFlags) -> Arc<File> {
        Arc::new(File {
            ops,
            path,
            flags: AtomicU32::new(flags.bits()),
            pos: Mutex::new(Rank::Position, 0),
            claim: OnceLock::new(),
            writing: OnceLock::new(),
            opened: AtomicBool::new(false),
            owner: Mutex::new(Rank::Leaf, (0, 0)),
        })
    }

    /// It was opened by a path: those are told who watch that.
    pub fn was_opened(&self) {
        self.opened.store(true, Ordering::Relaxed);
        inotify::about(&self.path.dentry, Mask::OPEN);
    }

    /// Something was done with it.
    pub fn tell(&self, event: Mask) {
        if inotify::any() && self.opened.load(Ordering::Relaxed) {
            inotify::about(&self.path.dentry, event);
        }
    }

    /// Keeps a claim as long as it is open.
    pub fn keep(&self, claim: Claim) {
        let _ = self.claim.set(claim);
    }

    /// Counts as a writer of its mount as long as it is open.
    pub fn keep_writing(&self, writing: Writing) {
        let _ = self.writing.set(writing);
    }

    /// What it does.
    pub fn ops(&self) -> &Arc<dyn FileOps> {
        &self.ops
    }

    /// What it does, as the type that it is.
    pub fn ops_as<T: Any>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its inode.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.path.inode()
    }

    /// Its attributes.
    pub fn attr(&self) -> Result<Attr> {
        self.inode().attr()
    }

    /// Its flags.
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Changes its status flags.
    pub fn set_flags(&self, flags: OpenFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
        self.ops.flags_changed(self);
    }

    /// Whether calls must not block.
    pub fn nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// What `ready` gives: waited for on a queue, or EAGAIN where this file does not wait.
    pub fn wait_on<T>(
        &self,
        queue: &WaitQueue,
        events: Events,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        if self.nonblocking() {
            return ready().ok_or(Errno::EAGAIN);
        }
        Ok(queue.wait_for(events, How::default(), ready)?)
    }

    /// EBADF unless open for reading.
    pub fn check_read(&self) -> Result<()> {
        let flags = self.flags();
        if !flags.reads() || flags.contains(OpenFlags::PATH) { Err(Errno::EBADF) } else { Ok(()) }
    }

    /// EBADF unless open for writing.
    pub fn check_write(&self) -> Result<()> {
        let flags = self.flags();
        if !flags.writes() || flags.contains(OpenFlags::PATH) { Err(Errno::EBADF) } else { Ok(()) }
    }

    /// The position.
    pub fn pos(&self) -> &Mutex<u64> {
        &self.pos
    }

    /// Reads at the position and moves it.
    pub fn read(&self, into: &mut [u8]) -> Result<usize> {
        self.check_read()?;
        if !self.ops.seekable() {
            return self.ops.read(self, into, 0);
        }
        let at = *self.pos.lock();
        let n = self.ops.read(self, into, at)?;
        *self.pos.lock() = at + n as u64;
        Ok(n)
    }

    /// Writes at the position, or the end, and moves it.
    pub fn write(&self, from: &[u8]) -> Result<usize> {
        self.check_write()?;
        if !self.ops.seekable() {
            return self.ops.write(self, from, 0);
        }
        if self.flags().contains(OpenFlags::APPEND) {
            let (n, end) = self.ops.append(self, from)?;
            *self.pos.lock() = end;
            return Ok(n);
        }
        let at = *self.pos.lock();
        let n = self.ops.write(self, from, at)?;
        if !self.ops.stays_at_zero() {
            *self.pos.lock() = at + n as u64;
        }
        Ok(n)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.ops.release(self);
        self.tell(if self.flags().writes() { Mask::CLOSE_WRITE } else { Mask::CLOSE_NOWRITE });
        if super::locks::any()
            && let Ok(attr) = self.attr()
        {
            let owner = super::locks::Owner::File(std::ptr::from_ref(self) as usize);
            super::locks::release_file(owner, attr.dev, attr.ino);
        }
    }
}
