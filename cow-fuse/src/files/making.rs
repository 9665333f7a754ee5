//! New inodes: whose they are, and with which permissions and access control lists.

use super::{Reply, Volume};
use crate::acl::{self, Acl};
use crate::attr::number;
use crate::errno::errno;
use ext::{Inode, NewInode, XattrMode};
use fuser::{INodeNo, Request};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

const DIRECTORY: u16 = 0x4000;
const LINK: u16 = 0xa000;
const SETGID: u16 = 0o2000;

impl Volume {
    /// Makes a file, a directory, a node.
    pub(super) fn make(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        (mode, umask, device): (u32, u32, (u32, u32)),
    ) -> Reply<Inode> {
        let above = self.inode(number(parent))?;
        // The kernel leaves the umask to us (FUSE_DONT_MASK): where a list is inherited, it does not count.
        let inherited = self.default_acl(&above)?;
        let (mut mode, umask) = (mode as u16, umask as u16);
        let mut list = None;
        match &inherited {
            Some(acl) => {
                let (acl, with) = acl.clone().inherited(mode);
                mode = with;
                list = Some(acl).filter(|a| !a.is_minimal());
            }
            None => mode &= !(umask & 0o777),
        }
        let new = self.owned(req, &above, mode, device);
        let mut inode = self.change(|ext| ext.make(above.number, name.as_bytes(), &new))?;
        let default = inherited.filter(|_| inode.is_directory());
        let lists = [(acl::ACCESS, list), (acl::DEFAULT, default)];
        for (name, acl) in lists.into_iter().filter_map(|(name, acl)| Some((name, acl?))) {
            let bytes = acl.bytes();
            inode = self.change(|ext| ext.set_xattr(inode.number, name, Some(&bytes), XattrMode::Any))?;
        }
        Ok(inode)
    }

    pub(super) fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &[u8],
    ) -> Reply<Inode> {
        let above = self.inode(number(parent))?;
        let new = self.owned(req, &above, LINK | 0o777, (0, 0));
        self.change(|ext| ext.symlink(above.number, name.as_bytes(), &new, target))
    }

    /// Whose it is (inode_init_owner).
    fn owned(&self, req: &Request, above: &Inode, mode: u16, device: (u32, u32)) -> NewInode {
        let (uid, gid) = match self.settings.owner {
            Some(_) => (above.uid, above.gid),
            None => (req.uid(), req.gid()),
        };
        if above.mode & SETGID == 0 {
            return NewInode { mode, uid, gid, device };
        }
        let setgid = if mode & 0xf000 == DIRECTORY { SETGID } else { 0 };
        NewInode { mode: mode | setgid, uid, gid: above.gid, device }
    }

    fn default_acl(&self, directory: &Inode) -> Reply<Option<Acl>> {
        let value = self.xattr_of(directory, acl::DEFAULT).map_err(errno)?;
        Ok(value.and_then(|v| Acl::parse(&v)))
    }
}
