//! Which blocks of the file system can differ between two disks, as the dirty bitmaps have it.

use crate::error::{Error, Result};
use crate::image::Image;
use crate::ranges::Ranges;
use cow_format::Layer;
use std::os::unix::fs::MetadataExt;

/// The blocks in which two disks can differ, what their journals have replayed in memory among them. `None` where nothing tells: they do not
/// stand on the same base, or their file systems are not laid out alike.
pub(crate) fn between(a: &Image, b: &Image) -> Result<Option<Ranges>> {
    if a.base != b.base || a.place != b.place || !alike(a, b)? {
        return Ok(None);
    }
    // A layer that both stand on hides the same of what is below it.
    let shared = |l: &Layer, other: &Image| other.layers().iter().any(|o| same(l, o));
    let block = u64::from(a.ext.superblock().block_size);
    let mut all: Vec<_> = [a, b].iter().flat_map(|i| i.ext.replayed()).map(|n| *n..n + 1).collect();
    for (one, other) in [(a, b), (b, a)] {
        for layer in one.layers().iter().take_while(|l| !shared(l, other)) {
            for run in layer.dirty_runs() {
                let run = run.map_err(Error::io("reading", layer.path()))?;
                let (from, to) = (run.offset.max(a.place.start), run.end().min(a.place.start + a.place.len));
                if from < to {
                    all.push((from - a.place.start) / block..(to - a.place.start).div_ceil(block));
                }
            }
        }
    }
    Ok(Some(Ranges::of(all)))
}

fn same(a: &Layer, b: &Layer) -> bool {
    let id = |l: &Layer| l.file.file().metadata().ok().map(|m| (m.dev(), m.ino()));
    id(a).is_some() && id(a) == id(b)
}

/// Whether inodes of one number lie in the same blocks: it is one file system, that may have grown.
fn alike(a: &Image, b: &Image) -> Result<bool> {
    let (x, y) = (a.ext.superblock(), b.ext.superblock());
    let shape = |s: &ext::Superblock| {
        (s.uuid, s.block_size, s.first_data_block, s.blocks_per_group, s.inodes_per_group, s.inode_size)
    };
    if shape(x) != shape(y) {
        return Ok(false);
    }
    for group in 0..x.groups().min(y.groups()) {
        let table = |i: &Image| i.ext.group(group).map(|g| g.inode_table).map_err(|e| i.failed(e));
        if table(a)? != table(b)? {
            return Ok(false);
        }
    }
    Ok(true)
}
