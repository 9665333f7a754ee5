//! What a COW file is, and what it holds, without changing anything.

use crate::error::{Error, Result};
use block_device::{HostFile, Observer, holders};
use cow_format::{Chain, Layer, Match, OpenOptions, RecordState, Run, log};
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that can be said about a COW file.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// The COW file.
    pub cow: PathBuf,
    /// Header version: "v1-le", "v1-be", "v2", "v3" or "v3-broken".
    pub version: &'static str,
    /// Size of the device in bytes.
    pub size: u64,
    /// Unit of the bitmap in bytes.
    pub sector_size: u32,
    /// Alignment of bitmap and data in bytes.
    pub alignment: u32,
    /// Recorded path of the backing file.
    pub backing: PathBuf,
    /// Recorded modification time of the backing file, seconds since 1970.
    pub backing_mtime: u32,
    /// First byte of the bitmap.
    pub bitmap_offset: u64,
    /// Bytes of the bitmap.
    pub bitmap_len: u64,
    /// First byte of the data.
    pub data_offset: u64,
    /// Length of the file in bytes.
    pub file_len: u64,
    /// Bytes that it takes on the host's disk.
    pub disk_use: u64,
    /// Dirty sectors.
    pub dirty_sectors: u64,
    /// Dirty bytes.
    pub dirty_bytes: u64,
    /// Runs of dirty sectors.
    pub dirty_runs: u64,
    /// State of the record of the base's identity: "absent", "recorded", "unknown-root" or "damaged".
    pub record: &'static str,
    /// Recorded root of the base's digest tree.
    pub identity: Option<String>,
    /// The files below, the nearest first, the raw base last; as far as they could be opened.
    pub chain: Vec<Below>,
    /// Why the base is taken for the right one: "fingerprint", "content", "mtime" or "unfinished-merge".
    pub base_match: Option<&'static str>,
    /// Why the disk cannot be opened.
    pub problem: Option<String>,
    /// The COW file whose in-place merge into the base was interrupted.
    pub unfinished_merge: Option<PathBuf>,
    /// Processes that hold a lock on the COW file.
    pub locks: Vec<Lock>,
}

/// A file below.
#[derive(Debug, Clone, Serialize)]
pub struct Below {
    /// Its path.
    pub path: PathBuf,
    /// "cow" or "raw".
    pub format: &'static str,
    /// Bytes that it takes on the host's disk.
    pub disk_use: u64,
}

/// A lock that somebody holds.
#[derive(Debug, Clone, Serialize)]
pub struct Lock {
    /// The file.
    pub path: PathBuf,
    /// Process id.
    pub pid: u32,
    /// Its command name.
    pub command: String,
    /// "shared" or "exclusive".
    pub kind: &'static str,
}

/// The locks on a file, as far as this process may see.
///
/// # Errors
/// When the file or `/proc` cannot be read.
pub fn locks(path: &Path) -> Result<Vec<Lock>> {
    let held = holders(path).map_err(Error::io("looking for locks on", path))?;
    let lock = |h: block_device::Holder| Lock {
        path: path.to_owned(),
        pid: h.pid,
        command: h.command,
        kind: if h.kind == block_device::LockKind::Exclusive { "exclusive" } else { "shared" },
    };
    Ok(held.into_iter().map(lock).collect())
}

fn read_layer(cow: &Path) -> Result<Layer> {
    let open = |source| cow_format::Error::Open { path: cow.to_owned(), source };
    Ok(Layer::read(Arc::new(HostFile::open(cow, true).map_err(open)?))?)
}

fn disk_use(file: &HostFile) -> u64 {
    file.file().metadata().map_or(0, |m| m.blocks() * 512)
}

/// Looks at the COW file at `cow`, and as far down its chain as possible. Takes no locks.
///
/// # Errors
/// When the file itself is no COW file or cannot be read.
pub fn info(cow: &Path, observer: &dyn Observer) -> Result<Info> {
    let layer = read_layer(cow)?;
    let (header, layout) = (&layer.header, layer.header.layout);
    let mut info = Info {
        cow: cow.to_owned(),
        version: header.version.name(),
        size: layout.size,
        sector_size: layout.sector_size,
        alignment: header.alignment,
        backing: header.backing.clone(),
        backing_mtime: header.mtime,
        bitmap_offset: layout.bitmap_offset,
        bitmap_len: layout.bitmap_len,
        data_offset: layout.data_offset,
        file_len: block_device::BlockDevice::len(&*layer.file),
        disk_use: disk_use(&layer.file),
        dirty_sectors: 0,
        dirty_bytes: 0,
        dirty_runs: 0,
        record: match layer.record {
            RecordState::Absent => "absent",
            RecordState::Damaged => "damaged",
            RecordState::Valid(r) if r.root.is_some() => "recorded",
            RecordState::Valid(_) => "unknown-root",
        },
        identity: layer.record.valid().and_then(|r| r.root).map(|r| r.to_string()),
        chain: Vec::new(),
        base_match: None,
        problem: None,
        unfinished_merge: None,
        locks: locks(cow)?,
    };
    for run in layer.dirty_runs() {
        let run = run.map_err(Error::io("reading the bitmap of", cow))?;
        info.dirty_runs += 1;
        info.dirty_bytes += run.len;
        info.dirty_sectors += run.len.div_ceil(u64::from(layout.sector_size));
    }
    let digesting = |done, total| observer.progress("checking the base", done, total);
    let options = OpenOptions { unlocked: true, digesting: Some(&digesting), ..OpenOptions::default() };
    match Chain::open(cow, &options) {
        Ok(chain) => look_below(&mut info, &chain),
        Err(e) => info.problem = Some(e.to_string()),
    }
    Ok(info)
}

fn look_below(info: &mut Info, chain: &Chain) {
    let below =
        |file: &HostFile, format| Below { path: file.path().to_owned(), format, disk_use: disk_use(file) };
    info.chain = chain.layers[1..].iter().map(|l| below(&l.file, "cow")).collect();
    info.chain.push(below(&chain.base, "raw"));
    info.base_match = Some(match chain.matches[0] {
        Match::Fingerprint => "fingerprint",
        Match::Content => "content",
        Match::Mtime => "mtime",
        Match::UnfinishedMerge => "unfinished-merge",
        Match::Ignored => "ignored",
    });
    let log = log::read(chain.below(0).path()).unwrap_or_default();
    info.unfinished_merge = log::unfinished(&log).map(|e| e.cow.clone());
}

/// Calls `each` with every dirty run of the COW file, in order. Returns the size of the device in bytes.
///
/// # Errors
/// When the file is no COW file or cannot be read.
pub fn map(cow: &Path, mut each: impl FnMut(Run)) -> Result<u64> {
    let layer = read_layer(cow)?;
    for run in layer.dirty_runs() {
        each(run.map_err(Error::io("reading the bitmap of", cow))?);
    }
    Ok(layer.header.layout.size)
}
