//! The missed log: what a leg that is away did not get, on the legs that stayed.
//!
//! ```text
//! record:  magic 4 | crc32c of all after 4 | kind 1 | 0 1 | length 2 | path
//! ```
//!
//! Records are added at the end, in batches; after each batch comes a record of its own kind, the *end*: so
//! there is a good record after every path that was durable. A bad record with none after it was torn by a crash
//! before that, and is cut off; after one with a good one behind it, the log stands for the whole tree.
//!
//! A path is added before the operation is answered, and synced before its directory's mark in the intent map is cleared:
//! after a crash, recovery adds what the map marks to the log of every leg that is away.

use super::codec::{self, Reader};
use super::collapse::{minimal, reduce};
use super::dir::{self, StateDir};
use super::{Error, Kind, Region, Result};
use rustix::fs::OFlags;
use std::collections::BTreeSet;
use std::fs::File;
use uuid::Uuid;

const MAGIC: &[u8; 4] = b"HFMm";
const HEADER: usize = 12;
const END: u8 = 3;
/// With more entries the log names directories instead.
pub const LIMIT: usize = 65_536;
/// No log of ours is longer: entries of the longest paths, twice.
const MAX_LEN: u64 = 1 << 30;

/// What one leg missed, as one of the others has it.
#[derive(Debug)]
pub struct MissedLog {
    name: String,
    file: File,
    len: u64,
    entries: BTreeSet<Region>,
    limit: usize,
    taken: bool,
}

impl MissedLog {
    /// Opens the log of a leg that is away, and makes it where there is none.
    ///
    /// # Errors
    /// The host's errors.
    pub fn open(dir: &StateDir, leg: Uuid) -> Result<Self> {
        Self::with_limit(dir, leg, LIMIT)
    }

    fn with_limit(dir: &StateDir, leg: Uuid, limit: usize) -> Result<Self> {
        let name = file_name(leg);
        let (entries, good) = match dir.read(&name, MAX_LEN) {
            Ok(Some(bytes)) => parse(&bytes),
            Ok(None) => {
                // The name has to be durable before what it holds can be.
                dir.replace(&name, &[])?;
                (BTreeSet::new(), Some(0))
            }
            Err(e) if unreadable(&e) => (BTreeSet::from([Region::whole()]), None),
            Err(e) => return Err(e),
        };
        let Some(len) = good else {
            // Damaged: the whole tree, and a log that can be read from now on.
            dir.replace(&name, &batch([&Region::whole()]))?;
            return Self::with_limit(dir, leg, limit);
        };
        let file = dir.file(&name, OFlags::RDWR)?.ok_or_else(|| Error::bad(&name, "it went away"))?;
        file.set_len(len).map_err(|e| Error::io("cutting", &name)(dir::errno(&e)))?;
        Ok(Self { name, file, len, entries, limit, taken: false })
    }

    /// What a log says, without changing anything; `None` where there is none.
    ///
    /// # Errors
    /// The host's errors.
    pub fn read(dir: &StateDir, leg: Uuid) -> Result<Option<BTreeSet<Region>>> {
        match dir.read(&file_name(leg), MAX_LEN) {
            Ok(bytes) => Ok(bytes.map(|b| parse(&b).0)),
            Err(e) if unreadable(&e) => Ok(Some(BTreeSet::from([Region::whole()]))),
            Err(e) => Err(e),
        }
    }

    /// The legs that a leg has logs of.
    ///
    /// # Errors
    /// The host's errors.
    pub fn legs(dir: &StateDir) -> Result<Vec<Uuid>> {
        let names = dir.names()?;
        Ok(names.iter().filter_map(|n| n.strip_prefix("missed.")?.parse().ok()).collect())
    }

    /// Removes a log: its leg has everything, or is no longer of the set.
    ///
    /// # Errors
    /// The host's errors.
    pub fn delete(dir: &StateDir, leg: Uuid) -> Result<()> {
        dir.remove(&file_name(leg))?;
        dir.sync()
    }

    /// Adds regions; those that the log has cost nothing. Not durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// The host's errors; the log may then miss some of them, and must not be used further.
    pub fn add(&mut self, dir: &StateDir, regions: &[Region]) -> Result<()> {
        let new: BTreeSet<&Region> = regions.iter().filter(|r| !self.has(r)).collect();
        if new.is_empty() {
            return Ok(());
        }
        if self.entries.len() + new.len() > self.limit {
            let all = self.entries.iter().chain(new).cloned().collect();
            return self.rewrite(dir, reduce(all, self.limit / 2));
        }
        let bytes = batch(new.iter().copied());
        dir::write(&self.file, &self.name, &bytes, self.len)?;
        self.len += bytes.len() as u64;
        self.entries.extend(new.into_iter().cloned());
        Ok(())
    }

    /// Makes what was added durable.
    ///
    /// # Errors
    /// The host's errors.
    pub fn sync(&self) -> Result<()> {
        dir::sync_data(&self.file, &self.name)
    }

    /// What the leg missed.
    pub fn list(&self) -> &BTreeSet<Region> {
        &self.entries
    }

    /// Takes a region out that is about to be copied. What is added from now on is new, and stays when it is; on the disk
    /// the region is until [`settle`](Self::settle), so that a crash forgets nothing.
    pub fn take(&mut self, region: &Region) {
        self.taken |= self.entries.remove(region);
    }

    /// Makes it durable that regions were taken out: the leg has them now, durably.
    ///
    /// # Errors
    /// The host's errors; on the disk the log is as it was.
    pub fn settle(&mut self, dir: &StateDir) -> Result<()> {
        if !self.taken {
            return Ok(());
        }
        self.rewrite(dir, self.entries.clone())?;
        self.taken = false;
        Ok(())
    }

    fn has(&self, region: &Region) -> bool {
        self.entries.contains(region)
            || region.path.ancestors().any(|p| self.entries.contains(&Region::subtree(p)))
    }

    fn rewrite(&mut self, dir: &StateDir, entries: BTreeSet<Region>) -> Result<()> {
        let entries = minimal(entries);
        let bytes = if entries.is_empty() { Vec::new() } else { batch(&entries) };
        dir.replace(&self.name, &bytes)?;
        self.file =
            dir.file(&self.name, OFlags::RDWR)?.ok_or_else(|| Error::bad(&self.name, "it went away"))?;
        (self.len, self.entries) = (bytes.len() as u64, entries);
        Ok(())
    }
}

/// There is a log, and what it says is lost.
fn unreadable(e: &Error) -> bool {
    matches!(e, Error::Bad { .. } | Error::Io { errno: rustix::io::Errno::IO, what: "reading", .. })
}

fn file_name(leg: Uuid) -> String {
    format!("missed.{leg}")
}

fn record(out: &mut Vec<u8>, kind: u8, path: &[u8]) {
    let at = out.len();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(&(path.len() as u16).to_le_bytes());
    out.extend_from_slice(path);
    let sum = crc32c::crc32c(&out[at + 8..]);
    out[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
}

fn batch<'a>(regions: impl IntoIterator<Item = &'a Region>) -> Vec<u8> {
    let mut out = Vec::new();
    for region in regions {
        // A path that no record can hold (PATH_MAX is far less) is named by an ancestor.
        let fits = |p: &&std::path::Path| codec::bytes(p).len() <= usize::from(u16::MAX);
        let path = region.path.ancestors().find(fits).unwrap_or(std::path::Path::new(""));
        let kind = if path == region.path { region.kind } else { Kind::Subtree };
        record(&mut out, kind.code(), codec::bytes(path));
    }
    record(&mut out, END, &[]);
    out
}

/// One record at the front, and its length. A region of `None` is the end of a batch.
fn parse_record(bytes: &[u8]) -> Option<(Option<Region>, usize)> {
    let mut r = Reader(bytes);
    if r.array()? != *MAGIC {
        return None;
    }
    let sum = r.u32()?;
    let rest = r.0;
    let (kind, zero, len) = (r.u8()?, r.u8()?, usize::from(r.u16()?));
    let path = r.take(len)?;
    if zero != 0 || crc32c::crc32c(&rest[..HEADER - 8 + len]) != sum {
        return None;
    }
    let region = match kind {
        END => None,
        kind => Some(Region { path: codec::path(path)?, kind: Kind::of(kind)? }),
    };
    Some((region, HEADER + len))
}

/// The entries, and how long the good part is; no length where the log is damaged, and stands for everything.
fn parse(bytes: &[u8]) -> (BTreeSet<Region>, Option<u64>) {
    let (mut entries, mut at) = (BTreeSet::new(), 0);
    while let Some((region, len)) = parse_record(&bytes[at..]) {
        entries.extend(region);
        at += len;
    }
    let tail = &bytes[at..];
    let more =
        tail.windows(MAGIC.len()).enumerate().any(|(i, w)| w == MAGIC && parse_record(&tail[i..]).is_some());
    if more { (BTreeSet::from([Region::whole()]), None) } else { (entries, Some(at as u64)) }
}

#[cfg(test)]
#[path = "missed_tests.rs"]
mod tests;
