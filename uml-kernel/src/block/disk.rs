//! A block device of the guest's: a disk, or a partition of one.

use super::claim::Open;
use super::gate::{Gate, Stats};
use super::ioctl::Caller;
use crate::base::{Errno, Result};
use crate::fs::{File, makedev};
use crate::mm::UserMemory;
use ::block_device::{BlockDevice, Window};
use partitions::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sectors that are read ahead of who reads (VM_READAHEAD_PAGES): told and kept, the host does it.
const READ_AHEAD: u64 = 256;

/// What the driver of a disk does beyond holding bytes.
pub trait Driver: Send + Sync {
    /// Whether it can be opened now.
    fn may_open(&self) -> Result<()> {
        Ok(())
    }
    /// Nobody has it open any more.
    fn last_closed(&self, _disk: &Disk) {}
    /// An ioctl of its own; ENOTTY.
    fn ioctl(
        &self,
        _disk: &Disk,
        _file: &File,
        _: &dyn Caller,
        _command: u32,
        _arg: u64,
        _: &UserMemory,
    ) -> Result<u64> {
        Err(Errno::ENOTTY)
    }
    /// Bytes that direct I/O is a multiple of.
    fn logical_block(&self) -> u32 {
        512
    }
    /// Whether its partitions are looked for.
    fn scans(&self) -> bool {
        true
    }
    /// Whether space can be given back.
    fn discards(&self) -> bool {
        true
    }
    /// The file of the host's that it is in.
    fn file(&self) -> Option<String> {
        None
    }
    /// The directory that sysfs has of it: its name, and the files with their texts.
    fn attributes(&self) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        None
    }
}

/// A driver with nothing of its own.
struct Plain {
    discards: bool,
    file: Option<String>,
}

impl Driver for Plain {
    fn discards(&self) -> bool {
        self.discards
    }

    fn file(&self) -> Option<String> {
        self.file.clone()
    }
}

/// A block device. Copies are the same device.
#[derive(Clone)]
pub struct Disk {
    /// As in /dev.
    pub name: String,
    /// Its device number.
    pub number: u64,
    /// What it holds. Requests are counted.
    pub device: Arc<dyn BlockDevice>,
    common: Arc<Common>,
    /// Somebody has it alone as long as this copy is there.
    hold: Option<Arc<Open>>,
}

struct Common {
    gate: Arc<Gate>,
    part: Option<Part>,
    /// Device numbers of the disk and its partitions, from its own on; others get numbers from elsewhere.
    minors: u64,
    driver: Arc<dyn Driver>,
    read_ahead: AtomicU64,
}

/// A partition's place.
struct Part {
    number: u32,
    window: Arc<Window>,
    whole: Disk,
    uuid: String,
    label: String,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("name", &self.name)
            .field("held", &self.hold.is_some())
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// A disk whose driver has nothing to add. `file` is where it is on the host.
    pub fn new(
        name: String,
        number: u64,
        minors: u64,
        device: Arc<dyn BlockDevice>,
        discards: bool,
        file: Option<String>,
    ) -> Disk {
        Disk::driven(name, number, minors, device, Arc::new(Plain { discards, file }))
    }

    /// A disk with a driver.
    pub fn driven(
        name: String,
        number: u64,
        minors: u64,
        device: Arc<dyn BlockDevice>,
        driver: Arc<dyn Driver>,
    ) -> Disk {
        let file = driver.file().map(|f| format!(" (\"{f}\")")).unwrap_or_default();
        let gate = Arc::new(Gate::new(device, format!("{name}{file}")));
        let read_ahead = AtomicU64::new(READ_AHEAD);
        let common = Common { gate: gate.clone(), part: None, minors, driver, read_ahead };
        Disk { name, number, device: gate, common: Arc::new(common), hold: None }
    }

    /// The same, which keeps it open.
    pub(super) fn holding(&self, open: Open) -> Disk {
        Disk { hold: Some(Arc::new(open)), ..self.clone() }
    }

    /// A partition of this disk. `number` is its device number.
    pub(super) fn partition(&self, entry: &Entry, number: u64) -> Disk {
        let window = Arc::new(Window::new(self.common.gate.clone(), entry.start, entry.len));
        // The whole disk's gate tells what the host does wrong.
        let gate = Arc::new(Gate::new(window.clone(), String::new()));
        let p = if self.name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        let part = Part {
            number: entry.number,
            window,
            whole: self.clone(),
            uuid: entry.uuid.clone(),
            label: entry.label.clone(),
        };
        let common = Common {
            gate: gate.clone(),
            part: Some(part),
            minors: 0,
            driver: self.common.driver.clone(),
            read_ahead: AtomicU64::new(READ_AHEAD),
        };
        let name = format!("{}{p}{}", self.name, entry.number);
        Disk { name, number, device: gate, common: Arc::new(common), hold: None }
    }

    /// The device number of a partition, as far as the disk's own numbers go.
    pub(super) fn own_number(&self, partition: u32) -> Option<u64> {
        let (major, minor) = (crate::fs::major(self.number), crate::fs::minor(self.number));
        (u64::from(partition) < self.common.minors).then(|| makedev(major, minor + u64::from(partition)))
    }

    /// The disk that this is a partition of.
    pub fn whole(&self) -> Option<&Disk> {
        self.common.part.as_ref().map(|p| &p.whole)
    }

    /// The number of a partition, 0 for a disk.
    pub fn partition_number(&self) -> u32 {
        self.common.part.as_ref().map_or(0, |p| p.number)
    }

    /// PARTUUID and name of a partition, as its table has them.
    pub fn identity(&self) -> Option<(&str, &str)> {
        self.common.part.as_ref().map(|p| (p.uuid.as_str(), p.label.as_str()))
    }

    /// First byte on the disk, 0 for a disk.
    pub fn start(&self) -> u64 {
        self.common.part.as_ref().map_or(0, |p| p.window.start())
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.device.len()
    }

    /// Whether there is nothing in it: no medium, so to say.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives a partition another length.
    pub(super) fn resize(&self, len: u64) {
        if let Some(part) = &self.common.part {
            part.window.set_len(len);
        }
    }

    /// Whether writes are refused.
    pub fn read_only(&self) -> bool {
        self.device.read_only()
    }

    /// BLKROSET. What its driver does not write, stays so.
    pub(super) fn set_read_only(&self, yes: bool) {
        self.common.gate.set_read_only(yes);
    }

    /// The figures of /proc/diskstats.
    pub fn stats(&self) -> [u64; 17] {
        self.common.gate.stats().figures()
    }

    /// How many requests are under way.
    pub fn in_flight(&self) -> u64 {
        self.common.gate.stats().in_flight()
    }

    /// What counts its requests.
    pub fn counters(&self) -> &Stats {
        self.common.gate.stats()
    }

    /// Its driver.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.common.driver
    }

    /// Bytes that direct I/O is a multiple of.
    pub fn logical_block(&self) -> u32 {
        self.common.driver.logical_block()
    }

    /// Whether a range is one of whole blocks.
    pub(super) fn aligned(&self, start: u64, len: u64) -> bool {
        (start | len).is_multiple_of(self.logical_block().into())
    }

    /// Sectors of read-ahead; kept, the host does what it thinks.
    pub fn read_ahead(&self) -> u64 {
        self.common.read_ahead.load(Ordering::Relaxed)
    }

    pub(super) fn set_read_ahead(&self, sectors: u64) {
        self.common.read_ahead.store(sectors, Ordering::Relaxed);
    }
}
