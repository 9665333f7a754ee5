//! Writing transactions, and emptying the log.

use super::format::{
    self, COMMIT_SEC, COMMIT_SUM, ESCAPED, Form, HEADER, LAST, MAGIC, SAME_UUID, Tag, be32, put_header, put32,
};
use super::{JournalSuperblock, Place};
use crate::cache::Bytes;
use crate::core::Core;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is to be committed.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    pub(crate) blocks: Vec<(u64, Bytes)>,
    pub(crate) revoked: Vec<u64>,
}

/// The journal of a file system that is written to.
#[derive(Debug)]
pub(crate) struct Journal {
    superblock: JournalSuperblock,
    place: Place,
    /// Where the next transaction goes, and its sequence.
    head: u32,
    sequence: u32,
    /// Blocks of the log that hold transactions.
    used: u32,
    /// What is committed and not at home yet, as of the last commit.
    pub(crate) away: BTreeMap<u64, Bytes>,
}

/// Blocks of the log, gathered to be written in few pieces.
struct Writer<'a> {
    core: &'a Core,
    place: &'a Place,
    at: u64,
    bytes: Vec<u8>,
}

impl Writer<'_> {
    fn add(&mut self, to: u64, bytes: &[u8]) -> Result<()> {
        const MOST: usize = 1 << 20;
        let size = self.core.block_size();
        if self.at + self.bytes.len() as u64 / size != to || self.bytes.len() >= MOST {
            self.flush()?;
            self.at = to;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            let (block, size) = (self.at, self.core.block_size());
            self.core
                .device
                .write_at(&self.bytes, block * size)
                .map_err(|source| Error::Io { block, source })?;
            self.bytes.clear();
        }
        Ok(())
    }
}

impl Journal {
    pub(super) fn new(superblock: JournalSuperblock, place: Place, sequence: u32) -> Journal {
        let head = superblock.first;
        Journal { superblock, place, head, sequence, used: 0, away: BTreeMap::new() }
    }

    /// Sequence of the next transaction.
    pub(crate) fn sequence(&self) -> u32 {
        self.sequence
    }

    fn form(&self) -> Form {
        self.superblock.form
    }

    /// Blocks of the log.
    fn len(&self) -> u32 {
        self.superblock.end - self.superblock.first
    }

    /// How many blocks a transaction may change, so that it fits twice.
    pub(crate) fn most(&self) -> usize {
        (self.len() / 4) as usize
    }

    fn tags_per_block(&self, size: usize) -> usize {
        (size - HEADER - 16 - self.form().tail_len()) / self.form().tag_len()
    }

    fn revokes_per_block(&self, size: usize) -> usize {
        (size - HEADER - 4 - self.form().tail_len()) / self.form().revoke_len()
    }

    /// Writes a transaction. Once this returns it is there after a crash.
    pub(crate) fn commit(&mut self, core: &Core, frozen: &Frozen) -> Result<()> {
        let size = core.superblock.block_size as usize;
        let descriptors = frozen.blocks.len().div_ceil(self.tags_per_block(size));
        let revokes = frozen.revoked.len().div_ceil(self.revokes_per_block(size));
        let needed = (frozen.blocks.len() + descriptors + revokes + 1) as u32;
        if needed >= self.len() {
            return Err(Error::Journal(format!("a transaction of {needed} blocks does not fit")));
        }
        if self.used + needed >= self.len() {
            self.checkpoint(core)?;
        }
        if self.used == 0 {
            // Where recovery will begin.
            let bytes = self.superblock.bytes(self.sequence, self.head).to_vec();
            core.write_block(self.place.block(0)?, &bytes)?;
            core.flush()?;
        }
        let place = self.place.clone();
        let mut writer = Writer { core, place: &place, at: 0, bytes: Vec::new() };
        for chunk in frozen.revoked.chunks(self.revokes_per_block(size)) {
            let block = self.revoke_block(chunk, size);
            self.put(&mut writer, &block)?;
        }
        for chunk in frozen.blocks.chunks(self.tags_per_block(size)) {
            let (descriptor, escaped) = self.descriptor(chunk, size);
            self.put(&mut writer, &descriptor)?;
            for ((_, bytes), escaped) in chunk.iter().zip(escaped) {
                if escaped {
                    let mut copy = bytes.to_vec();
                    put32(&mut copy, 0, 0);
                    self.put(&mut writer, &copy)?;
                } else {
                    self.put(&mut writer, bytes)?;
                }
            }
        }
        writer.flush()?;
        // All of it, and the files' data, before the block that says it is there.
        core.flush()?;
        let block = self.commit_block(size);
        self.put(&mut writer, &block)?;
        writer.flush()?;
        core.flush()?;
        self.used += needed;
        self.sequence = self.sequence.wrapping_add(1);
        for block in &frozen.revoked {
            if self.away.remove(block).is_some() {
                core.cache.release(*block);
            }
        }
        for (block, bytes) in &frozen.blocks {
            if self.away.insert(*block, bytes.clone()).is_some() {
                // It is held once for being away.
                core.cache.release(*block);
            }
        }
        Ok(())
    }

    fn put(&mut self, writer: &mut Writer<'_>, bytes: &[u8]) -> Result<()> {
        writer.add(writer.place.block(self.head)?, bytes)?;
        self.head = self.superblock.next(self.head);
        Ok(())
    }

    fn revoke_block(&self, revoked: &[u64], size: usize) -> Vec<u8> {
        let mut b = vec![0; size];
        put_header(&mut b, format::REVOKE, self.sequence);
        let each = self.form().revoke_len();
        for (n, block) in revoked.iter().enumerate() {
            let at = HEADER + 4 + n * each;
            b[at..at + each].copy_from_slice(&block.to_be_bytes()[8 - each..]);
        }
        put32(&mut b, HEADER, (HEADER + 4 + revoked.len() * each) as u32);
        self.form().seal(&mut b, size - 4);
        b
    }

    /// The descriptor of some blocks, and which of them look like blocks of the journal's own.
    fn descriptor(&self, chunk: &[(u64, Bytes)], size: usize) -> (Vec<u8>, Vec<bool>) {
        let form = self.form();
        let mut b = vec![0; size];
        put_header(&mut b, format::DESCRIPTOR, self.sequence);
        let (mut at, mut all) = (HEADER, Vec::with_capacity(chunk.len()));
        for (n, (block, bytes)) in chunk.iter().enumerate() {
            let escaped = be32(bytes, 0) == MAGIC;
            let checksum = if escaped {
                let mut copy = bytes.to_vec();
                put32(&mut copy, 0, 0);
                form.block_sum(self.sequence, &copy)
            } else {
                form.block_sum(self.sequence, bytes)
            };
            let mut flags = if escaped { ESCAPED } else { 0 };
            if n > 0 {
                flags |= SAME_UUID;
            }
            if n + 1 == chunk.len() {
                flags |= LAST;
            }
            form.write_tag(&mut b[at..], &Tag { block: *block, flags, checksum });
            at += form.tag_len();
            if n == 0 {
                let uuid = self.superblock.uuid();
                b[at..at + 16].copy_from_slice(&uuid);
                at += 16;
            }
            all.push(escaped);
        }
        form.seal(&mut b, size - 4);
        (b, all)
    }

    fn commit_block(&self, size: usize) -> Vec<u8> {
        let mut b = vec![0; size];
        put_header(&mut b, format::COMMIT, self.sequence);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        b[COMMIT_SEC..COMMIT_SEC + 8].copy_from_slice(&now.as_secs().to_be_bytes());
        put32(&mut b, COMMIT_SEC + 8, now.subsec_nanos());
        self.form().seal(&mut b, COMMIT_SUM);
        b
    }

    /// Brings everything home, and empties the log.
    pub(crate) fn checkpoint(&mut self, core: &Core) -> Result<()> {
        if self.used == 0 && self.away.is_empty() {
            return Ok(());
        }
        write_home(core, self.away.iter().map(|(b, bytes)| (*b, bytes)))?;
        core.flush()?;
        let bytes = self.superblock.bytes(self.sequence, 0).to_vec();
        core.write_block(self.place.block(0)?, &bytes)?;
        core.flush()?;
        self.used = 0;
        for (block, _) in std::mem::take(&mut self.away) {
            core.cache.release(block);
        }
        Ok(())
    }
}

/// Writes blocks to their places, neighbours together.
pub(crate) fn write_home<'a>(core: &Core, blocks: impl Iterator<Item = (u64, &'a Bytes)>) -> Result<()> {
    let place = Place::default();
    let mut writer = Writer { core, place: &place, at: 0, bytes: Vec::new() };
    for (block, bytes) in blocks {
        writer.add(block, bytes)?;
    }
    writer.flush()
}
