//! Opening what is not content: FIFOs and devices.

use super::{Attr, File, OpenFlags, Path};
use crate::base::{Errno, Result};
use std::sync::Arc;

/// Opens a FIFO.
pub(super) fn open_fifo(path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    super::pipe::open_fifo(path, flags)
}

/// Opens a device.
pub(super) fn open_device(path: Path, attr: Attr, flags: OpenFlags) -> Result<Arc<File>> {
    match (super::major(attr.rdev), super::minor(attr.rdev)) {
        (1, 3) => Ok(File::new(Arc::new(Null), path, flags)),
        (1, 5) => Ok(File::new(Arc::new(Zero), path, flags)),
        _ => Err(Errno::ENXIO),
    }
}
struct Null;
impl super::FileOps for Null {
    fn as_any(&self) -> &dyn std::any::Any { self }
    fn read(&self, _: &File, _: &mut [u8], _: u64) -> Result<usize> { Ok(0) }
    fn write(&self, _: &File, from: &[u8], _: u64) -> Result<usize> { Ok(from.len()) }
}
struct Zero;
impl super::FileOps for Zero {
    fn as_any(&self) -> &dyn std::any::Any { self }
    fn read(&self, _: &File, into: &mut [u8], _: u64) -> Result<usize> { into.fill(0); Ok(into.len()) }
    fn write(&self, _: &File, from: &[u8], _: u64) -> Result<usize> { Ok(from.len()) }
}

/// F_SETPIPE_SZ and F_GETPIPE_SZ.
pub fn pipe_size(file: &File, set: Option<u64>) -> Result<u64> {
    let end = file.ops_as::<super::pipe::End>().ok_or(Errno::EBADF)?;
    match set {
        Some(size) => end.set_capacity(size, false).map(|n| n as u64),
        None => Ok(end.capacity() as u64),
    }
}

/// F_ADD_SEALS and F_GET_SEALS.
pub fn seals(_file: &File, _add: Option<u32>) -> Result<u64> {
    Err(Errno::EINVAL)
}

/// A file system by its type, for mount(2).
pub fn make_fs(_kind: &[u8], _options: &[u8]) -> Result<Arc<dyn super::FileSystem>> {
    Err(Errno::ENODEV)
}
