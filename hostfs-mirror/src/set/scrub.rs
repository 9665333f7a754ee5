//! Every file of every live leg, read and held against its checksums; what is wrong is healed from a leg that has it right.
//!
//! A checksum decides, never a vote. A leg's file is *right* if it has a valid entry in its manifest and the bytes are those; *wrong*, if they are
//! not; *unknown* without an entry. Wrong blocks are written from a right leg, or from an unknown one whose bytes have the wrong leg's own
//! checksum. An unknown file is made equal to a right one; unknown files that are equal are known from now on, and those that differ are
//! reported. Two that are both right and differ were right at different generations, or are reported.

use super::blocks::{open_for_writing, write};
use super::compare::{Difference, attributes};
use super::copy::{Copier, Hold, Report, Undecided, Wrong, held};
use super::limit::Limit;
use super::side::{Object, Result, Side, digest};
use crate::state::manifest::{BLOCK, Entry, sum};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How a scrub is done.
pub struct Scrub<'a, 'b> {
    /// The live legs, the primary first.
    pub sides: &'b [Side<'a>],
    /// The set's generation.
    pub generation: u64,
    /// Whether what is wrong is healed, and what is unknown written down; otherwise nothing is changed (`verify`).
    pub heal: bool,
    /// Who keeps others away from a file.
    pub hold: &'b dyn Hold,
}

/// One leg's file, while it is looked at.
struct Copy<'a> {
    side: Side<'a>,
    object: Object,
    file: OwnedFd,
    known: Option<Entry>,
    sums: Vec<u32>,
    /// Blocks that do not have their checksum, or cannot be read.
    bad: Vec<u64>,
}

impl Scrub<'_, '_> {
    /// Scrubs what is at a path and beneath.
    ///
    /// # Errors
    /// A leg's errors, or that it was stopped.
    pub fn run(&self, top: &Path, limit: &mut Limit<'_>) -> Result<Report> {
        let mut report = Report::default();
        let mut todo = vec![top.to_owned()];
        while let Some(path) = todo.pop() {
            limit.advance(0)?;
            let mut is_dir = false;
            held(self.hold, &path, || {
                is_dir = self.object(&path, limit, &mut report)?;
                Ok(())
            })?;
            if is_dir {
                let mut names = BTreeSet::new();
                for side in self.sides {
                    if let Some(o) = side.find(&path)?.filter(Object::is_dir) {
                        names.extend(side.names(&path, &o)?);
                    }
                }
                todo.extend(names.into_iter().rev().map(|n| path.join(n)));
            }
        }
        if self.heal {
            self.sides.iter().try_for_each(super::recover::settle)?;
        }
        limit.finish();
        Ok(report)
    }

    /// One path on all legs. Whether it is a directory.
    fn object(&self, path: &Path, limit: &mut Limit<'_>, report: &mut Report) -> Result<bool> {
        report.objects += 1;
        let mut found = Vec::new();
        for side in self.sides {
            found.push((side, side.find(path)?));
        }
        let has = |is: bool| {
            found.iter().filter(|(_, o)| o.is_some() == is).map(|(s, _)| s.name()).collect::<Vec<_>>()
        };
        if has(true).is_empty() {
            return Ok(false);
        }
        if !has(false).is_empty() {
            let why = format!("on {}, and not on {}", has(true).join(", "), has(false).join(", "));
            report.undecided.push(Undecided { path: path.to_owned(), why });
            return Ok(false);
        }
        let found: Vec<_> = found.into_iter().filter_map(|(s, o)| Some((*s, o?))).collect();
        if found.iter().any(|(_, o)| o.kind() != found[0].1.kind()) {
            let why = "not the same kind of file on all legs".to_owned();
            report.undecided.push(Undecided { path: path.to_owned(), why });
            return Ok(false);
        }
        if found[0].1.is_file() {
            self.file(path, found, limit, report)?;
            return Ok(false);
        }
        let is_dir = found[0].1.is_dir();
        self.others(path, &found, report)?;
        Ok(is_dir)
    }

    /// What has no checksum: directories, links, devices.
    fn others(&self, path: &Path, found: &[(Side<'_>, Object)], report: &mut Report) -> Result<()> {
        for (side, object) in &found[1..] {
            let mut differ = attributes((&found[0].0, &found[0].1), (side, object), path)?;
            // Times of a directory say nothing about who is right: they are levelled, as the engine does.
            let before = differ.len();
            differ.retain(|d| *d != Difference::Mtime);
            if self.heal && differ.len() < before {
                let change = times_of(&found[0].1);
                side.leg.change(object.fd.as_fd(), &change).map_err(side.failed(path))?;
            }
            if !differ.is_empty() {
                report.undecided.push(undecided(path, &found[0].0, side, &differ));
            }
        }
        Ok(())
    }

    fn file(
        &self,
        path: &Path,
        found: Vec<(Side<'_>, Object)>,
        limit: &mut Limit<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let mut copies = Vec::new();
        for (side, object) in found {
            copies.push(read(side, object, path, limit, report)?);
        }
        for i in 0..copies.len() {
            if !copies[i].bad.is_empty() {
                self.mend(path, i, &mut copies, report)?;
            }
        }
        if copies.iter().any(|c| !c.bad.is_empty()) {
            return Ok(());
        }
        self.agree(path, &copies, limit, report)
    }

    /// Writes a leg's wrong blocks from one that has them right.
    fn mend(&self, path: &Path, wrong: usize, copies: &mut [Copy<'_>], report: &mut Report) -> Result<()> {
        let expected = copies[wrong].known.as_ref().map(|k| k.sums.clone()).unwrap_or_default();
        let mut left = Vec::new();
        for block in copies[wrong].bad.clone() {
            let at = block * BLOCK as u64;
            let right = expected.get(block as usize).copied();
            // Right by its own checksum, or without one by that of the wrong leg.
            let source = copies.iter().find(|c| {
                let same_length = c.object.size() == copies[wrong].object.size();
                let own = c.sums.get(block as usize).copied();
                same_length
                    && !c.bad.contains(&block)
                    && match right {
                        Some(right) => own == Some(right),
                        None => c.known.is_some(),
                    }
            });
            let bytes = source.map(|source| {
                let mut bytes = vec![0; (source.object.size() - at).min(BLOCK as u64) as usize];
                let n = source.side.leg.read(source.file.as_fd(), &mut bytes, at);
                n.map(|n| bytes[..n].to_vec())
                    .ok()
                    .filter(|b| Some(sum(b)) == source.sums.get(block as usize).copied())
            });
            let healed = match bytes.flatten() {
                Some(bytes) if self.heal => {
                    let (side, object) = (copies[wrong].side, &copies[wrong].object);
                    crate::fail::point("scrub-write").map_err(side.failed(path))?;
                    let file = open_for_writing(&side, object).map_err(side.failed(path))?;
                    write(&side, &file, &bytes, at).map_err(side.failed(path))?;
                    report.bytes_written += bytes.len() as u64;
                    copies[wrong].sums[block as usize] = sum(&bytes);
                    true
                }
                Some(_) => false,
                None => {
                    left.push(block);
                    false
                }
            };
            let leg = copies[wrong].side.leg.name().to_owned();
            report.wrong.push(Wrong { leg, path: path.to_owned(), offset: at, healed });
        }
        let copy = &mut copies[wrong];
        if self.heal {
            // It is what it was: so is its time, and the mode that had to give way.
            let mode = Some(rustix::fs::Mode::from_raw_mode(copy.object.stat.st_mode & 0o7777));
            let change = crate::leg::Change { mode, ..times_of(&copy.object) };
            copy.side.leg.change(copy.object.fd.as_fd(), &change).map_err(copy.side.failed(path))?;
        }
        if !left.is_empty() {
            let why = format!(
                "wrong on {} from byte {}, and on no leg right",
                copy.side.name(),
                left[0] * BLOCK as u64
            );
            report.undecided.push(Undecided { path: path.to_owned(), why });
        }
        if self.heal {
            copy.bad = left;
        }
        Ok(())
    }

    /// No copy is wrong by its own checksum: they are equal, or one of them is known and decides, or nobody can say.
    fn agree(
        &self,
        path: &Path,
        copies: &[Copy<'_>],
        limit: &mut Limit<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let differ = |a: &Copy<'_>, b: &Copy<'_>| -> Result<Vec<Difference>> {
            let mut all = attributes((&a.side, &a.object), (&b.side, &b.object), path)?;
            let block = a.sums.iter().zip(&b.sums).position(|(x, y)| x != y);
            all.extend(block.map(|b| Difference::Content(b as u64)));
            Ok(all)
        };
        // Who is right: the one whose bytes and attributes are those of its entry, of the highest generation.
        let vouched = |c: &Copy<'_>| -> Result<Option<u64>> {
            let Some(k) = &c.known else { return Ok(None) };
            let s = &c.object.stat;
            let as_it_was = (k.mode, k.uid, k.gid) == (s.st_mode, s.st_uid, s.st_gid)
                && k.xattrs == digest(&c.side.xattrs(path, c.object.fd.as_fd())?);
            Ok(as_it_was.then_some(k.generation))
        };
        let mut best: Option<(usize, u64)> = None;
        let mut claims = Vec::new();
        for (i, copy) in copies.iter().enumerate() {
            let claim = vouched(copy)?;
            if let Some(g) = claim
                && best.is_none_or(|(_, b)| g > b)
            {
                best = Some((i, g));
            }
            claims.push(claim);
        }
        let base = best.map_or(0, |(i, _)| i);
        for (i, copy) in copies.iter().enumerate().filter(|(i, _)| *i != base) {
            let differences = differ(&copies[base], copy)?;
            // The same bytes at another time: times are levelled, as the engine does.
            if differences == [Difference::Mtime] && self.heal {
                let change = times_of(&copies[base].object);
                copy.side.leg.change(copy.object.fd.as_fd(), &change).map_err(copy.side.failed(path))?;
            }
            if differences.is_empty() || differences == [Difference::Mtime] {
                continue;
            }
            // Nobody vouches for either, or somebody for both alike.
            if best.is_none_or(|(_, g)| claims[i] == Some(g)) {
                report.undecided.push(undecided(path, &copies[base].side, &copy.side, &differences));
                return Ok(());
            }
            let leg = copy.side.leg.name().to_owned();
            let at =
                differences.iter().find_map(|d| if let Difference::Content(b) = d { Some(*b) } else { None });
            let offset = at.unwrap_or(0) * BLOCK as u64;
            report.wrong.push(Wrong { leg, path: path.to_owned(), offset, healed: self.heal });
            if self.heal {
                self.copy(path, copies[base].side, copy.side, limit, report)?;
            }
        }
        // What was unknown is known now.
        for copy in copies.iter().filter(|c| self.heal && c.known.is_none()) {
            copy.side.learn(path, self.generation, copies[base].sums.clone())?;
        }
        Ok(())
    }

    fn copy<'s>(
        &self,
        path: &Path,
        from: Side<'s>,
        to: Side<'s>,
        limit: &mut Limit<'_>,
        report: &mut Report,
    ) -> Result<()> {
        limit.advance(0)?;
        let mut own = Limit::new(&block_device::Unobserved, "healing", None, 0);
        let from = [from];
        // The caller holds it.
        let mut copier = Copier::new(&from, to, self.generation, &mut own, report);
        let done = copier.one(path);
        copier.note(done)
    }
}

fn read<'a>(
    side: Side<'a>,
    object: Object,
    path: &Path,
    limit: &mut Limit<'_>,
    report: &mut Report,
) -> Result<Copy<'a>> {
    let file = side.leg.open(object.fd.as_fd(), OFlags::RDONLY).map_err(side.failed(path))?;
    let known = side.known(path, &object)?;
    let (mut sums, mut bad) = (Vec::new(), Vec::new());
    let mut bytes = vec![0; BLOCK];
    for block in 0..object.blocks() {
        let at = block * BLOCK as u64;
        let len = (object.size() - at).min(BLOCK as u64) as usize;
        let read = side.leg.read(file.as_fd(), &mut bytes[..len], at);
        let right = known.as_ref().and_then(|k| k.sums.get(block as usize));
        let found = sum(&bytes[..len]);
        if read != Ok(len) || right.is_some_and(|r| *r != found) {
            bad.push(block);
        }
        sums.push(found);
        report.bytes_read += len as u64;
        limit.spent(len as u64)?;
        limit.advance(len as u64)?;
    }
    Ok(Copy { side, object, file, known, sums, bad })
}

fn times_of(object: &Object) -> crate::leg::Change {
    let stat = &object.stat;
    let time = |tv_sec, ns| Some(rustix::fs::Timespec { tv_sec, tv_nsec: ns });
    crate::leg::Change {
        atime: time(stat.st_atime, stat.st_atime_nsec as i64),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec as i64),
        ..Default::default()
    }
}

fn undecided(path: &Path, a: &Side<'_>, b: &Side<'_>, differ: &[Difference]) -> Undecided {
    let what: Vec<_> = differ.iter().map(ToString::to_string).collect();
    let why = format!(
        "{} and {} differ ({}), and no checksum says which is right",
        a.name(),
        b.name(),
        what.join(", ")
    );
    Undecided { path: PathBuf::from(path), why }
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
