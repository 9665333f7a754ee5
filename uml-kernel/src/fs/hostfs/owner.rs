//! What an ordinary user cannot make on the host (owners, set-id bits, device nodes) is kept in an extended attribute.

use crate::base::Result;
use crate::fs::{Attr, kind};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `mode:uid:gid:rdev`, octal and decimal.
const NAME: &str = "user.uml.meta";

/// What the attribute says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rdev: u64,
}

fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Reads it, if there is one.
pub(super) fn read(fd: BorrowedFd<'_>) -> Option<Meta> {
    let mut value = [0; 64];
    let n = rustix::fs::getxattr(proc_path(fd), NAME, &mut value).ok()?;
    let text = std::str::from_utf8(&value[..n]).ok()?;
    let mut parts = text.split(':');
    Some(Meta {
        mode: u32::from_str_radix(parts.next()?, 8).ok()?,
        uid: parts.next()?.parse().ok()?,
        gid: parts.next()?.parse().ok()?,
        rdev: parts.next()?.parse().ok()?,
    })
}

/// Writes it.
pub(super) fn write(fd: BorrowedFd<'_>, m: Meta) -> Result<()> {
    let text = format!("{:o}:{}:{}:{}", m.mode, m.uid, m.gid, m.rdev);
    Ok(rustix::fs::setxattr(proc_path(fd), NAME, text.as_bytes(), rustix::fs::XattrFlags::empty())?)
}

impl Meta {
    /// Puts it over what the host tells.
    pub(super) fn over(self, attr: &mut Attr) {
        let real = attr.mode & kind::MASK;
        // A node that is an empty file on the host; no directory becomes anything else, and no link.
        let kept = if real == kind::REG { self.mode } else { real | self.mode & 0o7777 };
        attr.mode = kept;
        (attr.uid, attr.gid, attr.rdev) = (self.uid, self.gid, self.rdev);
    }
}
