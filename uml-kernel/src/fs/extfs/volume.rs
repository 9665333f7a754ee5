//! The disk of a mounted file system: opened, committed, made read-only and writable. The thread that commits has this, and not the file
//! system, which ends with the last who uses it.

use super::{Ext, errno};
use crate::base::wait::{How, Waiter};
use crate::base::{Errno, Result, fiber, time};
use crate::block::Disk;
use ext::{Mounter, Time};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) struct Volume {
    /// Another one after a remount.
    ext: RwLock<Arc<Ext>>,
    pub(super) kind: &'static str,
    disk: Disk,
    read_only: AtomicBool,
    /// It has been said that a commit has failed.
    told: AtomicBool,
}

/// The guest's clock.
fn now() -> Time {
    let now = time::real();
    Time { sec: now.sec, nsec: now.nsec as u32 }
}

/// Lets other tasks run meanwhile, where there are any yet.
fn wait(time: Duration) {
    if fiber::current().is_none() {
        return std::thread::sleep(time);
    }
    let deadline = Some(time::now() + time.as_nanos() as u64);
    let _ = Waiter::new().wait(How { uninterruptible: true, deadline }, || None::<()>);
}

/// Who has a disk, for others who want it: guests are often of one name, so the host and the process are there as well.
fn node() -> Vec<u8> {
    let host = rustix::system::uname();
    let process = format!(" on {}, pid {}", host.nodename().to_string_lossy(), std::process::id());
    let mut node = crate::task::nodename();
    node.truncate(63usize.saturating_sub(process.len()));
    node.extend(process.as_bytes());
    node
}

impl Volume {
    pub(super) fn open(kind: &'static str, disk: &Disk, read_only: bool) -> Result<Arc<Volume>> {
        let ext = RwLock::new(open(kind, disk, read_only)?);
        let (read_only, told) = (AtomicBool::new(read_only), AtomicBool::new(false));
        Ok(Arc::new(Volume { ext, kind, disk: disk.clone(), read_only, told }))
    }

    /// The file system on it.
    pub(super) fn ext(&self) -> Arc<Ext> {
        self.ext.read().clone()
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::SeqCst)
    }

    /// What has been written and changed becomes durable. Where that fails, the file system is read-only from then on: as Linux with
    /// errors=remount-ro, or a journal that it has aborted.
    pub(super) fn commit(&self) -> Result<()> {
        let ext = self.ext();
        ext.sync().map_err(|e| {
            self.tell_of_failure(&ext);
            errno(e)
        })
    }

    /// How often [`protect`](Self::protect) is to be called.
    pub(super) fn protect_every(&self) -> Option<Duration> {
        self.ext().protect_every()
    }

    /// Shows others that the disk is in use, and sees that none has taken it: it is read-only then.
    pub(super) fn protect(&self) -> Result<()> {
        let ext = self.ext();
        ext.protect().map_err(|e| {
            self.tell_of_failure(&ext);
            errno(e)
        })
    }

    /// Nothing is written any more, for good.
    pub(super) fn has_failed(&self) -> bool {
        self.ext().failure().is_some()
    }

    /// Says, once, that a commit has failed, if one has.
    pub(super) fn tell_of_failure(&self, ext: &Ext) {
        if let Some(why) = ext.failure()
            && !self.told.swap(true, Ordering::SeqCst)
        {
            crate::base::log::alert(format!(
                "{} on {} cannot be committed ({why}), and is read-only until the guest is started again; what was synced before is there",
                self.kind, self.disk.name
            ));
        }
    }

    /// Everything goes to the disk, and it is clean.
    pub(super) fn unmount(&self) -> Result<()> {
        let ext = self.ext();
        let ended = ext.unmount().map_err(errno);
        self.tell_of_failure(&ext);
        ended
    }

    /// It is clean on the disk, and read again.
    pub(super) fn become_read_only(&self) -> Result<()> {
        if self.has_failed() {
            // Nothing is written any more as it is.
            self.read_only.store(true, Ordering::SeqCst);
            return Ok(());
        }
        self.ext().unmount().map_err(errno)?;
        self.read_only.store(true, Ordering::SeqCst);
        *self.ext.write() = open(self.kind, &self.disk, true)?;
        Ok(())
    }

    pub(super) fn become_writable(&self) -> Result<()> {
        if self.disk.device.read_only() {
            return Err(Errno::EACCES);
        }
        if self.has_failed() {
            // As after an aborted journal: what is in memory is not what is on the disk.
            return Err(Errno::EROFS);
        }
        // A check of the file system may have mended it meanwhile: it is read anew.
        *self.ext.write() = open(self.kind, &self.disk, false)?;
        self.read_only.store(false, Ordering::SeqCst);
        Ok(())
    }
}

fn open(kind: &str, disk: &Disk, read_only: bool) -> Result<Arc<Ext>> {
    let device = disk.device.clone();
    let wait = |time: Duration| {
        crate::log!("{kind}: {}: {} s to see whether somebody else has it", disk.name, time.as_secs());
        wait(time);
    };
    let mounter = Mounter { clock: now, node: &node(), device: disk.name.as_bytes(), wait: &wait };
    let opened = if read_only { Ext::open_with(device) } else { Ext::open_rw_with(device, &mounter) };
    opened.map(Arc::new).map_err(|e| {
        crate::log!("{kind}: {}: {e}", disk.name);
        errno(e)
    })
}
