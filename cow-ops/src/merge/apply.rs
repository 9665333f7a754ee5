//! The engine of every merge into something that is there already: dirty segments, written over a target.

use block_device::{BlockDevice, Copier, CopyStats, Observer, WINDOW, spans_hole};
use cow_format::{DirtyRuns, Layout, Segment, Segments};
use std::io;

/// Runs at least this long are moved by themselves; a stretch of holes this long stays a hole.
pub(crate) const LONG: u64 = 64 << 10;
/// Short runs no further apart than this are read in one call.
pub(crate) const GAP: u64 = 4 << 10;

/// The bytes of a COW file, and where in them everything lies.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The file.
    pub file: &'a dyn BlockDevice,
    /// Its layout.
    pub layout: Layout,
}

/// The segments of some layers, the topmost first.
pub fn segments<'a>(layers: &[Source<'a>], size: u64) -> Segments<'a> {
    Segments::new(layers.iter().map(|s| DirtyRuns::new(s.file, s.layout)).collect(), size)
}

/// What some layers, the topmost first, hold together.
#[derive(Clone, Copy)]
pub struct Dirty<'a> {
    layers: &'a [Source<'a>],
    /// Size of the device in bytes.
    pub size: u64,
    /// How many of them are dirty in any layer.
    pub bytes: u64,
}

impl<'a> Dirty<'a> {
    /// Goes once through the bitmaps.
    ///
    /// # Errors
    /// Those of reading them.
    pub fn of(layers: &'a [Source<'a>], size: u64) -> io::Result<Self> {
        let count = |n, s: io::Result<Segment>| s.map(|s| n + s.layer.map_or(0, |_| s.len));
        Ok(Self { layers, size, bytes: segments(layers, size).try_fold(0, count)? })
    }
}

/// Writes every dirty byte to `target`, byte *b* of the device to `shift + b`. Doing so again,
/// from the start, after having been stopped anywhere, gives the same result. Nothing is flushed.
///
/// # Errors
/// Those of reading and writing; [`io::ErrorKind::Interrupted`] when the observer cancels.
pub fn apply(
    dirty: &Dirty<'_>,
    target: &dyn BlockDevice,
    shift: u64,
    observer: &dyn Observer,
) -> io::Result<CopyStats> {
    let Dirty { layers, size, bytes: total } = *dirty;
    let mut work =
        Apply { layers, target, shift, copier: Copier::new(target), group: Vec::new(), buf: vec![0; WINDOW] };
    let mut done = 0;
    for segment in segments(layers, size) {
        let segment = segment?;
        let Some(layer) = segment.layer else { continue };
        if segment.len >= LONG {
            work.write_group()?;
            work.write_long(layer, segment, observer, (done, total))?;
        } else {
            work.add(segment)?;
        }
        done += segment.len;
        observer.progress("merging", done, total);
        if observer.cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    work.write_group()?;
    Ok(work.copier.stats)
}

struct Apply<'a> {
    layers: &'a [Source<'a>],
    target: &'a dyn BlockDevice,
    shift: u64,
    copier: Copier,
    /// Short runs of one layer that lie close together, and within one window.
    group: Vec<Segment>,
    buf: Vec<u8>,
}

impl Apply<'_> {
    fn write_long(
        &mut self,
        layer: usize,
        segment: Segment,
        observer: &dyn Observer,
        (done, total): (u64, u64),
    ) -> io::Result<()> {
        let source = self.layers[layer];
        let first = source.layout.data_offset + segment.offset;
        // A clone takes no time; a copy is done in pieces, for the progress bar and for stopping.
        let clones = self.copier.clonable(first, self.shift + segment.offset, segment.len).is_some();
        let piece = if clones { 1 << 30 } else { 16 << 20 };
        let mut at = 0;
        while at < segment.len {
            let (len, offset) = (piece.min(segment.len - at), segment.offset + at);
            let from = source.layout.data_offset + offset;
            if spans_hole(source.file, from, len)? {
                self.target.write_zeroes(self.shift + offset, len, true)?;
                self.copier.stats.zeroed += len;
            } else {
                self.copier.copy(source.file, from, self.target, self.shift + offset, len)?;
            }
            at += len;
            observer.progress("merging", done + at, total);
            if observer.cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        Ok(())
    }

    fn add(&mut self, segment: Segment) -> io::Result<()> {
        if let (Some(first), Some(last)) = (self.group.first(), self.group.last()) {
            let apart = segment.offset - (last.offset + last.len);
            let span = segment.offset + segment.len - first.offset;
            if segment.layer != last.layer || apart > GAP || span > WINDOW as u64 {
                self.write_group()?;
            }
        }
        self.group.push(segment);
        Ok(())
    }

    fn write_group(&mut self) -> io::Result<()> {
        let (Some(first), Some(last)) = (self.group.first(), self.group.last()) else { return Ok(()) };
        let Some(source) = first.layer.map(|i| self.layers[i]) else { return Ok(()) };
        let start = first.offset;
        let span = &mut self.buf[..(last.offset + last.len - start) as usize];
        source.file.read_at(span, source.layout.data_offset + start)?;
        for run in self.group.drain(..) {
            let bytes = &span[(run.offset - start) as usize..][..run.len as usize];
            self.target.write_at(bytes, self.shift + run.offset)?;
            self.copier.stats.copied += run.len;
        }
        Ok(())
    }
}
