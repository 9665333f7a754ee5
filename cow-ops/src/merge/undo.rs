//! The undo file of an in-place merge: a COW file over the merged base that shows the base as it was.

use super::apply::{Dirty, apply};
use super::sources;
use crate::base::Base;
use crate::error::{Error, Result, or_cancelled};
use block_device::{Copier, HostFile, Observer};
use cow_format::{BitWriter, Chain, Layer, NewCow, Run, Shape};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An undo file, to be made or made already.
pub(super) struct Undo {
    pub(super) path: PathBuf,
}

impl Undo {
    pub(super) fn new(path: PathBuf) -> Result<Self> {
        if path.parent().is_some_and(|p| !p.is_dir()) {
            return Err(Error::Refused(format!("no directory for the undo file \"{}\"", path.display())));
        }
        Ok(Self { path })
    }

    /// Copies what the merge will overwrite. Where the file is there already, an earlier run has published
    /// it complete, and the base may have changed since: then it stays.
    pub(super) fn make(&self, chain: &Chain, depth: usize, observer: &dyn Observer) -> Result<()> {
        if self.path.exists() {
            return Ok(());
        }
        let new = NewCow::create(&self.path, Shape::default(), &Base::at(chain, depth)?.spec(None)?)?;
        let layout = new.header.layout;
        let old = chain.device(depth)?;
        let mut copier = Copier::new(new.file());
        let mut bits = BitWriter::new(new.file(), layout);
        let mut fill = || -> std::io::Result<()> {
            for segment in chain.segments(depth) {
                let s = segment?;
                if s.layer.is_some() {
                    copier.copy(&*old, s.offset, new.file(), layout.data_offset + s.offset, s.len)?;
                    bits.mark(Run { offset: s.offset, len: s.len })?;
                    observer.progress("keeping what is overwritten", s.offset + s.len, layout.size);
                }
                if observer.cancelled() {
                    return Err(std::io::ErrorKind::Interrupted.into());
                }
            }
            bits.flush()
        };
        fill().map_err(or_cancelled("writing the undo file", &self.path, ": the base is unchanged"))?;
        new.publish(false)?;
        Ok(())
    }

    /// Says in the undo file that the base, as it is now, is the one that it belongs on.
    pub(super) fn accept(&self, chain: &Chain, depth: usize) -> Result<()> {
        let file =
            HostFile::open(&self.path, false).map_err(Error::io("opening the undo file", &self.path))?;
        let mut layer = Layer::read(Arc::new(file))?;
        let spec = Base::at(chain, depth)?.spec(None)?;
        Ok(layer.set_base(&spec.path, spec.mtime, spec.record)?)
    }
}

/// Puts the union of some layers into a new COW file.
pub(super) fn fill_union(
    new: &NewCow,
    layers: &[Layer],
    observer: &dyn Observer,
    path: &Path,
) -> Result<block_device::CopyStats> {
    let layout = new.header.layout;
    let sources = sources(layers);
    let fill = || {
        let dirty = Dirty::of(&sources, layout.size)?;
        let stats = apply(&dirty, new.file(), layout.data_offset, observer)?;
        let mut bits = BitWriter::new(new.file(), layout);
        for segment in super::apply::segments(&sources, layout.size) {
            let s = segment?;
            if s.layer.is_some() {
                bits.mark(Run { offset: s.offset, len: s.len })?;
            }
        }
        bits.flush()?;
        Ok(stats)
    };
    fill().map_err(or_cancelled("writing", path, ": nothing was changed"))
}
