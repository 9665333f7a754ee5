//! What is stored of a file: its data, without its holes.

use crate::error::Result;
use crate::image::Image;
use ext::{Flags, Inode};

/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;

/// A stretch of a file that is stored; bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// The stretches of a file that hold data, in order, joined where they touch, and cut to its size.
pub(crate) fn stored(image: &Image, inode: &Inode) -> ext::Result<Vec<Content>> {
    let mut out: Vec<Content> = Vec::new();
    if inode.size == 0 {
        return Ok(out);
    }
    if inode.flags.contains(Flags::INLINE_DATA) {
        return Ok(vec![Content { offset: 0, len: inode.size }]);
    }
    let block = u64::from(image.ext.superblock().block_size);
    let mut logical = 0;
    while logical < inode.size.div_ceil(block) {
        let run = image.ext.run(inode.number, logical)?;
        if run.physical.is_some() && !run.unwritten {
            let offset = logical * block;
            let len = run.len.saturating_mul(block).min(inode.size - offset);
            match out.last_mut() {
                Some(last) if last.offset + last.len == offset => last.len += len,
                _ => out.push(Content { offset, len }),
            }
        }
        logical = logical.saturating_add(run.len);
    }
    Ok(out)
}

/// Calls `take` with all that is stored of a file, in order: the offset, and the bytes.
///
/// # Errors
/// Those of reading, and those of `take`.
pub fn each_piece(
    image: &Image,
    path: &[u8],
    inode: &Inode,
    take: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut buf = Vec::new();
    for stretch in stored(image, inode).map_err(image.at(path))? {
        let mut done = 0;
        while done < stretch.len {
            let n = PIECE.min(stretch.len - done) as usize;
            buf.resize(n, 0);
            image.ext.read(inode.number, stretch.offset + done, &mut buf).map_err(image.at(path))?;
            take(stretch.offset + done, &buf)?;
            done += n as u64;
        }
    }
    Ok(())
}
