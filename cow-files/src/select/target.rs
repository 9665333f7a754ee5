//! The image that is made: without a name until it is complete.

use super::Form;
use crate::error::{Error, Result};
use crate::image::Image;
use block_device::{BlockDevice, HostFile, NewFile, Observer};
use cow_format::{CowDevice, NewCow};
use cow_ops::merge::{Source, View, write_sparse};
use ext::Ext;
use std::path::{Path, PathBuf};
use std::sync::Arc;

enum Making {
    Raw(NewFile),
    Cow(NewCow),
}

/// A new image, with a file system that is open for writing.
pub(super) struct Target {
    making: Making,
    pub(super) image: Image,
    path: PathBuf,
}

impl Target {
    /// Begins one that shows what `base` does, which is what `session` stands on.
    pub(super) fn create(
        session: &Image,
        base: &Image,
        into: &Path,
        form: Form,
        observer: &dyn Observer,
    ) -> Result<Target> {
        let chain = session.open_chain()?;
        let in_use = std::iter::once(chain.base.path()).chain(chain.layers.iter().map(|l| l.path()));
        let target = std::fs::canonicalize(into).ok();
        if target.is_some() && in_use.map(std::fs::canonicalize).any(|p| p.ok() == target) {
            return Err(Error::Refused(format!("\"{}\" is a part of the session", into.display())));
        }
        let failed = |e| Error::io("writing", into)(e);
        let (making, device): (Making, Arc<dyn BlockDevice>) = match form {
            Form::Raw => {
                let size = chain.size();
                let new = NewFile::create(into, size).map_err(Error::io("creating", into))?;
                let layers: Vec<Source<'_>> = base
                    .layers()
                    .iter()
                    .map(|l| Source { file: &*l.file, layout: l.header.layout })
                    .collect();
                let view = View { layers: &layers, base: &*chain.base, size };
                write_sparse(view, new.device(), false, observer).map_err(|e| match e.kind() {
                    std::io::ErrorKind::Interrupted => Error::Cancelled(": nothing was made"),
                    _ => failed(e),
                })?;
                let device = again(new.device(), into)?;
                (Making::Raw(new), Arc::new(device))
            }
            Form::Cow => {
                let (shape, spec) = cow_ops::like_top(chain)?;
                let new = NewCow::create(into, shape, &spec)?;
                let file = Arc::new(again(new.file(), into)?);
                let cow = CowDevice::new(file, new.header.layout, base.disk()?).map_err(failed)?;
                (Making::Cow(new), Arc::new(cow))
            }
        };
        let ext = Ext::open_rw(session.place.of(device))
            .map_err(|source| Error::FileSystem { image: into.to_owned(), source })?;
        let image = Image::made(into.to_owned(), session.place, ext, base.base);
        Ok(Target { making, image, path: into.to_owned() })
    }

    /// Closes the file system, and gives the image its name.
    pub(super) fn publish(self) -> Result<()> {
        self.image.close()?;
        match self.making {
            Making::Raw(new) => new.publish(true).map_err(Error::io("creating", &self.path)).map(drop),
            Making::Cow(new) => Ok(new.publish(true).map(drop)?),
        }
    }
}

/// The same open file once more.
fn again(file: &HostFile, path: &Path) -> Result<HostFile> {
    let twin = file.file().try_clone().and_then(|f| HostFile::from_file(f, path, false));
    twin.map_err(Error::io("opening", path))
}
