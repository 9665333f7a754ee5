//! /sys/devices/virtual/block, and the links there from /sys/block, /sys/class/block, /sys/dev/block (Documentation/ABI/stable/sysfs-block):
//! disks come and go, so these are computed.

use crate::base::{Errno, Result};
use crate::fs::proc::System;
use crate::fs::proc::source::BlockDevice;
use crate::fs::pseudo::{Dir, Entry, Fixed, Link, Node, next_ino};
use std::sync::Arc;

/// Numbers of computed nodes: far above the counted ones, told apart by device number and place.
fn ino(device: &BlockDevice, place: u64) -> u64 {
    1 << 40 | u64::from(device.major) << 28 | u64::from(device.minor) << 6 | place
}

/// Places of what is no attribute.
const HOME: u64 = 0;
const DIRS: u64 = 50;
const SUBSYSTEM: u64 = 60;
const BY_BLOCK: u64 = 61;
const BY_CLASS: u64 = 62;
const BY_NUMBER: u64 = 63;

/// A directory that leads to the disks.
struct Disks {
    system: Arc<dyn System>,
    as_what: As,
}

/// How they are shown.
#[derive(Clone, Copy, PartialEq)]
enum As {
    /// The directories themselves, partitions in those of their disks.
    Homes,
    /// Links, of disks only.
    Block,
    /// Links.
    Class,
    /// Links, named as "98:0".
    Numbers,
}

/// /sys/devices/virtual/block.
pub(super) fn homes(system: &Arc<dyn System>) -> Node {
    dir(system, As::Homes)
}

/// /sys/block.
pub(super) fn disks(system: &Arc<dyn System>) -> Node {
    dir(system, As::Block)
}

/// /sys/class/block.
pub(super) fn class(system: &Arc<dyn System>) -> Node {
    dir(system, As::Class)
}

/// /sys/dev/block.
pub(super) fn numbers(system: &Arc<dyn System>) -> Node {
    dir(system, As::Numbers)
}

fn dir(system: &Arc<dyn System>, as_what: As) -> Node {
    Node::dir(next_ino(), 0o755, Arc::new(Disks { system: system.clone(), as_what }))
}

/// Where a device is, from /sys.
fn home(device: &BlockDevice) -> String {
    let disk = device.part.as_ref().map(|p| format!("{}/", p.disk)).unwrap_or_default();
    format!("devices/virtual/block/{disk}{}", device.name)
}

impl Disks {
    fn name(&self, device: &BlockDevice) -> String {
        match self.as_what {
            As::Numbers => format!("{}:{}", device.major, device.minor),
            _ => device.name.clone(),
        }
    }

    fn all(&self) -> Vec<BlockDevice> {
        self.system.block_devices()
    }

    fn shows(&self, device: &BlockDevice) -> bool {
        device.part.is_none() || matches!(self.as_what, As::Class | As::Numbers)
    }

    fn node(&self, device: &BlockDevice, all: &[BlockDevice]) -> Node {
        let (up, place) = match self.as_what {
            As::Homes => return directory(device, all),
            As::Block => ("../", BY_BLOCK),
            As::Class => ("../../", BY_CLASS),
            As::Numbers => ("../../", BY_NUMBER),
        };
        let target: Arc<dyn Link> = Arc::new(format!("{up}{}", home(device)));
        Node::link(ino(device, place), target).passing()
    }
}

impl Dir for Disks {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let all = self.all();
        let found = all.iter().find(|d| self.shows(d) && self.name(d).as_bytes() == name);
        found.map(|d| self.node(d, &all)).ok_or(Errno::ENOENT)
    }
    fn list(&self, from: u64) -> Result<Vec<Entry>> {
        let all = self.all();
        let shown = all.iter().filter(|d| self.shows(d)).zip(3..).filter(|(_, place)| *place > from);
        Ok(shown.map(|(d, place)| Entry::of(self.name(d).as_bytes(), &self.node(d, &all), place)).collect())
    }
    fn subdirs(&self) -> u32 {
        if self.as_what == As::Homes { self.all().iter().filter(|d| self.shows(d)).count() as u32 } else { 0 }
    }
}

/// The figures that a partition has as well as a disk.
fn common(device: &BlockDevice) -> Vec<(&'static str, String)> {
    let stats: String = device.stats.iter().map(|n| format!("{n:>8} ")).collect();
    let mut uevent = format!("MAJOR={}\nMINOR={}\nDEVNAME={}\n", device.major, device.minor, device.name);
    let mut values = vec![
        ("dev", format!("{}:{}", device.major, device.minor)),
        ("size", (device.size / 512).to_string()),
        ("ro", u8::from(device.read_only).to_string()),
        ("alignment_offset", "0".into()),
        ("discard_alignment", "0".into()),
        ("inflight", format!("{:>8} {:>8}", device.in_flight, 0)),
        ("stat", stats.trim_end().into()),
    ];
    match &device.part {
        Some(part) => {
            uevent += &format!("DEVTYPE=partition\nPARTN={}\n", part.number);
            for (name, value) in [("PARTNAME", &part.label), ("PARTUUID", &part.uuid)] {
                if !value.is_empty() {
                    uevent += &format!("{name}={value}\n");
                }
            }
            values.push(("partition", part.number.to_string()));
            values.push(("start", (part.start / 512).to_string()));
        }
        None => {
            uevent += "DEVTYPE=disk\n";
            for (name, value) in [
                ("removable", "0"),
                ("hidden", "0"),
                ("range", "16"),
                ("ext_range", "256"),
                ("capability", "0"),
            ] {
                values.push((name, value.into()));
            }
        }
    }
    values.push(("uevent", uevent.trim_end().into()));
    values
}

fn queue(device: &BlockDevice) -> Vec<(&'static str, String)> {
    let block = device.logical_block.max(512).to_string();
    let (granularity, most) = if device.discards { (block.as_str(), "4294966784") } else { ("0", "0") };
    let values = [
        ("logical_block_size", block.as_str()),
        ("physical_block_size", &block),
        ("minimum_io_size", &block),
        ("optimal_io_size", "0"),
        ("hw_sector_size", &block),
        ("max_sectors_kb", "1280"),
        ("max_hw_sectors_kb", "1280"),
        ("nr_requests", "128"),
        ("rotational", "0"),
        ("add_random", "0"),
        ("discard_granularity", granularity),
        ("discard_max_bytes", most),
        ("discard_zeroes_data", "0"),
        ("write_cache", "write back"),
        ("fua", "0"),
        ("scheduler", "[none]"),
        ("zoned", "none"),
    ];
    let mut all: Vec<_> = values.map(|(name, value)| (name, value.to_owned())).into();
    all.push(("read_ahead_kb", (device.read_ahead >> 10).to_string()));
    all
}

fn directory(device: &BlockDevice, all: &[BlockDevice]) -> Node {
    let mut place = HOME;
    let mut files = |values: Vec<(&'static str, String)>| {
        let mut dir = Fixed::new();
        for (name, text) in values {
            place += 1;
            dir.put(name, Node::file(ino(device, place), 0o444, Arc::new(text + "\n")));
        }
        dir
    };
    let mut dir = files(common(device));
    let mut subs = vec![("holders", Fixed::new())];
    if device.part.is_none() {
        subs.extend([("slaves", Fixed::new()), ("queue", files(queue(device)))]);
        subs.extend(device.driver.clone().map(|(name, values)| (name, files(values))));
    }
    for ((name, sub), place) in subs.into_iter().zip(DIRS..) {
        dir.put(name, Node::dir(ino(device, place), 0o755, Arc::new(sub)));
    }
    for part in all.iter().filter(|d| d.part.as_ref().is_some_and(|p| p.disk == device.name)) {
        dir.put(&part.name, directory(part, &[]));
    }
    let up = if device.part.is_some() { "../../../../../" } else { "../../../../" };
    let subsystem: Arc<dyn Link> = Arc::new(format!("{up}class/block"));
    dir.put("subsystem", Node::link(ino(device, SUBSYSTEM), subsystem));
    Node::dir(ino(device, HOME), 0o755, Arc::new(dir)).passing()
}
