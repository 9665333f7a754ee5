//! The GUID partition table (UEFI specification, chapter 5): a header behind the first sector and one at the end, each with the checksum of
//! itself and of its list. The second is used where the first is damaged. Judged as block/partitions/efi.c does.

use super::{Kind, LIMIT, SECTOR, Sectors, Table, word};
use block_device::BlockDevice;
use std::io;

const SIGNATURE: &[u8] = b"EFI PART";
/// Bytes of a header that have a meaning; it may be as long as a sector.
const HEADER: u64 = 92;
/// Bytes of an entry. Longer ones are allowed, and nobody makes them.
const ENTRY: usize = 128;
/// Entries that are looked at: 128 is what everybody makes.
const MOST: u64 = 4096;
/// Where the first header is.
const FIRST: u64 = 1;

/// Finds the header that is good, and takes its entries.
pub(crate) fn scan(disk: &dyn BlockDevice, sectors: u64, table: &mut Table) -> io::Result<()> {
    let last = sectors - 1;
    let list = match read(disk, last, FIRST)? {
        Ok(list) => list,
        Err(why) => {
            table.remark(format!("the first GPT header is not valid ({why}), the one at the end is used"));
            match read(disk, last, last)? {
                Ok(list) => list,
                Err(why) => {
                    table.remark(format!("the GPT header at the end is not valid either ({why})"));
                    return Ok(());
                }
            }
        }
    };
    for (entry, number) in list.chunks_exact(ENTRY).zip(1..LIMIT) {
        let (start, end) = (word(entry, 32, 8), word(entry, 40, 8));
        if entry[..16] == [0; 16] {
            continue;
        }
        if start > end || end > last {
            table.remark(format!("p{number} from {start} to {end} does not lie on the disk, ignored"));
            continue;
        }
        let (uuid, label, kind) = (uuid(&entry[16..32]), label(&entry[56..]), Kind::Gpt(uuid(&entry[..16])));
        table.put(sectors, Sectors { number, start, count: end - start + 1, uuid, label, kind });
    }
    Ok(())
}

/// The list of entries of the header at a sector; else why that is none.
fn read(disk: &dyn BlockDevice, last: u64, at: u64) -> io::Result<Result<Vec<u8>, &'static str>> {
    let mut header = [0; SECTOR as usize];
    disk.read_at(&mut header, at * SECTOR)?;
    if !header.starts_with(SIGNATURE) {
        return Ok(Err("no signature"));
    }
    let len = word(&header, 12, 4);
    if !(HEADER..=SECTOR).contains(&len) {
        return Ok(Err("its length"));
    }
    let mut zeroed = header;
    zeroed[16..20].fill(0);
    if u64::from(crc32fast::hash(&zeroed[..len as usize])) != word(&header, 16, 4) {
        return Ok(Err("its checksum"));
    }
    let (me, first_usable, last_usable) = (word(&header, 24, 8), word(&header, 40, 8), word(&header, 48, 8));
    if me != at {
        return Ok(Err("it says that it is elsewhere"));
    }
    if first_usable > last || last_usable > last || last_usable < first_usable {
        return Ok(Err("its range of usable sectors"));
    }
    let (list, count, size) = (word(&header, 72, 8), word(&header, 80, 4), word(&header, 84, 4));
    if size != ENTRY as u64 || count > MOST {
        return Ok(Err("number or size of its entries"));
    }
    let bytes = count * size;
    if list > last || list * SECTOR + bytes > (last + 1) * SECTOR {
        return Ok(Err("its list is not on the disk"));
    }
    let mut entries = vec![0; bytes as usize];
    disk.read_at(&mut entries, list * SECTOR)?;
    if u64::from(crc32fast::hash(&entries)) != word(&header, 88, 4) {
        return Ok(Err("the checksum of its list"));
    }
    Ok(Ok(entries))
}

/// A GUID as text: its first three fields are little-endian.
fn uuid(bytes: &[u8]) -> String {
    let tail = |range: std::ops::Range<usize>| -> String {
        bytes[range].iter().map(|b| format!("{b:02x}")).collect()
    };
    let (a, b, c) = (word(bytes, 0, 4), word(bytes, 4, 2), word(bytes, 6, 2));
    format!("{a:08x}-{b:04x}-{c:04x}-{}-{}", tail(8..10), tail(10..16))
}

/// A name, of UTF-16 to the first NUL; what cannot be shown on a line becomes `!`, as in the kernel.
fn label(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).take_while(|u| *u != 0);
    char::decode_utf16(units).map(|c| c.ok().filter(|c| !c.is_control()).unwrap_or('!')).collect()
}
