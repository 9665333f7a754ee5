//! Descriptor tables.

use super::File;
use crate::base::{Errno, Mutex, Rank, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The descriptors of a process, or of several (CLONE_FILES).
#[derive(Debug)]
pub struct FdTable {
    slots: Mutex<Slots>,
    limit: AtomicU64,
}

#[derive(Debug, Default)]
struct Slots {
    files: Vec<Option<Slot>>,
    /// No lower number is free.
    first_free: usize,
}

#[derive(Debug, Clone)]
struct Slot {
    file: Arc<File>,
    cloexec: bool,
}

impl Default for FdTable {
    fn default() -> FdTable {
        FdTable { slots: Mutex::new(Rank::Files, Slots::default()), limit: AtomicU64::new(1024) }
    }
}

impl FdTable {
    /// A copy, for fork.
    pub fn copy(&self) -> Arc<FdTable> {
        let slots = self.slots.lock();
        let copy = Slots { files: slots.files.clone(), first_free: slots.first_free };
        let limit = AtomicU64::new(self.limit.load(Ordering::Relaxed));
        Arc::new(FdTable { slots: Mutex::new(Rank::Files, copy), limit })
    }

    /// RLIMIT_NOFILE, which new numbers stay below.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The file of a descriptor; EBADF.
    pub fn get(&self, fd: i32) -> Result<Arc<File>> {
        let slots = self.slots.lock();
        let slot = usize::try_from(fd).ok().and_then(|fd| slots.files.get(fd)).and_then(Option::as_ref);
        slot.map(|s| s.file.clone()).ok_or(Errno::EBADF)
    }

    /// Whether the descriptor closes on exec; EBADF.
    pub fn cloexec(&self, fd: i32) -> Result<bool> {
        let slots = self.slots.lock();
        let slot = usize::try_from(fd).ok().and_then(|fd| slots.files.get(fd)).and_then(Option::as_ref);
        slot.map(|s| s.cloexec).ok_or(Errno::EBADF)
    }

    /// Sets that.
    pub fn set_cloexec(&self, fd: i32, cloexec: bool) -> Result<()> {
        let mut slots = self.slots.lock();
        let slot = usize::try_from(fd).ok().and_then(|fd| slots.files.get_mut(fd)).and_then(Option::as_mut);
        slot.ok_or(Errno::EBADF)?.cloexec = cloexec;
        Ok(())
    }

    /// Gives a file the lowest free number from `from` on; EMFILE at the limit.
    pub fn add_from(&self, from: usize, file: Arc<File>, cloexec: bool) -> Result<i32> {
        let limit = self.limit.load(Ordering::Relaxed) as usize;
        let mut slots = self.slots.lock();
        let mut fd = from.max(slots.first_free);
        while slots.files.get(fd).is_some_and(Option::is_some) {
            fd += 1;
        }
        if fd >= limit {
            return Err(Errno::EMFILE);
        }
        if slots.files.len() <= fd {
            slots.files.resize(fd + 1, None);
        }
        slots.files[fd] = Some(Slot { file, cloexec });
        if from <= slots.first_free {
            slots.first_free = fd + 1;
        }
        Ok(fd as i32)
    }

    /// Gives a file the lowest free number.
    pub fn add(&self, file: Arc<File>, cloexec: bool) -> Result<i32> {
        self.add_from(0, file, cloexec)
    }

    /// Gives a file this number (dup2); what had it before.
    pub fn put(&self, fd: i32, file: Arc<File>, cloexec: bool) -> Result<Option<Arc<File>>> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if at as u64 >= self.limit.load(Ordering::Relaxed) {
            return Err(Errno::EBADF);
        }
        let mut slots = self.slots.lock();
        if slots.files.len() <= at {
            slots.files.resize(at + 1, None);
        }
        Ok(slots.files[at].replace(Slot { file, cloexec }).map(|s| s.file))
    }

    /// Takes a descriptor out; EBADF.
    pub fn remove(&self, fd: i32) -> Result<Arc<File>> {
        let mut slots = self.slots.lock();
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let slot = slots.files.get_mut(at).and_then(Option::take).ok_or(Errno::EBADF)?;
        slots.first_free = slots.first_free.min(at);
        Ok(slot.file)
    }

    /// All descriptors with their files.
    pub fn all(&self) -> Vec<(i32, Arc<File>)> {
        let slots = self.slots.lock();
        let files = slots.files.iter().enumerate();
        files.filter_map(|(n, s)| s.as_ref().map(|s| (n as i32, s.file.clone()))).collect()
    }

    /// Takes out those that close on exec.
    pub fn take_cloexec(&self) -> Vec<Arc<File>> {
        self.take_if(|_, cloexec| cloexec)
    }

    /// Takes out those that the test picks, by number and flag.
    pub fn take_if(&self, mut pick: impl FnMut(i32, bool) -> bool) -> Vec<Arc<File>> {
        let mut slots = self.slots.lock();
        let mut taken = Vec::new();
        let mut first = slots.first_free;
        for (n, slot) in slots.files.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(|s| pick(n as i32, s.cloexec)) {
                first = first.min(n);
                taken.extend(slot.take().map(|s| s.file));
            }
        }
        slots.first_free = first;
        taken
    }
}
