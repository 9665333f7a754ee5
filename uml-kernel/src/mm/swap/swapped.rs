//! What of one address space is swapped out, and how it comes back.

use super::records::{Record, Records};
use crate::base::{Errno, Result, sched};
use crate::mm::PAGE;
use crate::platform::{HostPid, Op, StubThread};
use parking_lot::{Mutex, MutexGuard};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Of one address space. It may outlive that, and knows of nothing then.
#[derive(Debug)]
pub struct Swapped {
    pid: Arc<HostPid>,
    /// Rises with each change of what can be touched: who has failed to touch something tries again if it has.
    generation: AtomicU64,
    enabled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) janitor: Option<StubThread>,
    /// The memory as the host shows it, whatever the guest may do with it: to bring back what is out asks for no descriptor any more.
    pub(super) memory: Option<File>,
    pub(super) records: Records,
    /// Where the search for more to swap out goes on.
    pub(super) hand: u64,
}

/// The swap lock of an address space, held: nothing goes out or comes back meanwhile but by the holder.
#[derive(Debug)]
pub struct Held<'a> {
    pub(super) swapped: &'a Swapped,
    pub(super) state: MutexGuard<'a, State>,
}

impl Swapped {
    /// Of a new address space in the stub with this host process id.
    pub fn new(pid: Arc<HostPid>) -> Arc<Swapped> {
        let (generation, enabled) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Swapped { pid, generation, enabled, state: Mutex::default() })
    }

    /// Gives it its janitor: from now on parts of it can be swapped out. Changes of its mappings have to be made at once, under the swap lock.
    pub fn enable(&self, janitor: StubThread) -> Result<()> {
        let open = |pid| std::fs::OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"));
        let memory = self.pid.with(open).ok_or(Errno::ESRCH)??;
        let mut state = self.state.lock();
        (state.janitor, state.memory) = (Some(janitor), Some(memory));
        self.enabled.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Has what is swapped out of the address space that this is to be a copy of.
    pub fn inherit(&self, records: Records) {
        self.state.lock().records = records;
    }

    /// Whether anything of it is, or can be, swapped out.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::SeqCst)
    }

    /// The address space has ended: what it had goes.
    pub fn end(&self) {
        self.enabled.store(false, Ordering::SeqCst);
        let state = std::mem::take(&mut *self.state.lock());
        drop(state);
    }

    /// Takes the swap lock; `None` if there is nothing to lock.
    pub fn hold(&self) -> Option<Held<'_>> {
        self.is_enabled().then(|| Held { swapped: self, state: self.state.lock() })
    }

    /// To be asked before memory is touched, for [`Swapped::settle`].
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    pub(super) fn changes(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Something of `len` bytes at `address` could not be touched, at or after a time when the generation was `seen`. True if that
    /// may have been because of swapping, and may work now. EIO if it cannot be brought back.
    pub fn settle(&self, address: u64, len: usize, seen: u64) -> Result<bool> {
        let Some(mut held) = self.hold() else { return Ok(false) };
        match held.state.records.overlapping(address, address.saturating_add(len as u64)).first() {
            Some(start) => held.bring_in(*start).map(|()| true),
            None => Ok(self.generation() != seen),
        }
    }

    /// Bytes in `start..end` that are in swap areas.
    pub fn bytes(&self, start: u64, end: u64) -> u64 {
        self.hold().map_or(0, |held| held.state.records.bytes(start, end, |_| true))
    }
}

impl Held<'_> {
    /// Has the host change the address space.
    pub(super) fn call(&mut self, ops: &[Op]) -> std::io::Result<()> {
        let Some(janitor) = self.state.janitor.as_mut() else {
            return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
        };
        janitor.move_to(sched::host_cpu());
        janitor.call(ops).map(drop)
    }

    /// What is swapped out, for a copy of the address space that the host has made while this was held.
    pub fn records(&self) -> Records {
        self.state.records.clone()
    }

    /// Brings back all of `start..end`.
    pub fn bring_in_range(&mut self, start: u64, end: u64) -> Result<()> {
        for at in self.state.records.overlapping(start, end) {
            // A neighbour may have brought it along.
            if self.state.records.find(at).is_some() {
                self.bring_in(at)?;
            }
        }
        Ok(())
    }

    /// Brings back something of an area; false if there is nothing of it here.
    pub fn bring_in_of(&mut self, is: impl Fn(&super::area::Saved) -> bool) -> Result<bool> {
        let Some(at) = self.state.records.of_area(is) else { return Ok(false) };
        self.bring_in(at).map(|()| true)
    }

    /// Bytes that are in areas for which `is` holds.
    pub fn bytes_of(&self, is: impl Fn(&super::area::Saved) -> bool) -> u64 {
        self.state.records.bytes(0, u64::MAX, is)
    }

    /// Brings back the range that begins at `start`.
    fn bring_in(&mut self, start: u64) -> Result<()> {
        match self.bring_in_all(&[start]) {
            // It would be one mapping more than the host allows; all of those around it together are none more.
            Err(Errno::ENOMEM) => {
                let around = self.state.records.around(start);
                self.bring_in_all(&around)
            }
            result => result,
        }
    }

    /// Brings back ranges that follow each other and allow the same.
    fn bring_in_all(&mut self, starts: &[u64]) -> Result<()> {
        let memory = self.state.memory.as_ref().ok_or(Errno::EFAULT)?;
        let records: Vec<(u64, Record)> = starts
            .iter()
            .filter_map(|at| self.state.records.find(*at).map(|(start, record)| (start, record.clone())))
            .collect();
        let (Some((first, record)), Some((_, last))) = (records.first(), records.last()) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        for (start, record) in &records {
            let (from, to) = record.pages(*start, record.end);
            for run in record.saved().runs(from, to) {
                record.saved().read(run, &mut bytes).map_err(|_| Errno::EIO)?;
                memory.write_all_at(&bytes, record.address(run.page)).map_err(|_| Errno::EFAULT)?;
            }
        }
        self.swapped.changes();
        self.call(&[Op::protect(*first, last.end - first, record.prot)]).map_err(Errno::from)?;
        for (start, _) in &records {
            self.state.records.remove(*start);
        }
        Ok(())
    }

    /// What was in `start..end` is gone for good: the mappings there have changed.
    pub fn forget(&mut self, start: u64, end: u64) {
        self.swapped.changes();
        self.state.records.forget(start, end);
    }

    /// The same, but that the mappings are still there: they can be touched again, and are zeros.
    pub fn drop_pages(&mut self, start: u64, end: u64) -> Result<()> {
        self.swapped.changes();
        let ranges = self.state.records.forget(start, end);
        let ops: Vec<Op> =
            ranges.iter().map(|(from, to, prot)| Op::protect(*from, to - from, *prot)).collect();
        if ops.is_empty() { Ok(()) } else { self.call(&ops).map_err(Errno::from) }
    }

    /// What the guest may do in `start..end` is another from now on.
    pub fn protect(&mut self, start: u64, end: u64, prot: i32) -> Result<()> {
        self.swapped.changes();
        let there = self.state.records.protect(start, end, prot);
        let ops: Vec<Op> = there.iter().map(|(from, to)| Op::protect(*from, to - from, prot)).collect();
        if ops.is_empty() { Ok(()) } else { self.call(&ops).map_err(Errno::from) }
    }

    /// Whole pages of a range that hold anything, by the host's own books.
    pub(super) fn present(&self, start: u64, pages: usize) -> Option<Vec<bool>> {
        const PRESENT_OR_SWAPPED: u64 = 3 << 62;
        const ENTRY: usize = 8;
        let mut entries = vec![0; pages * ENTRY];
        let open = |pid| File::open(format!("/proc/{pid}/pagemap"));
        let file = self.swapped.pid.with(open)?.ok()?;
        file.read_exact_at(&mut entries, start / PAGE * ENTRY as u64).ok()?;
        let holds = |e: &[u8]| e.try_into().is_ok_and(|e| u64::from_le_bytes(e) & PRESENT_OR_SWAPPED != 0);
        Some(entries.chunks_exact(ENTRY).map(holds).collect())
    }
}
