//! What has been done to a base, kept beside it as `NAME.cow-log`: one JSON object a line, appended and
//! synced. It tells a half-merged base from a whole one, lets the interrupted merge go on, and explains
//! later why another COW file no longer fits.

use crate::identity::beside;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a log that are read; more is nobody's log.
const MAX_LEN: u64 = 16 << 20;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What happened.
    pub event: Event,
    /// When, in seconds since 1970.
    pub time: u64,
    /// The COW file, as an absolute path.
    pub cow: PathBuf,
    /// Its device number: a renamed COW file is still the same.
    pub cow_dev: u64,
    /// Its inode number.
    pub cow_ino: u64,
    /// When that inode was made, in nanoseconds since 1970: inode numbers are used again. 0 where unknown.
    #[serde(default)]
    pub cow_birth: u64,
    /// The undo file that keeps what the merge overwrites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<PathBuf>,
}

/// What happened to the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A COW file was made on it.
    Created,
    /// An in-place merge is about to write to it.
    MergeBegin,
    /// That merge is complete and durable.
    MergeEnd,
}

impl Entry {
    /// An event of now, with the COW file at `path`.
    ///
    /// # Errors
    /// When the COW file cannot be looked at.
    pub fn now(event: Event, path: &Path, undo: Option<PathBuf>) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let cow = fs::canonicalize(path)?;
        Ok(Self { event, time, cow, cow_dev: meta.dev(), cow_ino: meta.ino(), cow_birth: birth(&meta), undo })
    }

    /// Whether this entry is about the very COW file at `path`, even if it had another name then. A copy of
    /// it, or another file under its name, is not the same.
    pub fn is_about(&self, path: &Path) -> bool {
        fs::metadata(path)
            .is_ok_and(|m| (m.dev(), m.ino(), birth(&m)) == (self.cow_dev, self.cow_ino, self.cow_birth))
    }
}

fn birth(meta: &fs::Metadata) -> u64 {
    let since = meta.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |d| d.as_nanos() as u64)
}

/// Where the log of a base is kept.
pub fn log_path(base: &Path) -> PathBuf {
    beside(base, ".cow-log")
}

/// All entries, oldest first. A line cut off by a crash is as if never written. No log is an empty one.
///
/// # Errors
/// Those of reading the file.
pub fn read(base: &Path) -> io::Result<Vec<Entry>> {
    let mut text = Vec::new();
    match File::open(log_path(base)) {
        Ok(file) => file.take(MAX_LEN).read_to_end(&mut text)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    Ok(text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// Appends one entry, durably.
///
/// # Errors
/// Those of opening, writing and syncing the file and, when it is new, its directory.
pub fn append(base: &Path, entry: &Entry) -> io::Result<()> {
    let path = log_path(base);
    let is_new = !path.exists();
    // The leading newline ends a line that a crash may have cut off.
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, entry)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
    file.write_all(&line)?;
    file.sync_all()?;
    if is_new { block_device::sync_parent(&path) } else { Ok(()) }
}

/// The merge that was begun and never ended, if there is one.
pub fn unfinished(entries: &[Entry]) -> Option<&Entry> {
    entries.iter().rfind(|e| e.event != Event::Created).filter(|e| e.event == Event::MergeBegin)
}

/// The last merge that ended.
pub fn last_merge(entries: &[Entry]) -> Option<&Entry> {
    entries.iter().rfind(|e| e.event == Event::MergeEnd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_as_if_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let (base, cow) = (dir.path().join("base"), dir.path().join("cow"));
        fs::write(&cow, b"").unwrap();
        let entry = |event| Entry::now(event, &cow, None).unwrap();
        assert!(read(&base).unwrap().is_empty());
        append(&base, &entry(Event::MergeBegin)).unwrap();
        let whole = fs::read(log_path(&base)).unwrap();
        append(&base, &entry(Event::MergeEnd)).unwrap();
        assert_eq!(unfinished(&read(&base).unwrap()), None);
        let ended = fs::read(log_path(&base)).unwrap();
        for cut in whole.len()..ended.len() - 1 {
            fs::write(log_path(&base), &ended[..cut]).unwrap();
            assert!(unfinished(&read(&base).unwrap()).is_some_and(|e| e.is_about(&cow)), "cut at {cut}");
        }
        append(&base, &entry(Event::MergeEnd)).unwrap();
        assert!(last_merge(&read(&base).unwrap()).is_some(), "the line after a cut one is read");
    }
}
