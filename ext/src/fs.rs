//! A mounted file system.

use crate::cache::Cache;
use crate::core::Core;
use crate::delayed::Delayed;
use crate::dir::Entry;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::inode::{Inode, InodeNumber};
use crate::journal::{Journal, Log};
use crate::map::Run;
use crate::mmp::Mmp;
use crate::mount::{Clock, host_clock};
use crate::replayed::Replayed;
use crate::room::Room;
use crate::stamps::Stamps;
use crate::superblock::{self, Superblock};
use crate::transaction::Running;
use crate::xattr::Xattr;
use block_device::BlockDevice;
use lock_api::{RawRwLock, RwLock};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A mounted file system. Every call sees the effect of all those before it; `R` is the kind of lock that sees to it, held while blocks are
/// read.
pub struct Ext<R: RawRwLock = parking_lot::RawRwLock> {
    pub(crate) core: Core,
    /// Taken before the two below.
    pub(crate) journal: RwLock<R, Option<Journal>>,
    /// Taken before the running transaction. `None` where there is no such protection, and when it has been let go.
    pub(crate) mmp: RwLock<R, Option<Mmp>>,
    pub(crate) running: RwLock<R, Running>,
    /// Blocks with which a transaction is committed.
    pub(crate) most: usize,
    pub(crate) clock: Clock,
    pub(crate) recovered: bool,
    /// Blocks that are replayed in memory, in order.
    pub(crate) replayed: Vec<u64>,
    pub(crate) failure: OnceLock<Failure>,
}

/// The first transaction that could not be committed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) number: u32,
    pub(crate) why: String,
}

impl<R: RawRwLock> fmt::Debug for Ext<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ext").field("superblock", &self.core.superblock).finish_non_exhaustive()
    }
}

/// What is free of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Blocks, those kept for root among them.
    pub blocks: u64,
    /// Inodes.
    pub inodes: u32,
}

fn read_superblock(device: &dyn BlockDevice) -> Result<Superblock> {
    let mut bytes = [0; superblock::SIZE];
    if device.len() < superblock::OFFSET + superblock::SIZE as u64 {
        return Err(Error::NotExt("the device is too small".into()));
    }
    device.read_at(&mut bytes, superblock::OFFSET).map_err(|source| Error::Io { block: 0, source })?;
    let superblock = match Superblock::parse(&bytes) {
        Err(e @ Error::Block { .. }) => torn(device, &mut bytes).ok_or(e)?,
        other => other?,
    };
    if superblock.blocks.saturating_mul(superblock.block_size.into()) > device.len() {
        return Err(Error::NotExt(format!(
            "it has {} blocks of {} bytes, and the device {} bytes",
            superblock.blocks,
            superblock.block_size,
            device.len()
        )));
    }
    Ok(superblock)
}

/// A superblock of which a crash has left a part from before a mount or unmount, and a part from after it: a copy says that it is the right one.
fn torn(device: &dyn BlockDevice, bytes: &mut [u8; superblock::SIZE]) -> Option<Superblock> {
    let mut copy = [0; superblock::SIZE];
    let at = Superblock::first_copy(bytes);
    if at == 0 || device.read_at(&mut copy, at).is_err() || !Superblock::is_copy_of(&copy, bytes) {
        return None;
    }
    Superblock::parse(&copy).ok()?;
    Superblock::seal(bytes);
    let superblock = Superblock::parse(bytes).ok()?;
    Some(Superblock { torn: true, ..superblock })
}

pub(crate) fn core_of(device: Arc<dyn BlockDevice>) -> Result<Core> {
    let superblock = read_superblock(&*device)?;
    Ok(Core {
        device,
        superblock,
        cache: Cache::default(),
        room: Room::default(),
        delayed: Delayed::default(),
        stamps: Stamps::default(),
    })
}

impl Ext {
    /// The root directory.
    pub const ROOT: InodeNumber = 2;

    /// Mounts what is on a device, for reading. A journal that needs recovery is replayed in memory: nothing is written.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Ext> {
        Ext::open_with(device)
    }
}

impl<R: RawRwLock> Ext<R> {
    /// [`Ext::open`], with locks of another kind.
    pub fn open_with(device: Arc<dyn BlockDevice>) -> Result<Ext<R>> {
        let mut core = core_of(device)?;
        let recovers = core.superblock.asks_for_recovery();
        let mut replayed = Vec::new();
        if recovers {
            let recovered = Log::open(&core, core.superblock.journal_inode)?.recover()?;
            replayed.extend(recovered.blocks.keys());
            core = core_of(Replayed::new(core.device, recovered.blocks, core.superblock.block_size))?;
        }
        Ext::over(core, recovers, replayed)
    }

    fn over(core: Core, recovered: bool, replayed: Vec<u64>) -> Result<Ext<R>> {
        // A damaged descriptor shows here rather than in the middle of something.
        for number in 0..core.superblock.groups() {
            core.group(number)?;
        }
        let running = Running { read_only: true, ..Running::default() };
        let (running, journal, mmp) = (RwLock::new(running), RwLock::new(None), RwLock::new(None));
        let clock = host_clock;
        Ok(Ext { core, journal, mmp, running, most: 0, clock, recovered, replayed, failure: OnceLock::new() })
    }

    /// What the superblock says.
    pub fn superblock(&self) -> &Superblock {
        &self.core.superblock
    }

    /// Whether nothing is written: it was opened so, or something could not be committed.
    pub fn is_read_only(&self) -> bool {
        self.running.read().read_only
    }

    /// Whether it was not unmounted, and its journal has been replayed.
    pub fn was_recovered(&self) -> bool {
        self.recovered
    }

    /// Why a transaction could not be committed, if that has happened: nothing is changed any more, and what is on the device is what was
    /// committed before. It is to be mounted anew.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(|f| f.why.as_str())
    }

    /// A block group, by its descriptor.
    pub fn group(&self, number: u64) -> Result<Group> {
        let _no_change = self.running.read();
        self.core.group(number)
    }

    /// How much is free.
    pub fn free(&self) -> Result<Free> {
        let _no_change = self.running.read();
        let blocks = self.core.free_blocks()?.saturating_sub(self.core.delayed.blocks());
        Ok(Free { blocks, inodes: self.core.free_inodes()? })
    }

    /// Blocks that are the file system's own, which statfs(2) does not count.
    pub fn overhead(&self) -> u64 {
        let sb = &self.core.superblock;
        if sb.blocks_per_cluster > 1 {
            // Several of them share a cluster: mke2fs has counted these (s_overhead_clusters).
            return u64::from(sb.overhead) * u64::from(sb.blocks_per_cluster);
        }
        let table = u64::from(sb.inodes_per_group) * u64::from(sb.inode_size);
        let table = table.div_ceil(self.core.block_size()) + 2;
        let own = (0..sb.groups()).map(|g| crate::group::own_blocks(sb, g) + table).sum::<u64>();
        own + u64::from(sb.first_data_block)
    }

    /// An inode by its number; ENOENT for one that is free.
    pub fn inode(&self, number: InodeNumber) -> Result<Inode> {
        let _no_change = self.running.read();
        self.core.viewed(number)
    }

    /// A number that is another one once an inode has changed: what [`inode`](Self::inode) says after it was taken holds for as long as it
    /// stays.
    pub fn stamp(&self, number: InodeNumber) -> u64 {
        self.core.stamps.get(number)
    }

    /// The run that holds the block `logical` of a file, from there on: a hole where nothing is mapped. What has been written and waits in
    /// memory is a hole as well, until it is [settled](Self::settle).
    pub fn run(&self, number: InodeNumber, logical: u64) -> Result<Run> {
        let _no_change = self.running.read();
        self.core.run(&self.core.inode(number)?, logical)
    }

    /// Reads from a file at a byte; how many bytes there were before its end.
    pub fn read(&self, number: InodeNumber, at: u64, into: &mut [u8]) -> Result<usize> {
        let _no_change = self.running.read();
        self.core.read_viewed(number, at, into)
    }

    /// Where a symbolic link points.
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>> {
        let _no_change = self.running.read();
        self.core.read_link(inode)
    }

    /// All entries of a directory, `.` and `..` among them, in the order in which they lie there.
    pub fn entries(&self, inode: &Inode) -> Result<Vec<Entry>> {
        let _no_change = self.running.read();
        self.core.entries(inode)
    }

    /// The inode of a name in a directory.
    pub fn lookup(&self, directory: &Inode, name: &[u8]) -> Result<InodeNumber> {
        let _no_change = self.running.read();
        self.core.lookup(directory, name)
    }

    /// The inode of a path, with links followed nowhere.
    pub fn find(&self, path: &[u8]) -> Result<Inode> {
        let _no_change = self.running.read();
        self.core.viewed(self.core.find(path)?.number)
    }

    /// All extended attributes of an inode; not those that are the file system's own affair.
    pub fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>> {
        let _no_change = self.running.read();
        self.core.xattrs(inode)
    }
}
