//! qcow2 images, through the imago library: read as a device, and written from one.

use crate::error::{Error, Result, or_cancelled};
use crate::merge::{Part, View, stream};
use block_device::{
    BlockDevice, Extent, ExtentKind, HostFile, LockKind, NewFile, Observer, check_range, lock,
};
use imago::file::File as ImagoFile;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder, Mapping};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The first four bytes of a qcow2 image.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// A qcow2 image, read-only.
pub(crate) struct Qcow2Device {
    access: FormatAccess<ImagoFile>,
    size: u64,
}

impl Qcow2Device {
    /// Opens an image. One that names a backing file needs `backing`, a raw image: what the image itself
    /// names is not opened, because anybody can have written that name.
    ///
    /// # Errors
    /// [`Error::Refused`] when a backing file is needed or an external data file is used; [`Error::Io`].
    pub(crate) fn open(path: &Path, backing: Option<&Path>) -> Result<Self> {
        let failed = || Error::io("opening the qcow2 image", path);
        let file = HostFile::open(path, true).map_err(failed())?;
        lock(&file, LockKind::Shared).map_err(cow_format::Error::io("locking", path))?;
        let clone = file.file().try_clone().map_err(failed())?;
        let image = ImagoFile::try_from(clone).map_err(failed())?;
        let builder = Qcow2::<ImagoFile>::builder(image).backing(None).data_file(None);
        let mut image = builder.open(DenyImplicitOpenGate::default()).map_err(failed())?;
        if image.requires_external_data_file() {
            return Err(Error::Refused(format!("\"{}\" keeps its data in another file", path.display())));
        }
        match (backing, image.implicit_backing_file()) {
            (None, Some(named)) => {
                return Err(Error::Refused(format!(
                    "\"{}\" stands on \"{}\": give that file with --base",
                    path.display(),
                    named.escape_default()
                )));
            }
            (Some(base), Some(_)) => {
                let open = || Error::io("opening the base", base);
                let raw = HostFile::open(base, true).map_err(open())?;
                lock(&raw, LockKind::Shared).map_err(cow_format::Error::io("locking", base))?;
                let storage = ImagoFile::try_from(raw.file().try_clone().map_err(open())?).map_err(open())?;
                let raw = Raw::builder(storage).open(DenyImplicitOpenGate::default()).map_err(open())?;
                image.set_backing(Some(FormatAccess::new(raw)));
            }
            (_, None) => {} // it stands by itself, and nothing must show through its holes
        }
        let access = FormatAccess::new(image);
        let size = access.size();
        Ok(Self { access, size })
    }
}

impl BlockDevice for Qcow2Device {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len() as u64, self.size)?;
        self.access.read(buf, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn extent(&self, offset: u64) -> io::Result<Extent> {
        check_range(offset, 1, self.size)?;
        let (mapping, len) = self.access.get_mapping(offset, self.size - offset)?;
        let kind = match mapping {
            Mapping::Zero { .. } => ExtentKind::Hole,
            _ => ExtentKind::Data,
        };
        Ok(Extent { len: len.clamp(1, self.size - offset), kind })
    }
}

/// Writes a new qcow2 image. Without `backing` it holds the whole view; with it, only what the layers of
/// the view hold, and the rest shows through from that raw image, the view's base. Returns the bytes stored.
///
/// # Errors
/// Any [`Error`]; an existing file is replaced only by a complete one.
pub(crate) fn write(
    view: View<'_>,
    backing: Option<&Path>,
    target: &Path,
    observer: &dyn Observer,
) -> Result<u64> {
    let failed = || or_cancelled("writing the qcow2 image", target, ": the target is what it was");
    // A qcow2 cluster and its file grow with what is written.
    let new = NewFile::create(target, 0).map_err(Error::io("creating", target))?;
    let write = || -> io::Result<u64> {
        let storage = ImagoFile::try_from(new.device().file().try_clone()?)?;
        let mut builder = Qcow2::<ImagoFile>::create_builder(storage).size(view.size.next_multiple_of(512));
        if let Some(backing) = backing {
            let name = backing.to_str().ok_or_else(|| io::Error::other("the base's path is not UTF-8"))?;
            builder = builder.backing(name.to_owned(), "raw".to_owned());
        }
        let open = |image| Ok(Qcow2::<ImagoFile>::builder(image).backing(None).write(true));
        let mut image = builder.create_open(DenyImplicitOpenGate::default(), open)?;
        // Needed where a cluster is written only in part: the rest of it comes from below.
        if backing.is_some() {
            let base = view.base.host_file().ok_or_else(|| io::Error::other("the base is no host file"))?;
            let raw =
                Raw::builder(ImagoFile::try_from(base.try_clone()?)?).open(DenyImplicitOpenGate::default())?;
            image.set_backing(Some(FormatAccess::new(raw)));
        }
        let access = FormatAccess::new(image);
        let stored = match backing {
            Some(_) => write_dirty(view, &access, observer)?,
            None => write_whole(view, &access, observer)?,
        };
        access.flush()?;
        access.sync()?;
        Ok(stored)
    };
    let stored = write().map_err(failed())?;
    new.publish(true).map_err(Error::io("putting in place", target))?;
    Ok(stored)
}

fn write_whole(view: View<'_>, access: &FormatAccess<ImagoFile>, observer: &dyn Observer) -> io::Result<u64> {
    const CLUSTER: usize = 64 << 10;
    let mut stored = 0;
    stream(view, "converting", observer, &mut |offset, part| {
        let Part::Data { buf, len } = part else { return Ok(()) };
        for (i, chunk) in buf[..len].chunks(CLUSTER).enumerate() {
            if !block_device::is_zero(chunk) {
                access.write(chunk, offset + (i * CLUSTER) as u64)?;
                stored += chunk.len() as u64;
            }
        }
        Ok(())
    })?;
    Ok(stored)
}

fn write_dirty(view: View<'_>, access: &FormatAccess<ImagoFile>, observer: &dyn Observer) -> io::Result<u64> {
    let mut buf = vec![0; block_device::WINDOW];
    let mut stored = 0;
    for segment in crate::merge::segments(view.layers, view.size) {
        let s = segment?;
        let Some(source) = s.layer.map(|i| view.layers[i]) else { continue };
        let mut at = 0;
        while at < s.len {
            let n = (s.len - at).min(buf.len() as u64);
            let piece = &mut buf[..n as usize];
            source.file.read_at(piece, source.layout.data_offset + s.offset + at)?;
            access.write(&*piece, s.offset + at)?;
            (at, stored) = (at + n, stored + n);
        }
        observer.progress("converting", s.offset + s.len, view.size);
        if observer.cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(stored)
}

/// Whether a file begins like a qcow2 image.
pub(crate) fn looks_like_qcow2(file: &HostFile) -> bool {
    let mut magic = [0; 4];
    file.read_at(&mut magic, 0).is_ok() && magic == MAGIC
}

/// A qcow2 image as any other device.
pub(crate) fn open_device(path: &Path, backing: Option<&Path>) -> Result<Arc<dyn BlockDevice>> {
    Ok(Arc::new(Qcow2Device::open(path, backing)?))
}
