//! From one form of a disk to another.

use crate::base::{Base, BaseFormat};
use crate::compare::Disk;
use crate::create::fill_from;
use crate::error::{Error, Result, or_cancelled};
use crate::merge::{Source, View, write_sparse};
use crate::qcow2;
use block_device::{Copier, HostFile, NewFile, Observer, spans_hole};
use cow_format::{BitWriter, Chain, Layer, NewCow, OpenOptions, Run, Shape};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The form of the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A flat image.
    Raw,
    /// A qcow2 image: an overlay on the same base where the source is a COW disk on a raw base.
    Qcow2,
    /// A qcow2 image that stands by itself.
    Qcow2Flat,
    /// A COW file.
    Cow(#[serde(skip)] Shape),
}

/// What was converted.
#[derive(Debug, Clone, Serialize)]
pub struct Converted {
    /// The source.
    pub source: PathBuf,
    /// The new file.
    pub target: PathBuf,
    /// Its form.
    pub form: Form,
    /// Size of the device in bytes.
    pub size: u64,
    /// Bytes that the new file stores (for a flat image, the bytes looked at).
    pub stored: u64,
}

/// Converts `source` (a COW file, a qcow2 image, or else a raw one) into a new file at `target`. `base` is
/// the base of a new COW file, or of a qcow2 source that stands on one.
///
/// # Errors
/// Any [`Error`]; an existing target is replaced only by a complete file.
pub fn convert(
    source: &Path,
    target: &Path,
    form: Form,
    base: Option<(&Path, BaseFormat)>,
    observer: &dyn Observer,
) -> Result<Converted> {
    if std::fs::canonicalize(target).is_ok_and(|t| std::fs::canonicalize(source).is_ok_and(|s| s == t)) {
        return Err(Error::Refused(format!("\"{}\" cannot replace itself", target.display())));
    }
    let disk = open(source, base.map(|b| b.0))?;
    refuse_needed(&disk, base.map(|b| b.0), target)?;
    let size = disk.device.len();
    let stored = match (form, base, &disk.chain) {
        (Form::Cow(shape), None, Some(chain)) => reshape(chain, target, shape, observer)?,
        (Form::Cow(_), None, None) => {
            return Err(Error::Refused("a COW file needs a base: --base".to_owned()));
        }
        (Form::Cow(shape), Some((base, format)), _) => {
            let base = Base::open(base, format)?;
            let new = NewCow::create(target, shape, &base.spec(None)?)?;
            let dirty = fill_from(&new, &*base.device, &*disk.device, observer)?;
            new.publish(true)?;
            dirty
        }
        (Form::Qcow2, _, Some(chain)) => {
            let layers = sources(chain);
            let path = std::fs::canonicalize(chain.base.path())
                .map_err(Error::io("resolving", chain.base.path()))?;
            let view = View { layers: &layers, base: &*chain.base, size };
            qcow2::write(view, Some(&path), target, observer)?
        }
        (Form::Qcow2 | Form::Qcow2Flat, ..) => qcow2::write(flat(&disk), None, target, observer)?,
        (Form::Raw, ..) => raw(flat(&disk), target, observer)?,
    };
    Ok(Converted { source: source.to_owned(), target: target.to_owned(), form, size, stored })
}

/// A new file in the place of one that it, or the source, stands on would destroy both.
fn refuse_needed(disk: &Disk, base: Option<&Path>, target: &Path) -> Result<()> {
    let Ok(target_path) = std::fs::canonicalize(target) else { return Ok(()) };
    let below = disk.chain.iter().flat_map(|c| c.layers.iter().map(Layer::path).chain([c.base.path()]));
    for needed in below.chain(base) {
        if std::fs::canonicalize(needed).is_ok_and(|n| n == target_path) {
            let text =
                format!("\"{}\" is a base of what is converted: give another target", target.display());
            return Err(Error::Refused(text));
        }
    }
    Ok(())
}

fn open(path: &Path, base: Option<&Path>) -> Result<Disk> {
    let open = |source| cow_format::Error::Open { path: path.to_owned(), source };
    let file = HostFile::open(path, true).map_err(open)?;
    if !qcow2::looks_like_qcow2(&file) {
        return Disk::open(path, &OpenOptions::default());
    }
    drop(file);
    Ok(Disk::raw(path, qcow2::open_device(path, base)?))
}

fn sources(chain: &Chain) -> Vec<Source<'_>> {
    chain.layers.iter().map(|l| Source { file: &*l.file, layout: l.header.layout }).collect()
}

/// The whole disk as one layer of nothing over its own content.
fn flat(disk: &Disk) -> View<'_> {
    View { layers: &[], base: &*disk.device, size: disk.device.len() }
}

fn raw(view: View<'_>, target: &Path, observer: &dyn Observer) -> Result<u64> {
    let unchanged = ": the target is what it was";
    let new = NewFile::create(target, view.size).map_err(Error::io("creating", target))?;
    let wrong = write_sparse(view, new.device(), true, observer);
    if let Some(offset) = wrong.map_err(or_cancelled("writing", target, unchanged))? {
        return Err(Error::Verify { path: target.to_owned(), offset });
    }
    new.publish(true).map_err(Error::io("putting in place", target))?;
    Ok(view.size)
}

/// The top layer in another version, sector size or alignment, on the same base.
fn reshape(chain: &Chain, target: &Path, shape: Shape, observer: &dyn Observer) -> Result<u64> {
    let mut spec = Base::at(chain, 1)?.spec(None)?;
    let top = chain.top();
    if let (Some(record), Some(old)) = (&mut spec.record, top.record.valid()) {
        record.root = old.root;
    }
    let new = NewCow::create(target, shape, &spec)?;
    let (layout, disk) = (new.header.layout, chain.device(0)?);
    let ss = u64::from(layout.sector_size);
    let mut copier = Copier::new(new.file());
    let mut bits = BitWriter::new(new.file(), layout);
    let (mut stored, mut done) = (0, 0);
    let mut fill = || -> std::io::Result<()> {
        for run in top.dirty_runs() {
            let run = run?;
            // Larger sectors: what surrounds the old ones within the new ones is copied with them.
            let start = (run.offset / ss * ss).max(done);
            let end = run.end().next_multiple_of(ss).min(layout.size);
            if start >= end {
                continue;
            }
            if !spans_hole(&*disk, start, end - start)? {
                copier.copy(&*disk, start, new.file(), layout.data_offset + start, end - start)?;
            }
            bits.mark(Run { offset: start, len: end - start })?;
            (stored, done) = (stored + end - start, end);
            observer.progress("converting", end, layout.size);
            if observer.cancelled() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
        }
        bits.flush()
    };
    fill().map_err(or_cancelled("writing", target, ": nothing was made"))?;
    new.publish(true)?;
    Ok(stored)
}
