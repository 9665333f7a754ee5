//! Merging in place: into the base, or into the layer below.
//!
//! Order of what becomes durable: the log says that the merge begins; the undo file is complete; the base
//! changes; the COW file says what state of the base it fits now; the log says that the merge has ended.
//! Killed anywhere, the next run finds the log and does it again.

use super::apply::{Dirty, apply};
use super::undo::Undo;
use super::{Report, sources};
use crate::error::{Error, Result};
use crate::users::find_users;
use block_device::{BlockDevice, CopyStats, Observer};
use cow_format::log::{self, Entry, Event};
use cow_format::{Chain, OpenOptions};
use std::path::{Path, PathBuf};

/// How to merge in place.
#[derive(Debug, Clone, Default)]
pub struct InPlace {
    /// Use this base whatever the header names.
    pub backing: Option<PathBuf>,
    /// Merge every layer down to the raw base; otherwise the top one into what is directly below it.
    pub all: bool,
    /// Go on although the base has changed, other COW files use it, or no log can be kept beside it.
    pub force: bool,
    /// Take no locks.
    pub unlocked: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Make a COW file here that shows the base as it was.
    pub undo: Option<PathBuf>,
}

/// The durable marks around an in-place merge.
pub trait Journal {
    /// Makes it durable that the target is about to change.
    fn begin(&mut self) -> Result<()>;
    /// Makes it durable that the target has changed completely.
    fn end(&mut self) -> Result<()>;
    /// What is merged into, for messages.
    fn target(&self) -> &Path {
        Path::new("the base")
    }
}

/// The steps of an in-place merge, in their order.
///
/// # Errors
/// Those of the steps. The merge is to be run again, then.
pub fn apply_journaled(
    dirty: &Dirty<'_>,
    target: &dyn BlockDevice,
    journal: &mut dyn Journal,
    observer: &dyn Observer,
) -> Result<CopyStats> {
    let base = journal.target().to_owned();
    let left = ": the base is partly merged; run the same command again to finish";
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::Interrupted => Error::Cancelled(left),
        _ => Error::HalfDone { base: base.clone(), source: e },
    };
    journal.begin()?;
    let stats = apply(dirty, target, 0, observer).map_err(failed)?;
    target.flush().map_err(failed)?;
    journal.end()?;
    Ok(stats)
}

/// Merges the COW disk at `cow` in place.
///
/// # Errors
/// Any [`Error`]. Up to [`Journal::begin`] nothing has changed; later, running it again finishes it.
pub fn merge_in_place(cow: &Path, options: &InPlace, observer: &dyn Observer) -> Result<Report> {
    let digesting = |done, total| observer.progress("checking the base", done, total);
    let chain = Chain::open(
        cow,
        &OpenOptions {
            writable: match (options.dry_run, options.all) {
                (true, _) => 0,
                (false, true) => usize::MAX,
                (false, false) => 2,
            },
            top_may_be_read_only: true,
            unlocked: options.unlocked,
            backing: options.backing.clone(),
            ignore_mismatch: options.force,
            digesting: Some(&digesting),
            ..OpenOptions::default()
        },
    )?;
    chain.device(0)?; // finds out whether all dirty data is there: a merge that begins has to end
    let depth = if options.all { chain.layers.len() } else { 1 };
    let base = chain.below(depth - 1).path().to_owned();
    let log = log::read(&base).map_err(Error::io("reading the merge log of", &base))?;
    let resumed = log::unfinished(&log).filter(|e| e.is_about(cow));
    let undo_path = undo_path(options, resumed, &base)?;
    let layers = sources(&chain.layers[..depth]);
    let dirty = Dirty::of(&layers, chain.size()).map_err(Error::io("reading the bitmap of", cow))?;
    let mut report = Report {
        cow: cow.to_owned(),
        target: base.clone(),
        layers: depth,
        size: chain.size(),
        dirty: dirty.bytes,
        copied: 0,
        cloned: 0,
        zeroed: 0,
        resumed: resumed.is_some(),
        dry_run: options.dry_run,
        warnings: Vec::new(),
    };
    look_for_users(&chain, depth, options, &mut report)?;
    if options.dry_run {
        return Ok(report);
    }
    let undo = undo_path.map(Undo::new).transpose()?;
    let target = chain.device(depth)?;
    let mut journal = HostJournal {
        cow,
        base: &base,
        force: options.force,
        resumed: resumed.is_some(),
        undo: undo.as_ref(),
        chain: &chain,
        depth,
        observer,
        warnings: Vec::new(),
    };
    let stats = apply_journaled(&dirty, &*target, &mut journal, observer)?;
    report.warnings.append(&mut journal.warnings);
    report.add(stats);
    Ok(report)
}

fn undo_path(options: &InPlace, resumed: Option<&Entry>, base: &Path) -> Result<Option<PathBuf>> {
    let wanted = options.undo.as_deref().map(std::path::absolute).transpose();
    let wanted = wanted.map_err(Error::io("resolving", base))?;
    match (wanted, resumed) {
        // Once the base has changed, an undo file can no longer be made; the one of the first run counts.
        (Some(wanted), Some(begun)) if begun.undo.as_ref() != Some(&wanted) => Err(Error::Refused(format!(
            "an interrupted merge into \"{}\" is being finished, which began {}: --keep-undo must be the same",
            base.display(),
            begun
                .undo
                .as_ref()
                .map_or("without --keep-undo".to_owned(), |u| format!("with --keep-undo {}", u.display()))
        ))),
        (_, Some(begun)) => Ok(begun.undo.clone()),
        (Some(wanted), None) if wanted.exists() => {
            Err(Error::Refused(format!("the undo file \"{}\" exists: nothing was merged", wanted.display())))
        }
        (wanted, None) => Ok(wanted),
    }
}

fn look_for_users(chain: &Chain, depth: usize, options: &InPlace, report: &mut Report) -> Result<()> {
    let base = chain.below(depth - 1).path();
    let own: Vec<&Path> = chain.layers.iter().map(cow_format::Layer::path).collect();
    let dirs: Vec<&Path> = own
        .iter()
        .filter_map(|p| p.parent())
        .map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p })
        .collect();
    let mut except = own.clone();
    except.extend(options.undo.as_deref());
    // The layers between change with the base: what they leave clean shows through them.
    let between = chain.layers[1..depth].iter().map(cow_format::Layer::path);
    let mut users: Vec<PathBuf> =
        between.chain([base]).flat_map(|changed| find_users(changed, &dirs, &except)).collect();
    users.sort();
    users.dedup();
    if users.is_empty() {
        return Ok(());
    }
    if !options.force && !report.resumed && !options.dry_run {
        return Err(Error::OtherUsers { base: base.to_owned(), users });
    }
    let names = users.iter().map(|u| u.display().to_string()).collect::<Vec<_>>().join(", ");
    report
        .warnings
        .push(format!("these COW files were made on the base as it was, and no longer fit it: {names}"));
    Ok(())
}

/// The log beside the base, and the headers that follow the base's new state.
struct HostJournal<'a> {
    cow: &'a Path,
    base: &'a Path,
    force: bool,
    resumed: bool,
    undo: Option<&'a Undo>,
    chain: &'a Chain,
    depth: usize,
    observer: &'a dyn Observer,
    warnings: Vec<String>,
}

impl HostJournal<'_> {
    fn note(&mut self, event: Event) -> Result<()> {
        let undo = self.undo.map(|u| u.path.clone());
        let noted = Entry::now(event, self.cow, undo).and_then(|entry| log::append(self.base, &entry));
        match noted {
            Err(e) if self.force => {
                self.warnings.push(format!("no log could be kept beside the base ({e})"));
                Ok(())
            }
            Err(e) => Err(Error::Refused(format!(
                "cannot write the merge log \"{}\" ({e}), so an interruption could not be told later: --force to merge without",
                log::log_path(self.base).display()
            ))),
            Ok(()) => Ok(()),
        }
    }
}

impl Journal for HostJournal<'_> {
    fn begin(&mut self) -> Result<()> {
        if !self.resumed {
            self.note(Event::MergeBegin)?;
        }
        if self.depth < self.chain.layers.len() {
            self.chain.lengthen(self.depth)?;
        }
        match self.undo {
            Some(undo) => undo.make(self.chain, self.depth, self.observer),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        // The time stamp that the headers are about to name must survive too, and fdatasync leaves it out.
        let base = self.chain.below(self.depth - 1);
        base.file().sync_all().map_err(Error::io("syncing", self.base))?;
        if let Some(undo) = self.undo {
            undo.accept(self.chain, self.depth)?;
        }
        // From the bottom up: each header that changes changes the state that the one above it records.
        let mut chain =
            Chain { layers: self.chain.layers.clone(), base: self.chain.base.clone(), matches: Vec::new() };
        for i in (0..self.depth).rev() {
            if chain.layers[i].file.read_only() {
                let path = chain.layers[i].path().display();
                self.warnings
                    .push(format!("{path} is read-only, so it still names the base's old time stamp"));
                continue;
            }
            chain.accept_below(i, None, false)?;
        }
        self.note(Event::MergeEnd)
    }

    fn target(&self) -> &Path {
        self.base
    }
}
