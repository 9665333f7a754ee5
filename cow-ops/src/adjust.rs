//! Changing a COW file without changing what its disk shows: compact, rebase, relocate, identify.

use crate::base::{Base, BaseFormat};
use crate::create::{Pieces, differing_pieces};
use crate::error::{Error, Result, or_cancelled};
use crate::repair::{keeping_mtime, punch_orphans};
use block_device::{BlockDevice, HostFile, LockKind, Observer, WINDOW, is_zero, lock};
use cow_format::{Chain, Layer, Layout, Match, OpenOptions, Run};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a change came to.
#[derive(Debug, Clone, Serialize)]
pub struct Adjusted {
    /// The COW file.
    pub cow: PathBuf,
    /// Its base now.
    pub base: PathBuf,
    /// Root of the base's digest tree, if it is recorded.
    pub identity: Option<String>,
    /// Bytes that became clean, because the base holds the same.
    pub cleaned: u64,
    /// Bytes that became dirty, because the base holds something else.
    pub copied: u64,
    /// Disk space used by the COW file before, in bytes.
    pub space_before: u64,
    /// And after.
    pub space_after: u64,
}

fn open(cow: &Path, force: bool, backing: Option<PathBuf>, observer: &dyn Observer) -> Result<Chain> {
    let digesting = |done, total| observer.progress("checking the base", done, total);
    let options = OpenOptions {
        writable: 1,
        backing,
        ignore_mismatch: force,
        digesting: Some(&digesting),
        ..OpenOptions::default()
    };
    let chain = Chain::open(cow, &options)?;
    if chain.matches.contains(&Match::UnfinishedMerge) {
        let text = format!(
            "an in-place merge of it was interrupted: finish it first with uml_moo -d {}",
            cow.display()
        );
        return Err(Error::Refused(text));
    }
    Ok(chain)
}

fn space(layer: &Layer) -> u64 {
    use std::os::unix::fs::MetadataExt;
    layer.file.file().metadata().map_or(0, |m| m.blocks() * 512)
}

fn adjusted(layer: &Layer, base: PathBuf, space_before: u64) -> Adjusted {
    Adjusted {
        cow: layer.path().to_owned(),
        base,
        identity: layer.record.valid().and_then(|r| r.root).map(|r| r.to_string()),
        cleaned: 0,
        copied: 0,
        space_before,
        space_after: space(layer),
    }
}

fn unmoved(chain: &Chain, space_before: u64) -> Adjusted {
    adjusted(chain.top(), chain.below(0).path().to_owned(), space_before)
}

/// Clears the bits of pages that equal the base, and gives back the space of those, of zeros, and of data
/// that no bit names. Bits are cleared durably before their data goes. The file keeps its modification time,
/// for the sake of layers that stand on it.
///
/// # Errors
/// Any [`Error`]; wherever it stops, the disk shows what it showed.
pub fn compact(cow: &Path, observer: &dyn Observer) -> Result<Adjusted> {
    let chain = open(cow, false, None, observer)?;
    let before = space(chain.top());
    let cleaned = keeping_mtime(&chain.top().file, || shrink(&chain, observer))?;
    Ok(Adjusted { cleaned, ..unmoved(&chain, before) })
}

fn shrink(chain: &Chain, observer: &dyn Observer) -> Result<u64> {
    let (file, layout, below) = (&*chain.top().file, chain.top().header.layout, chain.device(1)?);
    let failed = || or_cancelled("compacting", file.path(), ": nothing is lost; run it again to go on");
    let mut cleaned = 0;
    let data = Shifted { file, layout };
    for run in chain.top().dirty_runs() {
        let run = run.map_err(failed())?;
        cleaned += clear_equal(&data, &*below, run, observer).map_err(failed())?;
    }
    file.flush().map_err(failed())?;
    for run in chain.top().dirty_runs() {
        punch_zeros(&data, run.map_err(failed())?).map_err(failed())?;
    }
    punch_orphans(file, layout).map_err(failed())?;
    file.flush().map_err(failed())?;
    Ok(cleaned)
}

/// The data of a COW file at device offsets, whatever its bitmap says.
struct Shifted<'a> {
    file: &'a dyn BlockDevice,
    layout: Layout,
}

impl Shifted<'_> {
    fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, self.layout.data_offset + offset)
    }

    /// Clears the bits of a range of whole sectors.
    fn clear(&self, start: u64, end: u64) -> io::Result<()> {
        let shift = self.layout.sector_shift();
        let (first, last) = (start >> shift, ((end - 1) >> shift) + 1);
        let mut bytes = vec![0; (last.div_ceil(8) - first / 8) as usize];
        let at = self.layout.bitmap_offset + first / 8;
        self.file.read_at(&mut bytes, at)?;
        (first..last).for_each(|s| bytes[(s / 8 - first / 8) as usize] &= !(1 << (s % 8)));
        self.file.write_at(&bytes, at)
    }
}

fn clear_equal(
    data: &Shifted<'_>,
    below: &dyn BlockDevice,
    run: Run,
    observer: &dyn Observer,
) -> io::Result<u64> {
    let window = (WINDOW as u64).max(u64::from(data.layout.sector_size));
    let (mut x, mut y) = (vec![0; window as usize], vec![0; window as usize]);
    let (mut at, mut cleaned) = (run.offset, 0);
    while at < run.end() {
        let n = (at + 1).next_multiple_of(window).min(run.end()) - at;
        let (x, y) = (&mut x[..n as usize], &mut y[..n as usize]);
        data.read(x, at)?;
        below.read_at(y, at)?;
        for (differ, equal) in Pieces::new(data.layout, at, x, y) {
            if !differ {
                data.clear(equal.offset, equal.end())?;
                cleaned += equal.len;
            }
        }
        at += n;
        observer.progress("compacting", at, data.layout.size);
        if observer.cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(cleaned)
}

/// Gives back whole blocks of zeros; the bit stays, and a hole reads the same.
fn punch_zeros(data: &Shifted<'_>, run: Run) -> io::Result<()> {
    const BLOCK: u64 = 4096;
    let shift = data.layout.data_offset;
    let mut buf = [0; BLOCK as usize];
    let mut at = (shift + run.offset).next_multiple_of(BLOCK);
    let end = shift + run.end();
    while at + BLOCK <= end {
        let extent = data.file.extent(at)?;
        if extent.kind == block_device::ExtentKind::Hole {
            at = (at + extent.len).next_multiple_of(BLOCK);
            continue;
        }
        data.file.read_at(&mut buf, at)?;
        if is_zero(&buf) {
            data.file.discard(at, BLOCK)?;
        }
        at += BLOCK;
    }
    Ok(())
}

/// Puts the COW file onto another base of the same size. Sectors that are clean and differ between the two
/// are first copied into the COW file; `header_only` trusts the caller that there are none, and needs the old
/// base no more.
///
/// # Errors
/// Any [`Error`]; up to the last step the COW file still stands, whole, on its old base.
pub fn rebase(
    cow: &Path,
    base: &Path,
    format: BaseFormat,
    header_only: bool,
    observer: &dyn Observer,
) -> Result<Adjusted> {
    let new = Base::open(base, format)?;
    let (mut layer, copied, before) = match header_only {
        true => {
            let open = |source| cow_format::Error::Open { path: cow.to_owned(), source };
            let file = HostFile::open(cow, false).map_err(open)?;
            lock(&file, LockKind::Exclusive).map_err(cow_format::Error::io("locking", cow))?;
            let layer = Layer::read(Arc::new(file))?;
            fits(&layer, &new)?;
            let before = space(&layer);
            (layer, 0, before)
        }
        false => {
            let mut chain = open(cow, false, None, observer)?;
            fits(chain.top(), &new)?;
            let before = space(chain.top());
            let copied = keep_differences(&chain, &new, observer)?;
            (chain.layers.remove(0), copied, before)
        }
    };
    let spec = new.spec(None)?;
    layer.set_base(&spec.path, spec.mtime, spec.record)?;
    Ok(Adjusted { copied, ..adjusted(&layer, spec.path, before) })
}

fn fits(layer: &Layer, base: &Base) -> Result<()> {
    let (header, backing) = (layer.header.layout.size, base.device.len());
    if header != backing {
        return Err(cow_format::Error::SizeMismatch { header, backing, path: base.path().to_owned() }.into());
    }
    Ok(())
}

/// Copies into the top layer whatever a new base does not hold. Returns how many bytes.
fn keep_differences(chain: &Chain, new: &Base, observer: &dyn Observer) -> Result<u64> {
    let failed = || {
        let left = ": it still stands on its old base, with nothing lost";
        or_cancelled("rebasing", chain.top().path(), left)
    };
    let (disk, below, layout) = (chain.device(0)?, chain.device(1)?, chain.top().header.layout);
    let mut copied = 0;
    for segment in chain.segments(1) {
        let s = segment.map_err(failed())?;
        if s.layer.is_some() {
            continue;
        }
        let mut keep = |run: Run, old: &[u8]| {
            copied += run.len;
            disk.write_at(old, run.offset)
        };
        let range = (s.offset, s.offset + s.len);
        differing_pieces(&*new.device, &*below, layout, range, observer, &mut keep).map_err(failed())?;
    }
    disk.flush().map_err(failed())?;
    Ok(copied)
}

/// Records where the base is now: at `base`, or wherever in `dirs` and below a file is that fits.
///
/// # Errors
/// [`Error::Refused`] when none or more than one fits; any other [`Error`].
pub fn relocate(
    cow: &Path,
    base: Option<&Path>,
    dirs: &[PathBuf],
    observer: &dyn Observer,
) -> Result<Adjusted> {
    let found = match base {
        Some(base) => base.to_owned(),
        None => crate::search::find_base(cow, dirs, observer)?,
    };
    let mut chain = open(cow, false, Some(found), observer)?;
    let before = space(chain.top());
    let root = chain.top().record.valid().and_then(|r| r.root);
    chain.accept_below(0, root, true)?;
    Ok(unmoved(&chain, before))
}

/// Computes the identity of the base and records it. `force` takes the base as it is now for the right one.
///
/// # Errors
/// [`Error::Refused`] where the version has no room for a record; any other [`Error`].
pub fn identify(cow: &Path, force: bool, observer: &dyn Observer) -> Result<Adjusted> {
    let mut chain = open(cow, force, None, observer)?;
    let before = space(chain.top());
    if chain.top().header.record_offset().is_none() {
        let name = chain.top().header.version.name();
        return Err(Error::Refused(format!("{name} has no room for an identity: convert to v3 first")));
    }
    let root = Base::at(&chain, 1)?.identify(observer)?;
    chain.accept_below(0, Some(root), false)?;
    Ok(unmoved(&chain, before))
}
