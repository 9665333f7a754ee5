//! Dirty runs of a COW file, read from its bitmap a window at a time: constant memory at any size.

use crate::bits;
use crate::header::Layout;
use block_device::BlockDevice;
use std::io;

/// Bytes of bitmap held at a time.
const WINDOW: usize = 32 << 10;

/// A run of dirty bytes of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First byte.
    pub offset: u64,
    /// Length in bytes; a multiple of the sector size but at the end of the device.
    pub len: u64,
}

impl Run {
    /// The byte after it.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// Iterator over the maximal dirty runs of one COW file, in order. Holes of the bitmap are skipped
/// without being read. An error ends it.
pub struct DirtyRuns<'a> {
    file: &'a dyn BlockDevice,
    layout: Layout,
    window: Vec<u8>,
    /// First sector of the window.
    first: u64,
    /// Next sector to look at.
    at: u64,
    failed: bool,
}

impl<'a> DirtyRuns<'a> {
    /// The dirty runs of the COW file whose bytes `file` holds.
    pub fn new(file: &'a dyn BlockDevice, layout: Layout) -> Self {
        Self { file, layout, window: Vec::new(), first: 0, at: 0, failed: false }
    }

    /// The next stretch of equal bits that one window or one hole shows.
    fn stretch(&mut self) -> io::Result<Option<(bool, u64)>> {
        let l = &self.layout;
        if self.at >= l.mapped_sectors {
            return Ok(None);
        }
        let mut end = (self.first + self.window.len() as u64 * 8).min(l.mapped_sectors);
        if self.at >= end {
            // The end of a window or hole: a multiple of 64.
            let byte = self.at / 8;
            let left = l.bitmap_len - byte;
            let hole = self.file.next_data(l.bitmap_offset + byte)? - (l.bitmap_offset + byte);
            let hole = if hole >= left { left } else { hole / 8 * 8 };
            if hole > 0 {
                return Ok(Some((false, (hole * 8).min(l.mapped_sectors - self.at))));
            }
            self.window.resize(left.min(WINDOW as u64) as usize, 0);
            self.file.read_at(&mut self.window, l.bitmap_offset + byte)?;
            self.first = self.at;
            end = (self.first + self.window.len() as u64 * 8).min(l.mapped_sectors);
        }
        // Most of most bitmaps is clean: a cache line of zeros at a time.
        let skipped = if self.at.is_multiple_of(8) { self.zero_lines() } else { 0 };
        if skipped > 0 {
            return Ok(Some((false, skipped.min(end - self.at))));
        }
        let word = |w| bits::word_at(&self.window, w as usize);
        Ok(Some(bits::run(self.at - self.first, end - self.first, word)))
    }

    /// Sectors whose bits are all in whole 64 bytes of zeros from here on in the window.
    fn zero_lines(&self) -> u64 {
        let (lines, _) = self.window[((self.at - self.first) / 8) as usize..].as_chunks::<64>();
        lines.iter().take_while(|l| block_device::is_zero(*l)).count() as u64 * 512
    }

    fn advance(&mut self) -> io::Result<Option<Run>> {
        let mut start = None;
        while let Some((dirty, count)) = self.stretch()? {
            let at = self.at;
            self.at += count;
            match (dirty, start) {
                (true, None) => start = Some(at),
                (false, Some(start)) => return Ok(Some(self.run(start, at))),
                _ => {}
            }
        }
        Ok(start.map(|start| self.run(start, self.at)))
    }

    fn run(&self, start: u64, end: u64) -> Run {
        let shift = self.layout.sector_shift();
        let offset = start << shift;
        Run { offset, len: (end << shift).min(self.layout.size) - offset }
    }
}

impl Iterator for DirtyRuns<'_> {
    type Item = io::Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}
