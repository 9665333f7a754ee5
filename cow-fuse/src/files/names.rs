//! Names: looked up, made, removed, renamed, listed.

use super::{Reply, Volume};
use crate::attr::{attr, file_type, generation, node, number};
use crate::errno::errno;
use crate::listing;
use ext::{Inode, InodeNumber, RenameFlags};
use fuser::{Errno, FileAttr, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyEntry};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::UNIX_EPOCH;

/// EXT4_NAME_LEN.
const MAX_NAME: usize = 255;

/// "It is not there", to be remembered.
const NOTHING: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: fuser::FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};

impl Volume {
    pub(super) fn lookup(&self, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(number(parent), name.as_bytes()) {
            Ok(Some(inode)) => self.entry(&inode, reply),
            Ok(None) => reply.entry(&self.ttl, &NOTHING, fuser::Generation(0)),
            Err(e) => reply.error(e),
        }
    }

    fn find(&self, parent: InodeNumber, name: &[u8]) -> Reply<Option<Inode>> {
        if name.len() > MAX_NAME {
            return Err(Errno::ENAMETOOLONG);
        }
        let directory = self.inode(parent)?;
        match self.ext.lookup(&directory, name) {
            Ok(found) => self.inode(found).map(Some),
            Err(ext::Error::NotFound) => Ok(None),
            Err(e) => Err(errno(e)),
        }
    }

    /// Tells the kernel of an inode.
    pub(super) fn entry(&self, inode: &Inode, reply: ReplyEntry) {
        self.lookups.add(inode.number);
        reply.entry(&self.ttl, &attr(inode, self.settings.owner), generation(inode));
    }

    pub(super) fn answer(&self, made: Reply<Inode>, reply: ReplyEntry) {
        match made {
            Ok(inode) => self.entry(&inode, reply),
            Err(e) => reply.error(e),
        }
    }

    pub(super) fn remove(&self, parent: INodeNo, name: &OsStr, directory: bool) -> Reply<()> {
        let gone = self.change(|ext| match directory {
            true => ext.rmdir(number(parent), name.as_bytes()),
            false => ext.unlink(number(parent), name.as_bytes()),
        })?;
        self.unnamed(gone);
        Ok(())
    }

    fn unnamed(&self, inode: Inode) {
        if inode.links == 0 && self.lookups.nameless(inode.number) {
            self.end(inode.number);
        }
    }

    pub(super) fn rename(
        &self,
        (parent, name): (INodeNo, &OsStr),
        (to, new): (INodeNo, &OsStr),
        flags: u32,
    ) -> Reply<()> {
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        let replaced = self.change(|ext| {
            ext.rename((number(parent), name.as_bytes()), (number(to), new.as_bytes()), flags)
        })?;
        replaced.into_iter().for_each(|inode| self.unnamed(inode));
        Ok(())
    }

    pub(super) fn link(&self, node: INodeNo, parent: INodeNo, name: &OsStr) -> Reply<Inode> {
        self.change(|ext| ext.link(number(node), number(parent), name.as_bytes()))?;
        self.inode(number(node))
    }

    pub(super) fn read_link(&self, node: INodeNo) -> Reply<Vec<u8>> {
        let inode = self.inode(number(node))?;
        let target = self.ext.read_link(&inode).map_err(errno)?;
        self.accessed(&inode);
        Ok(target)
    }

    fn names(&self, directory: INodeNo, offset: u64) -> Reply<std::sync::Arc<Vec<listing::Name>>> {
        let names = self.listings.of(&self.ext, number(directory)).map_err(errno)?;
        if offset == 0 {
            self.accessed(&self.inode(number(directory))?);
        }
        Ok(names)
    }

    pub(super) fn read_dir(&self, directory: INodeNo, offset: u64, mut reply: ReplyDirectory) {
        let names = match self.names(directory, offset) {
            Ok(names) => names,
            Err(e) => return reply.error(e),
        };
        for n in listing::after(&names, offset) {
            let kind = match n.kind {
                // The file system does not keep it here.
                ext::FileType::Unknown => match self.ext.inode(n.inode) {
                    Ok(inode) => file_type(inode.mode),
                    Err(_) => continue,
                },
                kind => kind_of(kind),
            };
            if reply.add(INodeNo(n.inode.into()), n.cookie, kind, OsStr::from_bytes(&n.name)) {
                break;
            }
        }
        reply.ok();
    }

    pub(super) fn read_dir_plus(&self, directory: INodeNo, offset: u64, mut reply: ReplyDirectoryPlus) {
        let names = match self.names(directory, offset) {
            Ok(names) => names,
            Err(e) => return reply.error(e),
        };
        for n in listing::after(&names, offset) {
            // One that has gone meanwhile, or is damaged: the others are as good as ever.
            let Ok(inode) = self.ext.inode(n.inode) else { continue };
            let attr = attr(&inode, self.settings.owner);
            let dots = matches!(&n.name[..], b"." | b"..");
            if !dots {
                // Before the kernel knows: it may forget at once.
                self.lookups.add(n.inode);
            }
            let (name, generation) = (OsStr::from_bytes(&n.name), generation(&inode));
            if reply.add(node(n.inode), n.cookie, name, &self.ttl, &attr, generation) {
                if !dots && self.lookups.forget(n.inode, 1) {
                    self.end(n.inode);
                }
                break;
            }
        }
        reply.ok();
    }
}

fn kind_of(kind: ext::FileType) -> fuser::FileType {
    match kind {
        ext::FileType::Directory => fuser::FileType::Directory,
        ext::FileType::Character => fuser::FileType::CharDevice,
        ext::FileType::Block => fuser::FileType::BlockDevice,
        ext::FileType::Fifo => fuser::FileType::NamedPipe,
        ext::FileType::Socket => fuser::FileType::Socket,
        ext::FileType::Link => fuser::FileType::Symlink,
        _ => fuser::FileType::RegularFile,
    }
}
