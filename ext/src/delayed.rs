//! Delayed allocation: what is written where a file has no blocks waits in memory, and gets its place when all of it is known. Files that
//! grow side by side do not lie in turns on the disk then, many small writes become a large one, and what is removed soon after it was made
//! is never written at all.
//!
//! Blocks that a file has already are written at once: the device's own cache keeps those as long as is good.

use crate::core::Core;
use crate::error::{Error, Result};
use crate::fs::Ext;
use crate::inode::{Flags, Inode, InodeNumber, Time};
use crate::transaction::Op;
use crate::write::MOST;
use lock_api::RawRwLock;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::ops::Range;

/// So many bytes of a file wait; then they get their place. More at once would hardly lie better.
const A_FILE: u64 = 8 << 20;
/// So many bytes of all files.
const ALL: u64 = 32 << 20;
/// Bytes that are taken at once.
const PIECE: usize = 1 << 20;
/// Blocks that are left for metadata. Where it is as narrow as that, nothing waits: an error is seen by who writes.
const SLACK: u64 = 256;

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Delayed(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    files: FxHashMap<InodeNumber, File>,
    /// Blocks that all of it will take.
    blocks: u64,
}

/// What waits of a file: whole blocks, by their first, none of which the file has, and what its inode does not say yet.
#[derive(Debug, Default)]
struct File {
    runs: BTreeMap<u64, Vec<u8>>,
    /// Blocks of all of them.
    blocks: u64,
    size: u64,
    mtime: Option<Time>,
    ctime: Time,
}

/// A part of that, on its way.
struct Piece {
    number: InodeNumber,
    runs: Vec<(u64, Vec<u8>)>,
    size: u64,
    mtime: Option<Time>,
    ctime: Time,
    /// Nothing is left.
    last: bool,
}

impl File {
    /// Puts bytes where the file has no blocks; how many blocks more wait.
    fn put(&mut self, mut at: u64, mut data: &[u8], size: u64) -> u64 {
        let mut more = 0;
        while !data.is_empty() {
            let block = at / size;
            let next = self.runs.range(block + 1..).next().map_or(u64::MAX, |(first, _)| *first);
            let mut before = self.runs.range_mut(..=block).next_back();
            let run = match &mut before {
                Some((first, run)) if block <= **first + run.len() as u64 / size => (**first, &mut **run),
                _ => (block, self.runs.entry(block).or_default()),
            };
            let (first, run) = run;
            let from = (at - first * size) as usize;
            let n = data.len().min(usize::try_from(next.saturating_mul(size) - at).unwrap_or(usize::MAX));
            let end = (from + n).next_multiple_of(size as usize);
            if end > run.len() {
                more += (end - run.len()) as u64 / size;
                run.resize(end, 0);
            }
            run[from..from + n].copy_from_slice(&data[..n]);
            (at, data) = (at + n as u64, &data[n..]);
        }
        self.blocks += more;
        more
    }
}

impl Delayed {
    /// Blocks that it will take.
    pub(crate) fn blocks(&self) -> u64 {
        self.0.lock().blocks
    }

    /// Makes an inode look as it will.
    pub(crate) fn view(&self, inode: &mut Inode, block_size: u64) {
        if let Some(file) = self.0.lock().files.get(&inode.number) {
            inode.size = inode.size.max(file.size);
            inode.mtime = file.mtime.unwrap_or(inode.mtime);
            inode.ctime = inode.ctime.max(file.ctime);
            inode.blocks += file.blocks * (block_size / 512);
        }
    }

    /// Copies what waits of a piece of a file; the ranges of the piece that do not.
    fn read(&self, number: InodeNumber, at: u64, into: &mut [u8], size: u64) -> Vec<Range<usize>> {
        let inner = self.0.lock();
        let mut gaps = Vec::new();
        let (mut done, len) = (0, into.len());
        if let Some(file) = inner.files.get(&number) {
            let end = at + len as u64;
            let begin = file.runs.range(..=at / size).next_back().map_or(at / size, |(first, _)| *first);
            for (first, run) in file.runs.range(begin..end.div_ceil(size)) {
                let start = first * size;
                let from = start.max(at + done as u64);
                let to = (start + run.len() as u64).min(end);
                if from >= to {
                    continue;
                }
                let within = (from - at) as usize..(to - at) as usize;
                if done < within.start {
                    gaps.push(done..within.start);
                }
                done = within.end;
                into[within].copy_from_slice(&run[(from - start) as usize..(to - start) as usize]);
            }
        }
        if done < len {
            gaps.push(done..len);
        }
        gaps
    }

    /// Nothing of a file waits any more: it has been removed, or emptied.
    pub(crate) fn forget(&self, number: InodeNumber) {
        let mut inner = self.0.lock();
        if let Some(file) = inner.files.remove(&number) {
            inner.blocks -= file.blocks;
        }
    }

    /// The time of the last write, which from now on is not to come after what is being set.
    pub(crate) fn take_mtime(&self, number: InodeNumber) -> Option<Time> {
        self.0.lock().files.get_mut(&number)?.mtime.take()
    }

    fn take(&self, number: InodeNumber, block_size: u64) -> Option<Piece> {
        let mut inner = self.0.lock();
        let Inner { files, blocks } = &mut *inner;
        let file = files.get_mut(&number)?;
        let (mut runs, mut left) = (Vec::new(), MOST * block_size);
        let all = file.blocks;
        while left > 0
            && let Some((first, mut run)) = file.runs.pop_first()
        {
            if run.len() as u64 > left {
                file.runs.insert(first + left / block_size, run.split_off(left as usize));
            }
            left -= run.len() as u64;
            file.blocks -= run.len() as u64 / block_size;
            runs.push((first, run));
        }
        *blocks -= all - file.blocks;
        let (size, mtime, ctime, last) = (file.size, file.mtime, file.ctime, file.runs.is_empty());
        if last {
            files.remove(&number);
        }
        Some(Piece { number, runs, size, mtime, ctime, last })
    }

    fn put_back(&self, piece: Piece, block_size: u64) {
        let mut inner = self.0.lock();
        let blocks = piece.runs.iter().map(|(_, r)| r.len() as u64 / block_size).sum::<u64>();
        inner.blocks += blocks;
        let file = inner.files.entry(piece.number).or_default();
        (file.size, file.mtime, file.ctime) = (piece.size, piece.mtime, piece.ctime);
        file.blocks += blocks;
        file.runs.extend(piece.runs);
    }

    fn numbers(&self) -> Vec<InodeNumber> {
        let mut numbers: Vec<InodeNumber> = self.0.lock().files.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    pub(crate) fn has(&self, number: InodeNumber) -> bool {
        self.0.lock().files.contains_key(&number)
    }

    /// More than should wait: of this file, or in all.
    fn is_much(&self, number: InodeNumber, block_size: u64) -> (bool, bool) {
        let inner = self.0.lock();
        let file = inner.files.get(&number).map_or(0, |f| f.blocks);
        (file * block_size >= A_FILE, inner.blocks * block_size >= ALL)
    }
}

impl Core {
    /// An inode as it will be.
    pub(crate) fn viewed(&self, number: InodeNumber) -> Result<Inode> {
        let mut inode = self.inode(number)?;
        self.delayed.view(&mut inode, self.block_size());
        Ok(inode)
    }

    /// Reads from a file, what waits of it, too.
    pub(crate) fn read_viewed(&self, number: InodeNumber, at: u64, into: &mut [u8]) -> Result<usize> {
        let inode = self.viewed(number)?;
        if at >= inode.size {
            return Ok(0);
        }
        let len = into.len().min(usize::try_from(inode.size - at).unwrap_or(usize::MAX));
        let into = &mut into[..len];
        for gap in self.delayed.read(number, at, into, self.block_size()) {
            self.read(&inode, at + gap.start as u64, &mut into[gap])?;
        }
        Ok(len)
    }

    /// Takes what is written where it may wait, and writes it where it has a place already; how much, `None` where an operation is needed.
    fn write_later(&self, inode: &Inode, at: u64, data: &[u8], now: Time) -> Result<Option<usize>> {
        if inode.flags.contains(Flags::INLINE_DATA) {
            return Ok(None);
        }
        let size = self.block_size();
        let mut done = 0;
        while done < data.len() {
            let position = at + done as u64;
            let (logical, within) = (position / size, position % size);
            let run = self.run(inode, logical)?;
            let most = run.len.saturating_mul(size) - within;
            let part = &data[done..done + most.min((data.len() - done) as u64) as usize];
            match run.physical {
                Some(_) if run.unwritten => break,
                Some(physical) => self.put_data(physical, within, part)?,
                None => {
                    let mut inner = self.delayed.0.lock();
                    let blocks = inner.blocks + part.len() as u64 / size + 2;
                    if self.free_blocks()? < 2 * blocks + SLACK {
                        break;
                    }
                    inner.blocks += inner.files.entry(inode.number).or_default().put(position, part, size);
                }
            }
            done += part.len();
        }
        if done == 0 {
            return Ok(None);
        }
        let mut inner = self.delayed.0.lock();
        let file = inner.files.entry(inode.number).or_default();
        file.size = file.size.max(at + done as u64);
        (file.mtime, file.ctime) = (Some(now), now);
        self.stamps.changed(inode.number);
        Ok(Some(done))
    }
}

impl Op<'_> {
    /// Gives what waits of a file a place, as far as one operation goes; whether more does.
    fn settle(&mut self, number: InodeNumber) -> Result<bool> {
        let size = self.block_size();
        let Some(piece) = self.delayed.take(number, size) else { return Ok(false) };
        match self.settle_piece(&piece) {
            Ok(()) => Ok(!piece.last),
            Err(e) => {
                self.delayed.put_back(piece, size);
                Err(e)
            }
        }
    }

    fn settle_piece(&mut self, piece: &Piece) -> Result<()> {
        let size = self.block_size();
        let mut inode = self.inode(piece.number)?;
        let mut end = 0;
        for (n, (first, bytes)) in piece.runs.iter().enumerate() {
            // Runs that touch are one stretch of blocks.
            let touching = piece.runs[n..].windows(2).take_while(|w| ends_at(&w[0], size) == w[1].0).count();
            let stretch = ends_at(&piece.runs[n + touching], size);
            let mut logical = *first;
            end = ends_at(&piece.runs[n], size);
            while logical < end {
                let there = self.run(&inode, logical)?;
                let run = match there.physical {
                    // From the stretch before it.
                    Some(_) => there,
                    None => self.fill_hole(&mut inode, logical, stretch - logical, false)?,
                };
                let Some(physical) = run.physical else { continue };
                let from = ((logical - first) * size) as usize;
                let part = &bytes[from..bytes.len().min(from + (run.len * size) as usize)];
                self.put_data(physical, 0, part)?;
                logical += part.len() as u64 / size;
            }
        }
        let upto = if piece.last { piece.size } else { piece.size.min(end * size) };
        inode.size = inode.size.max(upto);
        inode.mtime = piece.mtime.unwrap_or(inode.mtime);
        inode.ctime = inode.ctime.max(piece.ctime);
        self.put_inode(&inode)
    }
}

fn ends_at((first, bytes): &(u64, Vec<u8>), block_size: u64) -> u64 {
    first + bytes.len() as u64 / block_size
}

impl<R: RawRwLock> Ext<R> {
    /// Writes to a file; all of it, or an error. It may wait in memory: [`fsync`](Self::fsync) makes it durable.
    pub fn write(&self, number: InodeNumber, at: u64, data: &[u8]) -> Result<Inode> {
        let mut done = 0;
        loop {
            let (written, inode) = self.write_part(number, at + done as u64, &data[done..])?;
            done += written;
            if done >= data.len() {
                return Ok(inode);
            }
        }
    }

    /// The same, as write(2) has it: as much as there is no error in, and an error if that is nothing.
    pub fn write_part(&self, number: InodeNumber, at: u64, data: &[u8]) -> Result<(usize, Inode)> {
        let mut written: Option<(usize, Inode)> = None;
        loop {
            let done = written.as_ref().map_or(0, |w| w.0);
            let piece = &data[done..data.len().min(done + PIECE)];
            match (self.take_write(number, at + done as u64, piece), written) {
                (Ok((n, inode)), _) => {
                    if done + n >= data.len() {
                        return Ok((done + n, inode));
                    }
                    written = Some((done + n, inode));
                }
                (Err(_), Some(written)) => return Ok(written),
                (Err(e), None) => return Err(e),
            }
        }
    }

    fn take_write(&self, number: InodeNumber, at: u64, data: &[u8]) -> Result<(usize, Inode)> {
        let later = {
            let running = self.running.read();
            if running.read_only {
                return Err(Error::ReadOnly);
            }
            let inode = self.core.inode(number)?;
            if !inode.is_regular() {
                return Err(Error::Invalid);
            }
            if at.checked_add(data.len() as u64).is_none_or(|end| end > self.core.largest(&inode)) {
                return Err(Error::TooBig);
            }
            let taken = self.core.write_later(&inode, at, data, (self.clock)())?;
            taken.map(|n| Ok((n, self.core.viewed(number)?))).transpose()?
        };
        let Some((taken, inode)) = later else {
            self.settle(number)?;
            return self.operate(|op| {
                let mut inode = op.inode(number)?;
                let n = op.write_some(&mut inode, at, data)?;
                op.touch_inode(&mut inode, true);
                op.put_inode(&inode)?;
                Ok((n, inode))
            });
        };
        match self.core.delayed.is_much(number, self.core.block_size()) {
            (_, true) => self.settle_all()?,
            (true, _) => self.settle(number)?,
            _ => {}
        }
        Ok((taken, inode))
    }

    /// Gives what has been written to a file its place on the device.
    pub fn settle(&self, number: InodeNumber) -> Result<()> {
        while self.core.delayed.has(number) && self.operate(|op| op.settle(number))? {}
        Ok(())
    }

    /// The same, of all files: the first error, and as much as there is no error in.
    fn settle_all(&self) -> Result<()> {
        let mut result = Ok(());
        for number in self.core.delayed.numbers() {
            let one = self.settle(number);
            result = result.and(one);
        }
        result
    }

    /// Bytes that wait in memory.
    pub fn waiting(&self) -> u64 {
        self.core.delayed.blocks() * self.core.block_size()
    }

    /// Makes a file durable, and all names and attributes with it: fsync(2).
    pub fn fsync(&self, number: InodeNumber) -> Result<()> {
        self.settle(number)?;
        self.commit()
    }

    /// Makes everything durable that has been done so far: sync(2).
    pub fn sync(&self) -> Result<()> {
        let settled = self.settle_all();
        self.commit()?;
        settled
    }
}
