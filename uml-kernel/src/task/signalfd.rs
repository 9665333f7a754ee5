//! signalfd(2): signals as what a descriptor gives.

use super::process::Task;
use super::signal::{SigInfo, SigSet, UNSTOPPABLE};
use crate::base::wait::{Events, How};
use crate::base::{Errno, Result};
use crate::fs::{File, FileOps, OpenFlags, PollTable, anon};
use crate::mm::Packer;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of `struct signalfd_siginfo`.
const RECORD: usize = 128;

/// A descriptor of signals: those of whoever reads it, as on Linux.
#[derive(Debug)]
pub struct SignalFd {
    mask: AtomicU64,
}

/// Opens one.
pub fn open(mask: SigSet, flags: OpenFlags) -> Arc<File> {
    let ops = SignalFd { mask: AtomicU64::new(mask & !UNSTOPPABLE) };
    anon::new_file("[signalfd]", Arc::new(ops), flags | OpenFlags::RDWR)
}

impl SignalFd {
    /// Changes which signals it gives.
    pub fn set_mask(&self, mask: SigSet) {
        self.mask.store(mask & !UNSTOPPABLE, Ordering::SeqCst);
    }

    fn take(&self, task: &Task) -> Option<SigInfo> {
        let mask = self.mask.load(Ordering::SeqCst);
        let own = task.pending.lock().take(mask);
        own.or_else(|| task.process.shared.lock().take(mask))
    }
}

/// As the reader gets it (linux/signalfd.h): which fields of the union are set depends on the signal; all are where they would be.
fn record(info: &SigInfo) -> Vec<u8> {
    let [a, b, ..] = info.fields;
    let (low, high) = (a as u32, (a >> 32) as u32);
    let p = Packer::new().u32(info.signo as u32).i32(info.errno).i32(info.code);
    // pid, uid, fd, timer id, band, overrun, trap number, status, value, pointer, times, address
    let fault = (1..=4).contains(&info.code) && info.signo != libc::SIGCHLD;
    let (pid, uid) = if fault { (0, 0) } else { (low, high) };
    let p = p.u32(pid).u32(uid).u32(0).u32(0).u32(0).u32(0).u32(0).u32(b as u32).u32(b as u32).u64(b);
    let p = p.u64(info.fields[2]).u64(info.fields[3]).u64(if fault { a } else { 0 });
    p.pad(RECORD).0
}

impl FileOps for SignalFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        false
    }
    fn stays_at_zero(&self) -> bool {
        true
    }

    fn read(&self, file: &File, into: &mut [u8], _at: u64) -> Result<usize> {
        if into.len() < RECORD {
            return Err(Errno::EINVAL);
        }
        let task = super::current().ok_or(Errno::EINVAL)?;
        let first = task.process.signal_events.wait(How::default(), || match self.take(&task) {
            Some(info) => Some(Ok(info)),
            None => file.nonblocking().then_some(Err(Errno::EAGAIN)),
        })??;
        let mut done = 0;
        let mut next = Some(first);
        while let Some(info) = next {
            into[done..done + RECORD].copy_from_slice(&record(&info));
            done += RECORD;
            next = if done + RECORD <= into.len() { self.take(&task) } else { None };
        }
        Ok(done)
    }

    fn poll(&self, _file: &File, table: Option<&mut dyn PollTable>) -> Events {
        let Some(task) = super::current() else { return Events::empty() };
        if let Some(table) = table {
            table.add(&task.process.signal_events);
        }
        let own = task.pending.lock().set();
        let shared = task.process.shared.lock().set();
        if (own | shared) & self.mask.load(Ordering::SeqCst) != 0 { Events::READ } else { Events::empty() }
    }
}
