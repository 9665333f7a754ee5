//! The intent map: directories in which the legs may differ after a crash.
//!
//! ```text
//! file:  header 512 | slots of 512, CAPACITY of them, all preallocated
//! header:  magic 8 | slots 4 | crc32c of the 12 bytes before 4
//! slot:  free: all zeros; else  crc32c of all after 4 | kind 1 | 0 1 | length 2 | path
//! ```
//!
//! A directory is marked, durably, before it is first touched, and cleared long after. Marks are written in place:
//! a file whose blocks are there and whose length does not change needs no commit of the file system's journal
//! (measured: 118 us a sync in place, 1,700 us where the file grows). Marks of several threads share one sync.
//!
//! A slot is a sector, so it is torn by no disk. One that cannot be read stands for the whole tree, unless another
//! leg's map, which has the same marks, can be read ([`crate::set::recover`]).

use super::codec::{self, Reader};
use super::collapse;
use super::dir::{self, StateDir};
use super::{Error, Kind, Region, Result};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::fs::OFlags;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

const FILE: &str = "intent";
const MAGIC: &[u8; 8] = b"HFMint\x01\n";
const SLOT: usize = 512;
const SLOT_HEADER: usize = 8;
/// The longest path that a slot holds; of a longer one it holds the longest ancestor, as a subtree.
pub const MAX_PATH: usize = SLOT - SLOT_HEADER;
/// How many directories are marked at once; more collapse to subtrees.
pub const CAPACITY: usize = 1024;

/// What an intent map says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The regions that may differ.
    pub regions: Vec<Region>,
    /// Slots that cannot be read. What they marked is not known.
    pub damaged: usize,
}

/// The intent map of one leg.
#[derive(Debug)]
pub struct IntentMap {
    file: File,
    table: Mutex<Table>,
    synced: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    marks: HashMap<PathBuf, Mark>,
    free: Vec<u32>,
    /// How many marks are subtrees: without any, a look-up need not walk up.
    subtrees: usize,
    /// Slots to be written with the next sync.
    dirty: BTreeMap<u32, Option<Region>>,
    /// Slots that become free when the next sync has ended.
    freed: Vec<u32>,
    /// The number of the sync that will make the dirty slots durable.
    round: u64,
    /// All up to this one have ended.
    done: u64,
    syncing: bool,
    failed: Option<rustix::io::Errno>,
}

#[derive(Debug)]
struct Mark {
    slot: u32,
    kind: Kind,
    /// The sync that makes it durable.
    round: u64,
}

impl IntentMap {
    /// Opens a leg's map, and makes it where there is none. One that is damaged is made anew, and marks everything.
    ///
    /// # Errors
    /// The host's errors.
    pub fn open(dir: &StateDir) -> Result<Self> {
        let found = Self::read(dir)?;
        match found {
            Some(marks) if marks.damaged == 0 => {}
            // What it marked is not known: until it is cleared, everything.
            Some(_) => create(dir, Some(&Region::whole()))?,
            None => create(dir, None)?,
        }
        let file = dir.file(FILE, OFlags::RDWR)?.ok_or_else(|| Error::bad(FILE, "it went away"))?;
        let bytes = dir.read(FILE, file_len())?.unwrap_or_default();
        let mut table = Table { round: 1, ..Table::default() };
        for (i, slot) in bytes[SLOT.min(bytes.len())..].chunks(SLOT).enumerate() {
            match parse_slot(slot) {
                Slot::Marked(region) => table.insert(region, i as u32, 0),
                Slot::Free | Slot::Bad => table.free.push(i as u32),
            }
        }
        table.free.reverse();
        Ok(Self { file, table: Mutex::new(table), synced: Condvar::new() })
    }

    /// What a leg's map says, without changing anything; `None` where there is no map.
    ///
    /// # Errors
    /// The host's errors.
    pub fn read(dir: &StateDir) -> Result<Option<Marks>> {
        match dir.read(FILE, 2 * file_len()) {
            Ok(bytes) => Ok(bytes.map(|b| parse(&b))),
            // Unreadable, or something else than our file: what it marked is not known.
            Err(Error::Bad { .. }) => Ok(Some(Marks { regions: Vec::new(), damaged: CAPACITY })),
            Err(Error::Io { errno: rustix::io::Errno::IO, .. }) => {
                Ok(Some(Marks { regions: Vec::new(), damaged: CAPACITY }))
            }
            Err(e) => Err(e),
        }
    }

    /// Marks directories, and returns when that is durable. Costs nothing for those that are marked.
    ///
    /// # Errors
    /// The host's errors: the directories must not be touched on this leg.
    pub fn mark(&self, regions: &[(&Path, Kind)]) -> Result<()> {
        let mut table = self.table.lock();
        let mut wait_for = 0;
        for (path, kind) in regions {
            let (path, kind) = fitting(path, *kind);
            while !table.has_room(path, kind) {
                table = self.make_room(table)?;
            }
            wait_for = wait_for.max(table.mark(path, kind));
        }
        self.wait(table, wait_for)
    }

    /// Clears the marks of these very paths. Not synced: a mark that is still found after a crash costs a
    /// comparison, no more. Marks that were collapsed into a subtree stay until [`clear`](Self::clear).
    ///
    /// # Errors
    /// The host's errors.
    pub fn unmark(&self, paths: &[&Path]) -> Result<()> {
        let mut table = self.table.lock();
        let gone: Vec<u32> = paths.iter().filter_map(|path| table.take(path)).collect();
        self.write_free(&mut table, gone)
    }

    /// Clears everything, durably; to be called when the legs are known to be equal, and nobody marks. A map that failed before
    /// is as good as new.
    ///
    /// # Errors
    /// The host's errors.
    pub fn clear(&self) -> Result<()> {
        let mut table = self.table.lock();
        while table.syncing {
            self.synced.wait(&mut table);
        }
        if !table.marks.is_empty() || !table.dirty.is_empty() || table.failed.is_some() {
            dir::write(&self.file, FILE, &vec![0; CAPACITY * SLOT], offset(0))?;
        }
        dir::sync_data(&self.file, FILE)?;
        let (round, done) = (table.round, table.done);
        *table = Table { round, done, free: (0..CAPACITY as u32).rev().collect(), ..Table::default() };
        Ok(())
    }

    /// What is marked now.
    pub fn list(&self) -> Marks {
        let table = self.table.lock();
        let regions = table.marks.iter().map(|(path, m)| Region { path: path.clone(), kind: m.kind });
        Marks { regions: regions.collect(), damaged: 0 }
    }

    fn write_free(&self, table: &mut Table, slots: Vec<u32>) -> Result<()> {
        let mut now = BTreeMap::new();
        for slot in slots {
            // Not before a sync that writes the same slot has ended: it would put the mark back.
            if table.syncing || table.dirty.contains_key(&slot) {
                table.dirty.insert(slot, None);
                table.freed.push(slot);
            } else {
                now.insert(slot, None);
            }
        }
        let free: Vec<u32> = now.keys().copied().collect();
        self.write_slots(now)?;
        table.free.extend(free);
        Ok(())
    }

    /// Waits until a sync has ended; does it, for all who wait, where nobody else does.
    fn wait<'a>(&'a self, mut table: MutexGuard<'a, Table>, round: u64) -> Result<()> {
        while table.done < round {
            table = self.sync_once(table)?;
        }
        Ok(())
    }

    /// One sync: somebody else's that runs, or our own of all that is dirty.
    fn sync_once<'a>(&'a self, mut table: MutexGuard<'a, Table>) -> Result<MutexGuard<'a, Table>> {
        if let Some(errno) = table.failed {
            return Err(Error::io("syncing", FILE)(errno));
        }
        if table.syncing {
            self.synced.wait(&mut table);
            return Ok(table);
        }
        table.syncing = true;
        let (mine, dirty, freed) =
            (table.round, std::mem::take(&mut table.dirty), std::mem::take(&mut table.freed));
        table.round += 1;
        let result = MutexGuard::unlocked(&mut table, || self.write_dirty(dirty));
        table.syncing = false;
        self.synced.notify_all();
        // After a failed sync nothing is known about what is on the disk: the leg has to go.
        result.inspect_err(|e| table.failed = Some(e.errno()))?;
        table.done = mine;
        table.free.extend(freed);
        Ok(table)
    }

    /// All slots are taken: directories become subtrees, each written over a slot of what it covers. The other
    /// slots of that are free only when the subtrees are durable: until then they are what covers it.
    fn make_room<'a>(&'a self, mut table: MutexGuard<'a, Table>) -> Result<MutexGuard<'a, Table>> {
        while table.syncing || !table.dirty.is_empty() {
            table = self.sync_once(table)?;
        }
        if !table.free.is_empty() {
            return Ok(table);
        }
        let before =
            table.marks.iter().map(|(path, m)| Region { path: path.clone(), kind: m.kind }).collect();
        let after = collapse::reduce(before, CAPACITY * 3 / 4);
        let new: Vec<Region> =
            after.into_iter().filter(|r| table.marks.get(&r.path).is_none_or(|m| m.kind != r.kind)).collect();
        let (mut dirty, mut gone) = (BTreeMap::new(), Vec::new());
        for region in new {
            let beneath: Vec<_> =
                table.marks.keys().filter(|p| p.starts_with(&region.path)).cloned().collect();
            let mut slots = beneath.iter().filter_map(|path| table.take(path)).collect::<Vec<_>>();
            let Some(slot) = slots.pop() else { continue };
            gone.extend(slots);
            dirty.insert(slot, Some(region.clone()));
            table.insert(region, slot, 0);
        }
        self.write_dirty(dirty).inspect_err(|e| table.failed = Some(e.errno()))?;
        self.write_free(&mut table, gone)?;
        Ok(table)
    }

    fn write_dirty(&self, dirty: BTreeMap<u32, Option<Region>>) -> Result<()> {
        self.write_slots(dirty)?;
        dir::sync_data(&self.file, FILE)
    }

    /// Slots that lie side by side are one write.
    fn write_slots(&self, slots: BTreeMap<u32, Option<Region>>) -> Result<()> {
        let mut run: Vec<u8> = Vec::new();
        let mut at = 0;
        for (slot, region) in slots {
            if !run.is_empty() && offset(slot) != at + run.len() as u64 {
                dir::write(&self.file, FILE, &run, at)?;
                run.clear();
            }
            if run.is_empty() {
                at = offset(slot);
            }
            run.extend_from_slice(&region.map_or([0; SLOT], |r| encode(&r)));
        }
        if !run.is_empty() {
            dir::write(&self.file, FILE, &run, at)?;
        }
        Ok(())
    }
}

impl Table {
    fn insert(&mut self, region: Region, slot: u32, round: u64) {
        self.subtrees += usize::from(region.kind == Kind::Subtree);
        self.marks.insert(region.path, Mark { slot, kind: region.kind, round });
    }

    fn take(&mut self, path: &Path) -> Option<u32> {
        let mark = self.marks.remove(path)?;
        self.subtrees -= usize::from(mark.kind == Kind::Subtree);
        Some(mark.slot)
    }

    fn has_room(&self, path: &Path, kind: Kind) -> bool {
        !self.free.is_empty() || self.marks.contains_key(path) || self.covered(path, kind).is_some()
    }

    /// The sync that the mark needs.
    fn mark(&mut self, path: &Path, kind: Kind) -> u64 {
        if let Some(round) = self.covered(path, kind) {
            return round;
        }
        let region = Region { path: path.to_path_buf(), kind };
        // A directory that was marked alone becomes a subtree in its own slot.
        let Some(slot) = self.take(path).or_else(|| self.free.pop()) else { return self.round };
        self.dirty.insert(slot, Some(region.clone()));
        self.insert(region, slot, self.round);
        self.round
    }

    /// The sync of the mark that covers a region.
    fn covered(&self, path: &Path, kind: Kind) -> Option<u64> {
        if let Some(mark) = self.marks.get(path)
            && mark.kind >= kind
        {
            return Some(mark.round);
        }
        if self.subtrees == 0 {
            return None;
        }
        let mut above = path.ancestors().filter_map(|p| self.marks.get(p));
        above.find(|m| m.kind == Kind::Subtree).map(|m| m.round)
    }
}

enum Slot {
    Free,
    Marked(Region),
    Bad,
}

/// A path that a slot holds, and that covers this one.
fn fitting(path: &Path, kind: Kind) -> (&Path, Kind) {
    let fits = |p: &&Path| codec::bytes(p).len() <= MAX_PATH;
    match path.ancestors().find(fits) {
        Some(p) if p == path => (p, kind),
        Some(p) => (p, Kind::Subtree),
        None => (Path::new(""), Kind::Subtree),
    }
}

fn file_len() -> u64 {
    offset(CAPACITY as u32)
}

fn offset(slot: u32) -> u64 {
    SLOT as u64 * (u64::from(slot) + 1)
}

fn header() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(CAPACITY as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out.resize(SLOT, 0);
    out
}

/// Its blocks are written, not only allocated: a write into an unwritten extent needs the journal too.
fn create(dir: &StateDir, mark: Option<&Region>) -> Result<()> {
    let mut bytes = header();
    bytes.extend(mark.into_iter().flat_map(encode));
    bytes.resize(file_len() as usize, 0);
    dir.replace(FILE, &bytes)
}

fn encode(region: &Region) -> [u8; SLOT] {
    let mut out = [0; SLOT];
    let path = codec::bytes(&region.path);
    out[4] = region.kind.code();
    out[6..8].copy_from_slice(&(path.len() as u16).to_le_bytes());
    out[SLOT_HEADER..SLOT_HEADER + path.len()].copy_from_slice(path);
    let sum = crc32c::crc32c(&out[4..]);
    out[..4].copy_from_slice(&sum.to_le_bytes());
    out
}

fn parse_slot(slot: &[u8]) -> Slot {
    if slot.len() == SLOT && slot.iter().all(|b| *b == 0) {
        return Slot::Free;
    }
    marked(slot).map_or(Slot::Bad, Slot::Marked)
}

fn marked(slot: &[u8]) -> Option<Region> {
    let mut r = Reader(slot);
    let (sum, kind, zero, len) = (r.u32()?, r.u8()?, r.u8()?, r.u16()?);
    let kind = Kind::of(kind)?;
    let path = codec::path(r.take(usize::from(len))?)?;
    let whole = slot.len() == SLOT && zero == 0 && crc32c::crc32c(&slot[4..]) == sum;
    whole.then_some(Region { path, kind })
}

fn parse(bytes: &[u8]) -> Marks {
    let mut marks = Marks::default();
    let (head, slots) = bytes.split_at_checked(SLOT).unwrap_or((bytes, &[]));
    for slot in slots.chunks(SLOT) {
        match parse_slot(slot) {
            Slot::Free => {}
            Slot::Marked(region) => marks.regions.push(region),
            Slot::Bad => marks.damaged += 1,
        }
    }
    if head != header() || bytes.len() as u64 != file_len() {
        marks.damaged += 1;
    }
    marks
}

#[cfg(test)]
#[path = "intent_tests.rs"]
mod tests;
