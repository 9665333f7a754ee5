//! The table of DOS: four entries in the first sector, and a chain of such sectors for more (block/partitions/msdos.c).

use super::{Kind, LIMIT, SECTOR, Sectors, Table, word};
use block_device::BlockDevice;
use std::collections::HashSet;
use std::io;

/// Types of extended partitions: DOS, Windows, Linux.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// The type that says "this is a GPT, leave it alone".
const PROTECTIVE: u8 = 0xee;
const TABLE: usize = 446;
const ENTRY: usize = 16;
/// Sectors of an extended partition that are shown: its own table.
const SHOWN: u64 = 2;

/// An entry, in sectors.
#[derive(Clone, Copy)]
struct Slot {
    active: u8,
    kind: u8,
    start: u64,
    count: u64,
}

impl Slot {
    fn is_extended(&self) -> bool {
        self.count > 0 && EXTENDED.contains(&self.kind)
    }
}

/// A sector that ends as those with tables do.
pub(crate) struct Sector {
    slots: [Slot; 4],
    /// Tells this disk from others.
    id: u32,
}

impl Sector {
    pub(crate) fn parse(bytes: &[u8; SECTOR as usize]) -> Option<Sector> {
        if bytes[510..] != [0x55, 0xaa] {
            return None;
        }
        let slots = std::array::from_fn(|n| {
            let at = TABLE + n * ENTRY;
            let (start, count) = (word(bytes, at + 8, 4), word(bytes, at + 12, 4));
            Slot { active: bytes[at], kind: bytes[at + 4], start, count }
        });
        Some(Sector { slots, id: word(bytes, 440, 4) as u32 })
    }

    /// Whether an entry says that the disk has a GPT, behind this sector.
    pub(crate) fn protects_gpt(&self) -> bool {
        self.slots.iter().any(|s| s.kind == PROTECTIVE && s.start == 1)
    }

    /// A boot sector of FAT or NTFS ends in the same way, and has code where the entries would be.
    pub(crate) fn is_table(&self) -> bool {
        self.slots.iter().all(|s| s.active & 0x7f == 0)
    }
}

/// Takes the four, and what is in the extended one.
pub(crate) fn scan(disk: &dyn BlockDevice, sectors: u64, mbr: &Sector, table: &mut Table) -> io::Result<()> {
    let entry = |number: u32, start, slot: &Slot, count| {
        let uuid = format!("{:08x}-{number:02x}", mbr.id);
        Sectors { number, start, count, uuid, label: String::new(), kind: Kind::Dos(slot.kind) }
    };
    for (slot, number) in mbr.slots.iter().zip(1..) {
        let count = if slot.is_extended() { slot.count.min(SHOWN) } else { slot.count };
        table.put(sectors, entry(number, slot.start, slot, count));
    }
    let mut number = 5;
    for outer in mbr.slots.iter().filter(|s| s.is_extended()) {
        let mut seen = HashSet::new();
        let (mut here, mut room) = (outer.start, outer.count);
        while number < LIMIT {
            if here >= sectors {
                table.remark(format!("a table at sector {here} is beyond EOD, ignored"));
                break;
            }
            // Two that name each other would never end; a chain without partitions gets nobody anywhere.
            if !seen.insert(here) || seen.len() > LIMIT as usize {
                table.remark(format!("the chain of logical partitions comes back to sector {here}"));
                break;
            }
            let mut bytes = [0; SECTOR as usize];
            disk.read_at(&mut bytes, here * SECTOR)?;
            let Some(inner) = Sector::parse(&bytes) else { break };
            for (n, slot) in inner.slots.iter().enumerate() {
                if slot.count == 0 || slot.is_extended() || number >= LIMIT {
                    continue;
                }
                let start = here + slot.start;
                // The third and fourth are rarely used, and are not believed where they lead out.
                let inside = start >= outer.start && start + slot.count <= outer.start + outer.count;
                if n >= 2 && (slot.start + slot.count > room || !inside) {
                    continue;
                }
                table.put(sectors, entry(number, start, slot, slot.count));
                number += 1;
            }
            let Some(next) = inner.slots.iter().find(|s| s.is_extended()) else { break };
            (here, room) = (outer.start + next.start, next.count);
        }
    }
    Ok(())
}
