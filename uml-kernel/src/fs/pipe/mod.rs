//! Pipes and FIFOs (pipe(7), fifo(7)).
//!
//! Locks: the pipe's state is of rank `Buffer`; queues are woken after it is released.

mod ring;
#[cfg(test)]
mod tests;

pub use ring::{DEFAULT_SLOTS, PAGE};

use super::anon::{self, AnonKind};
use super::{File, FileOps, OpenFlags, Path, PollTable, kind};
use crate::base::wait::{Events, How, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::mm::UserMemory;
use ring::Ring;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes of up to this many bytes are never torn.
pub const PIPE_BUF: usize = 4096;
/// The largest capacity that is had without CAP_SYS_RESOURCE, in bytes: /proc/sys/fs/pipe-max-size.
pub static MAX_SIZE: AtomicU64 = AtomicU64::new(1 << 20);

/// `ioctl`: bytes that wait to be read (asm-generic/ioctls.h).
const FIONREAD: u32 = 0x541b;

#[derive(Debug)]
struct State {
    ring: Ring,
    readers: u32,
    writers: u32,
    /// Readers and writers there have ever been: what a blocking open of a FIFO waits for may be gone again when it looks.
    readers_ever: u64,
    writers_ever: u64,
    /// Someone polls: tell of every write, not only of the first (edge-triggered epolls count on it, and Linux does so).
    polled: bool,
}

/// A pipe.
#[derive(Debug)]
pub struct Pipe {
    state: Mutex<State>,
    readable: WaitQueue,
    writable: WaitQueue,
}

/// One opening of a pipe.
#[derive(Debug)]
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    /// For a FIFO opened without waiting for a writer: the writers there had been. No POLLHUP before another comes.
    writers_seen: AtomicU64,
}

/// Makes a pipe, as pipe2(2): its reading and its writing end. `flags` are NONBLOCK, DIRECT and CLOEXEC; CLOEXEC is for the
/// descriptors, which are the caller's.
pub fn pipe(flags: OpenFlags, uid: u32, gid: u32) -> Result<(Arc<File>, Arc<File>)> {
    let path = anon::new_path(AnonKind::Pipe, kind::FIFO | 0o600, uid, gid);
    let pipe = Pipe::new();
    if let Some(anchor) = path.inode().anchor() {
        anchor.get_or_make(|| pipe.clone());
    }
    let keep = flags & (OpenFlags::NONBLOCK | OpenFlags::DIRECT);
    let reader = pipe.open(path.clone(), keep);
    let writer = pipe.open(path, keep | OpenFlags::WRONLY);
    Ok((reader, writer))
}

/// Opens a FIFO, or a pipe again by its place in /proc. A FIFO waits for the other side as fifo(7) says: ENXIO for a writer that will
/// not wait, ERESTARTSYS if a signal comes first.
pub fn open_fifo(path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let inode = path.inode().clone();
    let is_pipe = inode.as_any().is::<anon::AnonInode>();
    let pipe = inode.anchor().ok_or(Errno::ENXIO)?.get_or_make(Pipe::new);
    let nonblock = flags.contains(OpenFlags::NONBLOCK);
    let (reads, writes) = (flags.reads(), flags.writes());
    if !is_pipe && writes && !reads && nonblock && pipe.state.lock().readers == 0 {
        return Err(Errno::ENXIO);
    }
    let file = pipe.open(path, flags);
    if is_pipe || reads == writes {
        return Ok(file);
    }
    let (other, ever) = {
        let state = pipe.state.lock();
        if reads { (state.writers, state.writers_ever) } else { (state.readers, state.readers_ever) }
    };
    if other > 0 {
        return Ok(file);
    }
    if nonblock {
        if let Some(end) = file.ops_as::<PipeEnd>() {
            end.writers_seen.store(ever, Ordering::Relaxed);
        }
        return Ok(file);
    }
    let queue = if reads { &pipe.readable } else { &pipe.writable };
    queue.wait(How::default(), || {
        let state = pipe.state.lock();
        let now = if reads { state.writers_ever } else { state.readers_ever };
        (now != ever).then_some(())
    })?;
    Ok(file)
}

impl Pipe {
    fn new() -> Arc<Pipe> {
        let state = State {
            ring: Ring::new(),
            readers: 0,
            writers: 0,
            readers_ever: 0,
            writers_ever: 0,
            polled: false,
        };
        Arc::new(Pipe {
            state: Mutex::new(Rank::Buffer, state),
            readable: WaitQueue::new(),
            writable: WaitQueue::new(),
        })
    }

    /// Another end; `File`'s drop counts it out.
    fn open(self: &Arc<Pipe>, path: Path, flags: OpenFlags) -> Arc<File> {
        let mut state = self.state.lock();
        if flags.reads() {
            state.readers += 1;
            state.readers_ever += 1;
        }
        if flags.writes() {
            state.writers += 1;
            state.writers_ever += 1;
        }
        drop(state);
        // Those who wait in their open.
        self.readable.wake_all();
        self.writable.wake_all();
        File::new(Arc::new(PipeEnd { pipe: self.clone(), writers_seen: AtomicU64::new(0) }), path, flags)
    }

    /// Its capacity in bytes, F_GETPIPE_SZ.
    pub fn capacity(&self) -> usize {
        self.state.lock().ring.limit() * PAGE
    }

    /// F_SETPIPE_SZ: rounded up to a power of two of pages and returned. EINVAL for more than 2 GiB, EPERM beyond [`MAX_SIZE`] without
    /// `privileged` (CAP_SYS_RESOURCE), EBUSY if more is in it.
    pub fn set_capacity(&self, size: u32, privileged: bool) -> Result<usize> {
        if size > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let size = (size as usize).max(PAGE).next_power_of_two();
        let slots = size / PAGE;
        let mut state = self.state.lock();
        if slots > state.ring.limit() && size as u64 > MAX_SIZE.load(Ordering::Relaxed) && !privileged {
            return Err(Errno::EPERM);
        }
        let was_full = state.ring.is_full();
        state.ring.set_limit(slots)?;
        let room = was_full && !state.ring.is_full();
        drop(state);
        if room {
            self.writable.wake(Events::WRITE);
        }
        Ok(size)
    }
}

impl PipeEnd {
    /// The pipe.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    fn try_read(&self, into: &mut [u8]) -> Option<Result<usize>> {
        let mut state = self.pipe.state.lock();
        if state.ring.is_empty() {
            return (state.writers == 0).then_some(Ok(0));
        }
        let was_full = state.ring.is_full();
        let n = state.ring.pull(into);
        let tell = was_full && !state.ring.is_full();
        drop(state);
        if tell {
            self.pipe.writable.wake(Events::WRITE);
        }
        Some(Ok(n))
    }

    /// Writes on from `done`; something once all is written or nobody can read it.
    fn try_write(&self, from: &[u8], done: &mut usize, packet: bool) -> Option<Result<usize>> {
        let mut state = self.pipe.state.lock();
        if state.readers == 0 {
            return Some(if *done > 0 { Ok(*done) } else { Err(Errno::EPIPE) });
        }
        let was_empty = state.ring.is_empty();
        let before = *done;
        *done = state.ring.push(from, before, packet);
        let tell = *done > before && (was_empty || state.polled);
        drop(state);
        if tell {
            self.pipe.readable.wake(Events::READ);
        }
        (*done == from.len()).then_some(Ok(*done))
    }
}

impl FileOps for PipeEnd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        false
    }

    fn read(&self, file: &File, into: &mut [u8], _: u64) -> Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        if file.nonblocking() {
            return self.try_read(into).unwrap_or(Err(Errno::EAGAIN));
        }
        self.pipe.readable.wait_for(Events::READ, How::default(), || self.try_read(into))?
    }

    fn write(&self, file: &File, from: &[u8], _: u64) -> Result<usize> {
        if from.is_empty() {
            return Ok(0);
        }
        let packet = file.flags().contains(OpenFlags::DIRECT);
        let mut done = 0;
        let ended = if file.nonblocking() {
            self.try_write(from, &mut done, packet).ok_or(Errno::EAGAIN)
        } else {
            let how = How::default();
            let wait = || self.try_write(from, &mut done, packet);
            self.pipe.writable.wait_for(Events::WRITE, how, wait).map_err(Errno::from)
        };
        match ended {
            Ok(result) => result,
            Err(_) if done > 0 => Ok(done),
            Err(e) => Err(e),
        }
    }

    fn poll(&self, file: &File, table: Option<&mut dyn PollTable>) -> Events {
        let flags = file.flags();
        if let Some(table) = table {
            self.pipe.state.lock().polled = true;
            if flags.reads() {
                table.add(&self.pipe.readable);
            }
            if flags.writes() {
                table.add(&self.pipe.writable);
            }
        }
        let state = self.pipe.state.lock();
        let mut events = Events::empty();
        if flags.reads() {
            if !state.ring.is_empty() {
                events |= Events::READ;
            }
            if state.writers == 0 && self.writers_seen.load(Ordering::Relaxed) != state.writers_ever {
                events |= Events::HUP;
            }
        }
        if flags.writes() {
            if !state.ring.is_full() {
                events |= Events::WRITE;
            }
            if state.readers == 0 {
                events |= Events::ERR;
            }
        }
        events
    }

    fn ioctl(&self, _: &File, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
        if command != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let waiting = self.pipe.state.lock().ring.len();
        memory.put_u32(arg, waiting as u32)?;
        Ok(0)
    }

    fn sync(&self, _: &File, _: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }

    fn release(&self, file: &File) {
        let mut state = self.pipe.state.lock();
        if file.flags().reads() {
            state.readers -= 1;
        }
        if file.flags().writes() {
            state.writers -= 1;
        }
        let one_side = (state.readers == 0) != (state.writers == 0);
        // Data of a FIFO that nobody has open is lost.
        if state.readers == 0 && state.writers == 0 {
            let limit = state.ring.limit();
            state.ring = Ring::new();
            let _ = state.ring.set_limit(limit);
        }
        drop(state);
        if one_side {
            self.pipe.readable.wake_all();
            self.pipe.writable.wake_all();
        }
    }
}
