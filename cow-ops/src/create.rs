//! New COW files: on a base, on nothing, or from a changed copy of the base.

use crate::base::{Base, BaseFormat};
use crate::error::{Error, Result, or_cancelled};
use block_device::{BlockDevice, HostFile, NewFile, Observer};
use cow_format::{BaseSpec, BitWriter, Chain, Layer, Layout, NewCow, Run, Shape};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// What a new COW file starts from.
#[derive(Debug, Clone)]
pub enum Content {
    /// Every sector clean.
    Clean,
    /// An image of the same size: the sectors in which it differs from the base.
    CopyOf(PathBuf),
}

/// How to make a COW file.
#[derive(Debug, Clone)]
pub struct Create {
    /// Header version, sector size and alignment.
    pub shape: Shape,
    /// Whether the base is raw or a COW layer.
    pub base_format: BaseFormat,
    /// Make a new, empty base of this many bytes first.
    pub new_base: Option<u64>,
    /// What is in it.
    pub content: Content,
    /// Compute the base's identity, so that it is recognised when it was moved or touched.
    pub identify: bool,
    /// Replace an existing file.
    pub replace: bool,
}

/// What was made.
#[derive(Debug, Clone, Serialize)]
pub struct Created {
    /// The COW file.
    pub cow: PathBuf,
    /// Its base.
    pub base: PathBuf,
    /// Size of the device in bytes.
    pub size: u64,
    /// Dirty bytes.
    pub dirty: u64,
    /// Root of the base's digest tree, if it is recorded.
    pub identity: Option<String>,
}

/// Makes a COW file at `cow` on `base`.
///
/// # Errors
/// Any [`Error`]; nothing is left behind then.
pub fn create(cow: &Path, base: &Path, how: &Create, observer: &dyn Observer) -> Result<Created> {
    if !how.replace && cow.exists() {
        return Err(Error::io("creating", cow)(io::Error::from_raw_os_error(
            rustix::io::Errno::EXIST.raw_os_error(),
        )));
    }
    let Some(size) = how.new_base else { return on_base(cow, base, how, observer) };
    let new = NewFile::create(base, size).map_err(Error::io("creating the base", base))?;
    new.publish(false).map_err(Error::io("creating the base", base))?;
    on_base(cow, base, how, observer).inspect_err(|_| {
        // It was made just now, and nobody has a use for it. A failure here would hide the one that matters.
        let _ = std::fs::remove_file(cow_format::identity::tree_path(base));
        let _ = std::fs::remove_file(base);
    })
}

fn on_base(cow: &Path, base: &Path, how: &Create, observer: &dyn Observer) -> Result<Created> {
    let base = Base::open(base, how.base_format)?;
    refuse_same(cow, &base)?;
    let root = match how.identify && how.shape.version == cow_format::Version::V3 {
        true => Some(base.identify(observer)?),
        false => None,
    };
    let spec = base.spec(root)?;
    let new = NewCow::create(cow, how.shape, &spec)?;
    let dirty = match &how.content {
        Content::Clean => 0,
        Content::CopyOf(image) => {
            let image = HostFile::open(image, true).map_err(Error::io("opening", image))?;
            fill_from(&new, &*base.device, &image, observer)?
        }
    };
    let layer = new.publish(how.replace)?;
    let identity = layer.record.valid().and_then(|r| r.root).map(|r| r.to_string());
    Ok(Created { cow: cow.to_owned(), base: spec.path, size: spec.size, dirty, identity })
}

fn refuse_same(cow: &Path, base: &Base) -> Result<()> {
    let same = std::fs::canonicalize(cow).ok() == std::fs::canonicalize(base.path()).ok() && cow.exists();
    match same {
        true => Err(Error::Refused(format!("\"{}\" cannot be its own base", cow.display()))),
        false => Ok(()),
    }
}

/// Puts every piece in which `image` differs from `base` into a new COW file. Returns how many bytes.
pub(crate) fn fill_from(
    new: &NewCow,
    base: &dyn BlockDevice,
    image: &dyn BlockDevice,
    observer: &dyn Observer,
) -> Result<u64> {
    let layout = new.header.layout;
    let path = new.file().path().to_owned();
    if image.len() != layout.size {
        let (has, wants) = (image.len(), layout.size);
        return Err(Error::Refused(format!(
            "the image has {has} bytes, the base {wants}: they must be the same size"
        )));
    }
    let mut bits = BitWriter::new(new.file(), layout);
    let mut dirty = 0;
    let mut put = |run: Run, bytes: &[u8]| -> io::Result<()> {
        if !block_device::is_zero(bytes) {
            new.file().write_at(bytes, layout.data_offset + run.offset)?;
        }
        dirty += run.len;
        bits.mark(run)
    };
    differing_pieces(base, image, layout, (0, layout.size), observer, &mut put)
        .and_then(|()| bits.flush())
        .map_err(or_cancelled("writing", &path, ": nothing was made"))?;
    Ok(dirty)
}

/// Calls `put` with every run of [pieces](Layout::piece_end) within `[start, end)` in which `b` differs from
/// `a`, and with `b`'s bytes there. Runs end at multiples of the copy window.
pub(crate) fn differing_pieces(
    a: &dyn BlockDevice,
    b: &dyn BlockDevice,
    layout: Layout,
    (start, end): (u64, u64),
    observer: &dyn Observer,
    put: &mut dyn FnMut(Run, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let window = block_device::WINDOW.max(layout.sector_size as usize) as u64;
    let (mut x, mut y) = (vec![0; window as usize], vec![0; window as usize]);
    let mut at = start;
    while at < end {
        let n = (at + 1).next_multiple_of(window).min(end) - at;
        let hole = |d: &dyn BlockDevice| block_device::spans_hole(d, at, n);
        if n == window && hole(a)? && hole(b)? {
            at += n;
            continue;
        }
        let (x, y) = (&mut x[..n as usize], &mut y[..n as usize]);
        a.read_at(x, at)?;
        b.read_at(y, at)?;
        for (differ, run) in Pieces::new(layout, at, x, y) {
            if differ {
                put(run, &y[(run.offset - at) as usize..][..run.len as usize])?;
            }
        }
        at += n;
        observer.progress("comparing", at, end);
        if observer.cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(())
}

/// Splits two buffers, which are the device from `start` on, into runs of pieces that differ or are equal.
pub(crate) struct Pieces<'a> {
    layout: Layout,
    start: u64,
    at: u64,
    x: &'a [u8],
    y: &'a [u8],
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(layout: Layout, start: u64, x: &'a [u8], y: &'a [u8]) -> Self {
        Self { layout, start, at: start, x, y }
    }

    fn end(&self) -> u64 {
        self.start + self.x.len() as u64
    }

    /// Whether the piece at `at` differs, and where it ends.
    fn piece(&self, at: u64) -> (bool, u64) {
        let end = self.layout.piece_end(at).min(self.end());
        let range = (at - self.start) as usize..(end - self.start) as usize;
        (self.x[range.clone()] != self.y[range], end)
    }
}

impl Iterator for Pieces<'_> {
    type Item = (bool, Run);

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.at;
        if from == self.end() {
            return None;
        }
        let (differ, mut end) = self.piece(from);
        while end < self.end() {
            match self.piece(end) {
                (same, next) if same == differ => end = next,
                _ => break,
            }
        }
        self.at = end;
        Some((differ, Run { offset: from, len: end - from }))
    }
}

/// Layout and base of the top layer of a chain, for a new COW file beside it.
///
/// # Errors
/// When the base cannot be looked at.
pub fn like_top(chain: &Chain) -> Result<(Shape, BaseSpec)> {
    let top = chain.top();
    let mut spec = Base::at(chain, 1)?.spec(None)?;
    if let (Some(new), Some(known)) = (&mut spec.record, top.record.valid()) {
        new.root = known.root;
    }
    Ok((shape_of(top), spec))
}

/// The base of an existing layer, for a COW file that replaces it or joins it.
pub(crate) fn shape_of(layer: &Layer) -> Shape {
    let Layer { header, .. } = layer;
    Shape { version: header.version, sector_size: header.layout.sector_size, alignment: header.alignment }
}
