//! Blocks that differ although no inode that has them does. A session that ends in order has none: who writes to a file changes its time. One
//! that was killed may have written data whose inode was not committed yet, and where there is no journal a directory.

use super::inodes::{Pair, Pairs, of};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::ranges::Ranges;
use block_device::Observer;

/// Adds the files that such blocks belong to. Only if there are any, all inodes are looked at.
pub(crate) fn add(
    old: &Image,
    new: &Image,
    blocks: &Ranges,
    pairs: &mut Pairs,
    observer: &dyn Observer,
) -> Result<()> {
    let mut left = find(old, new, blocks, pairs)?;
    for group in 0..new.ext.superblock().groups() {
        if left.is_empty() {
            break;
        }
        if observer.cancelled() {
            return Err(Error::Cancelled(""));
        }
        let mut numbers = Vec::new();
        new.ext.each_named_inode(group, &mut |number, _| numbers.push(number)).map_err(|e| new.failed(e))?;
        numbers.retain(|n| !pairs.contains_key(n));
        for number in numbers {
            let Some(inode) = of(&new.ext, number).map_err(|e| new.failed(e))? else { continue };
            let own = new.ext.blocks_of(&inode).map_err(|e| new.failed(e))?;
            if own.iter().any(|r| left.touches(r.clone())) {
                left = left.without(&Ranges::of(own));
                let before = of(&old.ext, number).map_err(|e| old.failed(e))?;
                pairs.insert(number, Pair { old: before, new: Some(inode) });
            }
        }
    }
    Ok(())
}

/// The blocks.
fn find(old: &Image, new: &Image, blocks: &Ranges, pairs: &Pairs) -> Result<Ranges> {
    let mut known = new.ext.own_blocks().map_err(|e| new.failed(e))?;
    for inode in pairs.values().filter_map(|p| p.new.as_ref()) {
        known.extend(new.ext.blocks_of(inode).map_err(|e| new.failed(e))?);
    }
    let mut out = Vec::new();
    for block in blocks.without(&Ranges::of(known)).iter().cloned().flatten() {
        if !new.ext.is_allocated(block).map_err(|e| new.failed(e))? {
            continue;
        }
        let same = block < old.ext.superblock().blocks
            && old.ext.raw_block(block).map_err(|e| old.failed(e))?
                == new.ext.raw_block(block).map_err(|e| new.failed(e))?;
        if !same {
            out.push(block..block + 1);
        }
    }
    Ok(Ranges::of(out))
}
