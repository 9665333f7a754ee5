//! The host calls that no safe wrapper offers: open-file-description locks and `FICLONERANGE`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `fcntl(2)` with `F_OFD_SETLK` over the whole file. `kind` is `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
pub(crate) fn ofd_setlk(file: &File, kind: libc::c_int) -> io::Result<()> {
    let lock = flock(kind);
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and F_OFD_SETLK only reads the
    // `struct flock` that the pointer names, which lives until the call returns.
    let r = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `fcntl(2)` with `F_OFD_GETLK`: the process that holds a lock which keeps `kind` from being taken.
/// `Some(-1)` where the holder is itself an open-file-description lock, `None` where nothing is in the way.
pub(crate) fn ofd_getlk(file: &File, kind: libc::c_int) -> io::Result<Option<libc::pid_t>> {
    let mut lock = flock(kind);
    // SAFETY: as above; F_OFD_GETLK also writes the structure, which is exclusively ours.
    let r = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    if r < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((libc::c_int::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid))
}

fn flock(kind: libc::c_int) -> libc::flock {
    // l_start, l_len = 0: the whole file, however long it becomes; l_pid must be 0 for OFD locks (fcntl(2)).
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Makes `len` bytes at `dst_offset` of `dst` share the storage of those at `src_offset` of `src`
/// (`ioctl_ficlonerange(2)`). Offsets and length are multiples of the file system's block size, except that
/// the range may end at the end of `src`.
///
/// # Errors
/// `EOPNOTSUPP`, `EXDEV` or `EINVAL` where the host cannot share these extents; nothing has happened then.
pub fn clone_range(src: &File, src_offset: u64, len: u64, dst: &File, dst_offset: u64) -> io::Result<()> {
    let arg = libc::file_clone_range {
        src_fd: i64::from(src.as_raw_fd()),
        src_offset,
        src_length: len,
        dest_offset: dst_offset,
    };
    // SAFETY: both descriptors are open while borrowed; the ioctl only reads the structure (linux/fs.h).
    let r = unsafe { libc::ioctl(dst.as_raw_fd(), libc::FICLONERANGE, &raw const arg) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
