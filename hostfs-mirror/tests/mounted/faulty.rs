//! A leg that fails when it is told to: in the place of a disk that dies, or a server that hangs.

use hostfs_mirror::leg::{Capabilities, Change, Entry, Leg, Local, Make, Owner, Result};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, Mode, OFlags, RenameFlags, Stat, StatVfs, XattrFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Sound,
    /// Everything fails so.
    All(Errno),
    /// What changes something fails so.
    Writes(Errno),
    /// What makes something durable fails so.
    Syncs(Errno),
    /// Nothing is answered.
    Hangs,
}

#[derive(Debug)]
pub(crate) struct Faulty {
    leg: Local,
    fault: Mutex<Fault>,
    changed: Condvar,
}

impl Faulty {
    pub(crate) fn new(path: &Path) -> Arc<Faulty> {
        let leg = Local::open(path).expect("opened");
        Arc::new(Faulty { leg, fault: Mutex::new(Fault::Sound), changed: Condvar::new() })
    }

    pub(crate) fn becomes(&self, fault: Fault) {
        *self.fault.lock().expect("nobody panicked") = fault;
        self.changed.notify_all();
    }

    fn reads(&self) -> Result<()> {
        let mut fault = self.fault.lock().expect("nobody panicked");
        while *fault == Fault::Hangs {
            fault = self.changed.wait(fault).expect("nobody panicked");
        }
        if let Fault::All(e) = *fault { Err(e) } else { Ok(()) }
    }

    fn writes(&self) -> Result<()> {
        self.reads()?;
        let fault = *self.fault.lock().expect("nobody panicked");
        if let Fault::Writes(e) = fault { Err(e) } else { Ok(()) }
    }

    fn syncs(&self) -> Result<()> {
        self.writes()?;
        let fault = *self.fault.lock().expect("nobody panicked");
        if let Fault::Syncs(e) = fault { Err(e) } else { Ok(()) }
    }
}

type Fd<'a> = BorrowedFd<'a>;

impl Leg for Faulty {
    fn name(&self) -> &Path {
        self.leg.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.leg.capabilities()
    }
    fn root(&self) -> Fd<'_> {
        self.leg.root()
    }
    fn resolve(&self, path: &Path) -> Result<OwnedFd> {
        self.reads()?;
        self.leg.resolve(path)
    }
    fn lookup(&self, parent: Fd<'_>, name: &OsStr) -> Result<(OwnedFd, Stat)> {
        self.reads()?;
        self.leg.lookup(parent, name)
    }
    fn stat(&self, object: Fd<'_>) -> Result<Stat> {
        self.reads()?;
        self.leg.stat(object)
    }
    fn birth(&self, object: Fd<'_>) -> Result<i64> {
        self.reads()?;
        self.leg.birth(object)
    }
    fn open(&self, object: Fd<'_>, flags: OFlags) -> Result<OwnedFd> {
        self.reads()?;
        self.leg.open(object, flags)
    }
    fn create(
        &self,
        parent: Fd<'_>,
        name: &OsStr,
        mode: Mode,
        owner: Option<Owner>,
    ) -> Result<(OwnedFd, Stat)> {
        self.writes()?;
        self.leg.create(parent, name, mode, owner)
    }
    fn make(
        &self,
        parent: Fd<'_>,
        name: &OsStr,
        what: Make<'_>,
        owner: Option<Owner>,
    ) -> Result<(OwnedFd, Stat)> {
        self.writes()?;
        self.leg.make(parent, name, what, owner)
    }
    fn link(&self, object: Fd<'_>, parent: Fd<'_>, name: &OsStr) -> Result<()> {
        self.writes()?;
        self.leg.link(object, parent, name)
    }
    fn unlink(&self, parent: Fd<'_>, name: &OsStr, directory: bool) -> Result<()> {
        self.writes()?;
        self.leg.unlink(parent, name, directory)
    }
    fn rename(&self, from: (Fd<'_>, &OsStr), to: (Fd<'_>, &OsStr), flags: RenameFlags) -> Result<()> {
        self.writes()?;
        self.leg.rename(from, to, flags)
    }
    fn read_link(&self, object: Fd<'_>) -> Result<OsString> {
        self.reads()?;
        self.leg.read_link(object)
    }
    fn list(&self, directory: Fd<'_>) -> Result<Vec<Entry>> {
        self.reads()?;
        self.leg.list(directory)
    }
    fn change(&self, object: Fd<'_>, change: &Change) -> Result<()> {
        self.writes()?;
        self.leg.change(object, change)
    }
    fn xattr(&self, object: Fd<'_>, name: &OsStr) -> Result<Vec<u8>> {
        self.reads()?;
        self.leg.xattr(object, name)
    }
    fn xattrs(&self, object: Fd<'_>) -> Result<Vec<u8>> {
        self.reads()?;
        self.leg.xattrs(object)
    }
    fn set_xattr(&self, object: Fd<'_>, name: &OsStr, value: &[u8], flags: XattrFlags) -> Result<()> {
        self.writes()?;
        self.leg.set_xattr(object, name, value, flags)
    }
    fn remove_xattr(&self, object: Fd<'_>, name: &OsStr) -> Result<()> {
        self.writes()?;
        self.leg.remove_xattr(object, name)
    }
    fn read(&self, file: Fd<'_>, into: &mut [u8], offset: u64) -> Result<usize> {
        self.reads()?;
        self.leg.read(file, into, offset)
    }
    fn write(&self, file: Fd<'_>, data: &[u8], offset: u64) -> Result<usize> {
        self.writes()?;
        self.leg.write(file, data, offset)
    }
    fn allocate(&self, file: Fd<'_>, mode: FallocateFlags, offset: u64, len: u64) -> Result<()> {
        self.writes()?;
        self.leg.allocate(file, mode, offset, len)
    }
    fn seek(&self, file: Fd<'_>, offset: u64, data: bool) -> Result<u64> {
        self.reads()?;
        self.leg.seek(file, offset, data)
    }
    fn copy(&self, from: Fd<'_>, from_offset: u64, to: Fd<'_>, to_offset: u64, len: usize) -> Result<usize> {
        self.writes()?;
        self.leg.copy(from, from_offset, to, to_offset, len)
    }
    fn sync(&self, file: Fd<'_>, data_only: bool) -> Result<()> {
        self.syncs()?;
        self.leg.sync(file, data_only)
    }
    fn sync_all(&self) -> Result<()> {
        self.syncs()?;
        self.leg.sync_all()
    }
    fn room(&self) -> Result<StatVfs> {
        self.reads()?;
        self.leg.room()
    }
}
