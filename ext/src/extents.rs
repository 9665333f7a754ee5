//! The extent tree, changed: inserting with splits, and taking ranges out.

use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::cache::Intact;
use crate::checksum::crc32c;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::transaction::Op;

pub(crate) const MAGIC: u16 = 0xf30a;
/// Levels of a tree, at most (fs/ext4/ext4_extents.h).
pub(crate) const MAX_DEPTH: u16 = 5;
/// Longest written extent; a length above that marks an unwritten one.
pub(crate) const MAX_WRITTEN: u32 = 0x8000;
const HEADER: usize = 12;
const ENTRY: usize = 12;

/// An entry: of a leaf an extent, of an index a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// First block of the file.
    pub(crate) logical: u32,
    /// Blocks; of an index 0.
    pub(crate) len: u32,
    pub(crate) unwritten: bool,
    /// Where it, or the child, lies.
    pub(crate) block: u64,
}

impl Slot {
    fn end(&self) -> u64 {
        u64::from(self.logical) + u64::from(self.len)
    }

    /// Both as one, if they go on from each other.
    fn joined(&self, next: &Slot) -> Option<Slot> {
        let most = if self.unwritten { MAX_WRITTEN - 1 } else { MAX_WRITTEN };
        let goes_on = self.end() == u64::from(next.logical)
            && self.block + u64::from(self.len) == next.block
            && self.unwritten == next.unwritten
            && self.len + next.len <= most;
        goes_on.then_some(Slot { len: self.len + next.len, ..*self })
    }

    /// What it has before a block, and from there on.
    fn split(&self, at: u64) -> (Option<Slot>, Option<Slot>) {
        let head = at.clamp(self.logical.into(), self.end()) - u64::from(self.logical);
        let left = (head > 0).then_some(Slot { len: head as u32, ..*self });
        let right = (head < self.len.into()).then_some(Slot {
            logical: self.logical + head as u32,
            len: self.len - head as u32,
            block: self.block + head,
            unwritten: self.unwritten,
        });
        (left, right)
    }
}

/// A node, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The block that it is in, 0 for the inode.
    pub(crate) block: u64,
    pub(crate) depth: u16,
    pub(crate) slots: Vec<Slot>,
    max: usize,
}

impl Node {
    fn parse(block: u64, b: &[u8]) -> std::result::Result<Node, String> {
        let (magic, count, max, depth) = (u16_at(b, 0), u16_at(b, 2), u16_at(b, 4), u16_at(b, 6));
        let room = (b.len() - HEADER) / ENTRY;
        if magic != MAGIC || count > max || usize::from(max) > room || max == 0 || depth > MAX_DEPTH {
            return Err(format!("extent header {magic:#x}, {count} of {max} entries, depth {depth}"));
        }
        let slots = (0..usize::from(count)).map(|n| {
            let e = &b[HEADER + n * ENTRY..HEADER + (n + 1) * ENTRY];
            let logical = u32_at(e, 0);
            if depth > 0 {
                let block = u64::from(u32_at(e, 4)) | u64::from(u16_at(e, 8)) << 32;
                return Slot { logical, len: 0, unwritten: false, block };
            }
            let raw = u32::from(u16_at(e, 4));
            let unwritten = raw > MAX_WRITTEN;
            let block = u64::from(u32_at(e, 8)) | u64::from(u16_at(e, 6)) << 32;
            Slot { logical, len: if unwritten { raw - MAX_WRITTEN } else { raw }, unwritten, block }
        });
        let slots: Vec<Slot> = slots.collect();
        let in_order = |w: &[Slot]| {
            if depth > 0 { w[0].logical < w[1].logical } else { w[0].end() <= w[1].logical.into() }
        };
        let empty = depth == 0 && slots.iter().any(|s| s.len == 0);
        if !slots.windows(2).all(in_order) || empty || (depth > 0 && slots.is_empty()) {
            return Err("extents out of order, or empty".into());
        }
        Ok(Node { block, depth, slots, max: max.into() })
    }

    fn write(&self, b: &mut [u8]) {
        put_u16(b, 0, MAGIC);
        put_u16(b, 2, self.slots.len() as u16);
        put_u16(b, 4, self.max as u16);
        put_u16(b, 6, self.depth);
        for (n, s) in self.slots.iter().enumerate() {
            let e = &mut b[HEADER + n * ENTRY..HEADER + (n + 1) * ENTRY];
            put_u32(e, 0, s.logical);
            if self.depth > 0 {
                put_u32(e, 4, s.block as u32);
                put_u16(e, 8, (s.block >> 32) as u16);
                put_u16(e, 10, 0);
            } else {
                put_u16(e, 4, (s.len + if s.unwritten { MAX_WRITTEN } else { 0 }) as u16);
                put_u16(e, 6, (s.block >> 32) as u16);
                put_u32(e, 8, s.block as u32);
            }
        }
    }

    /// The last slot that begins at or before a block.
    fn position(&self, logical: u64) -> usize {
        self.slots.partition_point(|s| u64::from(s.logical) <= logical).saturating_sub(1)
    }
}

/// An empty tree, as an inode begins with it.
pub(crate) fn empty_root() -> [u8; 60] {
    let mut b = [0; 60];
    put_u16(&mut b, 0, MAGIC);
    put_u16(&mut b, 4, 4);
    b
}

impl Core {
    pub(crate) fn extent_root(&self, inode: &Inode) -> Result<Node> {
        Node::parse(0, &inode.block).map_err(|what| Error::inode(inode.number, what))
    }

    /// The node below another at one of its slots, checked.
    pub(crate) fn extent_child(&self, inode: &Inode, parent: &Node, at: usize) -> Result<Node> {
        let bad = |what: &str| Err(Error::inode(inode.number, what));
        let Some(slot) = parent.slots.get(at) else { return bad("an extent tree without a child") };
        let (block, depth) = (slot.block, parent.depth.saturating_sub(1));
        let end = parent.slots.get(at + 1).map_or(1 << 32, |s| u64::from(s.logical));
        let intact = Intact::Extents { inode: inode.number, seed: inode.seed };
        let bytes = self.checked(block, intact, |bytes| self.check_node(inode, block, bytes))?;
        let node = Node::parse(block, &bytes)
            .map_err(|what| Error::block(block, format!("{what}, of inode {}", inode.number)))?;
        if node.depth != depth {
            return Err(Error::block(
                block,
                format!("depth {} where {depth} was to be, of inode {}", node.depth, inode.number),
            ));
        }
        // Where each keeps to its range, no node can be reached twice.
        if node.slots.first().is_some_and(|f| f.logical < slot.logical)
            || node.slots.last().is_some_and(|l| l.end() > end)
        {
            return Err(Error::block(block, format!("extents out of range, of inode {}", inode.number)));
        }
        Ok(node)
    }

    /// Checks a node by its checksum, which lies behind the room for entries.
    fn check_node(&self, inode: &Inode, block: u64, b: &[u8]) -> Result<()> {
        let at = HEADER + usize::from(u16_at(b, 4)) * ENTRY;
        if !self.superblock.has_checksums()
            || at + 4 <= b.len() && crc32c(inode.seed, &b[..at]) == u32_at(b, at)
        {
            return Ok(());
        }
        Err(Error::block(block, format!("the checksum of extents of inode {} is wrong", inode.number)))
    }
}

impl Op<'_> {
    fn put_node(&mut self, inode: &mut Inode, node: &Node) -> Result<()> {
        if node.block == 0 {
            let mut root = [0; 60];
            node.write(&mut root);
            inode.block = root;
            return Ok(());
        }
        let (sums, seed) = (self.superblock.has_checksums(), inode.seed);
        self.change(node.block, |b| {
            node.write(b);
            let at = HEADER + node.max * ENTRY;
            if sums && at + 4 <= b.len() {
                let sum = crc32c(seed, &b[..at]);
                put_u32(b, at, sum);
            }
        })
    }

    /// A block for a node, beside what it describes.
    fn new_node(&mut self, inode: &mut Inode, depth: u16, slots: Vec<Slot>) -> Result<Node> {
        let goal = slots.first().map_or(0, |s| s.block);
        let block = self.allocate_metadata(inode, goal)?;
        let max = (self.superblock.block_size as usize - HEADER) / ENTRY;
        let node = Node { block, depth, slots, max };
        self.put_node(inode, &node)?;
        Ok(node)
    }

    /// One block of metadata for an inode, all zeros.
    pub(crate) fn allocate_metadata(&mut self, inode: &mut Inode, goal: u64) -> Result<u64> {
        let (block, _) = self.allocate(goal, 1)?;
        self.create(block, vec![0; self.superblock.block_size as usize]);
        inode.blocks += self.block_size() / 512;
        Ok(block)
    }

    /// Frees it.
    pub(crate) fn free_metadata(&mut self, inode: &mut Inode, block: u64) -> Result<()> {
        self.free(block, 1)?;
        self.forget(block);
        inode.blocks = inode.blocks.saturating_sub(self.block_size() / 512);
        Ok(())
    }

    /// Adds an extent where there is none.
    pub(crate) fn insert_extent(&mut self, inode: &mut Inode, new: Slot) -> Result<()> {
        let mut path = vec![self.extent_root(inode)?];
        let mut places = Vec::new();
        while let Some(node) = path.last().filter(|n| n.depth > 0) {
            let at = node.position(new.logical.into());
            let child = self.extent_child(inode, node, at)?;
            places.push(at);
            path.push(child);
        }
        let Some(leaf) = path.last_mut() else { return Ok(()) };
        let at = leaf.slots.partition_point(|s| s.logical <= new.logical);
        let before = at.checked_sub(1).and_then(|n| leaf.slots.get(n)).copied();
        let after = leaf.slots.get(at).copied();
        if before.is_some_and(|b| b.end() > new.logical.into())
            || after.is_some_and(|a| new.end() > a.logical.into())
        {
            return Err(Error::inode(inode.number, format!("block {} is mapped twice", new.logical)));
        }
        if let Some(joined) = before.and_then(|b| b.joined(&new)) {
            leaf.slots[at - 1] = joined;
            if let Some(all) = after.and_then(|a| joined.joined(&a)) {
                leaf.slots[at - 1] = all;
                leaf.slots.remove(at);
            }
        } else if let Some(joined) = after.and_then(|a| new.joined(&a)) {
            leaf.slots[at] = joined;
        } else {
            leaf.slots.insert(at, new);
        }
        self.put_path(inode, path, &places, at)
    }

    /// Writes a changed leaf, and of its ancestors what follows: splits, and keys that have become smaller.
    fn put_path(
        &mut self,
        inode: &mut Inode,
        mut path: Vec<Node>,
        places: &[usize],
        at: usize,
    ) -> Result<()> {
        let mut at = at;
        while let Some(mut node) = path.pop() {
            let level = path.len();
            if node.slots.len() > node.max {
                if level == 0 {
                    if node.depth >= MAX_DEPTH {
                        return Err(Error::inode(inode.number, "the extent tree has too many levels"));
                    }
                    let first = node.slots[0].logical;
                    let depth = node.depth;
                    let child = self.new_node(inode, depth, node.slots)?;
                    let slot = Slot { logical: first, len: 0, unwritten: false, block: child.block };
                    let root = Node { block: 0, depth: depth + 1, slots: vec![slot], max: 4 };
                    return self.put_node(inode, &root);
                }
                // What grows at its end leaves full nodes behind.
                let half =
                    if at + 1 >= node.slots.len() { node.slots.len() - 1 } else { node.slots.len() / 2 };
                let right = node.slots.split_off(half);
                let first = right[0].logical;
                let right = self.new_node(inode, node.depth, right)?;
                self.put_node(inode, &node)?;
                let place = places[level - 1];
                let parent = &mut path[level - 1];
                parent.slots[place].logical = parent.slots[place].logical.min(node.slots[0].logical);
                at = place + 1;
                let slot = Slot { logical: first, len: 0, unwritten: false, block: right.block };
                parent.slots.insert(at, slot);
                continue;
            }
            self.put_node(inode, &node)?;
            let Some(parent) = path.last_mut() else { return Ok(()) };
            let (place, first) = (places[level - 1], node.slots[0].logical);
            if parent.slots[place].logical <= first {
                return Ok(());
            }
            parent.slots[place].logical = first;
            at = place;
        }
        Ok(())
    }

    /// Takes a range out of the tree; what was mapped there. The blocks are the caller's to free.
    pub(crate) fn take_extents(&mut self, inode: &mut Inode, from: u64, to: u64) -> Result<Vec<Slot>> {
        let (mut taken, mut rest) = (Vec::new(), None);
        let mut root = self.extent_root(inode)?;
        self.take_below(inode, &mut root, (from, to), &mut taken, &mut rest)?;
        if root.slots.is_empty() {
            root.depth = 0;
        }
        self.put_node(inode, &root)?;
        if let Some(rest) = rest {
            self.insert_extent(inode, rest)?;
        }
        Ok(taken)
    }

    fn take_below(
        &mut self,
        inode: &mut Inode,
        node: &mut Node,
        (from, to): (u64, u64),
        taken: &mut Vec<Slot>,
        rest: &mut Option<Slot>,
    ) -> Result<()> {
        if node.depth == 0 {
            let mut kept = Vec::with_capacity(node.slots.len());
            for slot in &node.slots {
                if slot.end() <= from || u64::from(slot.logical) >= to {
                    kept.push(*slot);
                    continue;
                }
                let (head, tail) = slot.split(from);
                let (middle, behind) = tail.map_or((None, None), |t| t.split(to));
                taken.extend(middle);
                match (head, behind) {
                    // One more than there were: there may be no room for it here.
                    (Some(head), Some(behind)) => {
                        kept.push(head);
                        *rest = Some(behind);
                    }
                    (head, behind) => kept.extend(head.or(behind)),
                }
            }
            node.slots = kept;
            return Ok(());
        }
        let mut kept = Vec::with_capacity(node.slots.len());
        for n in 0..node.slots.len() {
            let mut slot = node.slots[n];
            let end = node.slots.get(n + 1).map_or(u64::MAX, |s| s.logical.into());
            if end <= from || u64::from(slot.logical) >= to {
                kept.push(slot);
                continue;
            }
            let mut child = self.extent_child(inode, node, n)?;
            self.take_below(inode, &mut child, (from, to), taken, rest)?;
            if let Some(first) = child.slots.first() {
                slot.logical = first.logical;
                self.put_node(inode, &child)?;
                kept.push(slot);
            } else {
                self.free_metadata(inode, slot.block)?;
            }
        }
        node.slots = kept;
        Ok(())
    }
}
