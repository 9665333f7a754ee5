//! What we add to a COW file: a record of its base's identity, in the padding between header and bitmap,
//! where the real driver and tools look at nothing. Layout, big-endian, [`RECORD_LEN`] bytes:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic `COWIDENT` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | flags: [`Record::root`] known, base is a COW layer |
//! | 16 | 32 | root of the base's digest tree |
//! | 48 | 48 | fingerprint: size, mtime s, mtime ns, ctime s, ctime ns, inode, device |
//! | 96 | 16 | reserved, zero |
//! | 112 | 16 | first half of the BLAKE3 of the bytes before |

use crate::identity::{Fingerprint, Root};

/// Length of the record in bytes.
pub const RECORD_LEN: usize = 128;
const MAGIC: &[u8; 8] = b"COWIDENT";
const CHECKED: usize = 112;
const HAS_ROOT: u32 = 1;
const BASE_IS_COW: u32 = 2;

/// The identity of the base of one COW file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Digest of the base's content, where it has been computed.
    pub root: Option<Root>,
    /// The base is itself a COW layer. Only this flag makes it one: what a *guest* wrote at the start of
    /// a raw base is never taken for a header.
    pub base_is_cow: bool,
    /// State of the base's inode when its content was last known to be right.
    pub fingerprint: Fingerprint,
}

/// What the padding holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    /// No room for a record, or none there: a file of the real tools.
    Absent,
    /// A record.
    Valid(Record),
    /// The magic is there and the checksum or the version is wrong.
    Damaged,
}

impl RecordState {
    /// The record, if there is a good one.
    pub fn valid(self) -> Option<Record> {
        if let Self::Valid(r) = self { Some(r) } else { None }
    }
}

impl Record {
    /// The record's bytes.
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let f = &self.fingerprint;
        let mut flags = 0;
        if self.root.is_some() {
            flags |= HAS_ROOT;
        }
        if self.base_is_cow {
            flags |= BASE_IS_COW;
        }
        let mut raw = Vec::with_capacity(RECORD_LEN);
        raw.extend(MAGIC);
        raw.extend(1u32.to_be_bytes());
        raw.extend(flags.to_be_bytes());
        raw.extend(self.root.map_or([0; 32], |r| r.0));
        raw.extend(f.size.to_be_bytes());
        raw.extend(f.mtime.to_be_bytes());
        raw.extend(f.mtime_ns.to_be_bytes());
        raw.extend(f.ctime.to_be_bytes());
        raw.extend(f.ctime_ns.to_be_bytes());
        raw.extend(f.ino.to_be_bytes());
        raw.extend(f.dev.to_be_bytes());
        raw.resize(CHECKED, 0);
        raw.extend(&blake3::hash(&raw).as_bytes()[..RECORD_LEN - CHECKED]);
        let mut out = [0; RECORD_LEN];
        out.copy_from_slice(&raw);
        out
    }

    /// Reads a record.
    pub fn decode(raw: &[u8; RECORD_LEN]) -> RecordState {
        if !raw.starts_with(MAGIC) {
            return RecordState::Absent;
        }
        if blake3::hash(&raw[..CHECKED]).as_bytes()[..RECORD_LEN - CHECKED] != raw[CHECKED..] {
            return RecordState::Damaged;
        }
        let mut rest = &raw[MAGIC.len()..];
        if u32::from_be_bytes(take(&mut rest)) != 1 {
            return RecordState::Damaged;
        }
        let flags = u32::from_be_bytes(take(&mut rest));
        let root = Root(take(&mut rest));
        let fingerprint = Fingerprint {
            size: u64::from_be_bytes(take(&mut rest)),
            mtime: i64::from_be_bytes(take(&mut rest)),
            mtime_ns: u32::from_be_bytes(take(&mut rest)),
            ctime: i64::from_be_bytes(take(&mut rest)),
            ctime_ns: u32::from_be_bytes(take(&mut rest)),
            ino: u64::from_be_bytes(take(&mut rest)),
            dev: u64::from_be_bytes(take(&mut rest)),
        };
        RecordState::Valid(Self {
            root: (flags & HAS_ROOT != 0).then_some(root),
            base_is_cow: flags & BASE_IS_COW != 0,
            fingerprint,
        })
    }
}

/// The next `N` bytes. The caller's array is long enough: the fields add up to less than `CHECKED`.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let (now, later) = rest.split_at(N);
    out.copy_from_slice(now);
    *rest = later;
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flipped_bit() {
        let fingerprint =
            Fingerprint { size: 1, mtime: -2, mtime_ns: 3, ctime: 4, ctime_ns: 5, ino: 6, dev: 7 };
        let record = Record { root: Some(Root([9; 32])), base_is_cow: true, fingerprint };
        let raw = record.encode();
        assert_eq!(Record::decode(&raw), RecordState::Valid(record));
        for bit in 64..RECORD_LEN * 8 {
            let mut bad = raw;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&bad), RecordState::Damaged, "bit {bit}");
        }
        assert_eq!(Record::decode(&[0; RECORD_LEN]), RecordState::Absent);
    }
}
