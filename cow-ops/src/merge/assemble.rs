//! The merged view of a chain as a stream of windows and holes, for files that are made anew.

use super::apply::{LONG, Source, segments};
use block_device::{BlockDevice, ExtentKind, Observer, WINDOW, is_zero};
use cow_format::Segment;
use std::io;

/// What comes next in the stream.
pub enum Part<'a> {
    /// Bytes of the device; never more than [`WINDOW`] of them.
    Data(&'a [u8]),
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
    let mut window = Window { view, pieces: Vec::new(), buf: vec![0; WINDOW], scratch: vec![0; WINDOW] };
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
    fn extent(&self, layer: Option<usize>, at: u64, end: u64) -> io::Result<(bool, u64)> {
        if end - at < LONG {
            return Ok((false, end));
        }
        let (file, shift) = self.storage(layer);
        let extent = file.extent(shift + at)?;
        match extent.kind {
            ExtentKind::Hole if extent.len >= LONG => Ok((true, end.min(at + extent.len))),
            _ => Ok((false, end.min(at + extent.len.max(LONG)))),
        }
    }

    fn emit(&mut self, sink: &mut dyn FnMut(u64, Part<'_>) -> io::Result<()>) -> io::Result<()> {
        let (Some(first), Some(last)) = (self.pieces.first(), self.pieces.last()) else { return Ok(()) };
        let (start, end) = (first.offset, last.offset + last.len);
        // The base first: where it has many pieces, one read over the gaps is cheaper than many.
        for layer in std::iter::once(None).chain((0..self.view.layers.len()).map(Some)) {
            self.read_layer(layer, start)?;
        }
        self.pieces.clear();
        sink(start, Part::Data(&self.buf[..(end - start) as usize]))
    }

    fn read_layer(&mut self, layer: Option<usize>, start: u64) -> io::Result<()> {
        let (file, shift) = self.storage(layer);
        let mine = || self.pieces.iter().filter(|p| p.layer == layer);
        let range = |from: u64, len: u64| (from - start) as usize..(from - start + len) as usize;
        if mine().count() < 3 {
            for p in self.pieces.iter().filter(|p| p.layer == layer) {
                file.read_at(&mut self.buf[range(p.offset, p.len)], shift + p.offset)?;
            }
            return Ok(());
        }
        let (Some(first), Some(last)) = (mine().next(), mine().next_back()) else { return Ok(()) };
        let (from, len) = (first.offset, last.offset + last.len - first.offset);
        if layer.is_none() {
            return file.read_at(&mut self.buf[range(from, len)], from);
        }
        file.read_at(&mut self.scratch[range(from, len)], shift + from)?;
        for p in self.pieces.iter().filter(|p| p.layer == layer) {
            let r = range(p.offset, p.len);
            self.buf[r.clone()].copy_from_slice(&self.scratch[r]);
        }
        Ok(())
    }
}

/// Writes a stream into a target that is all hole: zeros, stored or not, stay holes, in steps of 64 KiB.
///
/// # Errors
/// Those of reading and writing.
pub fn write_sparse(view: View<'_>, target: &dyn BlockDevice, observer: &dyn Observer) -> io::Result<()> {
    stream(view, "merging", observer, &mut |offset, part| {
        let Part::Data(bytes) = part else { return Ok(()) };
        let mut at = 0;
        let mut chunks = bytes.chunks(LONG as usize).peekable();
        while let Some(chunk) = chunks.next() {
            let mut len = chunk.len();
            if !is_zero(chunk) {
                while let Some(next) = chunks.next_if(|c| !is_zero(c)) {
                    len += next.len();
                }
                target.write_at(&bytes[at..at + len], offset + at as u64)?;
            }
            at += len;
        }
        Ok(())
    })
}

/// The first byte in which `target` differs from the view, read back in full.
///
/// # Errors
/// Those of reading.
pub fn verify(view: View<'_>, target: &dyn BlockDevice, observer: &dyn Observer) -> io::Result<Option<u64>> {
    let mut back = vec![0; WINDOW];
    let mut wrong = None;
    let mut compare = |offset: u64, expect: Option<&[u8]>, len: usize| -> io::Result<()> {
        let got = &mut back[..len];
        target.read_at(got, offset)?;
        let same = expect.map_or_else(|| is_zero(got), |e| e == got);
        if !same && wrong.is_none() {
            let at = got.iter().enumerate().position(|(i, b)| *b != expect.map_or(0, |e| e[i]));
            wrong = at.map(|i| offset + i as u64);
        }
        Ok(())
    };
    stream(view, "verifying", observer, &mut |offset, part| match part {
        Part::Data(bytes) => compare(offset, Some(bytes), bytes.len()),
        Part::Hole(len) => {
            let (mut at, end) = (offset, offset + len);
            while at < end {
                let extent = target.extent(at)?;
                if extent.kind == ExtentKind::Hole {
                    at = end.min(at + extent.len);
                    continue;
                }
                let stop = end.min(at + extent.len.min(WINDOW as u64));
                compare(at, None, (stop - at) as usize)?;
                at = stop;
            }
            Ok(())
        }
    })?;
    Ok(wrong)
}
