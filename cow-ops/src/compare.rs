//! Which bytes of two disks differ.

use crate::error::{Error, Result};
use crate::merge::{Source, segments};
use block_device::{BlockDevice, Extent, ExtentKind, Extents, HostFile, LockKind, Observer, WINDOW, lock};
use cow_format::{Chain, CowDevice, Layer, OpenOptions, Run, looks_like_cow};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A disk that was opened: a COW chain, or a raw image.
pub struct Disk {
    /// The path it was opened by.
    pub path: PathBuf,
    /// Its layers, where it is a COW disk.
    pub chain: Option<Chain>,
    /// The device of its top layer, where it is a COW disk: which bytes that one holds.
    pub top: Option<Arc<CowDevice>>,
    /// Its content.
    pub device: Arc<dyn BlockDevice>,
}

impl Disk {
    /// Opens a COW file with all that is below it, or any other file as a raw image; to be written, and locked for that, as the options
    /// have it of the top layer.
    ///
    /// # Errors
    /// Those of opening; a file with a COW file's magic must be a good one.
    pub fn open(path: &Path, options: &OpenOptions<'_>) -> Result<Self> {
        let open = |source| cow_format::Error::Open { path: path.to_owned(), source };
        let file = HostFile::open(path, options.writable == 0).map_err(open)?;
        if looks_like_cow(&file).map_err(Error::io("reading", path))? {
            drop(file);
            let chain = Chain::open(path, options)?;
            let top = Arc::new(chain.top_device()?);
            let device = Arc::clone(&top) as Arc<dyn BlockDevice>;
            return Ok(Self { path: path.to_owned(), chain: Some(chain), top: Some(top), device });
        }
        if !options.unlocked {
            let kind = if file.read_only() { LockKind::Shared } else { LockKind::Exclusive };
            lock(&file, kind).map_err(cow_format::Error::io("locking", path))?;
        }
        Ok(Self::raw(path, Arc::new(file)))
    }

    /// A device that is taken as a whole, whatever it is made of.
    pub fn raw(path: &Path, device: Arc<dyn BlockDevice>) -> Self {
        Self { path: path.to_owned(), chain: None, top: None, device }
    }
}

/// Calls `found` with every maximal run of bytes that differ, in order, until it returns false. Where one
/// disk is longer, the end of it differs.
///
/// Two COW disks on one base are compared only where one of them has written; holes in both are skipped.
///
/// # Errors
/// Those of reading; [`Error::Cancelled`].
pub fn compare(
    a: &Disk,
    b: &Disk,
    observer: &dyn Observer,
    found: &mut dyn FnMut(Run) -> bool,
) -> Result<()> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::Interrupted => Error::Cancelled(""),
        _ => Error::Io { action: "comparing", path: a.path.clone(), source: e },
    };
    let mut merged = Joined { run: None, found };
    let common = a.device.len().min(b.device.len());
    let mut differ = Differ::new(&*a.device, &*b.device, common, observer);
    match written_ranges(a, b) {
        Some(sources) => {
            for segment in segments(&sources, common) {
                let s = segment.map_err(failed)?;
                if s.layer.is_some()
                    && !differ.range(s.offset, s.offset + s.len, &mut merged).map_err(failed)?
                {
                    return Ok(());
                }
            }
        }
        None => {
            if !differ.range(0, common, &mut merged).map_err(failed)? {
                return Ok(());
            }
        }
    }
    let longer = a.device.len().max(b.device.len());
    if longer == common || merged.add(Run { offset: common, len: longer - common }) {
        merged.end();
    }
    Ok(())
}

/// The layers that can make two disks differ, when both stand on the same file.
fn written_ranges<'a>(a: &'a Disk, b: &'a Disk) -> Option<Vec<Source<'a>>> {
    let layers = |d: &'a Disk| d.chain.as_ref().map_or(&[][..], |c| &c.layers[..]);
    let base = |d: &Disk| {
        d.chain.as_ref().map_or_else(|| std::fs::metadata(&d.path).ok(), |c| c.base.file().metadata().ok())
    };
    let id = |m: std::fs::Metadata| {
        use std::os::unix::fs::MetadataExt;
        (m.dev(), m.ino())
    };
    if base(a).map(id)? != base(b).map(id)? || a.device.len() != b.device.len() {
        return None;
    }
    let source = |l: &'a Layer| Source { file: &*l.file, layout: l.header.layout };
    Some(layers(a).iter().chain(layers(b)).map(source).collect())
}

/// Joins runs that touch.
struct Joined<'a> {
    run: Option<Run>,
    found: &'a mut dyn FnMut(Run) -> bool,
}

impl Joined<'_> {
    fn add(&mut self, run: Run) -> bool {
        match &mut self.run {
            Some(last) if last.end() == run.offset => {
                last.len += run.len;
                true
            }
            last => last.replace(run).is_none_or(|done| (self.found)(done)),
        }
    }

    fn end(&mut self) {
        if let Some(run) = self.run.take() {
            (self.found)(run);
        }
    }
}

struct Differ<'a> {
    devices: [&'a dyn BlockDevice; 2],
    extents: [Extents<'a>; 2],
    bufs: [Vec<u8>; 2],
    total: u64,
    observer: &'a dyn Observer,
}

impl<'a> Differ<'a> {
    fn new(a: &'a dyn BlockDevice, b: &'a dyn BlockDevice, total: u64, observer: &'a dyn Observer) -> Self {
        Self {
            devices: [a, b],
            extents: [Extents::new(a), Extents::new(b)],
            bufs: [vec![0; WINDOW], vec![0; WINDOW]],
            total,
            observer,
        }
    }

    /// Compares `[at, end)`. False when `out` wants no more.
    fn range(&mut self, mut at: u64, end: u64, out: &mut Joined<'_>) -> io::Result<bool> {
        while at < end {
            let n = (end - at).min(WINDOW as u64);
            let holes = if n == WINDOW as u64 { self.holes(at)? } else { [0, 0] };
            let skip = holes[0].min(holes[1]).min(end - at);
            if skip >= n {
                at += skip;
                continue;
            }
            for (i, device) in self.devices.into_iter().enumerate() {
                let buf = &mut self.bufs[i][..n as usize];
                if holes[i] >= n { buf.fill(0) } else { device.read_at(buf, at)? }
            }
            let (a, b) = (&self.bufs[0][..n as usize], &self.bufs[1][..n as usize]);
            if a != b && !runs(a, b, at, out) {
                return Ok(false);
            }
            at += n;
            self.observer.progress("comparing", at, self.total);
            if self.observer.cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        Ok(true)
    }

    /// Length of the hole at `at` in each device.
    fn holes(&mut self, at: u64) -> io::Result<[u64; 2]> {
        let [a, b] = &mut self.extents;
        let hole = |e: Extent| if e.kind == ExtentKind::Hole { e.len } else { 0 };
        Ok([hole(a.at(at)?), hole(b.at(at)?)])
    }
}

fn runs(a: &[u8], b: &[u8], base: u64, out: &mut Joined<'_>) -> bool {
    let mut i = 0;
    while i < a.len() {
        // Equal stretches are skipped a block at a time.
        let block = a.len().min(i + 512);
        if a[i..block] == b[i..block] {
            i = block;
            continue;
        }
        let Some(start) = (i..block).find(|k| a[*k] != b[*k]) else { return true };
        let end = (start..a.len()).find(|k| a[*k] == b[*k]).unwrap_or(a.len());
        if !out.add(Run { offset: base + start as u64, len: (end - start) as u64 }) {
            return false;
        }
        i = end;
    }
    true
}
