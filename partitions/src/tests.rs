//! Tables that sfdisk makes, tables that are damaged, and bytes that are none.

use super::*;
use block_device::MemDevice;
use proptest::prelude::*;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Number, start and sectors of each.
type Listed = Vec<(u32, u64, u64)>;

/// An image with the table that a script of sfdisk's makes, and the partitions that `sfdisk -d` then tells.
fn made(mib: u64, script: &str) -> Option<(Vec<u8>, Listed)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("i");
    std::fs::File::create(&path).unwrap().set_len(mib << 20).unwrap();
    let mut child = match Command::new("sfdisk").arg("-q").arg(&path).stdin(Stdio::piped()).spawn() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: there is no sfdisk (apt-get install fdisk)");
            return None;
        }
        other => other.unwrap(),
    };
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let dump = Command::new("sfdisk").arg("-d").arg(&path).output().unwrap();
    let told = String::from_utf8(dump.stdout).unwrap();
    let field = |line: &str, name: &str| {
        let value = line.split(name).nth(1)?.trim_start_matches(['=', ' ']);
        value.split(',').next()?.trim().parse().ok()
    };
    let listed = told.lines().filter_map(|l| {
        let number = l.strip_prefix(path.to_str().unwrap())?.split(' ').next()?.parse().ok()?;
        let size = if l.contains("type=5,") || l.ends_with("type=5") { 2 } else { field(l, "size")? };
        Some((number, field(l, "start")?, size))
    });
    Some((std::fs::read(&path).unwrap(), listed.collect()))
}

fn found(image: &[u8]) -> (Listed, Vec<String>) {
    let table = scan(&MemDevice::new(image.to_vec())).unwrap();
    (table.entries.iter().map(|e| (e.number, e.start / SECTOR, e.len / SECTOR)).collect(), table.remarks)
}

const DOS: &str =
    "label: dos\nsize=4M\nsize=8M, type=83\nsize=1M\nsize=24M, type=5\nsize=2M\nsize=3M\nsize=4M\n";
const GPT: &str = "label: gpt\nsize=4M, name=\"one of ours\"\nsize=8M\nstart=40M, size=1M\n";

#[test]
fn tables_of_sfdisk() {
    for (script, count) in [(DOS, 7), (GPT, 3)] {
        let Some((image, told)) = made(48, script) else { return };
        assert_eq!(told.len(), count);
        assert_eq!(found(&image), (told, vec![]));
    }
    let Some((image, _)) = made(48, GPT) else { return };
    let table = scan(&MemDevice::new(image)).unwrap();
    assert_eq!(table.entries[0].label, "one of ours");
    assert_eq!(table.entries[0].uuid.len(), 36);
}

#[test]
fn types_are_those_that_sfdisk_tells() {
    for (label, types) in [("dos", ["83", "82", "ef", "5"]), ("gpt", ["L", "S", "U", "V"])] {
        let script: String = types.iter().map(|t| format!("size=2M, type={t}\n")).collect();
        let Some((image, _)) = made(16, &format!("label: {label}\n{script}")) else { return };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        std::fs::write(&path, &image).unwrap();
        for e in scan(&MemDevice::new(image)).unwrap().entries {
            let number = e.number.to_string();
            let told = Command::new("sfdisk").arg("--part-type").arg(&path).arg(number).output().unwrap();
            let told = String::from_utf8(told.stdout).unwrap().trim().to_lowercase();
            let ours = match &e.kind {
                Kind::Dos(n) => format!("{n:x}"),
                Kind::Gpt(guid) => guid.clone(),
                Kind::Unsaid => String::new(),
            };
            assert_eq!(ours, told);
            assert_eq!(e.kind.is_linux(), e.number == 1);
        }
    }
    let list = Command::new("sfdisk").args(["-X", "gpt", "-T"]).output().unwrap();
    for line in String::from_utf8(list.stdout).unwrap().lines() {
        let Some((guid, name)) = line.split_once(' ').filter(|(guid, _)| guid.len() == 36) else { continue };
        let (kind, name) = (Kind::Gpt(guid.to_lowercase()), name.trim());
        let linux = name.starts_with("Linux");
        assert!(!kind.is_linux() || linux, "{guid} {name}");
        let expected = match name {
            "Linux swap" => "swap",
            "Linux LVM" => "LVM",
            "Linux RAID" => "RAID",
            "EFI System" => "EFI system",
            "BIOS boot" => "BIOS boot",
            "Linux filesystem" | "Linux home" | "Linux root (x86-64)" | "Linux extended boot" => "Linux",
            _ => continue,
        };
        assert_eq!(kind.name(), expected, "{guid} {name}");
    }
}

#[test]
fn the_second_header_stands_in_for_the_first() {
    let Some((image, told)) = made(16, "label: gpt\nsize=1M\nsize=2M\n") else { return };
    // Signature, own place, checksums of header and list.
    for at in [512, 512 + 24, 512 + 16, 512 + 88, 1024 + 40] {
        let mut damaged = image.clone();
        damaged[at] ^= 1;
        let (listed, remarks) = found(&damaged);
        assert_eq!(listed, told, "byte {at}");
        assert!(remarks[0].contains("the one at the end is used"), "{remarks:?}");
        let end = damaged.len() - 512;
        damaged[end + 16] ^= 1;
        let (listed, remarks) = found(&damaged);
        assert!(listed.is_empty() && remarks.len() == 2, "byte {at}: {remarks:?}");
    }
    // Without the protective MBR it is no GPT at all.
    let mut bare = image;
    bare[510] = 0;
    assert_eq!(found(&bare), (vec![], vec![]));
}

/// A sector with a table: type, start and count of each entry.
fn sector(entries: &[(u8, u32, u32)]) -> [u8; 512] {
    let mut bytes = [0; 512];
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    for (n, (kind, start, count)) in entries.iter().enumerate() {
        let at = 446 + n * 16;
        bytes[at + 4] = *kind;
        bytes[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        bytes[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
    }
    bytes
}

fn disk(sectors: &[(usize, [u8; 512])]) -> Vec<u8> {
    let mut image = vec![0; 1000 * 512];
    for (at, bytes) in sectors {
        image[at * 512..][..512].copy_from_slice(bytes);
    }
    image
}

#[test]
fn a_chain_that_comes_back_ends() {
    let image = disk(&[
        (0, sector(&[(0x83, 10, 20), (5, 100, 800)])),
        (100, sector(&[(0x83, 1, 9), (5, 100, 100)])),
        // Leads back to the first of the chain.
        (200, sector(&[(0x83, 1, 9), (5, 0, 100)])),
    ]);
    let (listed, remarks) = found(&image);
    assert_eq!(listed, [(1, 10, 20), (2, 100, 2), (5, 101, 9), (6, 201, 9)]);
    assert_eq!(remarks, ["the chain of logical partitions comes back to sector 100"]);
}

#[test]
fn what_lies_beyond_the_end_is_cut_or_left_out() {
    let all = u32::MAX;
    let image = disk(&[(0, sector(&[(0x83, 900, 200), (0x83, 1000, 1), (0x83, all, all), (5, all, all)]))]);
    let (listed, remarks) = found(&image);
    assert_eq!(listed, [(1, 900, 100)]);
    assert_eq!(remarks.len(), 5, "{remarks:?}");
    // The boot sector of a FAT file system ends as a table does.
    let mut fat = sector(&[(0x83, 10, 20)]);
    fat[446] = 0x33;
    assert!(found(&disk(&[(0, fat)])).0.is_empty());
}

fn sound(image: Vec<u8>) {
    let device = MemDevice::new(image);
    let table = scan(&device).unwrap();
    let mut numbers = std::collections::HashSet::new();
    for e in &table.entries {
        assert!(e.len > 0 && e.start + e.len <= device.len() && (1..LIMIT).contains(&e.number), "{e:?}");
        assert!(numbers.insert(e.number), "{e:?} twice");
    }
    assert!(table.remarks.len() <= 16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..8192)) {
        sound(bytes);
    }

    /// Tables whose entries lead anywhere, on a small disk, so that chains are followed.
    #[test]
    fn any_chain_is_followed_to_an_end(
        tables in prop::collection::vec(prop::collection::vec((0u8..8, 0u32..70, 0u32..70), 4), 64),
    ) {
        let mut image: Vec<u8> = tables.iter().flat_map(|t| sector(t)).collect();
        image[446..510].iter_mut().step_by(16).for_each(|active| *active = 0);
        sound(image);
    }

    /// A header whose checksums are right, and whose fields are anybody's.
    #[test]
    fn any_gpt_header_is_judged(
        fields in prop::collection::vec((24usize..88, any::<u64>(), 1usize..9), 0..4),
        list in prop::collection::vec(any::<u8>(), 512),
        small in any::<bool>(),
    ) {
        let mut image = vec![0; 64 * 512];
        image[..512].copy_from_slice(&sector(&[(0xee, 1, 63)]));
        image[1024..1536].copy_from_slice(&list);
        let mut header = [0u8; 512];
        header[..8].copy_from_slice(b"EFI PART");
        header[12] = 92;
        header[24] = 1;
        header[40..48].copy_from_slice(&3u64.to_le_bytes());
        header[48..56].copy_from_slice(&60u64.to_le_bytes());
        header[72] = 2;
        header[80] = 4;
        header[84] = 128;
        header[88..92].copy_from_slice(&crc32fast::hash(&list).to_le_bytes());
        for (at, value, len) in fields {
            let value = if small { value % 70 } else { value };
            let end = (at + len).min(88);
            header[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        let crc = crc32fast::hash(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        image[512..1024].copy_from_slice(&header);
        sound(image);
    }
}
