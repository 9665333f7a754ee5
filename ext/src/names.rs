//! What system calls do with names: make, link, remove, rename.

use crate::dir_write::check_name;
use crate::error::{Error, Result};
use crate::features::RoCompat;
use crate::inode::{Inode, InodeNumber};
use crate::inodes::NewInode;
use crate::transaction::Op;

/// Most names of a file, and of a directory (EXT4_LINK_MAX).
const MAX_LINKS: u16 = 65_000;

impl Op<'_> {
    fn directory(&self, number: InodeNumber) -> Result<Inode> {
        let inode = self.inode(number)?;
        if !inode.is_directory() {
            return Err(Error::NotDirectory(number));
        }
        if inode.links == 0 {
            return Err(Error::NotFound);
        }
        Ok(inode)
    }

    fn absent(&self, parent: &Inode, name: &[u8]) -> Result<()> {
        check_name(name)?;
        match self.lookup(parent, name) {
            Err(Error::NotFound) => Ok(()),
            Ok(_) => Err(Error::Exists),
            Err(e) => Err(e),
        }
    }

    /// One more, or fewer, subdirectory. Where there are too many to count, the count is 1.
    fn count_directory(&self, parent: &mut Inode, more: bool) -> Result<()> {
        match (parent.links, more) {
            (1, _) => {}
            (n, true) if n >= MAX_LINKS - 1 => {
                if !self.superblock.ro_compat.contains(RoCompat::DIR_NLINK) {
                    return Err(Error::TooManyLinks);
                }
                parent.links = 1;
            }
            (n, true) => parent.links = n + 1,
            (n, false) => parent.links = n.saturating_sub(1).max(2),
        }
        Ok(())
    }

    /// Makes a file, a directory, a node, or a link to `target`.
    pub(crate) fn make(
        &mut self,
        parent: InodeNumber,
        name: &[u8],
        new: &NewInode,
        target: &[u8],
    ) -> Result<Inode> {
        let mut parent = self.directory(parent)?;
        self.absent(&parent, name)?;
        let mut inode = self.new_inode(parent.number, new)?;
        inode.links = 1;
        if inode.is_directory() {
            self.count_directory(&mut parent, true)?;
            inode.links = 2;
            self.begin_directory(&mut inode, parent.number)?;
        } else if inode.is_link() {
            self.set_target(&mut inode, target)?;
        }
        self.put_inode(&inode)?;
        self.add_entry(&mut parent, name, inode.number, inode.mode)?;
        self.touch_inode(&mut parent, true);
        self.put_inode(&parent)?;
        Ok(inode)
    }

    fn set_target(&mut self, inode: &mut Inode, target: &[u8]) -> Result<()> {
        let size = self.superblock.block_size as usize;
        if target.is_empty() || target.len() >= size.min(4096) {
            return Err(Error::NameTooLong);
        }
        if target.len() < inode.block.len() {
            inode.block[..target.len()].copy_from_slice(target);
            inode.size = target.len() as u64;
            return Ok(());
        }
        if self.superblock.incompat.contains(crate::Incompat::EXTENTS) {
            inode.flags |= crate::Flags::EXTENTS;
            inode.block = crate::extents::empty_root();
        }
        self.write_some(inode, 0, target).map(drop)
    }

    /// Gives an inode another name.
    pub(crate) fn link(&mut self, number: InodeNumber, parent: InodeNumber, name: &[u8]) -> Result<()> {
        let mut parent = self.directory(parent)?;
        self.absent(&parent, name)?;
        let mut inode = self.inode(number)?;
        if inode.is_directory() {
            return Err(Error::IsDirectory(number));
        }
        if inode.links >= MAX_LINKS {
            return Err(Error::TooManyLinks);
        }
        if inode.links == 0 {
            // It was made without a name (O_TMPFILE).
            self.remove_orphan(&mut inode)?;
        }
        inode.links += 1;
        self.touch_inode(&mut inode, false);
        self.put_inode(&inode)?;
        self.add_entry(&mut parent, name, number, inode.mode)?;
        self.touch_inode(&mut parent, true);
        self.put_inode(&parent)
    }

    fn is_empty(&self, inode: &Inode) -> Result<bool> {
        Ok(self.entries(inode)?.iter().all(|e| matches!(&e.name[..], b"." | b"..")))
    }

    /// One name fewer; what has none left is an orphan.
    fn unname(&mut self, mut inode: Inode) -> Result<Inode> {
        if inode.is_directory() {
            inode.links = 0;
        } else {
            inode.links = inode.links.saturating_sub(1);
        }
        self.touch_inode(&mut inode, false);
        if inode.links == 0 {
            self.add_orphan(&mut inode)?;
        }
        self.put_inode(&inode)?;
        Ok(inode)
    }

    /// Removes a name; the inode that had it. If that was its last, it is an orphan now.
    pub(crate) fn unlink(&mut self, parent: InodeNumber, name: &[u8], directory: bool) -> Result<Inode> {
        let mut parent = self.directory(parent)?;
        let inode = self.inode(self.lookup(&parent, name)?)?;
        match (directory, inode.is_directory()) {
            (true, false) => return Err(Error::NotDirectory(inode.number)),
            (false, true) => return Err(Error::IsDirectory(inode.number)),
            (true, true) => {
                check_name(name)?;
                if !self.is_empty(&inode)? {
                    return Err(Error::NotEmpty);
                }
                self.count_directory(&mut parent, false)?;
            }
            (false, false) => {}
        }
        self.remove_entry(&mut parent, name)?;
        self.touch_inode(&mut parent, true);
        self.put_inode(&parent)?;
        self.unname(inode)
    }

    /// Whether a directory is another, or above it.
    fn is_above(&self, above: InodeNumber, below: InodeNumber) -> Result<bool> {
        let mut here = below;
        for _ in 0..self.superblock.inodes {
            if here == above {
                return Ok(true);
            }
            if here == crate::Ext::ROOT {
                return Ok(false);
            }
            here = self.lookup(&self.inode(here)?, b"..")?;
        }
        Err(Error::inode(below, "it is below itself"))
    }

    /// Renames; what the new name named before, if that is an orphan now.
    pub(crate) fn rename(
        &mut self,
        (from, old): (InodeNumber, &[u8]),
        (to, new): (InodeNumber, &[u8]),
    ) -> Result<Option<Inode>> {
        check_name(old)?;
        check_name(new)?;
        let source = self.directory(from)?;
        let target = self.directory(to)?;
        let inode = self.inode(self.lookup(&source, old)?)?;
        if inode.is_directory() && from != to && self.is_above(inode.number, to)? {
            return Err(Error::Invalid);
        }
        let replaced = match self.lookup(&target, new) {
            Ok(number) if number == inode.number => return Ok(None),
            Ok(number) => Some(self.inode(number)?),
            Err(Error::NotFound) => None,
            Err(e) => return Err(e),
        };
        if let Some(other) = &replaced {
            match (inode.is_directory(), other.is_directory()) {
                (true, false) => return Err(Error::NotDirectory(other.number)),
                (false, true) => return Err(Error::IsDirectory(other.number)),
                (true, true) if !self.is_empty(other)? => return Err(Error::NotEmpty),
                _ => {}
            }
        }
        let mut target = target;
        match &replaced {
            Some(other) => {
                self.replace_entry(&mut target, new, inode.number, inode.mode)?;
                if other.is_directory() {
                    self.count_directory(&mut target, false)?;
                }
            }
            None => self.add_entry(&mut target, new, inode.number, inode.mode)?,
        }
        if inode.is_directory() && from != to {
            self.count_directory(&mut target, true)?;
        }
        self.touch_inode(&mut target, true);
        self.put_inode(&target)?;
        let mut source = if from == to { target } else { source };
        self.remove_entry(&mut source, old)?;
        if inode.is_directory() && from != to {
            self.count_directory(&mut source, false)?;
        }
        self.touch_inode(&mut source, true);
        self.put_inode(&source)?;
        let mut inode = inode;
        if inode.is_directory() && from != to {
            self.replace_entry(&mut inode, b"..", to, 0x4000)?;
        }
        self.touch_inode(&mut inode, false);
        self.put_inode(&inode)?;
        Ok(match replaced {
            Some(other) => Some(self.unname(other)?).filter(|o| o.links == 0),
            None => None,
        })
    }
}
