//! rename(2), and what renameat2(2) can do beside it.

use crate::dir_write::check_name;
use crate::error::{Error, Result};
use crate::inode::{Inode, InodeNumber};
use crate::inodes::NewInode;
use crate::transaction::Op;

bitflags::bitflags! {
    /// How names change (RENAME_* of renameat2(2)).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        /// The new name must not be there.
        const NOREPLACE = 1;
        /// Both names are there, and swap what they name. Alone.
        const EXCHANGE = 2;
        /// A character device 0:0 stays at the old name: what an overlay takes for "nothing here".
        const WHITEOUT = 4;
    }
}

/// A directory, and a name in it.
type Place<'a> = (InodeNumber, &'a [u8]);

const CHARACTER: u16 = 0x2000;
const DIRECTORY: u16 = 0x4000;

impl Op<'_> {
    /// Renames; what the new name named before, if that is an orphan now.
    pub(crate) fn rename(
        &mut self,
        (from, old): Place<'_>,
        (to, new): Place<'_>,
        flags: RenameFlags,
    ) -> Result<Option<Inode>> {
        check_name(old)?;
        check_name(new)?;
        if flags.contains(RenameFlags::EXCHANGE) {
            if flags != RenameFlags::EXCHANGE {
                return Err(Error::Invalid);
            }
            return self.exchange((from, old), (to, new)).map(|()| None);
        }
        let source = self.directory(from)?;
        let mut target = self.directory(to)?;
        let mut inode = self.inode(self.lookup(&source, old)?)?;
        let there = match self.lookup(&target, new) {
            Ok(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Error::Exists),
            Ok(number) => Some(number),
            Err(Error::NotFound) => None,
            Err(e) => return Err(e),
        };
        let moved = inode.is_directory() && from != to;
        if moved && self.is_above(inode.number, to)? {
            return Err(Error::Invalid);
        }
        if there == Some(inode.number) {
            return Ok(None);
        }
        let replaced = there.map(|number| self.inode(number)).transpose()?;
        if let Some(other) = &replaced {
            match (inode.is_directory(), other.is_directory()) {
                (true, false) => return Err(Error::NotDirectory(other.number)),
                (false, true) => return Err(Error::IsDirectory(other.number)),
                (true, true) if !self.is_empty(other)? => return Err(Error::NotEmpty),
                _ => {}
            }
        }
        match &replaced {
            Some(other) => {
                self.replace_entry(&mut target, new, inode.number, inode.mode)?;
                if other.is_directory() {
                    self.count_directory(&mut target, false)?;
                }
            }
            None => self.add_entry(&mut target, new, inode.number, inode.mode)?,
        }
        if moved {
            self.count_directory(&mut target, true)?;
        }
        self.touch_inode(&mut target, true);
        self.put_inode(&target)?;
        let mut source = if from == to { target } else { source };
        if flags.contains(RenameFlags::WHITEOUT) {
            let whiteout = self.whiteout(from)?;
            self.replace_entry(&mut source, old, whiteout, CHARACTER)?;
        } else {
            self.remove_entry(&mut source, old)?;
        }
        if moved {
            self.count_directory(&mut source, false)?;
        }
        self.touch_inode(&mut source, true);
        self.put_inode(&source)?;
        if moved {
            self.replace_entry(&mut inode, b"..", to, DIRECTORY)?;
        }
        self.touch_inode(&mut inode, false);
        self.put_inode(&inode)?;
        Ok(match replaced {
            Some(other) => Some(self.unname(other)?).filter(|o| o.links == 0),
            None => None,
        })
    }

    /// The inode of a whiteout, which root has.
    fn whiteout(&mut self, parent: InodeNumber) -> Result<InodeNumber> {
        let new = NewInode { mode: CHARACTER, uid: 0, gid: 0, device: (0, 0) };
        let mut inode = self.new_inode(parent, &new)?;
        inode.links = 1;
        self.put_inode(&inode)?;
        Ok(inode.number)
    }

    /// Has two names swap what they name.
    fn exchange(&mut self, (from, old): Place<'_>, (to, new): Place<'_>) -> Result<()> {
        let mut source = self.directory(from)?;
        let target = self.directory(to)?;
        let mut a = self.inode(self.lookup(&source, old)?)?;
        let mut b = self.inode(self.lookup(&target, new)?)?;
        if a.number == b.number {
            return Ok(());
        }
        let apart = from != to;
        // Neither may come to be below itself.
        if apart
            && (a.is_directory() && self.is_above(a.number, to)?
                || b.is_directory() && self.is_above(b.number, from)?)
        {
            return Err(Error::Invalid);
        }
        self.replace_entry(&mut source, old, b.number, b.mode)?;
        self.swap_count(&mut source, apart, &a, &b)?;
        self.touch_inode(&mut source, true);
        self.put_inode(&source)?;
        let mut target = if apart { target } else { source };
        self.replace_entry(&mut target, new, a.number, a.mode)?;
        self.swap_count(&mut target, apart, &b, &a)?;
        self.touch_inode(&mut target, true);
        self.put_inode(&target)?;
        for (inode, parent) in [(&mut a, to), (&mut b, from)] {
            if apart && inode.is_directory() {
                self.replace_entry(inode, b"..", parent, DIRECTORY)?;
            }
            self.touch_inode(inode, false);
            self.put_inode(inode)?;
        }
        Ok(())
    }

    /// The count of a directory in which one inode has taken the place of another.
    fn swap_count(&self, parent: &mut Inode, apart: bool, gone: &Inode, come: &Inode) -> Result<()> {
        if apart && gone.is_directory() != come.is_directory() {
            self.count_directory(parent, come.is_directory())?;
        }
        Ok(())
    }
}
