//! What differs of one file.

use super::{Ask, What};
use crate::error::Result;
use crate::image::Image;
use crate::ranges::Ranges;
use ext::{Flags, Inode};

/// Bytes that are compared at once.
const PIECE: usize = 256 << 10;

/// Two disks that are compared.
pub(crate) struct Compare<'a> {
    pub(crate) old: &'a Image,
    pub(crate) new: &'a Image,
    /// The blocks in which they can differ, where that is known.
    pub(crate) blocks: Option<&'a Ranges>,
    pub(crate) ask: Ask,
}

impl Compare<'_> {
    /// What differs between what a name was and what it is. `path` is for messages.
    pub(crate) fn differences(&self, path: &[u8], old: &Inode, new: &Inode) -> Result<Vec<What>> {
        if old.kind() != new.kind() {
            return Ok(vec![What::Type]);
        }
        let content = self.content_differs(old, new).map_err(self.new.at(path))?;
        let mut what = Vec::new();
        let mut add = |differs: bool, one: What| {
            if differs {
                what.push(one);
            }
        };
        add(content, What::Content);
        add(old.mode != new.mode, What::Mode);
        add((old.uid, old.gid) != (new.uid, new.gid), What::Owner);
        let told = !new.is_directory() || self.ask.directory_times;
        add(!content && told && old.mtime != new.mtime, What::Time);
        add(self.xattrs_differ(old, new).map_err(self.new.at(path))?, What::Xattr);
        add(!new.is_directory() && old.links != new.links, What::Links);
        Ok(what)
    }

    fn xattrs_differ(&self, old: &Inode, new: &Inode) -> ext::Result<bool> {
        let sorted = |image: &Image, inode: &Inode| {
            image.ext.xattrs(inode).map(|mut all| {
                all.sort_by(|a, b| a.name.cmp(&b.name));
                all
            })
        };
        Ok(sorted(self.old, old)? != sorted(self.new, new)?)
    }

    fn content_differs(&self, old: &Inode, new: &Inode) -> ext::Result<bool> {
        match new.kind() {
            0x8000 => Ok(old.size != new.size || self.bytes_differ(old, new)?),
            0xa000 => Ok(self.old.ext.read_link(old)? != self.new.ext.read_link(new)?),
            0x2000 | 0x6000 => Ok(old.device() != new.device()),
            _ => Ok(false),
        }
    }

    /// Of two files of one size.
    fn bytes_differ(&self, old: &Inode, new: &Inode) -> ext::Result<bool> {
        let block = u64::from(self.old.ext.superblock().block_size);
        let inline = old.flags.contains(Flags::INLINE_DATA) || new.flags.contains(Flags::INLINE_DATA);
        if inline || block != u64::from(self.new.ext.superblock().block_size) {
            return self.range_differs(old, new, 0, new.size);
        }
        let mut logical = 0;
        while logical < new.size.div_ceil(block) {
            let (p, q) = (self.old.ext.run(old.number, logical)?, self.new.ext.run(new.number, logical)?);
            let len = p.len.min(q.len);
            let lies = |r: ext::Run| r.physical.filter(|_| !r.unwritten);
            let differs = |from: u64, to: u64| {
                self.range_differs(old, new, from * block, to.saturating_mul(block).min(new.size))
            };
            let found = match (lies(p), lies(q), self.blocks) {
                // Holes in both read the same.
                (None, None, _) => false,
                (Some(x), Some(y), Some(blocks)) if x == y => {
                    let mut dirty = blocks.within(x..x + len);
                    dirty.try_fold(false, |found, r| {
                        Ok(found || differs(logical + (r.start - x), logical + (r.end - x))?)
                    })?
                }
                _ => differs(logical, logical.saturating_add(len))?,
            };
            if found {
                return Ok(true);
            }
            logical = logical.saturating_add(len);
        }
        Ok(false)
    }

    fn range_differs(&self, old: &Inode, new: &Inode, mut at: u64, end: u64) -> ext::Result<bool> {
        let most = PIECE.min(end.saturating_sub(at) as usize);
        let (mut x, mut y) = (vec![0; most], vec![0; most]);
        while at < end {
            let n = most.min((end - at) as usize);
            self.old.ext.read(old.number, at, &mut x[..n])?;
            self.new.ext.read(new.number, at, &mut y[..n])?;
            if x[..n] != y[..n] {
                return Ok(true);
            }
            at += n as u64;
        }
        Ok(false)
    }
}
