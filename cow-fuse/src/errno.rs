//! From failures of the file system or the disk to what a system call returns.

use fuser::Errno;
use std::io;

pub(crate) fn errno(e: ext::Error) -> Errno {
    Errno::from_i32(e.errno())
}

pub(crate) fn of_io(e: &io::Error) -> Errno {
    e.raw_os_error().map_or(Errno::EIO, Errno::from_i32)
}
