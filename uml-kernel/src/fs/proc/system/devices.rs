//! /proc/devices, partitions, diskstats.

use crate::fs::proc::source::System;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const CHARACTER: [(u32, &str); 10] = [
    (1, "mem"),
    (4, "/dev/vc/0"),
    (4, "tty"),
    (4, "ttyS"),
    (5, "/dev/tty"),
    (5, "/dev/console"),
    (5, "/dev/ptmx"),
    (10, "misc"),
    (128, "ptm"),
    (136, "pts"),
];

/// Major number of partitions that their disk has no number for.
const BLOCK_EXT: u32 = 259;

pub(super) fn devices(system: &dyn System) -> String {
    let mut out = String::from("Character devices:\n");
    for (major, name) in CHARACTER {
        let _ = writeln!(out, "{major:>3} {name}");
    }
    out += "\nBlock devices:\n";
    // A driver is named as its devices are, without their letters and numbers: ubda1 is ubd's.
    let mut drivers = BTreeMap::new();
    for device in system.block_devices().into_iter().filter(|d| d.major != BLOCK_EXT) {
        let stem = device.name.trim_end_matches(|c: char| c.is_ascii_digit());
        let stem = if stem == device.name && stem.len() > 3 { &stem[..stem.len() - 1] } else { stem };
        drivers
            .entry(device.major)
            .or_insert_with(|| if stem.starts_with("ubd") { "ubd".into() } else { stem.to_string() });
    }
    drivers.insert(BLOCK_EXT, "blkext".to_string());
    for (major, name) in drivers {
        let _ = writeln!(out, "{major:>3} {name}");
    }
    out
}

pub(super) fn partitions(system: &dyn System) -> String {
    let mut out = String::from("major minor  #blocks  name\n\n");
    for d in system.block_devices().iter().filter(|d| d.size > 0) {
        let _ = writeln!(out, "{:>4}  {:>7} {:>10} {}", d.major, d.minor, d.size >> 10, d.name);
    }
    out
}

pub(super) fn diskstats(system: &dyn System) -> String {
    let mut out = String::new();
    for d in system.block_devices() {
        let _ = writeln!(
            out,
            "{:>4} {:>7} {} {}",
            d.major,
            d.minor,
            d.name,
            d.stats.map(|n| n.to_string()).join(" ")
        );
    }
    out
}
