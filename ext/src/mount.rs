//! Mounting for writing, transactions on their way to the device, and unmounting.

use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::checksum::crc32c;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::features::{Incompat, RoCompat};
use crate::fs::{Ext, Failure, core_of};
use crate::inode::Time;
use crate::journal::{Frozen, Journal, Log, write_home};
use crate::mmp::{Mmp, Mounter};
use crate::superblock;
use crate::transaction::{Op, Running};
use block_device::BlockDevice;
use lock_api::{RawRwLock, RwLock};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Features that may be there when something is written.
const WRITABLE: RoCompat = RoCompat::SPARSE_SUPER
    .union(RoCompat::LARGE_FILE)
    .union(RoCompat::HUGE_FILE)
    .union(RoCompat::GDT_CSUM)
    .union(RoCompat::DIR_NLINK)
    .union(RoCompat::EXTRA_ISIZE)
    .union(RoCompat::METADATA_CSUM);
/// Blocks of one operation, at most, beside those that depend on its size.
const ONE_OPERATION: usize = 256;
/// A transaction is committed when it has so many blocks, where no journal sets the limit.
const WITHOUT_JOURNAL: usize = 4096;

// Of the superblock: fs/ext4/ext4.h.
const WRITE_TIME: usize = 0x30;
const MOUNT_TIME: usize = 0x2c;
const MOUNTS: usize = 0x34;
const STATE: usize = 0x3a;
const INCOMPAT: usize = 0x60;
const CLEAN: u16 = 1;

/// Where the times of inodes come from.
pub type Clock = fn() -> Time;

/// The host's clock.
pub fn host_clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { sec: since.as_secs() as i64, nsec: since.subsec_nanos() }
}

/// Changes the superblock on the device, outside of any transaction.
fn edit_superblock(core: &Core, change: impl FnOnce(&mut [u8])) -> Result<()> {
    let (block, at) = core.superblock.place();
    let mut bytes = core.block(block)?.to_vec();
    let sb = &mut bytes[at..at + superblock::SIZE];
    change(sb);
    if core.superblock.has_checksums() {
        let sum = crc32c(!0, &sb[..superblock::CHECKED]);
        put_u32(sb, superblock::CHECKED, sum);
    }
    core.write_block(block, &bytes)?;
    core.flush()?;
    core.cache.set(block, Arc::new(bytes));
    Ok(())
}

fn set_recover(b: &mut [u8], on: bool) {
    let bits = u32_at(b, INCOMPAT) & !Incompat::RECOVER.bits();
    put_u32(b, INCOMPAT, bits | if on { Incompat::RECOVER.bits() } else { 0 });
}

/// Replays the journal onto the device.
fn replay(mut core: Core) -> Result<Core> {
    if !core.superblock.asks_for_recovery() {
        return Ok(core);
    }
    let mut log = Log::open(&core, core.superblock.journal_inode)?;
    let recovered = log.recover()?;
    for (block, bytes) in &recovered.blocks {
        core.write_block(*block, bytes)?;
    }
    core.flush()?;
    log.clear(recovered.next_sequence())?;
    core.flush()?;
    core = core_of(core.device)?;
    edit_superblock(&core, |b| set_recover(b, false))?;
    core_of(core.device)
}

impl Ext {
    /// Mounts what is on a device, for writing: the journal is replayed, and what a crash left half removed goes. With the host's clock; a
    /// file system that another node may have is waited for.
    pub fn open_rw(device: Arc<dyn BlockDevice>) -> Result<Ext> {
        let node = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
        let wait = |time| std::thread::sleep(time);
        let (clock, node) = (host_clock as Clock, node.trim_ascii_end());
        Ext::open_rw_with(device, &Mounter { clock, node, device: b"", wait: &wait })
    }
}

impl<R: RawRwLock> Ext<R> {
    /// [`Ext::open_rw`], with locks of another kind, and by somebody else. Where [`protect_every`](Self::protect_every) gives a time,
    /// [`protect`](Self::protect) is to be called so often.
    pub fn open_rw_with(device: Arc<dyn BlockDevice>, mounter: &Mounter<'_>) -> Result<Ext<R>> {
        if device.read_only() {
            return Err(Error::ReadOnly);
        }
        let core = core_of(device)?;
        let odd = core.superblock.ro_compat - WRITABLE - RoCompat::ORPHAN_PRESENT;
        if !odd.is_empty() {
            // Quota and project too: nobody here would count what is used (ext4_feature_set_ok, without CONFIG_QUOTA).
            let names: Vec<String> = odd.iter_names().map(|(n, _)| n.to_lowercase()).collect();
            return Err(Error::Unsupported(format!("writing with {} ({:#x})", names.join(", "), odd.bits())));
        }
        let mmp = Mmp::take(&core, mounter)?;
        match (Ext::begin(core, mounter.clock), mmp) {
            (Ok(fs), mmp) => Ok(Ext { mmp: RwLock::new(mmp), ..fs }),
            (Err(e), mmp) => {
                // That it cannot be mounted is what matters; if it is not let go either, the next waits.
                let _ = mmp.map(|mmp| mmp.release((mounter.clock)().sec));
                Err(e)
            }
        }
    }

    /// Once nobody else has it.
    fn begin(core: Core, clock: Clock) -> Result<Ext<R>> {
        let recovered = core.superblock.asks_for_recovery();
        let core = replay(core)?;
        let journal = match core.superblock.journal_inode {
            0 => None,
            inode => Some(Log::open(&core, inode)?.begin()?),
        };
        let journaled = journal.is_some();
        edit_superblock(&core, |b| {
            set_recover(b, journaled);
            let state = u16_at(b, STATE);
            put_u16(b, STATE, if journaled { state } else { state & !CLEAN });
            put_u32(b, MOUNT_TIME, clock().sec as u32);
            let mounts = u16_at(b, MOUNTS).wrapping_add(1);
            put_u16(b, MOUNTS, mounts);
        })?;
        let number = journal.as_ref().map_or(1, Journal::sequence);
        let running = Running { number, ..Running::default() };
        let fs = Ext::assembled(core, running, journal, clock, recovered)?;
        fs.end_orphans()?;
        Ok(fs)
    }

    fn assembled(
        core: Core,
        running: Running,
        journal: Option<Journal>,
        clock: Clock,
        recovered: bool,
    ) -> Result<Ext<R>> {
        for number in 0..core.superblock.groups() {
            core.group(number)?;
        }
        let most = journal.as_ref().map_or(WITHOUT_JOURNAL, Journal::most).max(2 * ONE_OPERATION);
        let (running, journal, mmp) = (RwLock::new(running), RwLock::new(journal), RwLock::new(None));
        let (replayed, failure) = (Vec::new(), OnceLock::new());
        Ok(Ext { core, journal, mmp, running, most, clock, recovered, replayed, failure })
    }

    /// Orphans of a crash: those without a name end, those that were being cut are cut.
    fn end_orphans(&self) -> Result<()> {
        if self.core.superblock.ro_compat.contains(RoCompat::ORPHAN_PRESENT) {
            self.operate(|op| op.empty_orphan_file())?;
        }
        for number in self.operate(|op| op.orphans())? {
            let inode = self.core.inode(number)?;
            if inode.links == 0 {
                self.release(number)?;
            } else {
                self.cut_orphan(number, inode.size, inode.size)?;
            }
        }
        Ok(())
    }

    /// Runs an operation in the running transaction; commits that before, if it is large.
    pub(crate) fn operate<T>(&self, mut work: impl FnMut(&mut Op<'_>) -> Result<T>) -> Result<T> {
        match self.operate_once(&mut work) {
            // What has been freed is there once that is committed.
            Err(Error::NoSpace) if !self.running.read().freed.is_empty() => {
                self.commit()?;
                self.operate_once(work)
            }
            done => done,
        }
    }

    fn operate_once<T>(&self, work: impl FnOnce(&mut Op<'_>) -> Result<T>) -> Result<T> {
        let mut running = self.running.write();
        while !running.blocks.is_empty() && running.blocks.len() + ONE_OPERATION > self.most {
            let number = running.number;
            drop(running);
            self.commit_up_to(number)?;
            running = self.running.write();
        }
        Op::run(&self.core, &mut running, (self.clock)(), work)
    }

    /// Makes everything durable that is in the running transaction.
    pub(crate) fn commit(&self) -> Result<()> {
        let number = self.running.read().number;
        self.commit_up_to(number)
    }

    /// Commits the transaction of this number, unless somebody else has meanwhile.
    fn commit_up_to(&self, number: u32) -> Result<()> {
        self.protect_if_late()?;
        let mut journal = self.journal.write();
        let frozen = {
            let mut running = self.running.write();
            if running.number.wrapping_sub(number) as i32 > 0 {
                // Whoever committed it may have failed: that is so for all who wait for it.
                return match self.failure.get() {
                    Some(failure) if number.wrapping_sub(failure.number) as i32 >= 0 => Err(Error::ReadOnly),
                    _ => Ok(()),
                };
            }
            if running.read_only {
                return Err(Error::ReadOnly);
            }
            if running.blocks.is_empty() && running.revoked.is_empty() {
                drop(running);
                // There may be data of files.
                return self.core.flush().map_err(|e| self.failed(number, e));
            }
            running.number = running.number.wrapping_add(1);
            let blocks = std::mem::take(&mut running.blocks);
            let blocks = blocks.into_iter().filter_map(|b| self.core.cache.get(b).map(|bytes| (b, bytes)));
            let revoked = std::mem::take(&mut running.revoked).into_iter().collect();
            let frozen = Frozen { blocks: blocks.collect(), revoked };
            running.freezing = std::mem::take(&mut running.freed);
            frozen
        };
        let done = match &mut *journal {
            Some(journal) => journal.commit(&self.core, &frozen),
            None => self.write_through(&frozen),
        };
        self.running.write().freezing = crate::alloc::Busy::default();
        done.map_err(|e| self.failed(number, e))
    }

    /// What could not be written is nowhere: nothing may build on it, and no later flush, which may succeed, may say that it is durable.
    fn failed(&self, number: u32, e: Error) -> Error {
        let mut running = self.running.write();
        let _ = self.failure.set(Failure { number, why: e.to_string() });
        running.read_only = true;
        e
    }

    /// How often [`protect`](Self::protect) is to be called, if at all.
    pub fn protect_every(&self) -> Option<Duration> {
        self.mmp.read().as_ref().map(Mmp::interval)
    }

    /// Shows other nodes that the file system is in use, and sees that none has taken it: if one has, nothing is written any more.
    pub fn protect(&self) -> Result<()> {
        let mut mmp = self.mmp.write();
        let (now, running) = ((self.clock)().sec, self.running.read());
        let (read_only, number) = (running.read_only, running.number);
        drop(running);
        match &mut *mmp {
            Some(mmp) if !read_only => mmp.count(now).map_err(|e| match e {
                // The device may do it the next time.
                Error::Io { .. } => e,
                taken => self.failed(number, taken),
            }),
            _ => Ok(()),
        }
    }

    /// Whoever has been stopped for long may have been taken for gone: nothing goes to the disk before it has been looked.
    fn protect_if_late(&self) -> Result<()> {
        let late = self.mmp.read().as_ref().is_some_and(|mmp| mmp.is_late((self.clock)().sec));
        if late { self.protect() } else { Ok(()) }
    }

    fn write_through(&self, frozen: &Frozen) -> Result<()> {
        self.core.flush()?;
        write_home(&self.core, frozen.blocks.iter().map(|(b, bytes)| (*b, bytes)))?;
        for (block, _) in &frozen.blocks {
            self.core.cache.release(*block);
        }
        self.core.flush()
    }

    /// Commits, brings everything home, and marks the file system as clean.
    /// Nothing is written after that.
    pub fn unmount(&self) -> Result<()> {
        if self.running.read().read_only {
            return Ok(());
        }
        self.sync()?;
        if let Some(journal) = &mut *self.journal.write() {
            journal.checkpoint(&self.core)?;
        }
        let now = (self.clock)();
        edit_superblock(&self.core, |b| {
            set_recover(b, false);
            let state = u16_at(b, STATE) | CLEAN;
            put_u16(b, STATE, state);
            put_u32(b, WRITE_TIME, now.sec as u32);
        })?;
        self.running.write().read_only = true;
        let mmp = self.mmp.write().take();
        mmp.map_or(Ok(()), |mmp| mmp.release(now.sec))
    }
}
