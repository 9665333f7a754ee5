//! One block of a directory: its entries as they lie there.

use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::checksum::crc32c;

/// Fixed part of an entry.
pub(crate) const HEAD: usize = 8;
/// Length, and type, of the entry that holds a block's checksum.
pub(crate) const TAIL: usize = 12;
pub(crate) const TAIL_TYPE: u8 = 0xde;

/// Bytes that an entry with a name of this length needs.
pub(crate) fn needed(name: usize) -> usize {
    (HEAD + name).next_multiple_of(4)
}

/// The bytes of an entry: 64 KiB do not fit into the field.
pub(crate) fn record(b: &[u8], block_size: usize) -> usize {
    let raw = usize::from(u16_at(b, 4));
    match block_size {
        65536 if raw == 0 || raw == 65535 => block_size,
        65536 => raw & 0xfffc | (raw & 3) << 16,
        _ => raw,
    }
}

fn put_record(b: &mut [u8], len: usize, block_size: usize) {
    let raw = match len {
        65536 if block_size == 65536 => 65535,
        len => len as u16,
    };
    put_u16(b, 4, raw);
}

/// How blocks of one directory are laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) block_size: usize,
    /// Entries carry the type.
    pub(crate) typed: bool,
    /// With what the checksum begins, where there is one.
    pub(crate) seed: Option<u32>,
}

/// An entry in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) at: usize,
    pub(crate) record: usize,
    pub(crate) name: usize,
    pub(crate) inode: u32,
}

impl Shape {
    /// Where entries end.
    pub(crate) fn end(&self) -> usize {
        self.block_size - if self.seed.is_some() { TAIL } else { 0 }
    }

    /// The entries up to `end`, checked; `None` for a damaged block.
    pub(crate) fn entries(&self, b: &[u8], from: usize, end: usize) -> Option<Vec<At>> {
        self.walk(b, from, end).collect()
    }

    /// One entry after the other; `None`, at the end, for a damaged one.
    pub(crate) fn walk<'a>(
        &self,
        b: &'a [u8],
        from: usize,
        end: usize,
    ) -> impl Iterator<Item = Option<At>> + use<'a> {
        let (shape, mut at) = (*self, from);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let found = shape.at(b, at, end);
            at = found.map_or(end, |e| e.at + e.record);
            Some(found)
        })
    }

    fn at(&self, b: &[u8], at: usize, end: usize) -> Option<At> {
        let rest = b.get(at..end).filter(|rest| rest.len() >= HEAD)?;
        let record = record(rest, self.block_size);
        // One byte, also where there is no type behind it: Linux leaves there what the block's memory held (ext4_init_dot_dotdot).
        let name = usize::from(rest[6]);
        let right =
            record >= HEAD && record.is_multiple_of(4) && record <= rest.len() && HEAD + name <= record;
        right.then(|| At { at, record, name, inode: u32_at(rest, 0) })
    }

    /// Puts an entry at a place, `record` bytes long.
    pub(crate) fn put(&self, b: &mut [u8], at: usize, record: usize, (name, inode, kind): (&[u8], u32, u8)) {
        let e = &mut b[at..at + record];
        put_u32(e, 0, inode);
        put_record(e, record, self.block_size);
        if self.typed {
            e[6] = name.len() as u8;
            e[7] = kind;
        } else {
            put_u16(e, 6, name.len() as u16);
        }
        e[HEAD..HEAD + name.len()].copy_from_slice(name);
    }

    /// A block with these entries, one after the other; the last takes all the rest.
    pub(crate) fn fill(&self, b: &mut [u8], from: usize, entries: &[(&[u8], u32, u8)]) {
        b[from..].fill(0);
        let (mut at, end) = (from, self.end());
        for (n, entry) in entries.iter().enumerate() {
            let record = if n + 1 == entries.len() { end - at } else { needed(entry.0.len()) };
            self.put(b, at, record, *entry);
            at += record;
        }
        if entries.is_empty() {
            self.put(b, at, end - at, (b"", 0, 0));
        }
        self.seal(b);
    }

    /// Adds an entry where there is room for it.
    pub(crate) fn add(&self, b: &mut [u8], from: usize, end: usize, entry: (&[u8], u32, u8)) -> Option<bool> {
        let need = needed(entry.0.len());
        for e in self.entries(b, from, end)? {
            let used = if e.inode == 0 { 0 } else { needed(e.name) };
            if e.record < used + need {
                continue;
            }
            if used > 0 {
                put_record(&mut b[e.at..], used, self.block_size);
            }
            self.put(b, e.at + used, e.record - used, entry);
            self.seal(b);
            return Some(true);
        }
        Some(false)
    }

    /// Takes an entry out: the one before it gets its room.
    pub(crate) fn remove(&self, b: &mut [u8], from: usize, end: usize, name: &[u8]) -> Option<bool> {
        let entries = self.entries(b, from, end)?;
        let is = |e: &At| e.inode != 0 && &b[e.at + HEAD..e.at + HEAD + e.name] == name;
        let Some(n) = entries.iter().position(is) else { return Some(false) };
        let gone = entries[n];
        match n.checked_sub(1).map(|n| entries[n]) {
            Some(before) => put_record(&mut b[before.at..], before.record + gone.record, self.block_size),
            None => put_u32(b, gone.at, 0),
        }
        self.seal(b);
        Some(true)
    }

    /// Has an entry name another inode.
    pub(crate) fn replace(
        &self,
        b: &mut [u8],
        (from, end): (usize, usize),
        name: &[u8],
        inode: u32,
        kind: u8,
    ) -> Option<bool> {
        for e in self.entries(b, from, end)? {
            if e.inode != 0 && &b[e.at + HEAD..e.at + HEAD + e.name] == name {
                put_u32(b, e.at, inode);
                if self.typed {
                    b[e.at + 7] = kind;
                }
                self.seal(b);
                return Some(true);
            }
        }
        Some(false)
    }

    /// Writes the entry with the checksum.
    pub(crate) fn seal(&self, b: &mut [u8]) {
        let Some(seed) = self.seed else { return };
        let end = self.end();
        if b.len() != self.block_size {
            return;
        }
        b[end..].fill(0);
        put_u16(b, end + 4, TAIL as u16);
        b[end + 7] = TAIL_TYPE;
        let sum = crc32c(seed, &b[..end]);
        put_u32(b, end + 8, sum);
    }
}
