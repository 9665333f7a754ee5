//! The hash tree of a directory: which of its blocks a name belongs to, and how blocks are split.

use crate::Incompat;
use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::cache::Bytes;
use crate::checksum::crc32c;
use crate::core::Core;
use crate::dir_block::{HEAD, Shape, needed};
use crate::error::{Error, Result};
use crate::hash::Hasher;
use crate::inode::{Flags, Inode};
use crate::transaction::Op;

/// Offsets in the root: the hash's version, the levels below, the first count.
const VERSION: usize = 0x1c;
const LEVELS: usize = 0x1e;
const ROOT_COUNTS: usize = 0x20;
/// The same in a node.
const NODE_COUNTS: usize = 8;
/// Bits of a block's number.
const BLOCK: u32 = 0x0fff_ffff;

/// One index block on the way to a leaf, and which of its entries was taken.
#[derive(Debug, Clone, Copy)]
struct Step {
    logical: u64,
    counts: usize,
    at: usize,
}

/// The way to a leaf.
#[derive(Debug)]
pub(crate) struct Way {
    steps: Vec<Step>,
    hasher: Hasher,
    hash: u32,
    pub(crate) leaf: u64,
}

fn count(b: &[u8], counts: usize) -> usize {
    u16_at(b, counts + 2).into()
}

fn limit(b: &[u8], counts: usize) -> usize {
    u16_at(b, counts).into()
}

/// Hash and block of an entry; the first has no hash.
fn entry(b: &[u8], counts: usize, n: usize) -> (u32, u32) {
    let hash = if n == 0 { 0 } else { u32_at(b, counts + n * 8) };
    (hash, u32_at(b, counts + n * 8 + 4) & BLOCK)
}

impl Core {
    pub(crate) fn hasher(&self, version: u8) -> Hasher {
        let sb = &self.superblock;
        let unsigned = version < 3 && sb.unsigned_hash;
        Hasher { version: version + if unsigned { 3 } else { 0 }, seed: sb.hash_seed }
    }

    /// The device's block of a directory's block.
    pub(crate) fn directory_block(&self, inode: &Inode, logical: u64) -> Result<u64> {
        let run = self.run(inode, logical)?;
        run.physical
            .filter(|_| !run.unwritten)
            .ok_or_else(|| Error::inode(inode.number, format!("its block {logical} is a hole")))
    }

    /// A block of the tree, checked.
    fn index_bytes(&self, inode: &Inode, logical: u64) -> Result<Bytes> {
        self.directory_bytes(inode, self.directory_block(inode, logical)?, logical == 0)
    }

    /// Finds the leaf for a name.
    pub(crate) fn way(&self, inode: &Inode, name: &[u8]) -> Result<Way> {
        let bad = |what: &str| Error::inode(inode.number, format!("its hash tree has {what}"));
        let root = self.index_bytes(inode, 0)?;
        let (version, levels) = (root[VERSION], root[LEVELS]);
        let most = if self.superblock.incompat.contains(Incompat::LARGEDIR) { 3 } else { 2 };
        if root[0x1d] != 8 || levels >= most {
            return Err(bad("a damaged root"));
        }
        let hasher = self.hasher(version);
        let hash = hasher.hash(name).ok_or_else(|| bad("a hash of no known version"))?;
        let (mut steps, mut logical, mut counts) = (Vec::new(), 0, ROOT_COUNTS);
        for _ in 0..=levels {
            let b = self.index_bytes(inode, logical)?;
            let (count, limit) = (count(&b, counts), limit(&b, counts));
            if count == 0 || count > limit || counts + limit * 8 > b.len() {
                return Err(bad("a damaged node"));
            }
            let at = (1..count).take_while(|n| entry(&b, counts, *n).0 <= hash).count();
            steps.push(Step { logical, counts, at });
            logical = entry(&b, counts, at).1.into();
            counts = NODE_COUNTS;
            if logical == 0 || logical >= inode.size / self.block_size() {
                return Err(bad("an entry for no block"));
            }
        }
        Ok(Way { steps, hasher, hash, leaf: logical })
    }

    /// The leaf behind that of a way, if names with the same hash go on there.
    pub(crate) fn next_leaf(&self, inode: &Inode, way: &mut Way) -> Result<bool> {
        let mut level = way.steps.len();
        loop {
            let Some(above) = level.checked_sub(1) else { return Ok(false) };
            level = above;
            let step = &mut way.steps[level];
            let b = self.index_bytes(inode, step.logical)?;
            if step.at + 1 < count(&b, step.counts) {
                step.at += 1;
                let (hash, mut block) = entry(&b, step.counts, step.at);
                // The lowest bit says that the hash before it goes on here.
                if hash & 1 == 0 || hash & !1 != way.hash {
                    return Ok(false);
                }
                for n in level + 1..way.steps.len() {
                    way.steps[n] = Step { logical: block.into(), counts: NODE_COUNTS, at: 0 };
                    let b = self.index_bytes(inode, block.into())?;
                    block = entry(&b, NODE_COUNTS, 0).1;
                }
                way.leaf = block.into();
                return Ok(true);
            }
        }
    }
}

impl Op<'_> {
    fn seal_node(&self, inode: &Inode, b: &mut [u8], counts: usize) {
        if !self.superblock.has_checksums() {
            return;
        }
        let place = counts + limit(b, counts) * 8;
        let upto = counts + count(b, counts) * 8;
        let crc = crc32c(crc32c(inode.seed, &b[..upto]), &b[place..place + 4]);
        let sum = crc32c(crc, &[0; 4]);
        put_u32(b, place + 4, sum);
    }

    /// Writes the checksum of a tree's root.
    pub(crate) fn seal_root(&self, inode: &Inode, b: &mut [u8]) {
        self.seal_node(inode, b, ROOT_COUNTS);
    }

    fn node_limit(&self, counts: usize) -> usize {
        let tail = if self.superblock.has_checksums() { 8 } else { 0 };
        (self.superblock.block_size as usize - counts - tail) / 8
    }

    /// An empty node, to be filled with entries.
    fn node(&self, inode: &Inode, entries: &[(u32, u32)]) -> Vec<u8> {
        let mut b = vec![0; self.superblock.block_size as usize];
        let len = b.len();
        self.shape(inode).put_empty(&mut b, len);
        self.put_entries(inode, &mut b, NODE_COUNTS, entries);
        b
    }

    fn put_entries(&self, inode: &Inode, b: &mut [u8], counts: usize, entries: &[(u32, u32)]) {
        for (n, (hash, block)) in entries.iter().enumerate() {
            put_u32(b, counts + n * 8, *hash);
            put_u32(b, counts + n * 8 + 4, *block);
        }
        put_u16(b, counts, self.node_limit(counts) as u16);
        put_u16(b, counts + 2, entries.len() as u16);
        self.seal_node(inode, b, counts);
    }

    fn node_entries(&self, inode: &Inode, step: &Step) -> Result<Vec<(u32, u32)>> {
        let b = self.index_bytes(inode, step.logical)?;
        Ok((0..count(&b, step.counts)).map(|n| entry(&b, step.counts, n)).collect())
    }

    fn set_entries(&mut self, inode: &Inode, step: &Step, entries: &[(u32, u32)]) -> Result<()> {
        let block = self.directory_block(inode, step.logical)?;
        let mut b = self.block(block)?.to_vec();
        self.put_entries(inode, &mut b, step.counts, entries);
        self.change(block, |to| to.copy_from_slice(&b))
    }

    /// Splits the leaf of a way by the hashes of its names, so that there is room for another.
    pub(crate) fn split_leaf(&mut self, inode: &mut Inode, name: &[u8]) -> Result<()> {
        let way = self.way(inode, name)?;
        let shape = self.shape(inode);
        let block = self.directory_block(inode, way.leaf)?;
        let bytes = self.index_bytes(inode, way.leaf)?;
        let damaged = || Error::block(block, format!("a damaged block of directory {}", inode.number));
        let mut names = Vec::new();
        for e in shape.entries(&bytes, 0, shape.end()).ok_or_else(damaged)? {
            if e.inode != 0 {
                let name = bytes[e.at + HEAD..e.at + HEAD + e.name].to_vec();
                let kind = if shape.typed { bytes[e.at + 7] } else { 0 };
                let hash = way.hasher.hash(&name).ok_or_else(damaged)?;
                names.push((hash, name, e.inode, kind));
            }
        }
        names.sort_by_key(|n| n.0);
        let all: usize = names.iter().map(|n| needed(n.1.len())).sum();
        let (mut upto, mut at) = (0, 0);
        while at + 1 < names.len() && (at == 0 || upto + needed(names[at].1.len()) <= all / 2) {
            upto += needed(names[at].1.len());
            at += 1;
        }
        if at == 0 {
            return Err(damaged());
        }
        let upper = names.split_off(at);
        let goes_on = names.last().is_some_and(|last| last.0 == upper[0].0);
        let hash = upper[0].0 | u32::from(goes_on);
        let as_entries = |names: &[(u32, Vec<u8>, u32, u8)], b: &mut [u8]| {
            let entries: Vec<_> = names.iter().map(|(_, name, i, kind)| (&name[..], *i, *kind)).collect();
            shape.fill(b, 0, &entries);
        };
        let mut new = vec![0; shape.block_size];
        as_entries(&upper, &mut new);
        let logical = self.append_block(inode, new)?;
        self.change(block, |b| as_entries(&names, b))?;
        self.add_to_index(inode, &way, (hash, logical as u32))
    }

    /// Puts an entry behind that which a way took, in the node above the leaf; makes room for it first.
    fn add_to_index(&mut self, inode: &mut Inode, way: &Way, new: (u32, u32)) -> Result<()> {
        let (mut new, mut level) = (new, way.steps.len() - 1);
        loop {
            let step = way.steps[level];
            let mut entries = self.node_entries(inode, &step)?;
            entries.insert(step.at + 1, new);
            if entries.len() <= self.node_limit(step.counts) {
                return self.set_entries(inode, &step, &entries);
            }
            if level == 0 {
                let most = if self.superblock.incompat.contains(Incompat::LARGEDIR) { 3 } else { 2 };
                if way.steps.len() >= most {
                    return Err(Error::NoSpace);
                }
                // All of the root goes one level down, in two halves.
                let upper = entries.split_off(entries.len() / 2);
                let first = upper[0].0;
                let node = self.node(inode, &entries);
                let left = self.append_block(inode, node)? as u32;
                let node = self.node(inode, &upper);
                let right = self.append_block(inode, node)? as u32;
                let root = self.directory_block(inode, 0)?;
                self.change(root, |b| b[LEVELS] += 1)?;
                return self.set_entries(inode, &step, &[(0, left), (first, right)]);
            }
            let upper = entries.split_off(entries.len() / 2);
            new = (upper[0].0, 0);
            let node = self.node(inode, &upper);
            new.1 = self.append_block(inode, node)? as u32;
            self.set_entries(inode, &step, &entries)?;
            level -= 1;
        }
    }

    /// A directory of one full block gets an index: its names go to a second block.
    pub(crate) fn make_index(&mut self, inode: &mut Inode) -> Result<()> {
        let shape = self.shape(inode);
        let block = self.directory_block(inode, 0)?;
        let bytes = self.index_bytes(inode, 0)?;
        let damaged = || Error::block(block, format!("a damaged block of directory {}", inode.number));
        let entries = shape.entries(&bytes, 0, shape.end()).ok_or_else(damaged)?;
        let name = |n: usize| entries.get(n).map(|e| (&bytes[e.at + HEAD..e.at + HEAD + e.name], e.inode));
        let (Some((b".", own)), Some((b"..", parent))) = (name(0), name(1)) else { return Err(damaged()) };
        let kind = |at: usize| if shape.typed { bytes[at + 7] } else { 0 };
        let rest: Vec<_> = entries[2..]
            .iter()
            .filter(|e| e.inode != 0)
            .map(|e| (&bytes[e.at + HEAD..e.at + HEAD + e.name], e.inode, kind(e.at)))
            .collect();
        let mut leaf = vec![0; shape.block_size];
        shape.fill(&mut leaf, 0, &rest);
        let logical = self.append_block(inode, leaf)? as u32;
        let mut root = vec![0; shape.block_size];
        let directory = if shape.typed { 2 } else { 0 };
        shape.put(&mut root, 0, 12, (b".", own, directory));
        shape.put(&mut root, 12, shape.block_size - 12, (b"..", parent, directory));
        root[VERSION] = self.superblock.hash_version;
        root[0x1d] = 8;
        inode.flags |= Flags::INDEX;
        self.put_entries(inode, &mut root, ROOT_COUNTS, &[(0, logical)]);
        self.change(block, |b| b.copy_from_slice(&root))
    }
}

impl Shape {
    /// One entry for no inode, up to `len`.
    fn put_empty(&self, b: &mut [u8], len: usize) {
        self.put(b, 0, len, (b"", 0, 0));
    }
}
