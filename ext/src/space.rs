//! fallocate(2): space without data, holes, and pieces taken out of the middle or put there.

use crate::error::{Error, Result};
use crate::extents::{MAX_WRITTEN, Slot};
use crate::fs::Ext;
use crate::inode::{Flags, Inode, InodeNumber};
use crate::transaction::Op;
use lock_api::RawRwLock;

/// What is done with a range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// It gets blocks; the file grows to its end unless `keep_size`.
    Allocate {
        /// FALLOC_FL_KEEP_SIZE.
        keep_size: bool,
    },
    /// It becomes a hole.
    Punch,
    /// It becomes zeros, with blocks; the file grows to its end unless `keep_size`.
    Zero {
        /// FALLOC_FL_KEEP_SIZE.
        keep_size: bool,
    },
    /// It is taken out, and what is behind it moves down. Whole blocks only.
    Collapse,
    /// It is put in, as a hole, and what was there moves up. Whole blocks only.
    Insert,
}

/// Blocks that one operation allocates, at most: as many as an extent may have unwritten.
const AT_ONCE: u64 = MAX_WRITTEN as u64 - 1;

impl<R: RawRwLock> Ext<R> {
    /// Changes the space of a file: fallocate(2).
    pub fn fallocate(&self, number: InodeNumber, how: Space, at: u64, len: u64) -> Result<Inode> {
        let end = at.checked_add(len).ok_or(Error::TooBig)?;
        if len == 0 {
            return Err(Error::Invalid);
        }
        let grows = match how {
            Space::Allocate { keep_size } | Space::Zero { keep_size } => !keep_size,
            _ => false,
        };
        self.settle(number)?;
        let mut from = at;
        loop {
            let (inode, upto) = self.operate(|op| {
                let mut inode = op.inode(number)?;
                op.check_space(&inode, how, at, end)?;
                let upto = match how {
                    Space::Allocate { .. } => op.reserve(&mut inode, from, end)?,
                    Space::Punch => op.zero(&mut inode, at, end, true).map(|()| end)?,
                    Space::Zero { .. } => {
                        if from == at {
                            op.zero(&mut inode, at, end, false)?;
                        }
                        op.reserve(&mut inode, from, end)?
                    }
                    Space::Collapse => op.shift(&mut inode, end, at).map(|()| end)?,
                    Space::Insert => op.shift(&mut inode, at, end).map(|()| end)?,
                };
                match how {
                    Space::Collapse => inode.size -= len,
                    Space::Insert => inode.size += len,
                    _ if grows => inode.size = inode.size.max(upto),
                    _ => {}
                }
                op.touch_inode(&mut inode, true);
                op.put_inode(&inode)?;
                Ok((inode, upto))
            })?;
            if upto >= end {
                return Ok(inode);
            }
            from = upto;
        }
    }
}

impl Op<'_> {
    fn check_space(&self, inode: &Inode, how: Space, at: u64, end: u64) -> Result<()> {
        if !inode.is_regular() {
            return Err(Error::Invalid);
        }
        if inode.flags.contains(Flags::INLINE_DATA)
            || !inode.flags.contains(Flags::EXTENTS) && how != Space::Punch
        {
            return Err(Error::NotSupported);
        }
        let moves = matches!(how, Space::Collapse | Space::Insert);
        let size = self.block_size();
        if moves && !(at.is_multiple_of(size) && end.is_multiple_of(size)) {
            return Err(Error::Invalid);
        }
        match how {
            Space::Collapse if end >= inode.size => Err(Error::Invalid),
            Space::Insert if at >= inode.size => Err(Error::Invalid),
            Space::Insert if inode.size.saturating_add(end - at) > self.largest(inode) => Err(Error::TooBig),
            Space::Allocate { .. } | Space::Zero { .. } if end > self.largest(inode) => Err(Error::TooBig),
            _ => Ok(()),
        }
    }

    /// Gives the holes of a range blocks that read as zeros, as far as one operation goes; the byte where the next is to go on.
    fn reserve(&mut self, inode: &mut Inode, from: u64, end: u64) -> Result<u64> {
        let size = self.block_size();
        let (mut logical, last) = (from / size, end.div_ceil(size));
        let mut left = AT_ONCE;
        while logical < last && left > 0 {
            let run = self.run(inode, logical)?;
            let mut len = run.len.min(last - logical);
            if run.physical.is_none() {
                len = self.fill_hole(inode, logical, len.min(left), true)?.len;
                left -= len;
            }
            logical += len;
        }
        Ok((logical * size).min(end))
    }

    /// Makes a range read as zeros: what is whole blocks of it as holes, or as blocks that are not written.
    fn zero(&mut self, inode: &mut Inode, from: u64, end: u64, hole: bool) -> Result<()> {
        let size = self.block_size();
        let (first, last) = (from.div_ceil(size), end / size);
        if first > last {
            return self.clear(inode, from, end);
        }
        if from < first * size {
            self.clear(inode, from, first * size)?;
        }
        if end > last * size {
            self.clear(inode, last * size, end)?;
        }
        if hole {
            return self.punch(inode, first, last);
        }
        for slot in self.take_extents(inode, first, last)? {
            // An unwritten one is a block shorter than a written one may be.
            let most = MAX_WRITTEN - 1;
            for from in (0..slot.len).step_by(most as usize) {
                let piece = Slot {
                    logical: slot.logical + from,
                    len: (slot.len - from).min(most),
                    unwritten: true,
                    block: slot.block + u64::from(from),
                };
                self.insert_extent(inode, piece)?;
            }
        }
        Ok(())
    }

    /// Moves all from one byte on so that it begins at another; what is between them goes.
    fn shift(&mut self, inode: &mut Inode, from: u64, to: u64) -> Result<()> {
        let size = self.block_size();
        let (from, to) = (from / size, to / size);
        if to < from {
            self.punch(inode, to, from)?;
        }
        let moved = self.take_extents(inode, from, 1 << 32)?;
        for slot in moved {
            let logical = u64::from(slot.logical) - from + to;
            let logical = u32::try_from(logical).map_err(|_| Error::TooBig)?;
            self.insert_extent(inode, Slot { logical, ..slot })?;
        }
        Ok(())
    }
}
