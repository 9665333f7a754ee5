//! Which layer of a chain each byte comes from, in order, in constant memory.

use crate::scan::{DirtyRuns, Run};
use std::io;

/// A stretch of the device that one layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First byte of the device.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// Index of the layer, 0 the topmost; `None` where all of them are clean.
    pub layer: Option<usize>,
}

/// Iterator over the [`Segment`]s of some layers of one device, which together cover `[0, size)`.
pub struct Segments<'a> {
    layers: Vec<Layer<'a>>,
    at: u64,
    size: u64,
}

struct Layer<'a> {
    runs: DirtyRuns<'a>,
    /// The first run that ends after the position.
    run: Option<Run>,
}

impl<'a> Segments<'a> {
    /// Overlays the runs of several layers, the topmost first.
    pub fn new(layers: Vec<DirtyRuns<'a>>, size: u64) -> Self {
        let none = Some(Run { offset: 0, len: 0 });
        Self { layers: layers.into_iter().map(|runs| Layer { runs, run: none }).collect(), at: 0, size }
    }

    fn advance(&mut self) -> io::Result<Option<Segment>> {
        let offset = self.at;
        if offset >= self.size {
            return Ok(None);
        }
        let (mut end, mut layer) = (self.size, None);
        for (i, l) in self.layers.iter_mut().enumerate() {
            while l.run.is_some_and(|r| r.end() <= offset) {
                l.run = l.runs.next().transpose()?;
            }
            // A run further down cannot show before the ones above it end.
            match (layer, l.run) {
                (None, Some(r)) if r.offset <= offset => (layer, end) = (Some(i), end.min(r.end())),
                (None, Some(r)) => end = end.min(r.offset),
                _ => {}
            }
        }
        self.at = end;
        Ok(Some(Segment { offset, len: end - offset, layer }))
    }
}

impl Iterator for Segments<'_> {
    type Item = io::Result<Segment>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.at = self.size;
        }
        next.transpose()
    }
}
