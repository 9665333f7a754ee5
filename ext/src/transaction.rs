//! The running transaction, and operations on it: all of an operation, or nothing.

use crate::alloc::Busy;
use crate::cache::Bytes;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::inode::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

/// What has been changed and is not committed.
#[derive(Debug, Default)]
pub(crate) struct Running {
    /// Its sequence in the journal.
    pub(crate) number: u32,
    /// Blocks of metadata that it has changed; the cache holds them.
    pub(crate) blocks: BTreeSet<u64>,
    /// Blocks that hold no metadata any more, whatever older transactions say.
    pub(crate) revoked: BTreeSet<u64>,
    /// Blocks that it has freed: they are given to nobody before it is committed.
    pub(crate) freed: Busy,
    /// The same, of the transaction that is being committed.
    pub(crate) freezing: Busy,
    /// Nothing is changed any more.
    pub(crate) read_only: bool,
}

/// How a block was before an operation changed it.
#[derive(Debug)]
struct Before {
    bytes: Option<Bytes>,
    changed: bool,
}

/// One operation. What it changes is seen at once by itself; if it fails, all is as it was.
#[derive(Debug)]
pub(crate) struct Op<'a> {
    core: &'a Core,
    pub(crate) running: &'a mut Running,
    before: BTreeMap<u64, Before>,
    revoked: Vec<u64>,
    freed: Vec<(u64, u64)>,
    pub(crate) now: Time,
}

impl Deref for Op<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        self.core
    }
}

impl<'a> Op<'a> {
    /// What it works on, to be borrowed for longer than the operation is.
    pub(crate) fn core(&self) -> &'a Core {
        self.core
    }

    /// Runs an operation.
    pub(crate) fn run<T>(
        core: &'a Core,
        running: &'a mut Running,
        now: Time,
        work: impl FnOnce(&mut Op<'_>) -> Result<T>,
    ) -> Result<T> {
        if running.read_only {
            return Err(Error::ReadOnly);
        }
        let (before, revoked, freed) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut op = Op { core, running, before, revoked, freed, now };
        match work(&mut op) {
            Ok(value) => {
                op.running.revoked.extend(op.revoked);
                Ok(value)
            }
            Err(e) => {
                op.undo();
                Err(e)
            }
        }
    }

    fn undo(self) {
        for (block, before) in self.before {
            if !before.changed && self.running.blocks.remove(&block) {
                self.core.cache.release(block);
            }
            match before.bytes {
                Some(bytes) => self.core.cache.set(block, bytes),
                None => self.core.cache.drop_block(block),
            }
            if before.changed && self.running.blocks.insert(block) {
                self.core.cache.hold(block);
            }
        }
        for (block, len) in self.freed {
            self.running.freed.remove(&self.core.superblock, block, len);
        }
    }

    fn touch(&mut self, block: u64) {
        let running = &mut *self.running;
        let changed = running.blocks.contains(&block);
        self.before.entry(block).or_insert_with(|| Before { bytes: self.core.cache.get(block), changed });
        if running.blocks.insert(block) {
            self.core.cache.hold(block);
        }
    }

    /// Changes a block of metadata.
    pub(crate) fn change<T>(&mut self, block: u64, change: impl FnOnce(&mut [u8]) -> T) -> Result<T> {
        self.core.block(block)?;
        self.touch(block);
        self.core.cache.change(block, change).ok_or_else(|| Error::block(block, "it is not in memory"))
    }

    /// Puts new metadata into a block that has just been allocated.
    pub(crate) fn create(&mut self, block: u64, bytes: Vec<u8>) {
        let changed = self.running.blocks.contains(&block);
        self.before.entry(block).or_insert_with(|| Before { bytes: self.core.cache.get(block), changed });
        self.core.cache.set(block, Arc::new(bytes));
        if self.running.blocks.insert(block) {
            self.core.cache.hold(block);
        }
    }

    /// Blocks have been freed: they are nobody's before the transaction is committed.
    pub(crate) fn set_freed(&mut self, block: u64, len: u64) {
        self.running.freed.add(&self.core.superblock, block, len);
        self.freed.push((block, len));
    }

    /// A block of metadata has been freed: what the transaction, or an older one, has of it is not to be written.
    pub(crate) fn forget(&mut self, block: u64) {
        let changed = self.running.blocks.contains(&block);
        self.before.entry(block).or_insert_with(|| Before { bytes: self.core.cache.get(block), changed });
        if self.running.blocks.remove(&block) {
            self.core.cache.release(block);
        }
        self.revoked.push(block);
    }
}
