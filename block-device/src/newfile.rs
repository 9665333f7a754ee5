//! A file that appears under its name all at once, complete and durable, or not at all.

use crate::{HostFile, LockKind, lock};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat_with};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A file in the making. It has no name at all while the host can do that (`O_TMPFILE`), so that even a
/// killed process leaves nothing behind; elsewhere it has a hidden one, removed on drop and swept by the
/// next [`NewFile::create`] for the same target. [`publish`](Self::publish) gives it its own.
#[derive(Debug)]
pub struct NewFile {
    file: Option<HostFile>,
    target: PathBuf,
    part: PathBuf,
    named: bool,
}

impl NewFile {
    /// Starts a file of `len` bytes, all hole, that will become `target`. A symbolic link at `target` is
    /// followed, so that the file it names is the one replaced. An existing target's mode is kept.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when `target` is there and no regular file; else as `open(2)`.
    pub fn create(target: &Path, len: u64) -> io::Result<Self> {
        let existing = match fs::metadata(target) {
            Ok(meta) if !meta.is_file() => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the target exists and is no regular file",
                ));
            }
            Ok(meta) => Some(meta.permissions()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let target = if existing.is_some() { fs::canonicalize(target)? } else { target.to_owned() };
        let name = target
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the target has no file name"))?;
        let dir = parent(&target);
        sweep(dir, name);
        let part = dir.join(part_name(name, std::process::id()));
        let mode = Mode::from_raw_mode(0o666);
        let (file, named) = match unnamed(dir, mode) {
            Some(file) => (file, false),
            None => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                (File::from(openat(CWD, &part, flags, mode)?), true)
            }
        };
        // Built first, so that a failure below removes the part file.
        let new = Self { file: Some(HostFile::from_file(file, &target, false)?), target, part, named };
        let host = new.device();
        if let Some(permissions) = existing {
            host.file().set_permissions(fs::Permissions::from_mode(permissions.mode() & 0o7777))?;
        }
        if named {
            lock(host, LockKind::Exclusive)?; // sweep() leaves locked files alone
        }
        host.set_len(len)?;
        Ok(new)
    }

    /// The file itself, to be filled.
    #[allow(clippy::expect_used)]
    pub fn device(&self) -> &HostFile {
        self.file.as_ref().expect("only publish(), which consumes self, takes the file out")
    }

    /// Makes the content durable, gives the file its name, and makes the name durable. With `replace` an
    /// existing target disappears in the same instant; without, an existing target is an error and stays.
    /// The file stays open.
    ///
    /// # Errors
    /// `EEXIST` as said; otherwise any error of `fsync(2)`, `linkat(2)` or `renameat2(2)`. In every case
    /// but a failing directory sync, the target is what it was before.
    pub fn publish(mut self, replace: bool) -> io::Result<HostFile> {
        self.device().file().sync_all()?;
        if !self.named {
            let fd = format!("/proc/self/fd/{}", self.device().file().as_raw_fd());
            let name = if replace { &self.part } else { &self.target };
            linkat(CWD, &fd, CWD, name, AtFlags::SYMLINK_FOLLOW)?;
            self.named = replace;
        }
        if self.named {
            let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
            match renameat_with(CWD, &self.part, CWD, &self.target, flags) {
                // No renameat2 here: a hard link has the same refusal, and Drop removes the other name.
                Err(Errno::INVAL | Errno::NOSYS) if !replace => fs::hard_link(&self.part, &self.target)?,
                other => {
                    other?;
                    self.named = false;
                }
            }
        }
        sync_parent(&self.target)?;
        match self.file.take() {
            Some(file) => Ok(file),
            None => Err(Errno::BADF.into()),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.named {
            // Nothing can be done about a failure here; the next create() sweeps.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Makes the entry of `path` in its directory durable.
///
/// # Errors
/// As `open(2)` and `fsync(2)` on the directory.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

fn unnamed(dir: &Path, mode: Mode) -> Option<File> {
    // Without /proc the file could never get a name (linkat(2) from /proc/self/fd).
    if !Path::new("/proc/self/fd").is_dir() {
        return None;
    }
    openat(CWD, dir, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode).ok().map(File::from)
}

fn part_name(name: &OsStr, pid: u32) -> OsString {
    let mut part = OsString::from(".");
    part.push(name);
    part.push(format!(".{pid}.part"));
    part
}

/// Removes the part files that killed processes left for this target: those that nobody has locked.
fn sweep(dir: &Path, name: &OsStr) {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(rest) = file_name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes()) else {
            continue;
        };
        let Some(pid) = rest.strip_suffix(b".part") else { continue };
        if pid.is_empty() || !pid.iter().all(u8::is_ascii_digit) {
            continue;
        }
        if let Ok(file) = HostFile::open(&entry.path(), false)
            && lock(&file, LockKind::Exclusive).is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlockDevice;

    fn names(dir: &Path) -> Vec<OsString> {
        let mut v: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        v.sort();
        v
    }

    #[test]
    fn appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("image");
        let new = NewFile::create(&target, 4).unwrap();
        new.device().write_at(b"half", 0).unwrap();
        drop(new);
        assert!(names(dir.path()).is_empty(), "a dropped file leaves nothing");

        let new = NewFile::create(&target, 4).unwrap();
        new.device().write_at(b"one!", 0).unwrap();
        new.publish(false).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one!");

        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        let new = NewFile::create(&target, 4).unwrap();
        new.device().write_at(b"two!", 0).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one!", "the old content stays until publish");
        assert!(NewFile::create(&target, 4).unwrap().publish(false).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"one!");
        new.publish(true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two!");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(names(dir.path()), ["image"]);
    }

    #[test]
    fn what_a_killed_process_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".image.4000000.part"), b"left").unwrap();
        fs::write(dir.path().join(".image.x.part"), b"not ours").unwrap();
        drop(NewFile::create(&dir.path().join("image"), 1).unwrap());
        assert_eq!(names(dir.path()), [".image.x.part"]);
    }
}
