//! Merging into a new file, which appears complete or not at all.

use super::apply::{Dirty, apply};
use super::assemble::View;
use super::undo::fill_union;
use super::write::write_sparse;
use super::{Report, Source, sources};
use crate::base::Base;
use crate::error::{Error, Result, or_cancelled};
use block_device::{BlockDevice, Copier, CopyStats, HostFile, NewFile, Observer, WINDOW, clone_range};
use cow_format::{Chain, Layer, NewCow, OpenOptions, Segment, Shape};
use std::fs;
use std::path::{Path, PathBuf};

/// How to merge into a new file.
#[derive(Debug, Clone, Default)]
pub struct NewFileMerge {
    /// Use this base whatever the header names.
    pub backing: Option<PathBuf>,
    /// Merge every layer into a flat image; otherwise a chain's top two layers become one.
    pub all: bool,
    /// Go on although the base has changed.
    pub force: bool,
    /// Take no locks.
    pub unlocked: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Do not read the new file back.
    pub no_verify: bool,
}

/// Merges the COW disk at `cow` into `target`, replacing what is there.
///
/// # Errors
/// Any [`Error`]; `target` is then what it was.
pub fn merge_new(
    cow: &Path,
    target: &Path,
    options: &NewFileMerge,
    observer: &dyn Observer,
) -> Result<Report> {
    let digesting = |done, total| observer.progress("checking the base", done, total);
    let chain = Chain::open(
        cow,
        &OpenOptions {
            writable: 0,
            unlocked: options.unlocked,
            backing: options.backing.clone(),
            ignore_mismatch: options.force,
            digesting: Some(&digesting),
            ..OpenOptions::default()
        },
    )?;
    refuse_own_parts(&chain, target)?;
    chain.device(0)?; // finds out whether all dirty data is there
    let flat = options.all || chain.layers.len() == 1;
    let depth = if flat { chain.layers.len() } else { 2 };
    let layers = sources(&chain.layers[..depth]);
    let dirty = Dirty::of(&layers, chain.size()).map_err(Error::io("reading the bitmap of", cow))?;
    let mut report = Report {
        cow: cow.to_owned(),
        target: target.to_owned(),
        layers: depth,
        size: chain.size(),
        dirty: dirty.bytes,
        copied: 0,
        cloned: 0,
        zeroed: 0,
        resumed: false,
        dry_run: options.dry_run,
        warnings: Vec::new(),
    };
    if options.dry_run {
        return Ok(report);
    }
    let view = View { layers: &layers, base: &*chain.base, size: chain.size() };
    let stats = match flat {
        true => flat_image(view, &dirty, target, !options.no_verify, observer)?,
        false => one_layer(&chain, target, !options.no_verify, observer)?,
    };
    report.add(stats);
    Ok(report)
}

/// A merge onto one of its own sources would pull it from under the others.
fn refuse_own_parts(chain: &Chain, target: &Path) -> Result<()> {
    let Ok(target_path) = fs::canonicalize(target) else { return Ok(()) };
    let files = chain.layers.iter().map(Layer::path).chain([chain.base.path()]);
    for path in files {
        if fs::canonicalize(path).is_ok_and(|p| p == target_path) {
            return Err(Error::Refused(format!(
                "\"{}\" is part of what is to be merged: use -d to merge in place",
                target.display()
            )));
        }
    }
    Ok(())
}

fn flat_image(
    view: View<'_>,
    dirty: &Dirty<'_>,
    target: &Path,
    verified: bool,
    observer: &dyn Observer,
) -> Result<CopyStats> {
    let unchanged = ": the target is what it was";
    let new = NewFile::create(target, view.size).map_err(Error::io("Output file open:", target))?;
    let out = new.device();
    let shared = clone_base(view, out);
    let write = || -> std::io::Result<(CopyStats, Option<u64>)> {
        if !shared {
            let wrong = write_sparse(view, out, verified, observer)?;
            return Ok((CopyStats { copied: view.size, ..CopyStats::default() }, wrong));
        }
        let stats = apply(dirty, out, 0, observer)?;
        let wrong = if verified { verify_copied(view, out, stats.cloned, observer)? } else { None };
        Ok((stats, wrong))
    };
    let (mut stats, wrong) = write().map_err(or_cancelled("Writing data to", target, unchanged))?;
    if let Some(offset) = wrong {
        return Err(Error::Verify { path: target.to_owned(), offset });
    }
    if shared {
        stats.cloned += view.size - stats.cloned.min(view.size);
    }
    new.publish(true).map_err(Error::io("putting in place", target))?;
    Ok(stats)
}

/// Shares the whole base with the new file, where the host can.
fn clone_base(view: View<'_>, out: &HostFile) -> bool {
    // Length 0 means up to the end of the source (ioctl_ficlonerange(2)).
    let cloned = view.base.host_file().is_some_and(|base| clone_range(base, 0, 0, out.file(), 0).is_ok());
    cloned && out.file().metadata().is_ok_and(|m| m.len() == view.size)
}

/// Reads back what was copied into a file that shares everything else with its sources.
fn verify_copied(
    view: View<'_>,
    out: &HostFile,
    cloned: u64,
    observer: &dyn Observer,
) -> std::io::Result<Option<u64>> {
    let copier = Copier::new(out);
    let middle = |s: &Segment, source: &Source<'_>| {
        copier.clonable(source.layout.data_offset + s.offset, s.offset, s.len).unwrap_or((s.len, 0))
    };
    let parts = || {
        super::apply::segments(view.layers, view.size)
            .filter_map(|s| s.map(|s| s.layer.map(|i| (s, view.layers[i]))).transpose())
    };
    let expected = parts().try_fold(0, |n, p| p.map(|(s, source)| n + middle(&s, &source).1))?;
    let all_cloned = expected == cloned; // otherwise the host gave up somewhere, and everything is read
    let mut back = ReadBack::new(out);
    for part in parts() {
        let (s, source) = part?;
        let from = source.layout.data_offset + s.offset;
        let (head, shared) = if all_cloned { middle(&s, &source) } else { (s.len, 0) };
        for (at, len) in [(0, head), (head + shared, s.len - head - shared)] {
            if let Some(i) = back.differs(source.file, from + at, s.offset + at, len)? {
                return Ok(Some(s.offset + at + i));
            }
        }
        observer.progress("verifying", s.offset + s.len, view.size);
    }
    Ok(None)
}

/// Compares ranges of a new file with where they came from.
struct ReadBack<'a> {
    file: &'a dyn BlockDevice,
    want: Vec<u8>,
    got: Vec<u8>,
}

impl<'a> ReadBack<'a> {
    fn new(file: &'a dyn BlockDevice) -> Self {
        Self { file, want: vec![0; WINDOW], got: vec![0; WINDOW] }
    }

    /// The first of `len` bytes that differs between `from` in `source` and `at` in the file.
    fn differs(
        &mut self,
        source: &dyn BlockDevice,
        from: u64,
        at: u64,
        len: u64,
    ) -> std::io::Result<Option<u64>> {
        let mut done = 0;
        while done < len {
            let n = (len - done).min(WINDOW as u64) as usize;
            source.read_at(&mut self.want[..n], from + done)?;
            self.file.read_at(&mut self.got[..n], at + done)?;
            if let Some(i) = self.want[..n].iter().zip(&self.got[..n]).position(|(a, b)| a != b) {
                return Ok(Some(done + i as u64));
            }
            done += n as u64;
        }
        Ok(None)
    }
}

fn one_layer(chain: &Chain, target: &Path, verified: bool, observer: &dyn Observer) -> Result<CopyStats> {
    let lower = &chain.layers[1].header;
    let shape = Shape {
        version: lower.version,
        sector_size: lower.layout.sector_size.min(chain.top().header.layout.sector_size),
        alignment: lower.alignment,
    };
    let new = NewCow::create(target, shape, &Base::at(chain, 2)?.spec(None)?)?;
    let stats = fill_union(&new, &chain.layers[..2], observer, target)?;
    if verified {
        let layers = [Source { file: new.file(), layout: new.header.layout }];
        let made = View { layers: &layers, base: &*chain.base, size: chain.size() };
        verify_union(chain, made, target, observer)?;
    }
    new.publish(true)?;
    Ok(stats)
}

/// Compares a new layer with the two it stands for, in every segment that any of them holds.
fn verify_union(chain: &Chain, made: View<'_>, target: &Path, observer: &dyn Observer) -> Result<()> {
    let old = sources(&chain.layers[..2]);
    let new = made.layers[0];
    let check = || -> std::io::Result<Option<u64>> {
        let mut back = ReadBack::new(new.file);
        for segment in super::apply::segments(&old, made.size) {
            let s = segment?;
            let Some(Source { file, layout }) = s.layer.map(|i| old[i]) else { continue };
            let (from, at) = (layout.data_offset + s.offset, new.layout.data_offset + s.offset);
            if let Some(i) = back.differs(file, from, at, s.len)? {
                return Ok(Some(s.offset + i));
            }
            observer.progress("verifying", s.offset + s.len, made.size);
        }
        Ok(None)
    };
    match check().map_err(or_cancelled("verifying", target, ": the target is what it was"))? {
        Some(offset) => Err(Error::Verify { path: target.to_owned(), offset }),
        None => Ok(()),
    }
}
