//! Opening what is not content: FIFOs and devices.

use super::{Attr, File, OpenFlags, Path};
use crate::base::{Errno, Result};
use std::sync::Arc;

/// Opens a FIFO.
pub(super) fn open_fifo(_path: Path, _flags: OpenFlags) -> Result<Arc<File>> {
    Err(Errno::ENXIO)
}

/// Opens a device.
pub(super) fn open_device(_path: Path, _attr: Attr, _flags: OpenFlags) -> Result<Arc<File>> {
    Err(Errno::ENXIO)
}

/// F_SETPIPE_SZ and F_GETPIPE_SZ.
pub fn pipe_size(_file: &File, _set: Option<u64>) -> Result<u64> {
    Err(Errno::EBADF)
}

/// F_ADD_SEALS and F_GET_SEALS.
pub fn seals(_file: &File, _add: Option<u32>) -> Result<u64> {
    Err(Errno::EINVAL)
}

/// A file system by its type, for mount(2).
pub fn make_fs(_kind: &[u8], _options: &[u8]) -> Result<Arc<dyn super::FileSystem>> {
    Err(Errno::ENODEV)
}
