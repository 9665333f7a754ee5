//! Inodes that differ, by the blocks of the inode tables that can.

use crate::error::{Error, Result};
use crate::image::Image;
use crate::ranges::Ranges;
use block_device::Observer;
use ext::{Ext, Flags, Inode, InodeNumber};
use std::collections::BTreeMap;

/// What has a number, before and after; `None` where it is free, or nothing that has a name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pair {
    pub(crate) old: Option<Inode>,
    pub(crate) new: Option<Inode>,
}

pub(crate) type Pairs = BTreeMap<InodeNumber, Pair>;

impl Pair {
    /// Both, if it is the same file still, and not another that has got its number.
    pub(crate) fn same(&self) -> Option<(&Inode, &Inode)> {
        let (old, new) = (self.old.as_ref()?, self.new.as_ref()?);
        is_same(old, new).then_some((old, new))
    }
}

/// Whether two inodes of one number are the same file at two times.
fn is_same(old: &Inode, new: &Inode) -> bool {
    let born = match (old.crtime, new.crtime) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    old.number == new.number && old.generation == new.generation && old.kind() == new.kind() && born
}

/// All that differ.
pub(crate) fn changed(old: &Image, new: &Image, blocks: &Ranges, observer: &dyn Observer) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let size = usize::from(new.ext.superblock().inode_size);
    for group in 0..new.ext.superblock().groups() {
        if observer.cancelled() {
            return Err(Error::Cancelled(""));
        }
        let table = new.ext.inode_table(group).map_err(|e| new.failed(e))?;
        let before = match group < old.ext.superblock().groups() {
            true => old.ext.inode_table(group).map_err(|e| old.failed(e))?,
            false => 0..0,
        };
        for block in blocks.within(table.start..table.end.max(before.end)).flatten() {
            let numbers = new.ext.inodes_of_block(group, block).map_err(|e| new.failed(e))?;
            let bytes = |image: &Image, used: bool| match used {
                true => image.ext.raw_block(block).map_err(|e| image.failed(e)),
                false => Ok(Default::default()),
            };
            let (x, y) = (bytes(old, before.contains(&block))?, bytes(new, table.contains(&block))?);
            for (nth, number) in numbers.enumerate() {
                let record = |b: &[u8]| b.get(nth * size..(nth + 1) * size).map(<[u8]>::to_vec);
                let (a, b) = (record(&x), record(&y));
                if a == b || new.ext.is_hidden(number) {
                    continue;
                }
                let pair = Pair { old: named(old, number, a)?, new: named(new, number, b)? };
                if pair.old.is_some() || pair.new.is_some() {
                    pairs.insert(number, pair);
                }
            }
        }
    }
    Ok(pairs)
}

/// The inode of a record, if it is one that has a name. What is free is not looked at further: it may be anything.
fn named(image: &Image, number: InodeNumber, record: Option<Vec<u8>>) -> Result<Option<Inode>> {
    // i_mode and i_links_count (struct ext4_inode).
    let is_used = |b: &Vec<u8>| b.get(0..2) != Some(&[0, 0]) && b.get(0x1a..0x1c) != Some(&[0, 0]);
    match record.filter(is_used) {
        Some(_) => of(&image.ext, number).map_err(|e| image.failed(e)),
        None => Ok(None),
    }
}

/// An inode that has a name; `None` for one that is free, or not there.
pub(crate) fn of(ext: &Ext, number: InodeNumber) -> ext::Result<Option<Inode>> {
    if number > ext.superblock().inodes {
        return Ok(None);
    }
    match ext.inode(number) {
        Ok(inode) => Ok(Some(inode).filter(|i| i.links > 0 && !i.flags.contains(Flags::EA_INODE))),
        Err(ext::Error::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}
