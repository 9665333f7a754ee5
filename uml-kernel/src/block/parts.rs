//! Partitions come and go: with their disk, when its table is read again (BLKRRPART), and one by one (BLKPG).

use super::disk::Disk;
use super::{claim, table};
use crate::base::{Errno, Result};
use partitions::{Entry, LIMIT};

/// Reads the table of a disk, and makes its partitions those that are there. Nobody has one open.
pub(super) fn rescan(disk: &Disk) {
    for part in table::parts_of(disk) {
        table::take(&part);
    }
    if !disk.driver().scans() || disk.is_empty() {
        return;
    }
    let found = match partitions::scan(&*disk.device) {
        Ok(found) => found,
        Err(e) => return crate::log!("{}: unable to read partition table: {e}", disk.name),
    };
    for remark in &found.remarks {
        crate::log!("{}: {remark}", disk.name);
    }
    let mut line = format!(" {}:", disk.name);
    for entry in &found.entries {
        match put(disk, entry) {
            Ok(part) => line += &format!(" {}", part.name.trim_start_matches(&disk.name)),
            Err(e) => crate::log!("{}: partition {}: {e}", disk.name, entry.number),
        }
    }
    if !found.entries.is_empty() {
        crate::log!("{line}");
    }
}

fn put(disk: &Disk, entry: &Entry) -> Result<Disk> {
    let number = disk.own_number(entry.number).unwrap_or_else(table::spare_number);
    let part = disk.partition(entry, number);
    table::insert(&part)?;
    Ok(part)
}

fn of_number(disk: &Disk, number: u32) -> Option<Disk> {
    table::parts_of(disk).into_iter().find(|p| p.partition_number() == number)
}

/// BLKRRPART: EBUSY while a partition is open, or somebody else has the disk alone.
pub(super) fn reread(disk: &Disk, alone: bool) -> Result<()> {
    if disk.whole().is_some() || !disk.driver().scans() {
        return Err(Errno::EINVAL);
    }
    if claim::opens_of_parts(disk) > 0 {
        return Err(Errno::EBUSY);
    }
    let _held = if alone { None } else { Some(claim::Open::new(disk, true)?) };
    rescan(disk);
    Ok(())
}

/// A change that BLKPG asks for; bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Add { start: u64, len: u64 },
    Delete,
    Resize { start: u64, len: u64 },
}

/// BLKPG: changes what the kernel knows, not what is on the disk.
pub(super) fn change(disk: &Disk, number: u32, change: Change) -> Result<()> {
    if disk.whole().is_some() || !(1..LIMIT).contains(&number) {
        return Err(Errno::EINVAL);
    }
    let there = of_number(disk, number);
    if let Change::Delete = change {
        let part = there.ok_or(Errno::ENXIO)?;
        if claim::opens(&part) > 0 {
            return Err(Errno::EBUSY);
        }
        table::take(&part);
        return Ok(());
    }
    let (Change::Add { start, len } | Change::Resize { start, len }) = change else {
        return Err(Errno::EINVAL);
    };
    let end = start.checked_add(len).filter(|end| *end <= disk.len()).ok_or(Errno::EINVAL)?;
    if !disk.aligned(start, len) || len == 0 {
        return Err(Errno::EINVAL);
    }
    let mut others = table::parts_of(disk).into_iter().filter(|p| p.partition_number() != number);
    let overlaps = others.any(|p| start < p.start() + p.len() && p.start() < end);
    match (change, there) {
        (Change::Add { .. }, Some(_)) => Err(Errno::EBUSY),
        (Change::Add { .. }, None) if overlaps => Err(Errno::EBUSY),
        (Change::Add { .. }, None) => {
            let entry = Entry { number, start, len, ..Entry::default() };
            put(disk, &entry).map(|_| ())
        }
        (_, None) => Err(Errno::ENXIO),
        (_, Some(part)) if part.start() != start => Err(Errno::EINVAL),
        (_, Some(_)) if overlaps => Err(Errno::EBUSY),
        (_, Some(part)) => {
            part.resize(len);
            Ok(())
        }
    }
}
