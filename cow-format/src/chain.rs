//! Opening a COW disk on the host: its layers, its base, their locks, and whether they belong together.

use crate::device::CowDevice;
use crate::error::{Error, Result};
use crate::identity::{self, Fingerprint, Root};
use crate::layer::Layer;
use crate::log;
use crate::record::{Record, RecordState};
use crate::segments::Segments;
use block_device::{BlockDevice, HostFile, LockKind, lock};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Layers followed below the top one.
pub const MAX_LAYERS: usize = 64;

/// How a chain is opened.
#[derive(Clone, Default)]
pub struct OpenOptions<'a> {
    /// How many files, from the top, are opened for writing, under an exclusive lock: 0 to look, 1 to use
    /// the disk, 2 to merge one layer down, `usize::MAX` to merge to the bottom.
    pub writable: usize,
    /// The topmost layer may be read-only all the same: it is then locked shared.
    pub top_may_be_read_only: bool,
    /// Take no locks at all (`-U`): what is read may change meanwhile.
    pub unlocked: bool,
    /// Use this file as the top layer's base, whatever its header names.
    pub backing: Option<PathBuf>,
    /// Refuse the disk unless this is the file that its header names, whatever path leads there: what a
    /// caller asks for who names both, as in `ubd0=cow,base`.
    pub expected_backing: Option<PathBuf>,
    /// Open although the base seems to have changed. Its size must still be right.
    pub ignore_mismatch: bool,
    /// Told how far the digest of a base is, in bytes done and bytes in all, when one must be computed.
    pub digesting: Option<&'a dyn Fn(u64, u64)>,
}

/// Why a base is taken for the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Nothing has touched its inode since it was last known to be right.
    Fingerprint,
    /// It was touched or moved, but its content is the recorded one.
    Content,
    /// Size and modification time are the recorded ones; there is no identity to go by.
    Mtime,
    /// An interrupted merge of this very COW file explains the difference.
    UnfinishedMerge,
    /// It does not match, and the caller said to go on.
    Ignored,
}

/// A COW disk with all that is below it.
#[derive(Debug)]
pub struct Chain {
    /// The layers, the topmost first; at least one.
    pub layers: Vec<Layer>,
    /// The raw base.
    pub base: Arc<HostFile>,
    /// For each layer, why what is below it is taken for its base.
    pub matches: Vec<Match>,
}

impl Chain {
    /// Opens the COW file at `path` and everything below it.
    ///
    /// # Errors
    /// Any [`Error`]; nothing stays locked then.
    pub fn open(path: &Path, options: &OpenOptions<'_>) -> Result<Self> {
        let mut layers: Vec<Layer> = Vec::new();
        let mut next = path.to_owned();
        let base = loop {
            let depth = layers.len();
            let file = Arc::new(open_file(&next, depth, options)?);
            // Before the lock: a file that is there twice would be locked out by itself.
            if layers.iter().any(|l| same_file(&l.file, &file)) {
                return Err(Error::Cycle { path: next });
            }
            lock_file(&file, options)?;
            if let Some(above) = layers.last()
                && !above.record.valid().is_some_and(|r| r.base_is_cow)
            {
                break file;
            }
            if depth > MAX_LAYERS {
                return Err(Error::TooDeep { path: path.to_owned(), max: MAX_LAYERS });
            }
            let layer = Layer::read(file)?;
            if let (Some(requested), 0) = (&options.expected_backing, depth) {
                expect_backing(&layer, requested)?;
            }
            next = match (&options.backing, depth) {
                (Some(backing), 0) => backing.clone(),
                _ => layer.backing_path(),
            };
            layers.push(layer);
        };
        let mut chain = Self { layers, base, matches: Vec::new() };
        for i in (0..chain.layers.len()).rev() {
            let verdict = chain.check(i, options)?;
            chain.matches.insert(0, verdict);
        }
        chain.refresh()?;
        Ok(chain)
    }

    /// Notes the present state of bases that were touched or moved and have the recorded content all the
    /// same, so that the next open needs no digest, and the real tools find the time stamp that they expect.
    fn refresh(&mut self) -> Result<()> {
        // From the bottom up: a header that was rewritten has changed the state of its file.
        let mut rewritten = false;
        for i in (0..self.layers.len()).rev() {
            // What is wrong stays wrong, however often it is opened all the same.
            let right = matches!(self.matches[i], Match::Fingerprint | Match::Content | Match::Mtime);
            rewritten |= self.matches[i] == Match::Content;
            if rewritten && right && self.names_below(i) && !self.layers[i].file.read_only() {
                let root = self.layers[i].record.valid().and_then(|r| r.root);
                self.accept_below(i, root, false)?;
            } else {
                rewritten = false;
            }
        }
        Ok(())
    }

    /// Whether the base that was opened is the one that the header of layer `i` names. A copy that stands in
    /// for it has a time stamp of its own, which would not fit the path.
    fn names_below(&self, i: usize) -> bool {
        let id = |m: fs::Metadata| (m.dev(), m.ino());
        match (fs::metadata(self.layers[i].backing_path()), self.below(i).file().metadata()) {
            (Ok(named), Ok(opened)) => id(named) == id(opened),
            _ => false,
        }
    }

    /// The file directly below layer `i`.
    pub fn below(&self, i: usize) -> &Arc<HostFile> {
        self.layers.get(i + 1).map_or(&self.base, |l| &l.file)
    }

    /// The top layer.
    pub fn top(&self) -> &Layer {
        &self.layers[0]
    }

    /// Size of the disk in bytes.
    pub fn size(&self) -> u64 {
        self.top().header.layout.size
    }

    /// The disk as layer `i` and all below it show it; `i` = number of layers for the base alone.
    ///
    /// # Errors
    /// [`Error::Io`] where a file ends before data that it calls dirty.
    pub fn device(&self, i: usize) -> Result<Arc<dyn BlockDevice>> {
        if i == 0 {
            return Ok(Arc::new(self.top_device()?));
        }
        let mut device: Arc<dyn BlockDevice> = self.base.clone();
        for layer in self.layers[i..].iter().rev() {
            device = Arc::new(over(layer, device)?);
        }
        Ok(device)
    }

    /// As [`device(0)`](Self::device), for who asks which bytes the top layer holds.
    ///
    /// # Errors
    /// As [`device`](Self::device).
    pub fn top_device(&self) -> Result<CowDevice> {
        let device = over(self.top(), self.device(1)?)?;
        if !self.top().file.read_only() {
            self.lengthen(0)?;
        }
        Ok(device)
    }

    /// Makes the file of layer `i`, which is open for writing and must have been opened as a device, as long as
    /// writes to it may have to reach. What is added is a hole: where no data was missing, none is now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn lengthen(&self, i: usize) -> Result<()> {
        let layer = &self.layers[i];
        let len = layer.header.layout.file_len();
        if layer.file.len() >= len {
            return Ok(());
        }
        layer.file.set_len(len).map_err(Error::io("lengthening", layer.path()))
    }

    /// Which of the first `depth` layers each byte of the disk comes from.
    pub fn segments(&self, depth: usize) -> Segments<'_> {
        Segments::new(self.layers[..depth].iter().map(Layer::dirty_runs).collect(), self.size())
    }

    /// Records in layer `i`, which must be open for writing, that what is below it is its base as it is now.
    /// The recorded path stays, unless it is to be `moved` to where the base was found.
    ///
    /// # Errors
    /// As [`Layer::set_base`].
    pub fn accept_below(&mut self, i: usize, root: Option<Root>, moved: bool) -> Result<()> {
        let below = self.below(i).clone();
        let path = below.path();
        let meta = below.file().metadata().map_err(Error::io("stating", path))?;
        let fingerprint = Fingerprint::of(&meta);
        let backing = match moved {
            true => fs::canonicalize(path).map_err(Error::io("resolving", path))?,
            false => self.layers[i].header.backing.clone(),
        };
        let record = Record { root, base_is_cow: i + 1 < self.layers.len(), fingerprint };
        self.layers[i].set_base(&backing, fingerprint.header_mtime(), Some(record))
    }

    fn check(&self, i: usize, options: &OpenOptions<'_>) -> Result<Match> {
        let (layer, below) = (&self.layers[i], self.below(i));
        let path = below.path();
        let size = self.layers.get(i + 1).map_or(below.len(), |l| l.header.layout.size);
        let header = &layer.header;
        if size != header.layout.size {
            return Err(Error::SizeMismatch {
                header: header.layout.size,
                backing: size,
                path: path.to_owned(),
            });
        }
        if layer.record == RecordState::Damaged && !options.ignore_mismatch {
            return Err(Error::Record { path: layer.path().to_owned() });
        }
        let meta = below.file().metadata().map_err(Error::io("stating", path))?;
        let now = Fingerprint::of(&meta);
        let record = layer.record.valid();
        // First of all: a file system may keep data of a half-merged base and lose its new time stamps.
        let log = log::read(path).unwrap_or_default();
        if let Some(begun) = log::unfinished(&log) {
            // Of this layer, or of one above it together with this one.
            if self.layers[..=i].iter().any(|l| begun.is_about(l.path())) {
                return Ok(Match::UnfinishedMerge);
            }
            if !options.ignore_mismatch {
                return Err(Error::HalfMerged { base: path.to_owned(), cow: begun.cow.clone() });
            }
        }
        if record.is_some_and(|r| r.fingerprint == now) {
            return Ok(Match::Fingerprint);
        }
        let explanation =
            || log::last_merge(&log).map(|e| format!("it was merged with \"{}\" in place", e.cow.display()));
        match record.and_then(|r| r.root) {
            Some(recorded) => {
                let nobody = |_, _| {};
                let progress = options.digesting.unwrap_or(&nobody);
                let (found, _) = identity::identify(below, &*self.device(i + 1)?, false, progress)
                    .map_err(Error::io("reading", path))?;
                match found == recorded {
                    true => Ok(Match::Content),
                    false if options.ignore_mismatch => Ok(Match::Ignored),
                    false => {
                        let explanation = explanation();
                        Err(Error::IdentityMismatch { path: path.to_owned(), recorded, found, explanation })
                    }
                }
            }
            None if header.mtime == now.header_mtime() => Ok(Match::Mtime),
            None if options.ignore_mismatch => Ok(Match::Ignored),
            None => Err(Error::MtimeMismatch {
                header: header.mtime,
                backing: now.header_mtime(),
                path: path.to_owned(),
                explanation: explanation(),
            }),
        }
    }
}

fn over(layer: &Layer, below: Arc<dyn BlockDevice>) -> Result<CowDevice> {
    let cow = CowDevice::new(layer.file.clone(), layer.header.layout, below);
    cow.map_err(Error::io("opening", layer.path()))
}

fn open_file(path: &Path, depth: usize, options: &OpenOptions<'_>) -> Result<HostFile> {
    let failed = |source| match depth {
        0 => Error::Open { path: path.to_owned(), source },
        _ => Error::Backing { path: path.to_owned(), source },
    };
    match HostFile::open(path, depth >= options.writable) {
        Err(e) if depth == 0 && options.top_may_be_read_only && is_read_only(&e) => {
            HostFile::open(path, true)
        }
        other => other,
    }
    .map_err(failed)
}

fn lock_file(file: &HostFile, options: &OpenOptions<'_>) -> Result<()> {
    if options.unlocked {
        return Ok(());
    }
    let kind = if file.read_only() { LockKind::Shared } else { LockKind::Exclusive };
    lock(file, kind).map_err(Error::io("locking", file.path()))
}

fn expect_backing(layer: &Layer, requested: &Path) -> Result<()> {
    let id = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let specified = layer.backing_path();
    if requested == specified || (id(requested).is_some() && id(requested) == id(&specified)) {
        return Ok(());
    }
    let (requested, cow) = (requested.to_owned(), layer.path().to_owned());
    Err(Error::BackingMismatch { requested, specified, cow })
}

fn is_read_only(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn same_file(a: &HostFile, b: &HostFile) -> bool {
    match (a.file().metadata(), b.file().metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}
