//! The merged view of a chain as a stream of windows and holes, for files that are made anew.

use super::apply::{GAP, LONG, Source, segments};
use block_device::{BlockDevice, ExtentKind, Extents, Observer, WINDOW};
use cow_format::Segment;
use std::io;

/// What comes next in the stream.
pub enum Part<'a> {
    /// Bytes of the device: the first `len` of the buffer, which is [`WINDOW`] long. Whoever wants to keep
    /// them takes the buffer and leaves another of that length.
    Data {
        /// The buffer.
        buf: &'a mut Vec<u8>,
        /// Bytes in it.
        len: usize,
    },
    /// This many bytes that are zero and stored nowhere.
    Hole(u64),
}

/// Layers over a base, for [`stream`].
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The topmost first.
    pub layers: &'a [Source<'a>],
    /// What is below them.
    pub base: &'a dyn BlockDevice,
    /// Bytes of the device.
    pub size: u64,
}

/// Calls `sink` with the offset and content of every part of the device, in order.
///
/// # Errors
/// Those of reading and `sink`'s; [`io::ErrorKind::Interrupted`] when the observer cancels.
pub fn stream(
    view: View<'_>,
    phase: &'static str,
    observer: &dyn Observer,
    sink: &mut dyn FnMut(u64, Part<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let files = view.layers.iter().map(|l| l.file).chain([view.base]);
    let extents = files.map(Extents::new).collect();
    let mut window =
        Window { view, extents, pieces: Vec::new(), buf: vec![0; WINDOW], scratch: vec![0; WINDOW] };
    for segment in segments(view.layers, view.size) {
        let segment = segment?;
        let (mut at, end) = (segment.offset, segment.offset + segment.len);
        while at < end {
            let (is_hole, data_end) = window.extent(segment.layer, at, end)?;
            if is_hole {
                window.emit(sink)?;
                sink(at, Part::Hole(data_end - at))?;
                at = data_end;
                continue;
            }
            while at < data_end {
                let stop = data_end.min((at / WINDOW as u64 + 1) * WINDOW as u64);
                window.pieces.push(Segment { offset: at, len: stop - at, layer: segment.layer });
                at = stop;
                if at.is_multiple_of(WINDOW as u64) {
                    window.emit(sink)?;
                    observer.progress(phase, at, view.size);
                    if observer.cancelled() {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                }
            }
        }
    }
    window.emit(sink)?;
    observer.progress(phase, view.size, view.size);
    Ok(())
}

struct Window<'a> {
    view: View<'a>,
    /// Of each layer, and at last of the base.
    extents: Vec<Extents<'a>>,
    /// Adjacent pieces within one window, in order.
    pieces: Vec<Segment>,
    buf: Vec<u8>,
    scratch: Vec<u8>,
}

impl<'a> Window<'a> {
    /// The file that holds a layer's bytes, and where in it the device begins.
    fn storage(&self, layer: Option<usize>) -> (&'a dyn BlockDevice, u64) {
        match layer {
            Some(i) => (self.view.layers[i].file, self.view.layers[i].layout.data_offset),
            None => (self.view.base, 0),
        }
    }

    /// Whether a long hole begins at `at`, and up to where, at most `end`, to go on without looking again.
    /// Looking costs two host calls, so short holes are read as the zeros they are.
    fn extent(&mut self, layer: Option<usize>, at: u64, end: u64) -> io::Result<(bool, u64)> {
        if end - at < LONG {
            return Ok((false, end));
        }
        let (_, shift) = self.storage(layer);
        let extent = self.extents[layer.map_or(self.view.layers.len(), |i| i)].at(shift + at)?;
        match extent.kind {
            ExtentKind::Hole if extent.len >= LONG => Ok((true, end.min(at + extent.len))),
            _ => Ok((false, end.min(at + extent.len.max(LONG)))),
        }
    }

    fn emit(&mut self, sink: &mut dyn FnMut(u64, Part<'_>) -> io::Result<()>) -> io::Result<()> {
        let (Some(first), Some(last)) = (self.pieces.first(), self.pieces.last()) else { return Ok(()) };
        let (start, end) = (first.offset, last.offset + last.len);
        // The base first: one read of it may go over what the layers hold.
        for layer in std::iter::once(None).chain((0..self.view.layers.len()).map(Some)) {
            self.read_layer(layer, start)?;
        }
        self.pieces.clear();
        sink(start, Part::Data { buf: &mut self.buf, len: (end - start) as usize })
    }

    fn read_layer(&mut self, layer: Option<usize>, start: u64) -> io::Result<()> {
        let (file, shift) = self.storage(layer);
        let range = |from: u64, end: u64| (from - start) as usize..(end - start) as usize;
        let mut mine = self.pieces.iter().filter(|p| p.layer == layer).peekable();
        while let Some(first) = mine.next() {
            let (from, mut end) = (first.offset, first.offset + first.len);
            let (following, mut more) = (mine.clone(), 0);
            while let Some(next) = mine.next_if(|next| next.offset - end <= GAP) {
                (end, more) = (next.offset + next.len, more + 1);
            }
            // What the base puts between its pieces, the layers overwrite.
            if layer.is_none() || more == 0 {
                file.read_at(&mut self.buf[range(from, end)], shift + from)?;
                continue;
            }
            file.read_at(&mut self.scratch[range(from, end)], shift + from)?;
            for p in std::iter::once(first).chain(following.take(more)) {
                let r = range(p.offset, p.offset + p.len);
                self.buf[r.clone()].copy_from_slice(&self.scratch[r]);
            }
        }
        Ok(())
    }
}
