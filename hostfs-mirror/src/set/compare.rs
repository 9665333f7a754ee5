//! What differs between two legs' objects at one path.

use super::side::{Object, Result, Side};
use crate::state::manifest::BLOCK;
use rustix::fd::AsFd;
use rustix::fs::{FileType, OFlags};
use std::path::Path;

/// One way in which two objects differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// Only the first leg has it.
    OnlyFirst,
    /// Only the second leg has it.
    OnlySecond,
    /// A file here, a directory there.
    Kind,
    /// Bytes, first in this block of 64 KiB.
    Content(u64),
    /// Length.
    Size,
    /// Permissions.
    Mode,
    /// User or group.
    Owner,
    /// Time of last modification.
    Mtime,
    /// Extended attributes, or an access control list.
    Xattrs,
    /// Text of a symbolic link.
    Target,
    /// Number of a device.
    Device,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OnlyFirst => "only on the first leg",
            Self::OnlySecond => "only on the second leg",
            Self::Kind => "kind of file",
            Self::Content(block) => return write!(f, "content from byte {}", block * BLOCK as u64),
            Self::Size => "length",
            Self::Mode => "permissions",
            Self::Owner => "owner",
            Self::Mtime => "time of modification",
            Self::Xattrs => "extended attributes",
            Self::Target => "text of the link",
            Self::Device => "device number",
        })
    }
}

/// How the objects of two legs at a path differ. Directories by their attributes, not by what is in them.
///
/// # Errors
/// The legs' errors.
pub fn compare(a: &Side<'_>, b: &Side<'_>, path: &Path) -> Result<Vec<Difference>> {
    let (Some(x), Some(y)) = (a.find(path)?, b.find(path)?) else {
        return Ok(match (a.find(path)?, b.find(path)?) {
            (Some(_), None) => vec![Difference::OnlyFirst],
            (None, Some(_)) => vec![Difference::OnlySecond],
            _ => Vec::new(),
        });
    };
    let mut all = attributes((a, &x), (b, &y), path)?;
    if x.is_file() && y.is_file() && x.size() == y.size() {
        all.extend(content((a, &x), (b, &y), path)?.map(Difference::Content));
    }
    Ok(all)
}

/// How they differ, but for content.
pub(crate) fn attributes(
    (a, x): (&Side<'_>, &Object),
    (b, y): (&Side<'_>, &Object),
    path: &Path,
) -> Result<Vec<Difference>> {
    if x.kind() != y.kind() {
        return Ok(vec![Difference::Kind]);
    }
    let mut all = Vec::new();
    let mut differ = |is: bool, what| {
        if is {
            all.push(what);
        }
    };
    let link = x.kind() == FileType::Symlink;
    differ(x.is_file() && x.size() != y.size(), Difference::Size);
    differ(!link && x.stat.st_mode & 0o7777 != y.stat.st_mode & 0o7777, Difference::Mode);
    differ((x.stat.st_uid, x.stat.st_gid) != (y.stat.st_uid, y.stat.st_gid), Difference::Owner);
    differ(x.mtime() != y.mtime(), Difference::Mtime);
    let device = matches!(x.kind(), FileType::CharacterDevice | FileType::BlockDevice);
    differ(device && x.stat.st_rdev != y.stat.st_rdev, Difference::Device);
    if link {
        let text = |s: &Side<'_>, o: &Object| s.leg.read_link(o.fd.as_fd()).map_err(s.failed(path));
        differ(text(a, x)? != text(b, y)?, Difference::Target);
    } else {
        differ(a.xattrs(path, x.fd.as_fd())? != b.xattrs(path, y.fd.as_fd())?, Difference::Xattrs);
    }
    Ok(all)
}

/// The first block in which two files of one length differ.
pub(crate) fn content(
    (a, x): (&Side<'_>, &Object),
    (b, y): (&Side<'_>, &Object),
    path: &Path,
) -> Result<Option<u64>> {
    let open = |s: &Side<'_>, o: &Object| s.leg.open(o.fd.as_fd(), OFlags::RDONLY).map_err(s.failed(path));
    let (f, g) = (open(a, x)?, open(b, y)?);
    let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
    for block in 0..x.blocks() {
        let at = block * BLOCK as u64;
        let n = a.leg.read(f.as_fd(), &mut left, at).map_err(a.failed(path))?;
        let m = b.leg.read(g.as_fd(), &mut right, at).map_err(b.failed(path))?;
        if left[..n] != right[..m] {
            return Ok(Some(block));
        }
    }
    Ok(None)
}
