//! Disks that sfdisk and the mkfs programs make.

use super::*;
use block_device::{HostFile, MemDevice};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;

fn runs(program: &str, args: &[&str], input: &str) -> bool {
    let child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = match child {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: there is no {program}");
            return false;
        }
        other => other.unwrap(),
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} {args:?}");
    true
}

struct Made {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Made {
    fn disk(mib: u64, script: &str) -> Option<Made> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        File::create(&path).unwrap().set_len(mib * MIB).unwrap();
        let text = path.to_str().unwrap();
        let there = script.is_empty() || runs("sfdisk", &["-q", text], script);
        there.then_some(Made { dir, path })
    }

    /// Makes a file system of a program's into a place.
    fn put(&self, at_mib: u64, mib: u64, program: &str, args: &[&str]) -> bool {
        let part = self.dir.path().join("part");
        File::create(&part).unwrap().set_len(mib * MIB).unwrap();
        let args: Vec<&str> = args.iter().copied().chain([part.to_str().unwrap()]).collect();
        if !runs(program, &args, "") {
            return false;
        }
        copy(&part, &self.path, at_mib * MIB);
        true
    }

    fn find(&self, partition: Option<u32>) -> Result<Place, String> {
        let disk: Arc<dyn BlockDevice> = Arc::new(HostFile::open(&self.path, true).unwrap());
        find(&disk, partition).map_err(|e| e.to_string())
    }
}

fn copy(from: &Path, to: &Path, at: u64) {
    let mut bytes = Vec::new();
    File::open(from).unwrap().read_to_end(&mut bytes).unwrap();
    let mut to = File::options().write(true).open(to).unwrap();
    to.seek(SeekFrom::Start(at)).unwrap();
    to.write_all(&bytes).unwrap();
}

fn place(partition: u32, start: u64, len: u64) -> Place {
    Place { partition, start: start * MIB, len: len * MIB }
}

#[test]
fn the_whole_disk_where_there_is_no_table() {
    let Some(made) = Made::disk(8, "") else { return };
    assert!(made.find(None).unwrap_err().contains("no file system that is known"));
    assert!(made.put(0, 8, "mke2fs", &["-q", "-t", "ext4"]));
    assert_eq!(made.find(None), Ok(place(0, 0, 8)));
    assert_eq!(made.find(Some(0)), Ok(place(0, 0, 8)));
    let text = made.find(Some(1)).unwrap_err();
    assert_eq!(text, "it has no partition 1; it has no partition table");
}

#[test]
fn the_only_one_that_can_be_meant() {
    let script = "label: gpt\nsize=1M, type=U\nsize=8M, name=root\nsize=4M, type=S\n";
    let Some(made) = Made::disk(20, script) else { return };
    assert!(made.put(2, 8, "mke2fs", &["-q", "-t", "ext4"]));
    assert_eq!(made.find(None), Ok(place(2, 2, 8)));
    assert_eq!(made.find(Some(2)), Ok(place(2, 2, 8)));
    let text = made.find(Some(7)).unwrap_err();
    assert!(
        text.starts_with("it has no partition 7; its partitions: 1 (1.0 MiB, EFI system, no file"),
        "{text}"
    );
    assert!(text.contains("2 (8.0 MiB, Linux \"root\", an ext2, ext3 or ext4 file system)"), "{text}");
}

#[test]
fn of_two_one_has_to_be_said() {
    let script = "label: dos\nsize=8M, type=83\nsize=20M, type=5\nsize=8M, type=83\nsize=4M, type=82\n";
    let Some(made) = Made::disk(48, script) else { return };
    assert!(made.put(1, 8, "mke2fs", &["-q", "-t", "ext4"]));
    let text = made.find(None).unwrap_err();
    assert!(text.starts_with("which file system is meant is to be said with --partition N; "), "{text}");
    assert!(text.contains("3 (8.0 MiB, Linux, no file system"), "{text}");
    assert_eq!(made.find(Some(1)), Ok(place(1, 1, 8)));
    assert!(made.find(Some(2)).is_err(), "the extended partition is none that holds something");
}

#[test]
fn a_file_system_in_front_of_which_a_table_stands() {
    let Some(made) = Made::disk(12, "label: dos\nsize=8M, type=83\n") else { return };
    let mut table = [0; 512];
    File::open(&made.path).unwrap().read_exact(&mut table).unwrap();
    assert!(made.put(0, 12, "mke2fs", &["-q", "-t", "ext4"]));
    File::options().write(true).open(&made.path).unwrap().write_all(&table).unwrap();
    assert!(made.find(None).unwrap_err().contains("(0 for the one on the whole disk)"));
    assert_eq!(made.find(Some(0)), Ok(place(0, 0, 12)));
}

#[test]
fn what_is_not_ext_is_named() {
    let others: [(&str, &[&str], u64, &str); 5] = [
        ("mkfs.xfs", &["-q", "-f"], 310, "an xfs file system"),
        ("mkfs.btrfs", &["-q", "-f"], 120, "a btrfs file system"),
        ("mkfs.vfat", &["-F", "32"], 40, "a vfat file system"),
        ("mkswap", &["-q"], 8, "a swap area"),
        ("mkfs.minix", &[], 8, "no file system that is known here"),
    ];
    for (program, args, mib, name) in others {
        let Some(made) = Made::disk(mib + 2, "label: gpt\nstart=1M\n") else { return };
        if !made.put(1, mib, program, args) {
            continue;
        }
        let text = made.find(Some(1)).unwrap_err();
        assert!(text.starts_with(&format!("partition 1 holds {name}, and only ext2")), "{text}");
        let hint = "cowtool mount --disk FILE DIR, then mount -o loop,offset=1048576 DIR/disk MOUNTPOINT";
        assert_eq!(
            text.contains(hint),
            name.contains(" xfs") || name.contains("trfs") || name.contains("fat")
        );
    }
}

#[test]
fn a_disk_of_any_size_is_looked_at() {
    for len in [0, 1, 511, 512, 1023, 1082, 5000, 70_000] {
        let disk: Arc<dyn BlockDevice> = Arc::new(MemDevice::new(vec![0; len]));
        assert!(matches!(find(&disk, None), Err(Error::Foreign { content: Content::Unknown, .. })), "{len}");
    }
}
