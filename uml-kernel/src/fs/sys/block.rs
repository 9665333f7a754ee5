//! /sys/block, /sys/class/block, /sys/dev/block (Documentation/ABI/stable/sysfs-block): disks come and go, so these are computed.

use crate::base::{Errno, Result};
use crate::fs::proc::System;
use crate::fs::proc::source::BlockDevice;
use crate::fs::pseudo::{Dir, Entry, Fixed, Link, Node, next_ino};
use std::sync::Arc;

/// Numbers of computed nodes: far above the counted ones, told apart by device number and place.
fn ino(device: &BlockDevice, place: u64) -> u64 {
    1 << 40 | u64::from(device.major) << 28 | u64::from(device.minor) << 6 | place
}

/// A partition is named as its disk, with a number behind.
fn is_partition(device: &BlockDevice, all: &[BlockDevice]) -> bool {
    let stem = device.name.trim_end_matches(|c: char| c.is_ascii_digit());
    let stem = stem.strip_suffix('p').filter(|s| s.ends_with(|c: char| c.is_ascii_digit())).unwrap_or(stem);
    stem != device.name && all.iter().any(|d| d.name == stem)
}

/// The disks, and with `class` the partitions, too.
struct Disks {
    system: Arc<dyn System>,
    class: bool,
}

/// As "98:0", links to them.
struct Numbers(Arc<dyn System>);

/// The directory of disks.
pub(super) fn dir(system: &Arc<dyn System>, class: bool) -> Node {
    Node::dir(next_ino(), 0o755, Arc::new(Disks { system: system.clone(), class }))
}

/// The directory of numbers.
pub(super) fn numbers(system: &Arc<dyn System>) -> Node {
    Node::dir(next_ino(), 0o755, Arc::new(Numbers(system.clone())))
}

impl Disks {
    fn shown(&self) -> Vec<BlockDevice> {
        let all = self.system.block_devices();
        all.iter().filter(|d| self.class || !is_partition(d, &all)).cloned().collect()
    }
}

fn node(device: &BlockDevice) -> Node {
    let sectors = device.size / 512;
    let stats: String = device.stats.iter().map(|n| format!("{n:>8} ")).collect();
    let uevent =
        format!("MAJOR={}\nMINOR={}\nDEVNAME={}\nDEVTYPE=disk\n", device.major, device.minor, device.name);
    let queue = [
        ("logical_block_size", "512"),
        ("physical_block_size", "512"),
        ("minimum_io_size", "512"),
        ("optimal_io_size", "0"),
        ("rotational", "0"),
        ("discard_granularity", "0"),
        ("discard_max_bytes", "0"),
        ("read_ahead_kb", "128"),
        ("scheduler", "[none]"),
        ("zoned", "none"),
    ];
    let values = [
        ("dev", format!("{}:{}\n", device.major, device.minor)),
        ("size", format!("{sectors}\n")),
        ("ro", format!("{}\n", u8::from(device.read_only))),
        ("removable", "0\n".into()),
        ("hidden", "0\n".into()),
        ("range", "16\n".into()),
        ("ext_range", "16\n".into()),
        ("alignment_offset", "0\n".into()),
        ("discard_alignment", "0\n".into()),
        ("capability", "0\n".into()),
        ("inflight", "       0        0\n".into()),
        ("stat", format!("{}\n", stats.trim_end())),
        ("uevent", uevent),
    ];
    let mut place = 1;
    let mut file = |text: String| {
        place += 1;
        Node::file(ino(device, place), 0o444, Arc::new(text))
    };
    let mut dir = Fixed::new();
    for (name, text) in values {
        dir.put(name, file(text));
    }
    let mut queue_dir = Fixed::new();
    for (name, text) in queue {
        queue_dir.put(name, file(format!("{text}\n")));
    }
    for (place, (name, sub)) in
        [("queue", queue_dir), ("holders", Fixed::new()), ("slaves", Fixed::new())].into_iter().enumerate()
    {
        dir.put(name, Node::dir(ino(device, 48 + place as u64), 0o755, Arc::new(sub)));
    }
    Node::dir(ino(device, 0), 0o755, Arc::new(dir)).passing()
}

fn listed(entries: impl Iterator<Item = (Vec<u8>, u64)>, kind: u32, from: u64) -> Vec<Entry> {
    let all = entries.enumerate().map(|(n, (name, ino))| Entry { name, ino, kind, place: n as u64 + 3 });
    all.filter(|e| e.place > from).collect()
}

impl Dir for Disks {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        self.shown().iter().find(|d| d.name.as_bytes() == name).map(node).ok_or(Errno::ENOENT)
    }
    fn list(&self, from: u64) -> Result<Vec<Entry>> {
        let shown = self.shown();
        let entries = shown.iter().map(|d| (d.name.clone().into_bytes(), ino(d, 0)));
        Ok(listed(entries, crate::fs::kind::DIR, from))
    }
    fn subdirs(&self) -> u32 {
        self.shown().len() as u32
    }
}

fn number(d: &BlockDevice) -> String {
    format!("{}:{}", d.major, d.minor)
}

impl Dir for Numbers {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let all = self.0.block_devices();
        let found = all.iter().find(|d| number(d).as_bytes() == name).ok_or(Errno::ENOENT)?;
        let target: Arc<dyn Link> = Arc::new(format!("../../class/block/{}", found.name));
        Ok(Node::link(ino(found, 63), target).passing())
    }
    fn list(&self, from: u64) -> Result<Vec<Entry>> {
        let all = self.0.block_devices();
        let entries = all.iter().map(|d| (number(d).into_bytes(), ino(d, 63)));
        Ok(listed(entries, crate::fs::kind::LNK, from))
    }
}
