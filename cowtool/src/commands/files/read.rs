//! `cowtool cat`.

use crate::context::Context;
use crate::options::files::{Cat, bytes};
use cli_common::Outcome;
use cow_files::{Image, each_piece, text};

pub(crate) fn run(mut cx: Context, options: &Cat) -> anyhow::Result<Outcome> {
    let image = Image::open(&options.at.image, &options.at.which.how())?;
    for path in bytes(&options.paths) {
        let inode = image.follow(&path)?;
        if !inode.is_regular() {
            anyhow::bail!("{}, in \"{}\", is not a regular file", text(&path), image.path.display());
        }
        let (out, observer) = (&mut cx.out, &cx.reporter);
        let mut at = 0;
        let done = each_piece(&image, &path, &inode, &mut |offset, piece| {
            zeros(out, offset - at);
            out.bytes(piece);
            at = offset + piece.len() as u64;
            match block_device::Observer::cancelled(observer) {
                true => Err(cow_files::Error::Cancelled("")),
                false => Ok(()),
            }
        });
        if let Err(outcome) = cx.done(done)? {
            return Ok(outcome);
        }
        zeros(&mut cx.out, inode.size.saturating_sub(at));
    }
    Ok(Outcome::Success)
}

/// A hole.
fn zeros(out: &mut cli_common::Output, mut len: u64) {
    let piece = [0; 65536];
    while len > 0 {
        let n = len.min(piece.len() as u64);
        out.bytes(&piece[..n as usize]);
        len -= n;
    }
}
