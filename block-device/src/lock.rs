//! Whole-file locks that belong to the open file, and who holds them.
//!
//! `F_OFD_SETLK` locks conflict with the POSIX locks that the real UML takes on its disks
//! (`os_lock_file`), so a running guest and these tools keep out of each other's way.

use crate::{HostFile, sys};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How a file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Others may read as well.
    Shared,
    /// Nobody else may have it open under a lock.
    Exclusive,
}

impl LockKind {
    fn raw(self) -> libc::c_int {
        match self {
            Self::Shared => libc::F_RDLCK,
            Self::Exclusive => libc::F_WRLCK,
        }
    }
}

/// A process that holds a lock on a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id, as seen from this process.
    pub pid: u32,
    /// Its command name (`/proc/PID/comm`).
    pub command: String,
    /// The lock it has.
    pub kind: LockKind,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == LockKind::Exclusive { "exclusive" } else { "shared" };
        write!(f, "{} (pid {}, {kind} lock)", self.command, self.pid)
    }
}

/// A lock that could not be had because others have theirs.
#[derive(Debug, thiserror::Error)]
#[error("{} is in use by {}", path.display(), name_holders(holders))]
pub struct LockConflict {
    /// The file.
    pub path: PathBuf,
    /// Who has it, as far as this process may see; may be empty.
    pub holders: Vec<Holder>,
}

fn name_holders(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "another process (not visible from here)".to_owned();
    }
    holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Takes a lock on the whole file, without waiting. It lasts until the file is closed.
///
/// # Errors
/// A [`LockConflict`] inside an [`io::Error`] of kind `WouldBlock` when somebody else is in the way.
pub fn lock(file: &HostFile, kind: LockKind) -> io::Result<()> {
    match sys::ofd_setlk(file.file(), kind.raw()) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            let holders = holders(file.path()).unwrap_or_default();
            Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                LockConflict { path: file.path().to_owned(), holders },
            ))
        }
        // ENOLCK, EINVAL: a file system without locks. Nothing can be promised there, and nothing is refused.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOLCK | libc::EINVAL | libc::ENOTSUP)) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Whether `kind` could be had now. Takes nothing.
///
/// # Errors
/// As `fcntl(2)`.
pub fn try_lock(file: &HostFile, kind: LockKind) -> io::Result<bool> {
    sys::ofd_getlk(file.file(), kind.raw()).map(|holder| holder.is_none())
}

/// The processes that hold a lock on `path`, found in `/proc/PID/fdinfo` (proc_pid_fdinfo(5)). Processes
/// whose descriptors this one may not see are not among them.
///
/// # Errors
/// When `path` or `/proc` cannot be read.
pub fn holders(path: &Path) -> io::Result<Vec<Holder>> {
    let meta = fs::metadata(path)?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    // The field is MAJOR:MINOR:INODE, the first two in hexadecimal (fs/locks.c, lock_get_status).
    let id = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let mut found: Vec<Holder> = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(infos) = fs::read_dir(entry.path().join("fdinfo")) else { continue };
        for info in infos.flatten() {
            let Ok(text) = fs::read_to_string(info.path()) else { continue };
            for line in text.lines().filter(|l| l.starts_with("lock:")) {
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                if !words.contains(&id.as_str()) {
                    continue;
                }
                let kind = if words.contains(&"WRITE") { LockKind::Exclusive } else { LockKind::Shared };
                if found.iter().any(|h| h.pid == pid && h.kind == kind) {
                    continue;
                }
                let command = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                found.push(Holder { pid, command: command.trim_end().to_owned(), kind });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"x").unwrap();
        let a = HostFile::open(&path, false).unwrap();
        let b = HostFile::open(&path, false).unwrap();
        lock(&a, LockKind::Exclusive).unwrap();
        assert!(!try_lock(&b, LockKind::Shared).unwrap());
        let e = lock(&b, LockKind::Shared).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
        assert!(e.to_string().contains(&format!("pid {}", std::process::id())), "{e}");
        drop(a);
        lock(&b, LockKind::Shared).unwrap();
        let c = HostFile::open(&path, true).unwrap();
        lock(&c, LockKind::Shared).unwrap();
    }
}
