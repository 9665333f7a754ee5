//! Recovery: what committed transactions say of blocks, as of the last of them.

use super::Log;
use super::format::{self, COMMIT_SUM, ESCAPED, HEADER, LAST, SAME_UUID, Tag, be32, header, put32};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};

/// What a log holds.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Blocks of the file system, with what is to be in them.
    pub(crate) blocks: BTreeMap<u64, Vec<u8>>,
    /// Transactions that were replayed.
    pub(crate) transactions: u32,
    /// The sequence that comes after them.
    pub(super) next: u32,
}

/// One transaction: the blocks of the log with its data, and what it revokes.
#[derive(Default)]
struct Transaction {
    sequence: u32,
    tags: Vec<(Tag, u32)>,
    revoked: Vec<u64>,
}

/// Whether one sequence is the same as another, or later.
fn at_least(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 >= 0
}

impl Log<'_> {
    /// Reads the log to its end: the first block that is none of the next transaction's.
    pub(crate) fn recover(&self) -> Result<Recovered> {
        let sb = &self.superblock;
        let mut found = Recovered { next: sb.sequence, ..Recovered::default() };
        if !sb.is_dirty() {
            return Ok(found);
        }
        if sb.form.features.contains(format::Incompat::FAST_COMMIT) {
            return Err(Error::Unsupported("a journal with fast commits that needs recovery".into()));
        }
        let transactions = self.scan()?;
        let mut revoked: HashMap<u64, u32> = HashMap::new();
        for t in &transactions {
            for block in &t.revoked {
                let last = revoked.entry(*block).or_insert(t.sequence);
                if at_least(t.sequence, *last) {
                    *last = t.sequence;
                }
            }
        }
        for t in &transactions {
            for (tag, at) in &t.tags {
                if revoked.get(&tag.block).is_some_and(|r| at_least(*r, t.sequence)) {
                    continue;
                }
                let mut bytes = self.read(*at)?;
                if sb.form.block_sum(t.sequence, &bytes) != tag.checksum && sb.form.has_checksums() {
                    return Err(Error::Journal(format!(
                        "block {at} of the log, for block {}, is damaged",
                        tag.block
                    )));
                }
                if tag.flags & ESCAPED != 0 {
                    put32(&mut bytes, 0, format::MAGIC);
                }
                found.blocks.insert(tag.block, bytes);
            }
        }
        found.transactions = transactions.len() as u32;
        // One is left out, as jbd2 does it: what lies behind the end may have the next number.
        found.next = sb.sequence.wrapping_add(found.transactions).wrapping_add(1);
        Ok(found)
    }

    fn scan(&self) -> Result<Vec<Transaction>> {
        let sb = &self.superblock;
        let (mut at, mut sequence) = (sb.start, sb.sequence);
        let mut done = Vec::new();
        let mut open = Transaction { sequence, ..Transaction::default() };
        // No log has more blocks than the journal, whatever its tags say.
        let mut left = sb.end - sb.first;
        while left > 0 {
            let block = self.read(at)?;
            let tail = block.len() - sb.form.tail_len();
            left -= 1;
            at = sb.next(at);
            match header(&block) {
                Some((format::DESCRIPTOR, s)) if s == sequence => {
                    if !sb.form.is_intact(&block, block.len() - 4) {
                        break;
                    }
                    for tag in self.tags(&block[..tail]) {
                        if tag.block >= self.blocks {
                            return Err(Error::Journal(format!("a tag for block {}", tag.block)));
                        }
                        open.tags.push((tag, at));
                        at = sb.next(at);
                        left = left.saturating_sub(1);
                    }
                }
                Some((format::REVOKE, s)) if s == sequence => {
                    if !sb.form.is_intact(&block, block.len() - 4) {
                        break;
                    }
                    let used = (be32(&block, HEADER) as usize).min(tail);
                    let records = block.get(HEADER + 4..used).unwrap_or_default();
                    for r in records.chunks_exact(sb.form.revoke_len()) {
                        open.revoked.push(r.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
                    }
                }
                Some((format::COMMIT, s)) if s == sequence => {
                    let intact = sb.form.is_intact(&block, COMMIT_SUM);
                    if !intact || sb.has_commit_sums() && !self.old_sum_holds(&open, &block)? {
                        break;
                    }
                    sequence = sequence.wrapping_add(1);
                    let next = Transaction { sequence, ..Transaction::default() };
                    done.push(std::mem::replace(&mut open, next));
                }
                _ => break,
            }
        }
        Ok(done)
    }

    fn tags(&self, block: &[u8]) -> Vec<Tag> {
        let form = &self.superblock.form;
        let (mut at, mut tags) = (HEADER, Vec::new());
        while at + form.tag_len() <= block.len() {
            let tag = form.read_tag(&block[at..]);
            tags.push(tag);
            at += form.tag_len() + if tag.flags & SAME_UUID == 0 { 16 } else { 0 };
            if tag.flags & LAST != 0 {
                break;
            }
        }
        tags
    }

    /// The checksum of version 1: CRC-32, most significant bit first, of all that a commit block commits. 0 bytes of it: there is none.
    fn old_sum_holds(&self, transaction: &Transaction, commit: &[u8]) -> Result<bool> {
        const CRC32: u8 = 1;
        if commit[12] != CRC32 || commit[13] != 4 {
            return Ok(commit[12] == 0 && be32(commit, COMMIT_SUM) == 0);
        }
        let mut crc = !0;
        let mut held = None;
        for (_, at) in &transaction.tags {
            let before = self.superblock.previous(*at);
            if held != Some(before) {
                // The descriptor that these blocks stand behind.
                crc = crc32_be(crc, &self.read(before)?);
            }
            crc = crc32_be(crc, &self.read(*at)?);
            held = Some(*at);
        }
        Ok(crc == be32(commit, COMMIT_SUM))
    }
}

fn crc32_be(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc >> 31 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 }
        })
    })
}
