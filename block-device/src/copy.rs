//! Moving bytes between devices the cheapest way the host has.
//!
//! Measured (docs/performance.md): `pread` + `pwrite` through a 256 KiB buffer costs less CPU than
//! `copy_file_range` on ext4 and tmpfs, where the latter is a splice page by page. So: clone long runs
//! where the file system shares extents, `copy_file_range` only where a server does the copy, and read
//! and write otherwise.

use crate::{BlockDevice, clone_range};
use rustix::fs::{copy_file_range, fstatfs};
use std::fs::File;
use std::io;

/// Size in bytes of the buffer that copies go through: it fits a second-level cache.
pub const WINDOW: usize = 256 << 10;

/// Runs shorter than this are copied even where they could be cloned: an extent of its own for every few
/// blocks costs the file system more than the copy.
const CLONE_MIN: u64 = 64 << 10;

/// File systems where a copy inside the host kernel is a copy on the server (linux/magic.h).
const SERVER_COPY: [u32; 5] = [0x6969, 0xfe53_4d42, 0xff53_4d42, 0x00c3_6400, 0x6573_5546];

/// What a [`Copier`] has done, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyStats {
    /// Read and written.
    pub copied: u64,
    /// Shared by the file system, with no data moved.
    pub cloned: u64,
    /// Made to read as zeros without writing them.
    pub zeroed: u64,
}

/// Copies ranges into one target.
#[derive(Debug)]
pub struct Copier {
    buf: Vec<u8>,
    /// Block size of the target's file system while cloning still looks possible there.
    clone_block: Option<u64>,
    server_copy: bool,
    /// What was done so far.
    pub stats: CopyStats,
}

impl Copier {
    /// A copier into `target`.
    pub fn new(target: &dyn BlockDevice) -> Self {
        let fs = target.host_file().and_then(|f| fstatfs(f).ok());
        Self {
            buf: vec![0; WINDOW],
            clone_block: fs.as_ref().map(|s| s.f_bsize as u64).filter(|b| b.is_power_of_two()),
            server_copy: fs.is_some_and(|s| SERVER_COPY.contains(&(s.f_type as u32))),
            stats: CopyStats::default(),
        }
    }

    /// Copies `len` bytes from `src_offset` of `src` to `offset` of `dst`.
    ///
    /// # Errors
    /// Those of reading and writing; `offset`s up to the failing one may have been written.
    pub fn copy(
        &mut self,
        src: &dyn BlockDevice,
        src_offset: u64,
        dst: &dyn BlockDevice,
        offset: u64,
        len: u64,
    ) -> io::Result<()> {
        let whole = Span { src, src_offset, dst, offset, len };
        let (head, shared) = self.try_clone(whole)?;
        self.copy_bytes(whole.part(0, head))?;
        self.copy_bytes(whole.part(head + shared, len - head - shared))
    }

    /// Where in a range the part begins that would be cloned and not copied, and how long that is.
    pub fn clonable(&self, src_offset: u64, offset: u64, len: u64) -> Option<(u64, u64)> {
        let block = self.clone_block?;
        if len < CLONE_MIN || src_offset % block != offset % block {
            return None;
        }
        let head = (block - offset % block) % block;
        Some((head, (len - head) / block * block))
    }

    /// Shares the middle of a range where that can be done. Returns where in the range it begins and how
    /// long it is; `(len, 0)` when nothing was shared.
    fn try_clone(&mut self, span: Span<'_>) -> io::Result<(u64, u64)> {
        let nothing = Ok((span.len, 0));
        let (Some(from), Some(to)) = (span.src.host_file(), span.dst.host_file()) else { return nothing };
        let Some((head, middle)) = self.clonable(span.src_offset, span.offset, span.len) else {
            return nothing;
        };
        match clone_range(from, span.src_offset + head, middle, to, span.offset + head) {
            Ok(()) => {
                self.stats.cloned += middle;
                Ok((head, middle))
            }
            Err(e) if e.kind() == io::ErrorKind::StorageFull => Err(e),
            Err(_) => {
                self.clone_block = None;
                nothing
            }
        }
    }

    fn copy_bytes(&mut self, mut span: Span<'_>) -> io::Result<()> {
        self.stats.copied += span.len;
        if let (true, Some(from), Some(to)) = (self.server_copy, span.src.host_file(), span.dst.host_file()) {
            let done = server_copy(from, span.src_offset, to, span.offset, span.len);
            self.server_copy = done == span.len;
            span = span.part(done, span.len - done);
        }
        while span.len > 0 {
            let n = (span.len as usize).min(self.buf.len());
            span.src.read_at(&mut self.buf[..n], span.src_offset)?;
            span.dst.write_at(&self.buf[..n], span.offset)?;
            span = span.part(n as u64, span.len - n as u64);
        }
        Ok(())
    }
}

/// Bytes to be copied: where from, where to, how many.
#[derive(Clone, Copy)]
struct Span<'a> {
    src: &'a dyn BlockDevice,
    src_offset: u64,
    dst: &'a dyn BlockDevice,
    offset: u64,
    len: u64,
}

impl Span<'_> {
    /// `len` bytes of it, from its byte `at` on.
    fn part(self, at: u64, len: u64) -> Self {
        Self { src_offset: self.src_offset + at, offset: self.offset + at, len, ..self }
    }
}

/// Bytes that the server copied; fewer than `len` when it would not go on, for whatever reason: the caller
/// then copies the rest itself, and meets a real error there.
fn server_copy(from: &File, src_offset: u64, to: &File, offset: u64, len: u64) -> u64 {
    let (mut at, mut out) = (src_offset, offset);
    while at - src_offset < len {
        let left = usize::try_from(len - (at - src_offset)).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(from, Some(&mut at), to, Some(&mut out), left) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    at - src_offset
}

/// Whether every byte is zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // The first word decides for nearly all data; the rest is compared a cache line at a time.
    let (lines, rest) = bytes.as_chunks::<64>();
    lines.iter().all(|l| l.iter().fold(0, |a, b| a | b) == 0) && rest.iter().all(|b| *b == 0)
}

/// Whether the whole of a range is a hole in `device`.
///
/// # Errors
/// Those of [`BlockDevice::next_data`].
pub fn spans_hole(device: &dyn BlockDevice, offset: u64, len: u64) -> io::Result<bool> {
    Ok(device.next_data(offset)? >= offset + len)
}
