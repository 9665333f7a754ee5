//! Content and attributes.

use super::{Reply, Volume};
use crate::attr::{from_kernel, number};
use crate::errno::errno;
use ext::{Changes, Inode, InodeNumber, Space, Time};
use fuser::{Errno, INodeNo, TimeOrNow};
use std::time::SystemTime;

const SETUID: u16 = 0o4000;
const SETGID: u16 = 0o2000;
const GROUP_EXECUTE: u16 = 0o010;

/// FALLOC_FL_* (linux/falloc.h).
mod falloc {
    pub(super) const KEEP_SIZE: i32 = 1;
    pub(super) const PUNCH_HOLE: i32 = 2;
    pub(super) const COLLAPSE_RANGE: i32 = 8;
    pub(super) const ZERO_RANGE: i32 = 16;
    pub(super) const INSERT_RANGE: i32 = 32;
}

const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;
/// Bytes that are copied at once from one file to another.
const PIECE: u64 = 1 << 20;
/// Bytes that one call of copy_file_range(2) copies: whoever calls goes on.
const MOST_COPIED: u64 = 64 << 20;

/// What setattr may change.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Option<TimeOrNow>,
    pub(super) mtime: Option<TimeOrNow>,
    pub(super) ctime: Option<SystemTime>,
}

fn time(t: TimeOrNow) -> Time {
    match t {
        TimeOrNow::Now => ext::host_clock(),
        TimeOrNow::SpecificTime(t) => from_kernel(t),
    }
}

/// A mode without what makes a program run as somebody else, after its owner or content has changed (setattr_should_drop_suidgid).
fn harmless(mode: u16) -> u16 {
    let setgid = if mode & GROUP_EXECUTE != 0 { SETGID } else { 0 };
    mode & !(SETUID | setgid)
}

impl Volume {
    pub(super) fn set_attr(&self, uid: u32, node: INodeNo, wanted: &Wanted) -> Reply<Inode> {
        let number = number(node);
        let mut inode = self.inode(number)?;
        if self.settings.owner.is_some_and(|o| {
            wanted.uid.is_some_and(|uid| uid != o.uid) || wanted.gid.is_some_and(|gid| gid != o.gid)
        }) {
            return Err(Errno::EPERM);
        }
        if let Some(size) = wanted.size {
            inode = self.change(|ext| ext.truncate(number, size))?;
            if uid != 0 {
                inode = self.disarm(inode)?;
            }
        }
        let mut changes = Changes {
            mode: wanted.mode.map(|m| m as u16 & 0o7777),
            atime: wanted.atime.map(time),
            mtime: wanted.mtime.map(time),
            ctime: wanted.ctime.map(from_kernel),
            ..Changes::default()
        };
        if self.settings.owner.is_none() {
            (changes.uid, changes.gid) = (wanted.uid, wanted.gid);
        }
        if inode.is_regular() && (wanted.uid.is_some() || wanted.gid.is_some()) {
            changes.mode = Some(harmless(changes.mode.unwrap_or(inode.mode & 0o7777)));
        }
        if changes.ctime.is_none()
            && wanted.size.is_some()
            && changes.mode.is_none()
            && changes.mtime.is_none()
        {
            return Ok(inode);
        }
        let changed = self.change(|ext| ext.change(number, &changes))?;
        if let Some(mode) = changes.mode.filter(|m| m & 0o777 != inode.mode & 0o777) {
            self.chmod_acl(&changed, mode)?;
        }
        Ok(changed)
    }

    /// What has been written by somebody else runs as nobody but its caller.
    fn disarm(&self, inode: Inode) -> Reply<Inode> {
        let mode = harmless(inode.mode);
        if mode == inode.mode {
            return Ok(inode);
        }
        let changes = Changes { mode: Some(mode & 0o7777), ..Changes::default() };
        self.change(|ext| ext.change(inode.number, &changes))
    }

    pub(super) fn read(&self, node: INodeNo, at: u64, into: &mut [u8]) -> Reply<usize> {
        let number = number(node);
        let len = self.ext.read(number, at, into).map_err(errno)?;
        if !self.settings.no_access_times && self.committer.is_some() {
            self.accessed(&self.inode(number)?);
        }
        Ok(len)
    }

    pub(super) fn write(&self, node: INodeNo, at: u64, data: &[u8], kill_privileges: bool) -> Reply<()> {
        let inode = self.change(|ext| ext.write(number(node), at, data))?;
        if kill_privileges {
            self.disarm(inode)?;
        }
        Ok(())
    }

    pub(super) fn fsync(&self, node: INodeNo) -> Reply<()> {
        if self.committer.is_none() {
            return Ok(());
        }
        self.ext.fsync(number(node)).map_err(errno)
    }

    pub(super) fn fallocate(&self, node: INodeNo, at: u64, len: u64, mode: i32) -> Reply<()> {
        let keep_size = mode & falloc::KEEP_SIZE != 0;
        let how = match mode & !falloc::KEEP_SIZE {
            0 => Space::Allocate { keep_size },
            falloc::PUNCH_HOLE if keep_size => Space::Punch,
            falloc::ZERO_RANGE => Space::Zero { keep_size },
            falloc::COLLAPSE_RANGE if !keep_size => Space::Collapse,
            falloc::INSERT_RANGE if !keep_size => Space::Insert,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        self.change(|ext| ext.fallocate(number(node), how, at, len)).map(drop)
    }

    /// Where the next data or the next hole is: lseek(2). What the kernel has written back is known here, and nothing else.
    pub(super) fn seek(&self, node: INodeNo, at: i64, whence: i32) -> Reply<i64> {
        let number = number(node);
        let at = u64::try_from(at).map_err(|_| Errno::ENXIO)?;
        if !matches!(whence, SEEK_DATA | SEEK_HOLE) {
            return Err(Errno::EINVAL);
        }
        if self.committer.is_some() {
            // What waits in memory looks like a hole.
            self.change(|ext| ext.settle(number))?;
        }
        let inode = self.inode(number)?;
        if at >= inode.size {
            return Err(Errno::ENXIO);
        }
        let found = self.next(&inode, at, whence == SEEK_HOLE)?;
        match whence {
            SEEK_DATA if found >= inode.size => Err(Errno::ENXIO),
            _ => Ok(found.min(inode.size) as i64),
        }
    }

    /// The first byte from `at` on that lies in a hole, or does not; or one at the end or behind it.
    fn next(&self, inode: &Inode, at: u64, hole: bool) -> Reply<u64> {
        let block = u64::from(self.ext.superblock().block_size);
        if inode.flags.contains(ext::Flags::INLINE_DATA) {
            return Ok(if hole { inode.size } else { at });
        }
        let mut here = at;
        while here < inode.size {
            let run = self.ext.run(inode.number, here / block).map_err(errno)?;
            if (run.physical.is_none() || run.unwritten) == hole {
                return Ok(here);
            }
            here = (here / block).saturating_add(run.len).saturating_mul(block);
        }
        Ok(here)
    }

    pub(super) fn copy(&self, from: (INodeNo, u64), to: (INodeNo, u64), len: u64) -> Reply<u32> {
        let (source, target) = (number(from.0), number(to.0));
        let len = len.min(MOST_COPIED);
        let mut bytes = vec![0; len.min(PIECE) as usize];
        let mut done = 0;
        while done < len {
            let want = (len - done).min(PIECE) as usize;
            let got = self.ext.read(source, from.1 + done, &mut bytes[..want]).map_err(errno)?;
            if got == 0 {
                break;
            }
            match self.change(|ext| ext.write(target, to.1 + done, &bytes[..got])) {
                Ok(_) => done += got as u64,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done as u32)
    }

    /// What is on its way to a file in the kernel comes here now.
    pub(super) fn write_back(&self, node: INodeNo) {
        let (true, Some(notifier)) = (self.writes_back(), self.notifier.get()) else { return };
        // The kernel launders what it drops. If it does not, it is as if that had been written a moment later.
        let _ = notifier.inval_inode(node, 0, 0);
    }

    fn writes_back(&self) -> bool {
        self.committer.is_some() && !self.settings.write_through
    }

    pub(super) fn wants_write_back(&self) -> bool {
        self.writes_back()
    }

    pub(super) fn is_small(&self, number: InodeNumber) -> bool {
        self.ext.inode(number).is_ok_and(|inode| inode.blocks < 1 << 14)
    }
}
