//! jbd2, the journal: recovery here and in `recover`, writing in `commit`.

mod commit;
mod format;
mod recover;
mod superblock;

pub(crate) use commit::{Frozen, Journal, write_home};
pub(crate) use recover::Recovered;
pub(crate) use superblock::JournalSuperblock;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::inode::{Inode, InodeNumber};
use crate::map::Run;

/// A journal's blocks, and its superblock.
#[derive(Debug)]
pub(crate) struct Log<'a> {
    core: &'a Core,
    pub(crate) superblock: JournalSuperblock,
    place: Place,
    /// Blocks of the file system, which tags may name.
    blocks: u64,
}

/// Where the journal's blocks lie on the device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place(Vec<Run>);

impl Place {
    fn of(core: &Core, inode: &Inode) -> Result<Place> {
        let blocks = inode.size / u64::from(core.superblock.block_size);
        if blocks > core.superblock.blocks {
            return Err(Error::inode(inode.number, format!("a journal of {blocks} blocks")));
        }
        let (mut at, mut runs) = (0, Vec::new());
        while at < blocks {
            let run = core.run(inode, at)?;
            if run.physical.is_none() {
                return Err(Error::inode(inode.number, format!("the journal's block {at} is a hole")));
            }
            at += run.len;
            runs.push(run);
        }
        Ok(Place(runs))
    }

    /// The block of the device.
    pub(crate) fn block(&self, at: u32) -> Result<u64> {
        let at = u64::from(at);
        let n = self.0.partition_point(|r| r.logical + r.len <= at);
        let run = self.0.get(n).filter(|r| r.logical <= at);
        run.and_then(|r| r.physical.map(|p| p + (at - r.logical)))
            .ok_or_else(|| Error::Journal(format!("it has no block {at}")))
    }
}

impl<'a> Log<'a> {
    /// Opens the journal in an inode of the file system.
    pub(crate) fn open(core: &'a Core, inode: InodeNumber) -> Result<Log<'a>> {
        let sb = &core.superblock;
        let inode = core.inode(inode)?;
        if !inode.is_regular() {
            return Err(Error::inode(inode.number, "the journal is no regular file"));
        }
        let place = Place::of(core, &inode)?;
        let bytes = core.read_block(place.block(0)?)?;
        let superblock =
            JournalSuperblock::parse(bytes, sb.block_size, inode.size / u64::from(sb.block_size))?;
        Ok(Log { core, superblock, place, blocks: sb.blocks })
    }

    fn read(&self, at: u32) -> Result<Vec<u8>> {
        self.core.read_block(self.place.block(at)?)
    }

    /// Marks the log as empty.
    pub(crate) fn clear(&mut self, next: u32) -> Result<()> {
        let bytes = self.superblock.bytes(next, 0).to_vec();
        self.core.write_block(self.place.block(0)?, &bytes)
    }
}

impl Log<'_> {
    /// Begins to write to a log that is empty.
    pub(crate) fn begin(mut self) -> Result<Journal> {
        let sb = &self.core.superblock;
        if self.superblock.is_dirty() {
            // Its transactions are at home, or the file system would say that they are to be replayed.
            return Err(Error::Journal(
                "it is not empty, and the file system does not ask for recovery".into(),
            ));
        }
        if self.superblock.is_fast() {
            return Err(Error::Unsupported("writing with fast commits".into()));
        }
        self.superblock.set_features(sb.incompat.contains(crate::Incompat::BIT64), sb.has_checksums());
        let sequence = self.superblock.sequence;
        self.clear(sequence)?;
        Ok(Journal::new(self.superblock, self.place, sequence))
    }
}

impl Recovered {
    /// The sequence of the next transaction.
    pub(crate) fn next_sequence(&self) -> u32 {
        self.next
    }
}
