//! From failures of the file system or the disk to what a system call returns.

use ext::Error as E;
use fuser::Errno;
use std::io;

/// EUCLEAN: "structure needs cleaning" (asm-generic/errno.h).
const EUCLEAN: i32 = 117;

pub(crate) fn errno(e: E) -> Errno {
    match e {
        E::Io { source, .. } => of_io(&source),
        E::NotFound => Errno::ENOENT,
        E::InUse { .. } => Errno::EBUSY,
        E::NotDirectory(_) => Errno::ENOTDIR,
        E::IsDirectory(_) => Errno::EISDIR,
        E::Exists => Errno::EEXIST,
        E::NotEmpty => Errno::ENOTEMPTY,
        E::NoSpace => Errno::ENOSPC,
        E::ReadOnly => Errno::EROFS,
        E::TooBig => Errno::EFBIG,
        E::TooManyLinks => Errno::EMLINK,
        E::NameTooLong => Errno::ENAMETOOLONG,
        E::Invalid | E::NotExt(_) => Errno::EINVAL,
        E::NoAttribute => Errno::ENODATA,
        E::NotSupported | E::Unsupported(_) => Errno::EOPNOTSUPP,
        _ => Errno::from_i32(EUCLEAN),
    }
}

pub(crate) fn of_io(e: &io::Error) -> Errno {
    e.raw_os_error().map_or(Errno::EIO, Errno::from_i32)
}
