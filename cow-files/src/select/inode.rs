//! One inode made to be as another, of another image.

use crate::data::each_piece;
use crate::error::Result;
use crate::image::Image;
use crate::make::Attributes;
use ext::{Changes, Ext, Inode, InodeNumber, XattrMode};

/// What an inode of an image has, for a new one.
pub(super) fn attributes(image: &Image, path: &[u8], inode: &Inode) -> Result<Attributes> {
    Ok(Attributes {
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        atime: Some(inode.atime),
        mtime: Some(inode.mtime),
        device: inode.device().unwrap_or_default(),
        xattrs: image.ext.xattrs(inode).map_err(image.at(path))?,
    })
}

/// Gives a file the content of another image's.
pub(super) fn fill(from: &Image, inode: &Inode, to: &Image, number: InodeNumber, path: &[u8]) -> Result<()> {
    to.ext.truncate(number, 0).map_err(to.at(path))?;
    each_piece(from, path, inode, &mut |at, piece| {
        to.ext.write(number, at, piece).map_err(to.at(path)).map(drop)
    })?;
    to.ext.truncate(number, inode.size).map_err(to.at(path)).map(drop)
}

/// Gives an inode the attributes of another image's; times last, and exactly.
pub(super) fn dress(from: &Image, inode: &Inode, to: &Image, number: InodeNumber, path: &[u8]) -> Result<()> {
    let wanted = from.ext.xattrs(inode).map_err(from.at(path))?;
    let set = || -> ext::Result<()> {
        let ext: &Ext = &to.ext;
        for there in ext.xattrs(&ext.inode(number)?)? {
            if !wanted.iter().any(|x| x.name == there.name) {
                ext.set_xattr(number, &there.name, None, XattrMode::Any)?;
            }
        }
        for x in &wanted {
            ext.set_xattr(number, &x.name, Some(&x.value), XattrMode::Any)?;
        }
        let changes = Changes {
            mode: (!inode.is_link()).then_some(inode.mode & 0o7777),
            uid: Some(inode.uid),
            gid: Some(inode.gid),
            atime: Some(inode.atime),
            mtime: Some(inode.mtime),
            ctime: Some(inode.ctime),
        };
        // A time that is set is not to be followed by that of a write that waited.
        ext.settle(number)?;
        ext.change(number, &changes).map(drop)
    };
    set().map_err(to.at(path))
}
