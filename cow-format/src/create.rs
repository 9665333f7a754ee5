//! Making COW files.

use crate::error::{Error, Result};
use crate::header::{DEFAULT_ALIGNMENT, DEFAULT_SECTOR_SIZE, Header, Layout, Version};
use crate::layer::{Layer, head_bytes};
use crate::log::{self, Entry, Event};
use crate::record::Record;
use crate::scan::Run;
use block_device::{BlockDevice, HostFile, NewFile};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The form of a new COW file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Header version.
    pub version: Version,
    /// Unit of the bitmap in bytes.
    pub sector_size: u32,
    /// Alignment of bitmap and data in bytes (version 3).
    pub alignment: u32,
}

impl Default for Shape {
    /// What the real tools write.
    fn default() -> Self {
        Self { version: Version::V3, sector_size: DEFAULT_SECTOR_SIZE, alignment: DEFAULT_ALIGNMENT }
    }
}

/// The base of a new COW file.
#[derive(Debug, Clone)]
pub struct BaseSpec {
    /// Path to record; absolute, so that the real tools find it from anywhere.
    pub path: PathBuf,
    /// Modification time to record, seconds since 1970.
    pub mtime: u32,
    /// Size of the device in bytes.
    pub size: u64,
    /// Identity to record, where the version has room for it.
    pub record: Option<Record>,
}

/// A COW file in the making: filled through [`file`](Self::file), and then published.
#[derive(Debug)]
pub struct NewCow {
    new: NewFile,
    /// Its header.
    pub header: Header,
    target: PathBuf,
    base: PathBuf,
}

impl NewCow {
    /// Starts a COW file with every sector clean.
    ///
    /// # Errors
    /// [`Error::Header`] for a shape that cannot describe the base, [`Error::Unsupported`] where the
    /// base needs a record and there is no room for one, [`Error::Io`].
    pub fn create(target: &Path, shape: Shape, base: &BaseSpec) -> Result<Self> {
        let Shape { version, sector_size, alignment } = shape;
        let header = Header::new(version, &base.path, base.mtime, base.size, sector_size, alignment)
            .map_err(|source| Error::Header { path: target.to_owned(), source })?;
        let head = head_bytes(&header, base.record, target)?;
        let new = NewFile::create(target, header.layout.file_len()).map_err(Error::io("creating", target))?;
        new.device().write_at(&head, 0).map_err(Error::io("writing the header of", target))?;
        Ok(Self { new, header, target: target.to_owned(), base: base.path.clone() })
    }

    /// The file's bytes. Data goes to `header.layout.data_offset + offset`, bits into the bitmap; the order
    /// does not matter before the file has a name.
    pub fn file(&self) -> &HostFile {
        self.new.device()
    }

    /// Syncs the file, gives it its name, and notes it in the log of its base where that can be written.
    ///
    /// # Errors
    /// [`Error::Io`]: `EEXIST` when the target exists and `replace` is not set.
    pub fn publish(self, replace: bool) -> Result<Layer> {
        let file = self.new.publish(replace).map_err(Error::io("creating", &self.target))?;
        if let Ok(entry) = Entry::now(Event::Created, &self.target, None) {
            // Only a help for finding users of the base later; the base may lie where nobody may write.
            let _ = log::append(&self.base, &entry);
        }
        Layer::read(Arc::new(file))
    }
}

/// Sets bits of a new file's bitmap in ascending order, through a buffer.
pub struct BitWriter<'a> {
    file: &'a dyn BlockDevice,
    layout: Layout,
    /// Bytes of the bitmap from `first` on, to be written when the next bit lies beyond them.
    window: Vec<u8>,
    first: u64,
    used: bool,
}

impl<'a> BitWriter<'a> {
    const WINDOW: u64 = 32 << 10;

    /// For a file whose bitmap is still all zero.
    pub fn new(file: &'a dyn BlockDevice, layout: Layout) -> Self {
        Self { file, layout, window: vec![0; Self::WINDOW as usize], first: 0, used: false }
    }

    /// Marks the sectors that `run` touches, which lie at or after all that were marked before.
    ///
    /// # Errors
    /// Those of writing; [`io::ErrorKind::Unsupported`] where sectors have no bit in this version.
    pub fn mark(&mut self, run: Run) -> io::Result<()> {
        self.layout.check_mapped(run.end())?;
        let shift = self.layout.sector_shift();
        debug_assert!(self.used || (run.offset >> shift) / 8 >= self.first, "runs come in ascending order");
        let (mut at, end) = (run.offset >> shift, ((run.end() - 1) >> shift) + 1);
        while at < end {
            if at / 8 >= self.first + Self::WINDOW {
                self.flush()?;
                self.first = at / 8 / Self::WINDOW * Self::WINDOW;
            }
            let stop = end.min((self.first + Self::WINDOW) * 8);
            while at < stop {
                let byte = &mut self.window[(at / 8 - self.first) as usize];
                let n = (8 - at % 8).min(stop - at);
                *byte |= (((1u16 << n) - 1) << (at % 8)) as u8;
                at += n;
            }
            self.used = true;
        }
        Ok(())
    }

    /// Writes what is still buffered. To be called at the end.
    ///
    /// # Errors
    /// Those of writing.
    pub fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.used) {
            let len = Self::WINDOW.min(self.layout.bitmap_len - self.first) as usize;
            self.file.write_at(&self.window[..len], self.layout.bitmap_offset + self.first)?;
            self.window.fill(0);
        }
        Ok(())
    }
}
