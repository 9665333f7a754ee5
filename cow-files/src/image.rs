//! A disk whose file system is open.

use crate::error::{Error, Result};
use crate::paths::text;
use block_device::BlockDevice;
use cow_format::{Chain, Layer, OpenOptions};
use cow_ops::Disk;
use cow_ops::volume::{self, Place};
use ext::{Ext, Inode};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a disk is opened.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// Take no locks: what is read may change meanwhile.
    pub unlocked: bool,
    /// What is below a COW file, whatever its header names.
    pub base: Option<PathBuf>,
    /// Number of the partition that is meant, 0 for the whole disk.
    pub partition: Option<u32>,
}

impl How {
    pub(crate) fn options(&self, writable: usize) -> OpenOptions<'static> {
        OpenOptions {
            writable,
            unlocked: self.unlocked,
            backing: self.base.clone(),
            ..OpenOptions::default()
        }
    }
}

/// A disk, and the ext file system on it.
pub struct Image {
    /// The path it was opened by.
    pub path: PathBuf,
    /// Where on the disk the file system is.
    pub place: Place,
    /// The file system.
    pub ext: Ext,
    /// Its layers, where it is a COW disk, and how many of them, from the top, it is seen without.
    chain: Option<(Arc<Chain>, usize)>,
    /// Device and inode of the raw file at the bottom.
    pub(crate) base: (u64, u64),
}

impl Image {
    /// Opens a COW file, or a raw image, to be read. A journal that needs recovery is replayed in memory.
    ///
    /// # Errors
    /// Those of opening the disk, of finding the file system, and of reading it.
    pub fn open(path: &Path, how: &How) -> Result<Image> {
        Image::over(Disk::open(path, &how.options(0))?, how)
    }

    /// The same, of a COW file only: what it stands on is needed as well.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Refused`] for a raw image.
    pub fn open_session(path: &Path, how: &How) -> Result<Image> {
        let disk = Disk::open(path, &how.options(0))?;
        if disk.chain.is_none() {
            return Err(not_cow(path));
        }
        Image::over(disk, how)
    }

    fn over(disk: Disk, how: &How) -> Result<Image> {
        let path = &disk.path;
        let chain = disk.chain.map(|chain| (Arc::new(chain), 0));
        let place = find(path, &disk.device, how.partition)?;
        let ext = Ext::open(place.of(disk.device)).map_err(|e| file_system(path, e))?;
        Image::new(path.to_owned(), chain, place, ext)
    }

    /// Opens a COW file to write into it, alone. Its journal is replayed, onto the disk. [`close`](Self::close) is to follow.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Refused`] for a raw image, which may be the base of others.
    pub fn open_rw(path: &Path, how: &How) -> Result<Image> {
        let looked_at = Disk::open(path, &OpenOptions { unlocked: true, ..how.options(0) })?;
        if looked_at.chain.is_none() {
            return Err(Error::Refused(format!(
                "\"{}\" is not a COW file, and may be the base of some: make a COW file on it (cowtool create NEW.cow --base IMAGE) and \
                 write into that",
                path.display()
            )));
        }
        drop(looked_at);
        let chain = Chain::open(path, &OpenOptions { unlocked: false, ..how.options(1) })?;
        let device = chain.device(0)?;
        let place = find(path, &device, how.partition)?;
        let ext = Ext::open_rw(place.of(device)).map_err(|e| file_system(path, e))?;
        Image::new(path.to_owned(), Some((Arc::new(chain), 0)), place, ext)
    }

    /// What is below the top layer of a COW disk that was opened, with the file system in the same place.
    ///
    /// # Errors
    /// [`Error::Refused`] for a raw image; those of reading it.
    pub fn open_below(&self) -> Result<Image> {
        let Some((chain, without)) = self.chain.as_ref().filter(|(c, without)| *without < c.layers.len())
        else {
            return Err(not_cow(&self.path));
        };
        let path = chain.below(*without).path().to_owned();
        let device = chain.device(without + 1)?;
        // The session may have divided the disk anew: then nothing here is what it was.
        let place = find(&path, &device, Some(self.place.partition))?;
        let ext = Ext::open(place.of(device)).map_err(|e| file_system(&path, e))?;
        Image::new(path, Some((Arc::clone(chain), without + 1)), place, ext)
    }

    fn new(path: PathBuf, chain: Option<(Arc<Chain>, usize)>, place: Place, ext: Ext) -> Result<Image> {
        let meta = match &chain {
            Some((chain, _)) => chain.base.file().metadata(),
            None => std::fs::metadata(&path),
        };
        let base = meta.map(|m| (m.dev(), m.ino())).map_err(Error::io("stating", &path))?;
        Ok(Image { path, place, ext, chain, base })
    }

    /// The file system on a whole device that has no file, alone.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn on(device: Arc<dyn BlockDevice>, writable: bool) -> Result<Image> {
        let path = PathBuf::from("device");
        let place = find(&path, &device, Some(0))?;
        let ext = if writable { Ext::open_rw(device) } else { Ext::open(device) };
        let ext = ext.map_err(|e| file_system(&path, e))?;
        Ok(Image::made(path, place, ext, (0, 0)))
    }

    /// One that was made anew.
    pub(crate) fn made(path: PathBuf, place: Place, ext: Ext, base: (u64, u64)) -> Image {
        Image { path, place, ext, chain: None, base }
    }

    /// The disk, as it is seen.
    pub(crate) fn disk(&self) -> Result<Arc<dyn BlockDevice>> {
        Ok(self.open_chain()?.device(self.without())?)
    }

    fn without(&self) -> usize {
        self.chain.as_ref().map_or(0, |(_, without)| *without)
    }

    pub(crate) fn open_chain(&self) -> Result<&Chain> {
        let chain = self.chain.as_ref().map(|(chain, _)| &**chain);
        chain.ok_or_else(|| Error::Refused(format!("\"{}\" is not a COW file", self.path.display())))
    }

    /// The COW files that it is made of, the topmost first; none for a raw image.
    pub fn layers(&self) -> &[Layer] {
        self.chain.as_ref().map_or(&[], |(chain, without)| &chain.layers[*without..])
    }

    /// Makes everything durable that was written, and marks the file system as clean.
    ///
    /// # Errors
    /// Those of writing.
    pub fn close(self) -> Result<()> {
        self.ext.unmount().map_err(|e| self.failed(e))
    }

    /// For `map_err`, where it is about the file system as a whole.
    pub(crate) fn failed(&self, source: ext::Error) -> Error {
        file_system(&self.path, source)
    }

    /// For `map_err`, where it is about a file.
    pub(crate) fn at<'a>(&'a self, path: &'a [u8]) -> impl Fn(ext::Error) -> Error + 'a {
        move |source| Error::File { image: self.path.clone(), path: text(path), source }
    }

    /// The inode of a path; a link at its end is not followed.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn find(&self, path: &[u8]) -> Result<Inode> {
        crate::paths::resolve(&self.ext, path, false).map_err(self.at(path))
    }

    /// The inode of a path, of what a link at its end leads to.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn follow(&self, path: &[u8]) -> Result<Inode> {
        crate::paths::resolve(&self.ext, path, true).map_err(self.at(path))
    }
}

fn find(path: &Path, device: &Arc<dyn BlockDevice>, partition: Option<u32>) -> Result<Place> {
    let failed = |source| cow_ops::Error::Volume { path: path.to_owned(), source };
    Ok(volume::find(device, partition).map_err(failed)?)
}

fn not_cow(path: &Path) -> Error {
    let path = path.display();
    Error::Refused(format!("\"{path}\" is not a COW file: there is nothing that it was made from"))
}

fn file_system(path: &Path, source: ext::Error) -> Error {
    Error::FileSystem { image: path.to_owned(), source }
}
