//! Whose the files are. What an ordinary user cannot make on the host, and what nobody's guest may (owners, set-id bits, device nodes), is
//! kept in an extended attribute, or refused.

use crate::base::{Errno, Result, Timespec};
use crate::fs::{Attr, kind};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Attributes with this prefix are ours: the guest neither sees nor sets them by their own names.
const OURS: &[u8] = b"user.uml.";
/// `mode:uid:gid:rdev`, octal and decimal.
const META: &str = "user.uml.meta";
/// What a shadow keeps of file capabilities.
pub(super) const CAPABILITY: &str = "user.uml.security.capability";
/// Set-user-ID and set-group-ID.
const SET_ID: u32 = 0o6000;

/// How owners are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// The host's, as far as the host lets us change them.
    AsIs,
    /// All files look as if they belonged to these; nothing is changed.
    Mapped {
        /// Owner, if it is mapped.
        uid: Option<u32>,
        /// Group.
        gid: Option<u32>,
    },
    /// In attributes of the host's files alone: nothing of it is real on the host.
    Shadow,
    /// The host's where it lets us, else in the attributes: `run --write` and `--keep`.
    Recorded,
}

impl Owners {
    /// Whether attributes of the host's files say more than the host does.
    pub(super) fn in_attributes(self) -> bool {
        matches!(self, Owners::Shadow | Owners::Recorded)
    }

    /// The name on the host of an attribute of the guest's: EPERM to set, ENODATA to read what is not the guest's.
    pub(super) fn xattr(self, name: &[u8], write: bool) -> Result<Vec<u8>> {
        let refused = if write { Errno::EPERM } else { Errno::ENODATA };
        match name {
            n if n.starts_with(OURS) => Err(refused),
            n if n.starts_with(b"user.") => Ok(n.to_vec()),
            // Access control lists: this kernel has none.
            n if n.starts_with(b"system.") && (write || self == Owners::Shadow) => Err(Errno::EOPNOTSUPP),
            // File capabilities and labels would be real on the host.
            n if self == Owners::Shadow && OURS.len() + n.len() > 255 => Err(Errno::ERANGE),
            n if self == Owners::Shadow => Ok([OURS, n].concat()),
            _ if write => Err(Errno::EOPNOTSUPP),
            n => Ok(n.to_vec()),
        }
    }

    /// The guest's name of an attribute of the host's, if it is to be seen.
    pub(super) fn xattr_seen(self, name: &[u8]) -> Option<Vec<u8>> {
        match name.strip_prefix(OURS) {
            Some(b"meta") => None,
            Some(rest) => (self == Owners::Shadow).then(|| rest.to_vec()),
            None => (self != Owners::Shadow || name.starts_with(b"user.")).then(|| name.to_vec()),
        }
    }
}

/// What the attribute says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rdev: u64,
}

/// A name by which the host finds the node of a descriptor, with whatever is opened or set by it.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Reads it, if there is one.
pub(super) fn read(fd: BorrowedFd<'_>) -> Option<Meta> {
    let mut value = [0; 64];
    let n = rustix::fs::getxattr(proc_path(fd), META, &mut value).ok()?;
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
    Ok(rustix::fs::setxattr(proc_path(fd), META, text.as_bytes(), rustix::fs::XattrFlags::empty())?)
}

impl Meta {
    /// Puts it over what the host tells.
    pub(super) fn over(self, attr: &mut Attr) {
        let real = attr.mode & kind::MASK;
        // A node that is a file on the host; no directory becomes anything else, nothing becomes a directory.
        let kept = match self.mode & kind::MASK {
            kind::DIR => real | self.mode & 0o7777,
            _ if real == kind::REG => self.mode,
            _ => real | self.mode & 0o7777,
        };
        attr.mode = kept;
        (attr.uid, attr.gid, attr.rdev) = (self.uid, self.gid, self.rdev);
    }

    /// The permissions on the host of what is shown with these: never a set-id bit on a file. In a shadow the kernel itself can always
    /// read and write it, as the guest's root may.
    pub(super) fn host_mode(self, owners: Owners) -> u32 {
        match (owners, self.mode & kind::MASK) {
            (Owners::Shadow, kind::DIR) => self.mode & 0o777 | 0o700,
            (Owners::Shadow, kind::REG) => self.mode & 0o777 | 0o600,
            // Links, devices and the like are files there, which are nobody else's to write to.
            (Owners::Shadow, _) => 0o600,
            (_, kind::DIR) => self.mode & 0o7777,
            _ => self.mode & 0o7777 & !SET_ID,
        }
    }
}

/// Whether permissions would make a program of the host's run as its owner.
pub(super) fn is_set_id(mode: u32) -> bool {
    mode & kind::MASK == kind::REG && mode & SET_ID != 0
}

/// What the attribute of a file said, and when the file had last changed in any way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) changed: Timespec,
    pub(super) meta: Option<Meta>,
}
