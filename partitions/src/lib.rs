//! Partition tables over any [`BlockDevice`]: what a disk says of how it is divided, for the guest kernel and for the tools. What stands there
//! is the guest's, or a stranger's: nothing of it is believed.

mod gpt;
mod kind;
mod mbr;
#[cfg(test)]
mod tests;

use block_device::BlockDevice;
use std::io;

/// Bytes of a sector. Tables count in these, whatever the blocks of the disk are.
pub const SECTOR: u64 = 512;
/// Highest number of a partition, and one more (DISK_MAX_PARTS).
pub const LIMIT: u32 = 256;

/// A partition, as a table has it, with both ends on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// From 1.
    pub number: u32,
    /// Its first byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// PARTUUID, as udev has it.
    pub uuid: String,
    /// Its name in the table (GPT).
    pub label: String,
    /// What the table says that it holds.
    pub kind: Kind,
}

/// The type of a partition, as its table has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// No table says it.
    #[default]
    Unsaid,
    /// The byte of a DOS table.
    Dos(u8),
    /// The GUID of a GPT, in lower case.
    Gpt(String),
}

/// What was found.
#[derive(Debug, Default)]
pub struct Table {
    /// In the order of the table.
    pub entries: Vec<Entry>,
    /// What is wrong with it, a line each.
    pub remarks: Vec<String>,
}

impl Table {
    fn remark(&mut self, text: String) {
        // A damaged chain has much to tell, and it is all the same.
        if self.remarks.len() < 16 {
            self.remarks.push(text);
        }
    }

    /// Takes a partition, cut to the disk; sectors.
    fn put(&mut self, disk: u64, entry: Sectors) {
        let Sectors { number, start, count, uuid, label, kind } = entry;
        if count == 0 || number == 0 || number >= LIMIT {
            return;
        }
        if start >= disk {
            return self.remark(format!("p{number} start {start} is beyond EOD, ignored"));
        }
        let fits = count.min(disk - start);
        if fits < count {
            self.remark(format!("p{number} size {count} extends beyond EOD, truncated"));
        }
        let entry = Entry { number, start: start * SECTOR, len: fits * SECTOR, uuid, label, kind };
        self.entries.push(entry);
    }
}

/// A partition as it stands in a table, in sectors.
struct Sectors {
    number: u32,
    start: u64,
    count: u64,
    uuid: String,
    label: String,
    kind: Kind,
}

/// Reads the table of a disk. One that is none, or damaged, has no entries.
///
/// # Errors
/// When the disk cannot be read.
pub fn scan(disk: &dyn BlockDevice) -> io::Result<Table> {
    let mut table = Table::default();
    let sectors = disk.len() / SECTOR;
    if sectors < 2 {
        return Ok(table);
    }
    let mut first = [0; SECTOR as usize];
    disk.read_at(&mut first, 0)?;
    let Some(mbr) = mbr::Sector::parse(&first) else { return Ok(table) };
    if mbr.protects_gpt() {
        gpt::scan(disk, sectors, &mut table)?;
    } else if mbr.is_table() {
        mbr::scan(disk, sectors, &mbr, &mut table)?;
    }
    Ok(table)
}

/// Little-endian words of a sector; 0 beyond its end.
fn word(bytes: &[u8], at: usize, len: usize) -> u64 {
    let Some(field) = bytes.get(at..at + len) else { return 0 };
    field.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}
