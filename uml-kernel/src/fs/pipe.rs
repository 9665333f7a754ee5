//! Pipes and FIFOs (pipe(7), fifo(7)).

use super::{File, FileOps, OpenFlags, Path, PollTable, anon, kind};
use crate::base::wait::{Events, How, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::mm::UserMemory;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of a slot.
const PAGE: usize = 4096;
/// Capacity of a new pipe.
const DEFAULT: usize = 16 * PAGE;
/// Largest capacity without privilege (fs.pipe-max-size).
const MAX: usize = 1 << 20;
/// Writes of up to so many bytes are not mixed with others.
const ATOMIC: usize = 4096;

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    /// Lengths of the packets in `bytes`, from O_DIRECT writers.
    packets: VecDeque<usize>,
    capacity: usize,
    readers: usize,
    writers: usize,
    /// Opened for the one or the other so far: what FIFO openers wait for.
    reader_opens: u64,
    writer_opens: u64,
}

/// A pipe.
#[derive(Debug)]
pub struct Pipe {
    state: Mutex<State>,
    queue: WaitQueue,
}

/// An end of a pipe, or both ends of a FIFO that was opened so.
#[derive(Debug)]
pub struct End {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
}

impl Pipe {
    fn new() -> Arc<Pipe> {
        let state = State {
            bytes: VecDeque::new(),
            packets: VecDeque::new(),
            capacity: DEFAULT,
            readers: 0,
            writers: 0,
            reader_opens: 0,
            writer_opens: 0,
        };
        Arc::new(Pipe { state: Mutex::new(Rank::Buffer, state), queue: WaitQueue::new() })
    }

    fn end(self: &Arc<Pipe>, reads: bool, writes: bool) -> Arc<End> {
        let mut state = self.state.lock();
        if reads {
            state.readers += 1;
            state.reader_opens += 1;
        }
        if writes {
            state.writers += 1;
            state.writer_opens += 1;
        }
        drop(state);
        self.queue.wake_all();
        Arc::new(End { pipe: self.clone(), reads, writes })
    }
}

/// Makes a pipe: its reading and its writing end.
pub fn pipe(flags: OpenFlags) -> (Arc<File>, Arc<File>) {
    let pipe = Pipe::new();
    let (reader, writer) = (pipe.end(true, false), pipe.end(false, true));
    let path = anon::path_of("pipe", kind::FIFO | 0o600);
    (File::new(reader, path.clone(), flags), File::new(writer, path, flags | OpenFlags::WRONLY))
}

/// Opens a FIFO: waits for the other side, unless told not to.
pub fn open_fifo(path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let inode = path.inode().clone();
    let pipe = inode.anchor().ok_or(Errno::ENXIO)?.get_or_make(Pipe::new);
    let (reads, writes) = (flags.reads(), flags.writes());
    let nonblocking = flags.contains(OpenFlags::NONBLOCK);
    if writes && !reads && nonblocking && pipe.state.lock().readers == 0 {
        return Err(Errno::ENXIO);
    }
    let (readers, writers) = {
        let state = pipe.state.lock();
        (state.reader_opens, state.writer_opens)
    };
    let file = File::new(pipe.end(reads, writes), path, flags);
    if reads && writes || nonblocking {
        return Ok(file);
    }
    // An opener that has come and gone meanwhile counts.
    pipe.queue.wait(How::default(), || {
        let state = pipe.state.lock();
        let met = if reads { state.writers > 0 || state.writer_opens > writers } else { state.readers > 0 || state.reader_opens > readers };
        met.then_some(())
    })?;
    Ok(file)
}

impl State {
    fn take(&mut self, into: &mut [u8]) -> usize {
        let mut n = into.len().min(self.bytes.len());
        if let Some(packet) = self.packets.pop_front() {
            // The rest of a packet that does not fit is lost.
            n = n.min(packet);
            copy_out(&mut self.bytes, &mut into[..n]);
            self.bytes.drain(..packet - n);
            return n;
        }
        copy_out(&mut self.bytes, &mut into[..n]);
        n
    }
}

fn copy_out(bytes: &mut VecDeque<u8>, into: &mut [u8]) {
    let (a, b) = bytes.as_slices();
    let first = a.len().min(into.len());
    into[..first].copy_from_slice(&a[..first]);
    let rest = into.len() - first;
    into[first..].copy_from_slice(&b[..rest]);
    bytes.drain(..into.len());
}

impl FileOps for End {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        false
    }

    fn read(&self, file: &File, into: &mut [u8], _at: u64) -> Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut attempt = || {
            let mut state = self.pipe.state.lock();
            if !state.bytes.is_empty() {
                return Some(Ok(state.take(into)));
            }
            if state.writers == 0 {
                return Some(Ok(0));
            }
            file.nonblocking().then_some(Err(Errno::EAGAIN))
        };
        let n = self.pipe.queue.wait_for(Events::READ | Events::HUP, How::default(), &mut attempt)??;
        if n > 0 {
            self.pipe.queue.wake(Events::WRITE);
        }
        Ok(n)
    }

    fn write(&self, file: &File, from: &[u8], _at: u64) -> Result<usize> {
        let packets = file.flags().contains(OpenFlags::DIRECT);
        let mut done = 0;
        while done < from.len() || from.is_empty() {
            let left = from.len() - done;
            let mut attempt = || {
                let mut state = self.pipe.state.lock();
                if state.readers == 0 {
                    return Some(Err(Errno::EPIPE));
                }
                if left == 0 {
                    return Some(Ok(0));
                }
                let room = state.capacity.saturating_sub(state.bytes.len());
                if room == 0 || (left <= ATOMIC && room < left) {
                    return file.nonblocking().then_some(Err(Errno::EAGAIN));
                }
                let n = left.min(room).min(if packets { ATOMIC } else { usize::MAX });
                state.bytes.extend(&from[done..done + n]);
                if packets {
                    state.packets.push_back(n);
                }
                Some(Ok(n))
            };
            match self.pipe.queue.wait_for(Events::WRITE | Events::ERR, How::default(), &mut attempt) {
                Ok(Ok(n)) => {
                    done += n;
                    self.pipe.queue.wake(Events::READ);
                    if from.is_empty() {
                        return Ok(0);
                    }
                }
                Ok(Err(Errno::EAGAIN)) if done > 0 => break,
                // EPIPE after part of it: the part counts, the signal comes with the next write.
                Ok(Err(e)) => return if done > 0 && e != Errno::EPIPE { Ok(done) } else { Err(e) },
                Err(_) if done > 0 => break,
                Err(ended) => return Err(ended.into()),
            }
        }
        Ok(done)
    }

    fn poll(&self, _file: &File, table: Option<&mut dyn PollTable>) -> Events {
        if let Some(table) = table {
            table.add(&self.pipe.queue);
        }
        let state = self.pipe.state.lock();
        let mut ready = Events::empty();
        if self.reads {
            if !state.bytes.is_empty() {
                ready |= Events::READ;
            }
            // A FIFO that nobody has opened for writing yet has not hung up.
            if state.writers == 0 && state.writer_opens > 0 {
                ready |= Events::HUP;
            }
        }
        if self.writes {
            if state.capacity - state.bytes.len().min(state.capacity) >= PAGE {
                ready |= Events::WRITE;
            }
            if state.readers == 0 {
                ready |= Events::ERR;
            }
        }
        ready
    }

    fn ioctl(&self, _file: &File, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
        const FIONREAD: u32 = 0x541b;
        if command != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n = self.pipe.state.lock().bytes.len();
        memory.put_u32(arg, n as u32)?;
        Ok(0)
    }

    fn release(&self, _file: &File) {
        let mut state = self.pipe.state.lock();
        state.readers -= usize::from(self.reads);
        state.writers -= usize::from(self.writes);
        if state.readers == 0 && state.writers == 0 {
            state.bytes.clear();
            state.packets.clear();
        }
        drop(state);
        self.pipe.queue.wake_all();
    }
}

impl End {
    /// F_GETPIPE_SZ.
    pub fn capacity(&self) -> usize {
        self.pipe.state.lock().capacity
    }

    /// F_SETPIPE_SZ: rounded up to a power of two of pages; EBUSY below what is in it.
    pub fn set_capacity(&self, wish: u64, privileged: bool) -> Result<usize> {
        if wish > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let size = (wish as usize).max(PAGE).next_power_of_two();
        if size > MAX && !privileged {
            return Err(Errno::EPERM);
        }
        let mut state = self.pipe.state.lock();
        if size < state.bytes.len() {
            return Err(Errno::EBUSY);
        }
        state.capacity = size;
        drop(state);
        self.pipe.queue.wake(Events::WRITE);
        Ok(size)
    }
}

