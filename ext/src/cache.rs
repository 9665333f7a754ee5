//! Blocks of metadata in memory. A block's bytes are shared and never change in place while somebody else has them: what a transaction has
//! frozen, or an operation may go back to, stays as it is.

use crate::inode::InodeNumber;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of one block.
pub(crate) type Bytes = Arc<Vec<u8>>;

/// Blocks that nothing holds are kept up to this many bytes.
const MOST: usize = 16 << 20;

/// As what a block has been found intact, and whose. In a damaged file system more than one may claim a block: that it is intact as a part of
/// one thing says nothing of it as a part of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intact {
    /// Group descriptors, all of them.
    Groups,
    /// The bitmap of blocks of a group.
    BlockBitmap(u64),
    /// The bitmap of inodes of a group.
    InodeBitmap(u64),
    /// Inodes, all of them.
    Inodes,
    /// A block of a directory; its first, or another.
    Directory { inode: InodeNumber, seed: u32, first: bool },
    /// A node of an extent tree.
    Extents { inode: InodeNumber, seed: u32 },
    /// Extended attributes.
    Xattrs,
}

#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    blocks: FxHashMap<u64, Entry>,
    /// Bytes of those without a hold.
    free: usize,
}

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    /// How many transactions have it and it is not at home yet.
    holds: u32,
    /// Asked for since the last sweep.
    used: bool,
    /// It has been checked. A change by those who made it keeps it so: they write its checksum with it.
    intact: Option<Intact>,
}

impl Entry {
    fn new(bytes: Bytes) -> Entry {
        Entry { bytes, holds: 0, used: true, intact: None }
    }
}

impl Cache {
    pub(crate) fn get(&self, block: u64) -> Option<Bytes> {
        self.get_checked(block).map(|(bytes, _)| bytes)
    }

    /// The same, and as what it has been found intact.
    pub(crate) fn get_checked(&self, block: u64) -> Option<(Bytes, Option<Intact>)> {
        let mut inner = self.0.lock();
        let entry = inner.blocks.get_mut(&block)?;
        entry.used = true;
        Some((entry.bytes.clone(), entry.intact))
    }

    pub(crate) fn has(&self, block: u64) -> bool {
        self.0.lock().blocks.contains_key(&block)
    }

    /// These bytes have been found intact.
    pub(crate) fn set_intact(&self, block: u64, bytes: &Bytes, intact: Intact) {
        if let Some(entry) = self.0.lock().blocks.get_mut(&block).filter(|e| Arc::ptr_eq(&e.bytes, bytes)) {
            entry.intact = Some(intact);
        }
    }

    /// Those of a range that are not here.
    pub(crate) fn missing(&self, range: Range<u64>) -> Vec<u64> {
        let inner = self.0.lock();
        range.filter(|block| !inner.blocks.contains_key(block)).collect()
    }

    /// Keeps what has been read, unless somebody was faster; what is there now.
    pub(crate) fn add(&self, block: u64, bytes: Bytes) -> Bytes {
        let mut inner = self.0.lock();
        if let Some(entry) = inner.blocks.get(&block) {
            return entry.bytes.clone();
        }
        inner.free += bytes.len();
        if inner.free > MOST {
            inner.sweep();
        }
        inner.blocks.insert(block, Entry::new(bytes.clone()));
        bytes
    }

    /// Puts other bytes in a block's place, whatever was known of those before.
    pub(crate) fn set(&self, block: u64, bytes: Bytes) {
        let mut inner = self.0.lock();
        match inner.blocks.get_mut(&block) {
            Some(entry) => (entry.bytes, entry.intact) = (bytes, None),
            None => {
                inner.free += bytes.len();
                inner.blocks.insert(block, Entry::new(bytes));
            }
        }
    }

    /// Changes a block's bytes: in place, if nobody else has them.
    pub(crate) fn change<T>(&self, block: u64, change: impl FnOnce(&mut [u8]) -> T) -> Option<T> {
        let mut inner = self.0.lock();
        let entry = inner.blocks.get_mut(&block)?;
        Some(change(Arc::make_mut(&mut entry.bytes).as_mut_slice()))
    }

    /// Forgets a block.
    pub(crate) fn drop_block(&self, block: u64) {
        let mut inner = self.0.lock();
        if let Some(entry) = inner.blocks.remove(&block)
            && entry.holds == 0
        {
            inner.free -= entry.bytes.len();
        }
    }

    /// Keeps a block for as long as somebody holds it.
    pub(crate) fn hold(&self, block: u64) {
        let mut inner = self.0.lock();
        let Inner { blocks, free } = &mut *inner;
        if let Some(entry) = blocks.get_mut(&block) {
            if entry.holds == 0 {
                *free -= entry.bytes.len();
            }
            entry.holds += 1;
        }
    }

    /// Ends a hold.
    pub(crate) fn release(&self, block: u64) {
        let mut inner = self.0.lock();
        let Inner { blocks, free } = &mut *inner;
        if let Some(entry) = blocks.get_mut(&block)
            && entry.holds > 0
        {
            entry.holds -= 1;
            if entry.holds == 0 {
                *free += entry.bytes.len();
            }
        }
    }
}

impl Inner {
    /// Drops what nobody has asked for since the last time.
    fn sweep(&mut self) {
        let free = &mut self.free;
        self.blocks.retain(|_, entry| {
            let keep = entry.holds > 0 || std::mem::take(&mut entry.used);
            if !keep {
                *free -= entry.bytes.len();
            }
            keep
        });
    }
}
