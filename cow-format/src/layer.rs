//! One COW file on the host: its header, its record, and the few bytes of it that may change later.

use crate::error::{Error, Result};
use crate::header::{self, Header, MAX_HEADER_LEN};
use crate::record::{RECORD_LEN, Record, RecordState};
use crate::scan::DirtyRuns;
use block_device::{BlockDevice, HostFile};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open COW file.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its checked header.
    pub header: Header,
    /// What lies in the padding.
    pub record: RecordState,
    /// Its bytes.
    pub file: Arc<HostFile>,
}

impl Layer {
    /// Reads the header and the record of an open file.
    ///
    /// # Errors
    /// [`Error::Header`] when it is no COW file or a damaged one; [`Error::Io`] when it cannot be read.
    pub fn read(file: Arc<HostFile>) -> Result<Self> {
        let path = file.path();
        let prefix = read_prefix(&*file).map_err(Error::io("reading the header of", path))?;
        let header = Header::parse(&prefix, file.len())
            .map_err(|source| Error::Header { path: path.to_owned(), source })?;
        let record = read_record(&*file, &header).map_err(Error::io("reading the record of", path))?;
        Ok(Self { header, record, file })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The backing path as this process can open it: a relative one is taken from the COW file's directory.
    pub fn backing_path(&self) -> PathBuf {
        match self.path().parent() {
            Some(dir) => dir.join(&self.header.backing),
            None => self.header.backing.clone(),
        }
    }

    /// Its dirty runs.
    pub fn dirty_runs(&self) -> DirtyRuns<'_> {
        DirtyRuns::new(&*self.file, self.header.layout)
    }

    /// Names another base, or another state of the same one: header and record are rewritten in place, in
    /// the file's own version, and synced. Where the path changes, the old record is wiped durably first: at
    /// no moment does it speak of another base than the header. Bitmap and data stay. A record is dropped without a word where
    /// the version has no room for it, unless it says that the base is a layer.
    ///
    /// # Errors
    /// [`Error::Header`] for a path that does not fit, [`Error::Unsupported`] where the base needs a record
    /// and there is no room, [`Error::Io`].
    pub fn set_base(&mut self, backing: &Path, mtime: u32, record: Option<Record>) -> Result<()> {
        let path = self.path().to_owned();
        let header = self
            .header
            .with_backing(backing, mtime)
            .map_err(|source| Error::Header { path: path.clone(), source })?;
        let bytes = head_bytes(&header, record, &path)?;
        let write = |bytes: &[u8], at: u64| {
            self.file.write_at(bytes, at).map_err(Error::io("writing the header of", &path))?;
            self.file.flush().map_err(Error::io("syncing", &path))
        };
        match header.record_offset() {
            // Header and record lie in different sectors, of which a power cut may keep either.
            Some(at) if header.backing != self.header.backing => {
                write(&[0; RECORD_LEN], at)?;
                write(&bytes[..at as usize], 0)?;
                write(&bytes[at as usize..], at)?;
            }
            _ => write(&bytes, 0)?,
        }
        self.header = header;
        self.record = read_record(&*self.file, &self.header).map_err(Error::io("reading", &path))?;
        Ok(())
    }
}

/// The bytes of header and record, from the start of the file.
pub(crate) fn head_bytes(header: &Header, record: Option<Record>, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = header.encode();
    match (header.record_offset(), record) {
        (Some(at), record) => {
            bytes.resize(at as usize, 0);
            bytes.extend(record.map_or([0; RECORD_LEN], |r| r.encode()));
        }
        (None, Some(r)) if r.base_is_cow => {
            let what =
                format!("{} has no room to say that its base is a COW layer: use v3", header.version.name());
            return Err(Error::Unsupported { path: path.to_owned(), what });
        }
        (None, _) => {}
    }
    Ok(bytes)
}

fn read_prefix(file: &dyn BlockDevice) -> std::io::Result<Vec<u8>> {
    let mut prefix = vec![0; (MAX_HEADER_LEN as u64).min(file.len()) as usize];
    file.read_at(&mut prefix, 0)?;
    Ok(prefix)
}

/// Parses the header of whatever `file` holds.
///
/// # Errors
/// As [`Header::parse`], or those of reading, as [`std::io::Error`] of kind `InvalidData`.
pub fn parse_device(file: &dyn BlockDevice) -> std::io::Result<Header> {
    Header::parse(&read_prefix(file)?, file.len())
        .map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))
}

/// Whether a file begins like a COW file. It need not be one: anybody can write four bytes.
///
/// # Errors
/// Those of reading.
pub fn looks_like_cow(file: &dyn BlockDevice) -> std::io::Result<bool> {
    Ok(header::has_magic(&read_prefix(file)?))
}

fn read_record(file: &dyn BlockDevice, header: &Header) -> std::io::Result<RecordState> {
    let Some(at) = header.record_offset() else { return Ok(RecordState::Absent) };
    let mut raw = [0; RECORD_LEN];
    file.read_at(&mut raw, at)?;
    Ok(Record::decode(&raw))
}
