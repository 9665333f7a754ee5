//! Extended attributes, and the permissions that belong to access control lists.

use super::{Reply, Volume};
use crate::acl::{self, Acl};
use crate::attr::number;
use crate::control;
use crate::errno::errno;
use ext::{Changes, Inode, XattrMode};
use fuser::{Errno, INodeNo, Request};

const XATTR_CREATE: i32 = 1;
const XATTR_REPLACE: i32 = 2;
const SETGID: u16 = 0o2000;

impl Volume {
    /// The value of an attribute.
    pub(super) fn xattr_of(&self, inode: &Inode, name: &[u8]) -> ext::Result<Option<Vec<u8>>> {
        let found = self.ext.xattrs(inode)?.into_iter().find(|x| x.name == name);
        Ok(found.map(|x| x.value))
    }

    pub(super) fn get_xattr(&self, node: INodeNo, name: &[u8]) -> Reply<Vec<u8>> {
        if control::is_ours(name) && node == INodeNo::ROOT {
            return Ok(self.attribute().into_bytes());
        }
        let inode = self.inode(number(node))?;
        self.xattr_of(&inode, name).map_err(errno)?.ok_or(Errno::ENODATA)
    }

    /// Names, each with a NUL behind it.
    pub(super) fn list_xattrs(&self, req: &Request, node: INodeNo) -> Reply<Vec<u8>> {
        let inode = self.inode(number(node))?;
        let mut out = Vec::new();
        for x in self.ext.xattrs(&inode).map_err(errno)? {
            // Those without a right to a trusted attribute do not see that there is one (xattr(7)).
            if req.uid() == 0 || !x.name.starts_with(b"trusted.") {
                out.extend(x.name);
                out.push(0);
            }
        }
        Ok(out)
    }

    pub(super) fn set_xattr(
        &self,
        req: &Request,
        node: INodeNo,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> Reply<()> {
        if control::is_ours(name) {
            return Err(Errno::EPERM);
        }
        let mode = match flags {
            XATTR_CREATE => XattrMode::Create,
            XATTR_REPLACE => XattrMode::Replace,
            _ => XattrMode::Any,
        };
        let number = number(node);
        if name != acl::ACCESS {
            return self.change(|ext| ext.set_xattr(number, name, Some(value), mode)).map(drop);
        }
        // Permissions follow the list (posix_acl_update_mode).
        let list = Acl::parse(value).ok_or(Errno::EINVAL)?;
        let inode = self.inode(number)?;
        let mut bits = inode.mode & !0o777 | list.mode();
        if req.uid() != 0 && req.gid() != inode.gid {
            bits &= !SETGID;
        }
        match list.is_minimal() {
            true => match self.change(|ext| ext.set_xattr(number, name, None, XattrMode::Any)) {
                Err(Errno::ENODATA) | Ok(_) => {}
                Err(e) => return Err(e),
            },
            false => drop(self.change(|ext| ext.set_xattr(number, name, Some(value), mode))?),
        }
        let changes = Changes { mode: Some(bits), ..Changes::default() };
        self.change(|ext| ext.change(number, &changes)).map(drop)
    }

    pub(super) fn remove_xattr(&self, node: INodeNo, name: &[u8]) -> Reply<()> {
        if control::is_ours(name) {
            return Err(Errno::EPERM);
        }
        let done = self.change(|ext| ext.set_xattr(number(node), name, None, XattrMode::Replace));
        match done {
            // An access control list that is not there is removed all the same.
            Err(Errno::ENODATA) if name == acl::ACCESS || name == acl::DEFAULT => Ok(()),
            other => other.map(drop),
        }
    }

    /// The list of an inode whose permissions change follows them (posix_acl_chmod).
    pub(super) fn chmod_acl(&self, inode: &Inode, mode: u16) -> Reply<()> {
        let Some(value) = self.xattr_of(inode, acl::ACCESS).map_err(errno)? else { return Ok(()) };
        let Some(list) = Acl::parse(&value) else { return Ok(()) };
        let bytes = list.with_mode(mode).bytes();
        self.change(|ext| ext.set_xattr(inode.number, acl::ACCESS, Some(&bytes), XattrMode::Any)).map(drop)
    }
}
