//! New files in an image: complete under their names, or not there.

use crate::error::Result;
use crate::image::Image;
use crate::paths::split;
use crate::remove::unname;
use ext::{Changes, Error, Ext, Inode, InodeNumber, NewInode, RenameFlags, Time, Xattr, XattrMode};

/// What a new inode is to have.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    /// Type and permissions, as `st_mode`.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) atime: Option<Time>,
    pub(crate) mtime: Option<Time>,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<Xattr>,
}

impl Attributes {
    /// Root's, of now, with this type and these permissions.
    pub(crate) fn plain(mode: u16) -> Attributes {
        let (device, xattrs) = ((0, 0), Vec::new());
        Attributes { mode, uid: 0, gid: 0, atime: None, mtime: None, device, xattrs }
    }

    fn new_inode(&self) -> NewInode {
        NewInode { mode: self.mode, uid: self.uid, gid: self.gid, device: self.device }
    }
}

/// A name that nothing has, for what is to replace something: it goes over it in one step.
fn spare(ext: &Ext, parent: InodeNumber) -> ext::Result<Vec<u8>> {
    let directory = ext.inode(parent)?;
    for n in 0..1000 {
        let name = format!(".cowtool.{}.{n}", std::process::id()).into_bytes();
        match ext.lookup(&directory, &name) {
            Err(Error::NotFound) => return Ok(name),
            other => other.map(drop)?,
        }
    }
    Err(Error::Exists)
}

/// Sets what an inode is to have beside its content; times last.
pub(crate) fn set_attributes(ext: &Ext, inode: InodeNumber, a: &Attributes) -> ext::Result<()> {
    for x in &a.xattrs {
        ext.set_xattr(inode, &x.name, Some(&x.value), XattrMode::Any)?;
    }
    let changes = Changes {
        // A link's permissions are nobody's to change.
        mode: (a.mode & 0xf000 != 0xa000).then_some(a.mode & 0o7777),
        uid: Some(a.uid),
        gid: Some(a.gid),
        atime: a.atime.or(a.mtime),
        mtime: a.mtime,
        ctime: None,
    };
    ext.change(inode, &changes).map(drop)
}

/// Gives an inode the name, in place of what has it. A directory is not replaced.
pub(crate) fn put_under(ext: &Ext, inode: InodeNumber, parent: InodeNumber, name: &[u8]) -> ext::Result<()> {
    match existing(ext, parent, name)? {
        None => ext.link(inode, parent, name),
        Some(there) if there.number == inode => Ok(()),
        Some(there) if there.is_directory() => Err(Error::IsDirectory(there.number)),
        Some(_) => {
            let spare = spare(ext, parent)?;
            ext.link(inode, parent, &spare)?;
            move_over(ext, parent, &spare, name)
        }
    }
}

fn move_over(ext: &Ext, parent: InodeNumber, from: &[u8], to: &[u8]) -> ext::Result<()> {
    match ext.rename((parent, from), (parent, to), RenameFlags::empty())? {
        Some(gone) if gone.links == 0 => ext.release(gone.number),
        _ => Ok(()),
    }
}

/// What has a name.
pub(crate) fn existing(ext: &Ext, parent: InodeNumber, name: &[u8]) -> ext::Result<Option<Inode>> {
    match ext.lookup(&ext.inode(parent)?, name) {
        Ok(number) => ext.inode(number).map(Some),
        Err(Error::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes a directory, or takes the one that is there; whether it is new.
pub(crate) fn directory(
    ext: &Ext,
    parent: InodeNumber,
    name: &[u8],
    a: &Attributes,
) -> ext::Result<(InodeNumber, bool)> {
    match existing(ext, parent, name)? {
        Some(there) if there.is_directory() => Ok((there.number, false)),
        Some(there) => Err(Error::NotDirectory(there.number)),
        None => Ok((ext.make(parent, name, &a.new_inode())?.number, true)),
    }
}

/// Makes a link to `target`, or a node.
pub(crate) fn special(
    ext: &Ext,
    parent: InodeNumber,
    name: &[u8],
    a: &Attributes,
    target: &[u8],
) -> ext::Result<InodeNumber> {
    let there = existing(ext, parent, name)?;
    if let Some(directory) = there.as_ref().filter(|i| i.is_directory()) {
        return Err(Error::IsDirectory(directory.number));
    }
    let first = if there.is_some() { spare(ext, parent)? } else { name.to_vec() };
    let new = a.new_inode();
    let inode = match a.mode & 0xf000 {
        0xa000 => ext.symlink(parent, &first, &new, target)?,
        _ => ext.make(parent, &first, &new)?,
    };
    let done = set_attributes(ext, inode.number, a);
    if there.is_some() && done.is_ok() {
        move_over(ext, parent, &first, name)?;
    } else if done.is_err() {
        unname(ext, parent, &first, false)?;
    }
    done.map(|()| inode.number)
}

/// A regular file in the making; it has no name before [`finish`](Self::finish), and is gone if that does not come.
pub(crate) struct NewFile<'a> {
    image: &'a Image,
    pub(crate) number: InodeNumber,
    path: Vec<u8>,
    named: bool,
}

impl<'a> NewFile<'a> {
    /// Begins the file that is to be at a path.
    pub(crate) fn begin(image: &'a Image, parent: InodeNumber, path: &[u8], a: &Attributes) -> Result<Self> {
        let made = image.ext.make_nameless(parent, &a.new_inode()).map_err(image.at(path))?;
        Ok(NewFile { image, number: made.number, path: path.to_vec(), named: false })
    }

    pub(crate) fn write(&self, at: u64, data: &[u8]) -> Result<()> {
        self.image.ext.write(self.number, at, data).map_err(self.image.at(&self.path)).map(drop)
    }

    /// Its size and attributes, then its name.
    pub(crate) fn finish(self, parent: InodeNumber, size: u64, a: &Attributes) -> Result<InodeNumber> {
        let name = split(&self.path).map(|(_, name)| name.to_vec()).unwrap_or_default();
        self.finish_under(parent, &name, size, a)
    }

    /// The same, under another name than that of its path.
    pub(crate) fn finish_under(
        mut self,
        parent: InodeNumber,
        name: &[u8],
        size: u64,
        a: &Attributes,
    ) -> Result<InodeNumber> {
        let ext = &self.image.ext;
        let done = (|| {
            if ext.inode(self.number)?.size != size {
                ext.truncate(self.number, size)?;
            }
            set_attributes(ext, self.number, a)?;
            // What is under a name is on the disk, whenever the power goes.
            ext.settle(self.number)?;
            put_under(ext, self.number, parent, name)
        })();
        done.map_err(self.image.at(&self.path))?;
        self.named = true;
        Ok(self.number)
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.named {
            // It is an orphan: whoever opens the disk next ends it, if this does not.
            let _ = self.image.ext.release(self.number);
        }
    }
}

/// The directory that a path is in, and its name there.
pub(crate) fn parent_of<'p>(image: &Image, path: &'p [u8]) -> Result<(InodeNumber, &'p [u8])> {
    let (parent, name) = split(path).ok_or_else(|| image.at(path)(Error::Exists))?;
    Ok((image.follow(parent)?.number, name))
}
