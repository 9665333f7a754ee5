//! Credentials, and what they permit on files (credentials(7), path_resolution(7), capabilities(7)).

use super::{Attr, kind};
use crate::base::{Errno, Result};
use std::sync::Arc;

/// Numbers of capabilities (linux/capability.h) that this kernel looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Cap {
    Chown = 0,
    DacOverride = 1,
    DacReadSearch = 2,
    Fowner = 3,
    Fsetid = 4,
    Kill = 5,
    Setgid = 6,
    Setuid = 7,
    Setpcap = 8,
    LinuxImmutable = 9,
    NetBindService = 10,
    NetAdmin = 12,
    IpcLock = 14,
    IpcOwner = 15,
    SysChroot = 18,
    SysPtrace = 19,
    SysPacct = 20,
    SysAdmin = 21,
    SysBoot = 22,
    SysNice = 23,
    SysResource = 24,
    SysTime = 25,
    SysTtyConfig = 26,
    Mknod = 27,
    Lease = 28,
    Setfcap = 31,
    Syslog = 34,
}

/// All capabilities that there are: up to CAP_CHECKPOINT_RESTORE.
pub const ALL_CAPS: u64 = (1 << 41) - 1;

/// Who a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creds {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Saved user.
    pub suid: u32,
    /// User for file access.
    pub fsuid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// Saved group.
    pub sgid: u32,
    /// Group for file access.
    pub fsgid: u32,
    /// Supplementary groups.
    pub groups: Arc<[u32]>,
    /// Capability sets.
    pub permitted: u64,
    /// Those in force.
    pub effective: u64,
    /// Those kept over execve.
    pub inheritable: u64,
    /// The limit of what execve can gain.
    pub bounding: u64,
    /// Those kept over the execve of an unprivileged program.
    pub ambient: u64,
    /// `SECBIT_` flags.
    pub securebits: u32,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
}

/// May read, as access(2).
pub const MAY_READ: u32 = 4;
/// May write.
pub const MAY_WRITE: u32 = 2;
/// May execute, or search.
pub const MAY_EXEC: u32 = 1;

impl Creds {
    /// Of a user: all capabilities for root, none for others.
    pub fn user(uid: u32, gid: u32, groups: &[u32]) -> Creds {
        let caps = if uid == 0 { ALL_CAPS } else { 0 };
        Creds {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: groups.into(),
            permitted: caps,
            effective: caps,
            inheritable: 0,
            bounding: ALL_CAPS,
            ambient: 0,
            securebits: 0,
            no_new_privs: false,
        }
    }

    /// Whether a capability is in force.
    pub fn has(&self, cap: Cap) -> bool {
        self.effective & 1 << cap as u8 != 0
    }

    /// EPERM unless a capability is in force.
    pub fn need(&self, cap: Cap) -> Result<()> {
        if self.has(cap) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Whether it belongs to a group.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }

    /// EACCES unless a file may be used so (`MAY_` bits).
    pub fn may(&self, attr: &Attr, want: u32) -> Result<()> {
        let bits = if self.fsuid == attr.uid {
            attr.mode >> 6
        } else if self.in_group(attr.gid) {
            attr.mode >> 3
        } else {
            attr.mode
        };
        if bits & want == want {
            return Ok(());
        }
        if attr.is_dir() {
            if self.has(Cap::DacOverride) || (want & MAY_WRITE == 0 && self.has(Cap::DacReadSearch)) {
                return Ok(());
            }
        } else {
            let executable = want & MAY_EXEC == 0 || attr.mode & 0o111 != 0;
            if (executable && self.has(Cap::DacOverride))
                || (want == MAY_READ && self.has(Cap::DacReadSearch))
            {
                return Ok(());
            }
        }
        Err(Errno::EACCES)
    }

    /// Whether it may do what only a file's owner may.
    pub fn owns(&self, attr: &Attr) -> bool {
        self.fsuid == attr.uid || self.has(Cap::Fowner)
    }

    /// EPERM where a sticky directory keeps others' entries from being removed.
    pub fn may_remove(&self, dir: &Attr, entry: &Attr) -> Result<()> {
        self.may(dir, MAY_WRITE | MAY_EXEC)?;
        if dir.mode & 0o1000 != 0
            && self.fsuid != entry.uid
            && self.fsuid != dir.uid
            && !self.has(Cap::Fowner)
        {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Owner and group of a node made in `dir`, and its mode.
    pub fn new_owner(&self, dir: &Attr, mode: u32) -> (u32, u32, u32) {
        if dir.mode & 0o2000 == 0 {
            return (self.fsuid, self.fsgid, mode);
        }
        let mode = if mode & kind::MASK == kind::DIR { mode | 0o2000 } else { mode };
        (self.fsuid, dir.gid, mode)
    }
}
