//! The block map of ext2 and ext3, changed.

use crate::bytes::{put_u32, u32_at};
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::map::DIRECT;
use crate::transaction::Op;

/// Where a block's number stands: a slot of the inode, then one of each block of numbers below it.
fn path(logical: u64, per: u64) -> Option<Vec<u64>> {
    if logical < DIRECT {
        return Some(vec![logical]);
    }
    let (mut within, mut covers) = (logical - DIRECT, per);
    for level in 1..=3u32 {
        if within < covers {
            let mut path = vec![DIRECT + u64::from(level) - 1];
            for _ in 0..level {
                covers /= per;
                path.push(within / covers);
                within %= covers;
            }
            return Some(path);
        }
        within -= covers;
        covers = covers.checked_mul(per)?;
    }
    None
}

impl Op<'_> {
    /// Maps a block of a file that is not mapped.
    pub(crate) fn map_block(&mut self, inode: &mut Inode, logical: u64, physical: u64) -> Result<()> {
        let per = self.block_size() / 4;
        let path = path(logical, per).ok_or(Error::TooBig)?;
        let (last, above) = path.split_last().ok_or(Error::TooBig)?;
        let mut holder = None;
        for slot in above {
            let here = self.mapped(inode, holder, *slot)?;
            let next = match here {
                0 => {
                    let new = self.allocate_metadata(inode, physical)?;
                    self.set_mapped(inode, holder, *slot, new)?;
                    new
                }
                here if here >= self.superblock.blocks => {
                    return Err(Error::inode(inode.number, format!("its map names block {here}")));
                }
                here => here,
            };
            holder = Some(next);
        }
        self.set_mapped(inode, holder, *last, physical)
    }

    fn mapped(&self, inode: &Inode, holder: Option<u64>, slot: u64) -> Result<u64> {
        Ok(match holder {
            None => u32_at(&inode.block, slot as usize * 4),
            Some(block) => u32_at(&self.block(block)?, slot as usize * 4),
        }
        .into())
    }

    fn set_mapped(&mut self, inode: &mut Inode, holder: Option<u64>, slot: u64, to: u64) -> Result<()> {
        let to = u32::try_from(to).map_err(|_| Error::TooBig)?;
        match holder {
            None => put_u32(&mut inode.block, slot as usize * 4, to),
            Some(block) => self.change(block, |b| put_u32(b, slot as usize * 4, to))?,
        }
        Ok(())
    }

    /// Takes a range out of the map: what was mapped there, as runs. The blocks are the caller's to free.
    pub(crate) fn take_mapped(&mut self, inode: &mut Inode, from: u64, to: u64) -> Result<Vec<(u64, u64)>> {
        let per = self.block_size() / 4;
        let mut taken = Vec::new();
        for slot in 0..DIRECT {
            if (from..to).contains(&slot) {
                self.take_number(inode, slot, &mut taken);
            }
        }
        let (mut start, mut covers) = (DIRECT, per);
        for level in 1..=3u32 {
            let slot = DIRECT + u64::from(level) - 1;
            let block = u64::from(u32_at(&inode.block, slot as usize * 4));
            if block != 0 && from < start + covers && to > start {
                let range = (from.saturating_sub(start), (to - start).min(covers));
                if self.take_in(inode, block, level, covers / per, range, &mut taken)? {
                    put_u32(&mut inode.block, slot as usize * 4, 0);
                }
            }
            start += covers;
            covers = covers.saturating_mul(per);
        }
        Ok(taken)
    }

    fn take_number(&mut self, inode: &mut Inode, slot: u64, taken: &mut Vec<(u64, u64)>) {
        let block = u64::from(u32_at(&inode.block, slot as usize * 4));
        if block != 0 {
            put_u32(&mut inode.block, slot as usize * 4, 0);
            add(taken, block);
        }
    }

    /// Takes a range of what one block of numbers covers, in which each slot covers `each`. Whether nothing is left: then it is freed.
    fn take_in(
        &mut self,
        inode: &mut Inode,
        block: u64,
        level: u32,
        each: u64,
        (from, to): (u64, u64),
        taken: &mut Vec<(u64, u64)>,
    ) -> Result<bool> {
        if block >= self.superblock.blocks {
            return Err(Error::inode(inode.number, format!("its map names block {block}")));
        }
        let bytes = self.block(block)?;
        let mut numbers: Vec<u32> = bytes.chunks_exact(4).map(|c| u32_at(c, 0)).collect();
        drop(bytes);
        let (first, last) = (from / each, to.div_ceil(each).min(numbers.len() as u64));
        let mut changed = false;
        for n in first..last {
            let number = u64::from(numbers[n as usize]);
            if number == 0 {
                continue;
            }
            let gone = if level == 1 {
                add(taken, number);
                true
            } else {
                let start = n * each;
                let range = (from.saturating_sub(start), (to - start).min(each));
                self.take_in(inode, number, level - 1, each / (self.block_size() / 4), range, taken)?
            };
            if gone {
                numbers[n as usize] = 0;
                changed = true;
            }
        }
        if numbers.iter().all(|n| *n == 0) {
            self.free_metadata(inode, block)?;
            return Ok(true);
        }
        if changed {
            self.change(block, |b| {
                numbers.iter().enumerate().for_each(|(n, number)| put_u32(b, n * 4, *number));
            })?;
        }
        Ok(false)
    }
}

fn add(taken: &mut Vec<(u64, u64)>, block: u64) {
    match taken.last_mut() {
        Some((start, len)) if *start + *len == block => *len += 1,
        _ => taken.push((block, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_has_a_place_of_its_own() {
        assert_eq!(path(11, 256), Some(vec![11]));
        assert_eq!(path(12, 256), Some(vec![12, 0]));
        assert_eq!(path(12 + 255, 256), Some(vec![12, 255]));
        assert_eq!(path(12 + 256, 256), Some(vec![13, 0, 0]));
        assert_eq!(path(12 + 256 + 65536, 256), Some(vec![14, 0, 0, 0]));
        assert_eq!(path(12 + 256 + 65536 + 256 * 65536, 256), None);
    }
}
