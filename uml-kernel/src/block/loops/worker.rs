//! What is behind a loop device, and the thread that does its I/O (as loop_queue_work).
//!
//! Who asks for a block may hold locks of a file system above, whose ranks are taken again by the file system below: so another thread
//! asks that one, with a stack of its own, however many are piled up. It waits for none who waits for it, as what lies below has been
//! there before: devices and file systems are piled up, and never in a circle ([`super::ioctl::check`]).

use crate::base::blocking::blocking;
use crate::base::{Errno, Result};
use crate::block::file::{KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, disk_of};
use crate::fs::{File, Path};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// Bytes of one request at most: they are copied between the threads.
const PIECE: usize = 1 << 20;
/// Bytes of its stack.
const STACK: usize = 512 << 10;

/// What is done with the file; offsets are the file's.
enum Job {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    /// Gives space back.
    Punch(u64, u64),
    /// Makes zeros.
    Zero(u64, u64),
    Flush,
}

struct Order {
    job: Job,
    answer: SyncSender<Result<Vec<u8>>>,
}

/// An open file with its thread. When the last who knows it lets it go, it is closed, by that thread: what that leads to (a file ends, a
/// file system is unmounted) takes locks as well.
pub(super) struct Backing {
    file: Option<Arc<File>>,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Backing {
    pub(super) fn start(file: Arc<File>, name: &str) -> Result<Backing> {
        let (orders, queue) = channel();
        let theirs = file.clone();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(move || work(&theirs, &queue))?;
        Ok(Backing { file: Some(file), orders: Some(orders), thread: Some(thread) })
    }

    /// The file.
    pub(super) fn file(&self) -> Result<&Arc<File>> {
        self.file.as_ref().ok_or(Errno::ENXIO)
    }

    /// Where it is.
    pub(super) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|f| f.path())
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> Result<u64> {
        let file = self.file()?;
        file.ops().end(file)
    }

    fn ask(&self, job: Job) -> Result<Vec<u8>> {
        let (answer, reply) = sync_channel(1);
        let orders = self.orders.as_ref().ok_or(Errno::EIO)?;
        orders.send(Order { job, answer }).map_err(|_| Errno::EIO)?;
        // Others have the vCPU meanwhile.
        blocking(|| reply.recv()).map_err(|_| Errno::EIO)?
    }

    pub(super) fn read(&self, into: &mut [u8], mut at: u64) -> Result<()> {
        for piece in into.chunks_mut(PIECE) {
            piece.copy_from_slice(&self.ask(Job::Read(at, piece.len()))?);
            at += piece.len() as u64;
        }
        Ok(())
    }

    pub(super) fn write(&self, from: &[u8], mut at: u64) -> Result<()> {
        for piece in from.chunks(PIECE) {
            self.ask(Job::Write(at, piece.into()))?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// EOPNOTSUPP where the file cannot.
    pub(super) fn punch(&self, at: u64, len: u64) -> Result<()> {
        self.ask(Job::Punch(at, len)).map(drop)
    }

    pub(super) fn zero(&self, at: u64, len: u64) -> Result<()> {
        self.ask(Job::Zero(at, len)).map(drop)
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.ask(Job::Flush).map(drop)
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // The thread still has it.
        self.file = None;
        self.orders = None;
        // Whoever waits for the end of a device finds the file closed.
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            crate::log!("loop: a thread has panicked");
        }
    }
}

fn work(file: &File, queue: &Receiver<Order>) {
    for order in queue {
        // Nobody waits for an answer only if a vCPU has panicked.
        let _ = order.answer.send(run(file, order.job));
    }
}

fn run(file: &File, job: Job) -> Result<Vec<u8>> {
    // A disk is asked itself: it takes requests of any size, however its special file was opened.
    let disk = disk_of(file).map(|d| &d.device);
    match job {
        Job::Read(at, len) => {
            let mut bytes = vec![0; len];
            match disk {
                Some(disk) => disk.read_at(&mut bytes, at)?,
                None => fill(file, &mut bytes, at)?,
            }
            return Ok(bytes);
        }
        Job::Write(at, bytes) => match disk {
            Some(disk) => disk.write_at(&bytes, at)?,
            None => put(file, &bytes, at)?,
        },
        Job::Punch(at, len) => match disk {
            Some(disk) => disk.discard(at, len)?,
            None => file.ops().allocate(file, PUNCH_HOLE | KEEP_SIZE, at, len)?,
        },
        Job::Zero(at, len) => match disk {
            Some(disk) => disk.write_zeroes(at, len, false)?,
            None => zero(file, at, len)?,
        },
        Job::Flush => match disk {
            Some(disk) => disk.flush()?,
            None => match file.ops().sync(file, true) {
                // What cannot be synced need not be (lo_req_flush).
                Err(Errno::EINVAL) => {}
                other => other?,
            },
        },
    }
    Ok(Vec::new())
}

/// EIO for what the file does not have any more.
fn fill(file: &File, into: &mut [u8], at: u64) -> Result<()> {
    let mut done = 0;
    while done < into.len() {
        match file.ops().read(file, &mut into[done..], at + done as u64)? {
            0 => return Err(Errno::EIO),
            n => done += n,
        }
    }
    Ok(())
}

fn put(file: &File, from: &[u8], at: u64) -> Result<()> {
    let mut done = 0;
    while done < from.len() {
        match file.ops().write(file, &from[done..], at + done as u64)? {
            0 => return Err(Errno::EIO),
            n => done += n,
        }
    }
    Ok(())
}

fn zero(file: &File, at: u64, len: u64) -> Result<()> {
    match file.ops().allocate(file, ZERO_RANGE | KEEP_SIZE, at, len) {
        Err(Errno::EOPNOTSUPP) => {}
        other => return other,
    }
    let zeros = vec![0; PIECE.min(len as usize)];
    let (mut here, end) = (at, at + len);
    while here < end {
        let n = zeros.len().min((end - here) as usize);
        put(file, &zeros[..n], here)?;
        here += n as u64;
    }
    Ok(())
}
