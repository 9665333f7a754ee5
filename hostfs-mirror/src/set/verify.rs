//! Reading, and what is known of what should be read.
//!
//! Of each file some blocks have a checksum: from the manifest, or from what was written since. Whole blocks are read, and one that does not
//! have its checksum is never handed out: another leg is asked, and the bad one repaired. The kernel keeps what it was given, so this is
//! paid once.

use super::flight::fly;
use super::node::{Access, Known, Node, Sum, Sums};
use super::roster::Roster;
use super::{Set, judge};
use crate::leg::Result;
use crate::state::manifest::{BLOCK, Key};
use parking_lot::Mutex;
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const SIZE: u64 = BLOCK as u64;
/// So often a leg other than the best is read from, to see whether it is still worse.
const PROBE: u64 = 256;
/// Buffers that are kept for the next read.
const SPARE: usize = 16;

static READS: AtomicU64 = AtomicU64::new(0);
static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// What was read from a leg: whole blocks.
struct Blocks {
    bytes: Vec<u8>,
    /// Where they begin in the file.
    at: u64,
}

impl Blocks {
    /// The part that somebody wanted.
    fn part(&self, offset: u64, len: usize) -> &[u8] {
        let from = ((offset - self.at) as usize).min(self.bytes.len());
        &self.bytes[from..(from + len).min(self.bytes.len())]
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        let mut spare = BUFFERS.lock();
        if spare.len() < SPARE {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

fn buffer(len: usize) -> Vec<u8> {
    let mut bytes = BUFFERS.lock().pop().unwrap_or_default();
    bytes.resize(len, 0);
    bytes
}

/// A file's mtime as the manifest has it.
pub(crate) fn mtime(stat: &rustix::fs::Stat) -> i64 {
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64)
}

impl Set {
    /// Reads. There is less than `len` only at the end of the file.
    pub fn read(&self, node: &Arc<Node>, offset: u64, len: usize, reply: impl FnOnce(Result<&[u8]>) + Send) {
        let gate = self.gate.read();
        let roster = self.roster();
        if roster.live.is_empty() {
            return reply(Err(Errno::IO));
        }
        let legs = reading_order(&roster);
        let route = super::Route { legs: &legs, ..self.route(&roster) };
        let read = |leg: usize| {
            let begun = Instant::now();
            let blocks = self.read_checked(&roster, node, leg, (offset, len))?;
            roster.members[leg].took(begun.elapsed());
            Ok(blocks)
        };
        let enough = |answer: &Result<Blocks>| answer.as_ref().err().is_none_or(|e| !judge::is_failure(*e));
        fly(route, read, enough, |mut answers| {
            drop(gate);
            let Some((leg, answer)) = answers.pop() else { return reply(Err(Errno::IO)) };
            let bad: Vec<_> = answers.iter().filter_map(|(l, a)| Some((*l, *a.as_ref().err()?))).collect();
            match answer {
                Ok(blocks) => {
                    if !bad.is_empty()
                        && let Err(e) = self.repair(&roster, node, &blocks, leg, &bad)
                    {
                        return reply(Err(e));
                    }
                    self.was_read(node);
                    reply(Ok(blocks.part(offset, len)));
                }
                // Nobody has it as it should be.
                Err(Errno::BADMSG) => reply(Err(Errno::IO)),
                Err(e) => {
                    reply(Err(if bad.iter().any(|(_, e)| *e == Errno::BADMSG) { Errno::IO } else { e }))
                }
            }
        });
    }

    /// Reads the blocks in which a part of a file is, from one leg: EBADMSG, if one is not what it should be.
    fn read_checked(
        &self,
        roster: &Roster,
        node: &Arc<Node>,
        leg: usize,
        (offset, len): (u64, usize),
    ) -> Result<Blocks> {
        let file = self.content(roster, node, leg, Access::Read)?;
        let on = roster.members[leg].leg()?;
        let known = self.with_sums(roster, node, |sums| !sums.is_empty());
        let (at, end) = match known {
            true => (offset / SIZE * SIZE, (offset + len as u64).next_multiple_of(SIZE)),
            false => (offset, offset + len as u64),
        };
        let mut blocks = Blocks { bytes: buffer((end - at) as usize), at };
        let done = on.read(file.as_fd(), &mut blocks.bytes, at)?;
        blocks.bytes.truncate(done);
        if !known || self.is_right(roster, node, &blocks) {
            return Ok(blocks);
        }
        // It may have been written to just now: once more, with nobody changing it.
        let _changing = node.changing.lock();
        blocks.bytes.resize((end - at) as usize, 0);
        let done = on.read(file.as_fd(), &mut blocks.bytes, at)?;
        blocks.bytes.truncate(done);
        if self.is_right(roster, node, &blocks) { Ok(blocks) } else { Err(Errno::BADMSG) }
    }

    fn is_right(&self, roster: &Roster, node: &Arc<Node>, blocks: &Blocks) -> bool {
        self.with_sums(roster, node, |sums| {
            let first = blocks.at / SIZE;
            let mut numbered = (first..).zip(blocks.bytes.chunks(BLOCK));
            numbered.all(|(number, block)| sums.get(&number).is_none_or(|right| right.is_of(block)))
        })
    }

    /// Writes what one leg has, and others could not read or have wrong, to those.
    fn repair(
        &self,
        roster: &Arc<Roster>,
        node: &Arc<Node>,
        good: &Blocks,
        from: usize,
        bad: &[(usize, Errno)],
    ) -> Result<()> {
        let mut failed = Vec::new();
        for &(leg, errno) in bad {
            let (name, path) = (roster.name_of(leg), node.path());
            let mend = || {
                let _changing = node.changing.lock();
                // Written over meanwhile: then it is right by that.
                if !self.is_right(roster, node, good) {
                    return Ok(());
                }
                let file = self.content(roster, node, leg, Access::Write)?;
                let on = roster.members[leg].leg()?;
                match on.write(file.as_fd(), &good.bytes, good.at)? {
                    done if done == good.bytes.len() => {}
                    _ => return Err(Errno::NOSPC),
                }
                self.is_dirty(node);
                Ok(())
            };
            let mended = if matches!(errno, Errno::BADMSG | Errno::IO) { mend() } else { Err(errno) };
            match mended {
                Ok(()) => self.event(format!(
                    "leg {} ({name}) had wrong bytes in \"{}\" at {}: repaired from leg {}",
                    leg + 1,
                    path.display(),
                    good.at,
                    from + 1
                )),
                Err(e) => failed.push((leg, e)),
            }
        }
        if failed.is_empty() { Ok(()) } else { self.fence(&failed) }
    }

    /// A read may have changed the access time on one leg.
    pub(crate) fn was_read(&self, node: &Arc<Node>) {
        if !self.options.read_only {
            self.is_dirty(node);
        }
    }

    /// Does something with what is known of a file's blocks, from its manifest if nobody has looked yet.
    pub(crate) fn with_sums<T>(
        &self,
        roster: &Roster,
        node: &Arc<Node>,
        work: impl FnOnce(&mut Known) -> T,
    ) -> T {
        let mut sums = node.sums.lock();
        if matches!(*sums, Sums::Unknown) {
            let found =
                roster.live.iter().find_map(|&leg| self.manifest_of(roster, node, leg).ok().flatten());
            *sums = Sums::Known(found.unwrap_or_default());
        }
        match &mut *sums {
            Sums::Known(sums) => work(sums),
            Sums::Unknown => work(&mut Known::default()),
        }
    }

    /// What a leg's manifest says of its file, if that is what it was.
    fn manifest_of(&self, roster: &Roster, node: &Arc<Node>, leg: usize) -> Result<Option<Known>> {
        let member = &roster.members[leg];
        if member.files()?.manifest.lock().is_empty() {
            return Ok(None);
        }
        let (object, on) = (self.object(roster, node, leg)?, member.leg()?);
        let stat = on.stat(object.as_fd())?;
        let key = Key { ino: stat.st_ino, btime: on.birth(object.as_fd())? };
        let entry = member.files()?.manifest.lock().get(key);
        let entry = entry.filter(|entry| entry.matches(stat.st_size as u64, mtime(&stat)));
        Ok(entry.map(|entry| {
            let len = |at: u64| SIZE.min(entry.size - at * SIZE) as usize;
            (0..).zip(&entry.sums).map(|(at, &sum)| (at, Sum { sum, len: len(at), read: false })).collect()
        }))
    }

    /// These bytes are in a file now.
    pub(crate) fn written(&self, node: &Arc<Node>, offset: u64, data: &[u8]) {
        self.unknown(node, offset, data.len() as u64);
        let skip = (offset.next_multiple_of(SIZE) - offset) as usize;
        let Some(whole) = data.get(skip..) else { return };
        if whole.len() < BLOCK {
            return;
        }
        let first = (offset + skip as u64) / SIZE;
        let new: Vec<_> = (first..).zip(whole.as_chunks::<BLOCK>().0.iter().map(|b| Sum::of(b))).collect();
        if let Sums::Known(sums) = &mut *node.sums.lock() {
            sums.extend(new);
        }
    }

    /// Nobody knows what a part of a file should be.
    pub(crate) fn unknown(&self, node: &Arc<Node>, offset: u64, len: u64) {
        node.rewritten.store(true, Ordering::Release);
        let mut sums = node.sums.lock();
        match &mut *sums {
            Sums::Known(sums) => {
                let last = offset.saturating_add(len.max(1) - 1) / SIZE;
                if last - offset / SIZE > sums.len() as u64 {
                    sums.retain(|block, _| *block < offset / SIZE || *block > last);
                } else {
                    (offset / SIZE..=last).for_each(|block| {
                        sums.remove(&block);
                    });
                }
            }
            // What the manifest said does not hold any more.
            Sums::Unknown => *sums = Sums::Known(Known::default()),
        }
    }

    /// A file has this length now. Of a block that has only become longer, the part that was there is as it was.
    pub(crate) fn resized(&self, node: &Arc<Node>, size: u64) {
        node.rewritten.store(true, Ordering::Release);
        let mut sums = node.sums.lock();
        match &mut *sums {
            Sums::Known(sums) => {
                sums.retain(|block, _| *block < size / SIZE);
            }
            Sums::Unknown => *sums = Sums::Known(Known::default()),
        }
    }
}

/// The legs in the order in which they are to be read: the primary first, unless another has been far quicker, or it is time to see.
fn reading_order(roster: &Roster) -> Vec<usize> {
    let mut legs = roster.live.clone();
    let readable = legs.iter().filter(|leg| !roster.is_write_mostly(**leg)).count();
    if readable < 2 || roster.wanted.is_some() {
        return legs;
    }
    let reads = READS.fetch_add(1, Ordering::Relaxed);
    let latency = |leg: usize| roster.members[leg].latency();
    let best = match reads % PROBE {
        0 => (reads / PROBE) as usize % readable,
        _ => {
            let quickest = (0..readable).filter(|at| !latency(legs[*at]).is_zero());
            let quickest = quickest.min_by_key(|at| latency(legs[*at])).unwrap_or(0);
            // A little better is no reason: each leg has its own page cache to fill.
            if latency(legs[quickest]) * 2 < latency(legs[0]) { quickest } else { 0 }
        }
    };
    legs.swap(0, best);
    legs
}
