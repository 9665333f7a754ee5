//! /proc/PID/maps, smaps, smaps_rollup, numa_maps (proc_pid_maps(5), proc_pid_smaps(5); fs/proc/task_mmu.c).

use super::Ask;
use crate::base::Result;
use crate::fs::proc::source::MapLine;
use crate::fs::{major, minor};
use std::fmt::Write as _;

/// Where the name begins: columns before it (`SEQ_PUT` in `show_map_vma`).
const NAME_COLUMN: usize = 73;

fn head(map: &MapLine) -> Vec<u8> {
    let bit = |bit: u32, c: char| if map.prot & bit != 0 { c } else { '-' };
    let mut text = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        map.start,
        map.end,
        bit(1, 'r'),
        bit(2, 'w'),
        bit(4, 'x'),
        if map.shared { 's' } else { 'p' },
        map.offset,
        major(map.dev),
        minor(map.dev),
        map.ino,
    );
    if !map.name.is_empty() {
        text = format!("{text:<NAME_COLUMN$}");
    }
    let mut out = text.into_bytes();
    // Only newlines are escaped, in octal.
    for byte in &map.name {
        if *byte == b'\n' { out.extend(b"\\012") } else { out.push(*byte) }
    }
    out.push(b'\n');
    out
}

pub(super) fn maps(ask: &Ask) -> Result<Vec<u8>> {
    Ok(ask.process.maps().iter().flat_map(head).collect())
}

/// Sums of what mappings hold, in the order in which they are printed.
#[derive(Default)]
struct Sums {
    resident: u64,
    proportional: u64,
    dirty: u64,
    private: u64,
    private_dirty: u64,
    referenced: u64,
    anonymous: u64,
    locked: u64,
    proportional_anonymous: u64,
    swapped: u64,
}

impl Sums {
    fn add(&mut self, m: &MapLine) {
        let shared = m.resident.saturating_sub(m.private);
        // How many share a page is not known: two, at least.
        let proportional = m.private + shared / 2;
        self.resident += m.resident;
        self.proportional += proportional;
        self.dirty += m.dirty;
        self.private += m.private;
        self.private_dirty += m.dirty.min(m.private);
        self.referenced += m.referenced;
        self.anonymous += m.anonymous;
        self.proportional_anonymous += m.anonymous.min(proportional);
        self.swapped += m.swapped;
        self.locked += if m.locked { proportional } else { 0 };
    }

    fn print(&self, text: &mut String, rollup: bool) {
        let shared = self.resident.saturating_sub(self.private);
        let shared_dirty = self.dirty.saturating_sub(self.private_dirty).min(shared);
        let anon = self.proportional_anonymous;
        let mut lines = vec![("Rss", self.resident), ("Pss", self.proportional), ("Pss_Dirty", self.dirty)];
        if rollup {
            lines.extend([("Pss_Anon", anon), ("Pss_File", self.proportional - anon), ("Pss_Shmem", 0)]);
        }
        lines.extend([
            ("Shared_Clean", shared - shared_dirty),
            ("Shared_Dirty", shared_dirty),
            ("Private_Clean", self.private - self.private_dirty),
            ("Private_Dirty", self.private_dirty),
            ("Referenced", self.referenced),
            ("Anonymous", self.anonymous),
            ("KSM", 0),
            ("LazyFree", 0),
            ("AnonHugePages", 0),
            ("ShmemPmdMapped", 0),
            ("FilePmdMapped", 0),
            ("Shared_Hugetlb", 0),
            ("Private_Hugetlb", 0),
            ("Swap", self.swapped),
            ("SwapPss", self.swapped),
            ("Locked", self.locked),
        ]);
        for (name, bytes) in lines {
            kilobytes(text, name, bytes);
        }
    }
}

fn kilobytes(text: &mut String, name: &str, bytes: u64) {
    let _ = writeln!(text, "{:<16}{:>8} kB", format!("{name}:"), bytes >> 10);
}

pub(super) fn smaps(ask: &Ask) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for map in ask.process.maps() {
        out.extend(head(&map));
        let mut text = String::new();
        kilobytes(&mut text, "Size", map.end - map.start);
        kilobytes(&mut text, "KernelPageSize", 4096);
        kilobytes(&mut text, "MMUPageSize", 4096);
        let mut sums = Sums::default();
        sums.add(&map);
        sums.print(&mut text, false);
        text += "THPeligible:           0\nVmFlags: ";
        let codes = [(1, "rd"), (2, "wr"), (4, "ex")];
        let set = codes.iter().filter(|(bit, _)| map.prot & bit != 0).map(|(_, code)| *code);
        let shared = if map.shared { Some("sh") } else { None };
        for code in set.chain(shared).chain(["mr", "mw", "me"]).chain(map.flags.iter().copied()) {
            text += code;
            text.push(' ');
        }
        text.push('\n');
        out.extend(text.bytes());
    }
    Ok(out)
}

pub(super) fn smaps_rollup(ask: &Ask) -> Result<Vec<u8>> {
    let maps = ask.process.maps();
    let (Some(first), Some(last)) = (maps.first(), maps.last()) else { return Ok(Vec::new()) };
    let mut sums = Sums::default();
    maps.iter().for_each(|m| sums.add(m));
    let whole =
        MapLine { start: first.start, end: last.end, name: b"[rollup]".to_vec(), ..MapLine::default() };
    let mut out = head(&whole);
    let mut text = String::new();
    sums.print(&mut text, true);
    out.extend(text.bytes());
    Ok(out)
}

/// One node has everything.
pub(super) fn numa_maps(ask: &Ask) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for m in ask.process.maps() {
        let mut line = format!("{:08x} default", m.start).into_bytes();
        match m.name.as_slice() {
            b"[heap]" => line.extend(b" heap"),
            b"[stack]" => line.extend(b" stack"),
            [b'/', ..] => {
                line.extend(b" file=");
                line.extend(&m.name);
            }
            _ => {}
        }
        let pages = |bytes: u64| bytes / 4096;
        let mut text = String::new();
        if m.anonymous >= 4096 {
            let _ = write!(text, " anon={} dirty={}", pages(m.anonymous), pages(m.dirty));
        }
        if m.resident > m.anonymous {
            let _ = write!(text, " mapped={}", pages(m.resident));
        }
        if m.resident >= 4096 {
            let _ = write!(text, " N0={} kernelpagesize_kB=4", pages(m.resident));
        }
        line.extend(text.bytes());
        line.push(b'\n');
        out.extend(line);
    }
    Ok(out)
}
