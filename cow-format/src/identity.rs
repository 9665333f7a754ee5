//! A base is known by its content: a digest tree, and a cheap way not to compute it.
//!
//! Leaf *i* is the BLAKE3 of bytes [*i* MiB, *i*+1 MiB), or 32 zero bytes where those are all zero, so that
//! holes cost nothing. The root is the BLAKE3, with [`CONTEXT`] as key derivation context, of the size (u64,
//! little-endian) and all leaves. The tree is kept beside the base as `NAME.cow-tree`: a [`Record`] with the
//! fingerprint it was made at and the root, then the leaves.

use crate::record::{RECORD_LEN, Record, RecordState};
use block_device::{BlockDevice, ExtentKind, Extents, HostFile, NewFile, is_zero};
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of the device that one leaf covers.
pub const LEAF: u64 = 1 << 20;
/// Key derivation context of the root.
pub const CONTEXT: &str = "cow-format base identity, version 1";

/// Digest of the whole content of a base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Root(pub [u8; 32]);

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The state of an inode that any change of its content changes too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Bytes.
    pub size: u64,
    /// Modification time, seconds.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_ns: u32,
    /// Status change time, seconds: no user can set it back.
    pub ctime: i64,
    /// Its nanoseconds.
    pub ctime_ns: u32,
    /// Inode number.
    pub ino: u64,
    /// Device number.
    pub dev: u64,
}

impl Fingerprint {
    /// That of a file.
    pub fn of(meta: &Metadata) -> Self {
        Self {
            size: meta.len(),
            mtime: meta.mtime(),
            mtime_ns: meta.mtime_nsec() as u32,
            ctime: meta.ctime(),
            ctime_ns: meta.ctime_nsec() as u32,
            ino: meta.ino(),
            dev: meta.dev(),
        }
    }

    /// The modification time as a COW header holds it.
    pub fn header_mtime(&self) -> u32 {
        self.mtime as u32
    }
}

/// Digest of a leaf's bytes.
fn leaf(bytes: &[u8]) -> [u8; 32] {
    if is_zero(bytes) { [0; 32] } else { *blake3::hash(bytes).as_bytes() }
}

/// Computes the digest tree of a device. `leaf_done` gets every leaf in order; its error ends the work.
///
/// # Errors
/// Those of reading the device, and `leaf_done`'s.
pub fn digest(
    device: &dyn BlockDevice,
    mut leaf_done: impl FnMut(&[u8; 32]) -> io::Result<()>,
) -> io::Result<Root> {
    let size = device.len();
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&size.to_le_bytes());
    let mut buf = vec![0; LEAF as usize];
    let mut extents = Extents::new(device);
    let mut at = 0;
    while at < size {
        let len = LEAF.min(size - at);
        let extent = extents.at(at)?;
        let digest = if extent.kind == ExtentKind::Hole && extent.len >= len {
            [0; 32]
        } else {
            let bytes = &mut buf[..len as usize];
            device.read_at(bytes, at)?;
            leaf(bytes)
        };
        hasher.update(&digest);
        leaf_done(&digest)?;
        at += len;
    }
    Ok(Root(*hasher.finalize().as_bytes()))
}

/// Where the digest tree of a base is kept.
pub fn tree_path(base: &Path) -> PathBuf {
    beside(base, ".cow-tree")
}

/// `base` with `suffix` after its name.
pub(crate) fn beside(base: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(base);
    name.push(suffix);
    PathBuf::from(name)
}

/// The root kept beside a base, if it was made at this very fingerprint.
pub fn kept_root(base: &Path, fingerprint: &Fingerprint) -> Option<Root> {
    let mut raw = [0; RECORD_LEN];
    File::open(tree_path(base)).ok()?.read_exact(&mut raw).ok()?;
    match Record::decode(&raw) {
        RecordState::Valid(r) if r.fingerprint == *fingerprint => r.root,
        _ => None,
    }
}

/// The leaves kept beside a base, whatever its state now is: what it contained when `root` was made.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when the file is not the tree of `root`; else those of reading it.
pub fn kept_leaves(base: &Path, root: &Root, size: u64) -> io::Result<Vec<[u8; 32]>> {
    let mut raw = Vec::new();
    let want = RECORD_LEN as u64 + size.div_ceil(LEAF) * 32;
    File::open(tree_path(base))?.take(want + 1).read_to_end(&mut raw)?;
    let leaves: Vec<[u8; 32]> = raw.get(RECORD_LEN..).unwrap_or_default().as_chunks().0.to_vec();
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&size.to_le_bytes());
    leaves.iter().for_each(|l| {
        hasher.update(l);
    });
    if raw.len() as u64 != want || hasher.finalize().as_bytes() != &root.0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the kept digest tree is not that of this identity",
        ));
    }
    Ok(leaves)
}

/// The root of a base: the kept one where nothing has touched the base since, else computed, and with
/// `keep` kept beside the base for the next time, where the directory can be written.
///
/// `device` is what the base contains (its merged view, where it is a COW layer), `file` the file itself.
///
/// # Errors
/// Those of reading the base.
pub fn identify(
    file: &HostFile,
    device: &dyn BlockDevice,
    keep_tree: bool,
    mut progress: impl FnMut(u64, u64),
) -> io::Result<(Root, Fingerprint)> {
    let fingerprint = Fingerprint::of(&file.file().metadata()?);
    if let Some(root) = kept_root(file.path(), &fingerprint) {
        return Ok((root, fingerprint));
    }
    let mut leaves = Vec::new();
    let mut done = 0;
    let root = digest(device, |leaf| {
        leaves.extend_from_slice(leaf);
        done += LEAF;
        progress(done.min(device.len()), device.len());
        Ok(())
    })?;
    // A base that changed meanwhile has no identity; the caller sees the fingerprint of before.
    if keep_tree && Fingerprint::of(&file.file().metadata()?) == fingerprint {
        let record = Record { root: Some(root), base_is_cow: false, fingerprint };
        // Only a saving of time: a directory that cannot be written costs the next open a digest.
        let _ = keep(file.path(), &record, &leaves);
    }
    Ok((root, fingerprint))
}

fn keep(base: &Path, record: &Record, leaves: &[u8]) -> io::Result<()> {
    let new = NewFile::create(&tree_path(base), 0)?;
    let mut out = BufWriter::new(new.device().file());
    out.write_all(&record.encode())?;
    out.write_all(leaves)?;
    out.flush()?;
    drop(out);
    new.publish(true).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_device::MemDevice;

    /// Against the definition, computed the slow way round.
    #[test]
    fn the_root_is_what_the_definition_says() {
        let mut bytes = vec![0u8; (LEAF * 2 + 777) as usize];
        bytes[LEAF as usize * 2 + 5] = 1;
        bytes[3] = 7;
        let mut text = (bytes.len() as u64).to_le_bytes().to_vec();
        text.extend(blake3::hash(&bytes[..LEAF as usize]).as_bytes());
        text.extend([0; 32]);
        text.extend(blake3::hash(&bytes[LEAF as usize * 2..]).as_bytes());
        let want = blake3::derive_key(CONTEXT, &text);
        assert_eq!(digest(&MemDevice::new(bytes), |_| Ok(())).unwrap(), Root(want));
    }
}
