//! What system calls do with names: make, link, remove.

use crate::dir_write::check_name;
use crate::error::{Error, Result};
use crate::features::RoCompat;
use crate::inode::{Inode, InodeNumber};
use crate::inodes::NewInode;
use crate::transaction::Op;

/// Most names of a file, and of a directory (EXT4_LINK_MAX).
const MAX_LINKS: u16 = 65_000;

impl Op<'_> {
    pub(crate) fn directory(&self, number: InodeNumber) -> Result<Inode> {
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
    pub(crate) fn count_directory(&self, parent: &mut Inode, more: bool) -> Result<()> {
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

    pub(crate) fn is_empty(&self, inode: &Inode) -> Result<bool> {
        Ok(self.entries(inode)?.iter().all(|e| matches!(&e.name[..], b"." | b"..")))
    }

    /// One name fewer; what has none left is an orphan.
    pub(crate) fn unname(&mut self, mut inode: Inode) -> Result<Inode> {
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
    pub(crate) fn is_above(&self, above: InodeNumber, below: InodeNumber) -> Result<bool> {
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
}
