//! A file that is to be the base of a COW file.

use crate::error::{Error, Result};
use block_device::{BlockDevice, HostFile, LockKind, Observer, lock};
use cow_format::{BaseSpec, Chain, Fingerprint, OpenOptions, Record, Root, identity, looks_like_cow};
use std::path::Path;
use std::sync::Arc;

/// What a base is. It is never guessed from its content: a guest can write a COW header at the start of its
/// disk, and name any file of the host as the next base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BaseFormat {
    /// A raw image; refused where it begins like a COW file, until the caller says which it is.
    #[default]
    Unsaid,
    /// A raw image, whatever it begins with.
    Raw,
    /// A COW file: another layer.
    Cow,
}

/// An open base, locked shared.
pub struct Base {
    file: Arc<HostFile>,
    is_cow: bool,
    /// Its content.
    pub device: Arc<dyn BlockDevice>,
}

impl Base {
    /// Opens a base.
    ///
    /// # Errors
    /// Those of opening and locking; [`Error::Refused`] where the format has to be said.
    pub fn open(path: &Path, format: BaseFormat) -> Result<Self> {
        let failed = |source| cow_format::Error::Backing { path: path.to_owned(), source };
        let file = Arc::new(HostFile::open(path, true).map_err(failed)?);
        if format == BaseFormat::Cow {
            let chain = Chain::open(path, &OpenOptions::default())?;
            let device = chain.device(0)?;
            return Ok(Self { file: Arc::clone(&chain.top().file), is_cow: true, device });
        }
        if format == BaseFormat::Unsaid && looks_like_cow(&*file).map_err(Error::io("reading", path))? {
            return Err(Error::Refused(format!(
                "\"{}\" begins like a COW file: say --base-format cow to use it as a layer, or raw",
                path.display()
            )));
        }
        lock(&file, LockKind::Shared).map_err(cow_format::Error::io("locking", path))?;
        Ok(Self { is_cow: false, device: Arc::clone(&file) as Arc<dyn BlockDevice>, file })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What is below the first `depth` layers of an open chain.
    pub(crate) fn at(chain: &Chain, depth: usize) -> Result<Self> {
        let is_cow = depth < chain.layers.len();
        Ok(Self { file: Arc::clone(chain.below(depth - 1)), is_cow, device: chain.device(depth)? })
    }

    /// Root of its digest tree.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn identify(&self, observer: &dyn Observer) -> Result<Root> {
        let progress = |done, total| observer.progress("identifying the base", done, total);
        let identified = identity::identify(&self.file, &*self.device, true, progress);
        Ok(identified.map_err(Error::io("reading", self.path()))?.0)
    }

    /// What a COW file on it, as it is now, has to record.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn spec(&self, root: Option<Root>) -> Result<BaseSpec> {
        let path = std::fs::canonicalize(self.path()).map_err(Error::io("resolving", self.path()))?;
        let meta = self.file.file().metadata().map_err(Error::io("stating", self.path()))?;
        let fingerprint = Fingerprint::of(&meta);
        let root = root.or_else(|| identity::kept_root(self.path(), &fingerprint));
        let record = Record { root, base_is_cow: self.is_cow, fingerprint };
        Ok(BaseSpec {
            path,
            mtime: fingerprint.header_mtime(),
            size: self.device.len(),
            record: Some(record),
        })
    }
}
