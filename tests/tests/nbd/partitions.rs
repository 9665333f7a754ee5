//! Partitions of a disk that sfdisk has divided, against what dd cuts out of it.

use crate::{client, python, same};
use std::fs;
use std::path::Path;
use std::process::Command;
use whole_program_tests::*;

/// A GPT, and a DOS table with logical partitions, whose numbers begin at 5.
const GPT: &str = "label: gpt\nsize=3M, name=first\nsize=2M\nsize=1M\n";
const DOS: &str = "label: dos
size=2M, type=83
size=4M, type=5
5: size=1M, type=83
6: size=1M, type=82
";

/// A disk of 9 MiB and a session on it that has changed something in each partition; says so where a program is missing.
fn divided(table: &str) -> Option<(tempfile::TempDir, Vec<u32>)> {
    if missing("partitions", &["sfdisk", "dd", "nbdcopy", "nbdinfo", "qemu-img", "qemu-io"]) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("base.img"), pattern(9 << 20, 1)).unwrap();
    fs::write(at.join("table"), table).unwrap();
    sh(
        at,
        "dd if=/dev/zero of=base.img conv=notrunc bs=1M count=1 status=none; sfdisk -q --wipe never base.img < table",
    );
    sh(at, "cp base.img changed.img");
    let mut numbers = Vec::new();
    for (number, start, sectors) in places(at) {
        write_at(&at.join("changed.img"), start * 512 + 4096, &pattern(1000, number));
        write_at(&at.join("changed.img"), (start + sectors) * 512 - 512, &pattern(512, number + 1));
        numbers.push(number);
    }
    run(cowtool().args(["create", "top.cow", "--base", "base.img", "--from", "changed.img"]).current_dir(at))
        .expect(0);
    Some((dir, numbers))
}

/// Number, first sector and sectors of each partition that holds something, as sfdisk has them.
fn places(dir: &Path) -> Vec<(u32, u64, u64)> {
    let table = sh(dir, "sfdisk --json base.img");
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
    let place = |p: &serde_json::Value| {
        let number = p["node"].as_str().unwrap().trim_start_matches("base.img").parse().unwrap();
        (number, p["start"].as_u64().unwrap(), p["size"].as_u64().unwrap())
    };
    partitions.iter().filter(|p| p["type"] != "5").map(place).collect()
}

/// Cuts one out of an image, into the file `cut`.
fn cut(dir: &Path, image: &str, number: u32) {
    let (_, start, sectors) = places(dir).into_iter().find(|p| p.0 == number).unwrap();
    sh(dir, &format!("dd if={image} of=cut bs=512 skip={start} count={sectors} status=none"));
}

fn each_is_an_export(table: &str, wanted: &[u32]) {
    let Some((dir, numbers)) = divided(table) else { return };
    let dir = dir.path();
    assert_eq!(numbers, wanted);
    let served = Served::of(dir, &["top.cow", "--partition", "all"], 1 + wanted.len());
    client(dir, "nbdcopy", &[served.uri(), "out.img"]);
    same(&dir.join("out.img"), &dir.join("changed.img"));
    let list = client(dir, "nbdinfo", &["--list", served.uri()]).stdout;
    for (uri, number) in served.uris[1..].iter().zip(wanted) {
        assert!(list.contains(&format!("export=\"{number}\":")), "{list}");
        cut(dir, "changed.img", *number);
        client(dir, "nbdcopy", &[uri, "out.img"]);
        same(&dir.join("out.img"), &dir.join("cut"));
        // What is dirty is told from the partition's begin on, to its end.
        let map = client(dir, "nbdinfo", &["--map=cow:dirty", "--json", uri]).stdout;
        let map: serde_json::Value = serde_json::from_str(&map).unwrap();
        let dirty = map.as_array().unwrap().iter().filter(|e| e["type"] == 1);
        let dirty: Vec<_> =
            dirty.map(|e| (e["offset"].as_u64().unwrap(), e["length"].as_u64().unwrap())).collect();
        let size = fs::metadata(dir.join("cut")).unwrap().len();
        assert_eq!(dirty, [(4096, 4096), (size - 4096, 4096)]);
    }
    served.stop();
}

#[test]
fn each_partition_of_a_gpt() {
    each_is_an_export(GPT, &[1, 2, 3]);
}

#[test]
fn each_partition_of_a_dos_table_and_its_logical_ones() {
    each_is_an_export(DOS, &[1, 5, 6]);
}

#[test]
fn one_partition_is_all_that_its_clients_reach() {
    let Some((dir, _)) = divided(GPT) else { return };
    let dir = dir.path();
    let args = ["top.cow", "--rw", "--partition", "2", "--export", "now", "--export", "was=base"];
    let served = Served::start(dir, &args);
    let qemu = |args: &[&str]| client(dir, "qemu-img", args);
    cut(dir, "base.img", 2);
    qemu(&["compare", "-f", "raw", "-F", "raw", "cut", &served.uris[1]]);
    cut(dir, "changed.img", 2);
    qemu(&["compare", "-f", "raw", "-F", "raw", "cut", served.uri()]);
    // The same to the file that was cut out, and to the partition; then put back where it was, all else being as it was.
    let commands = [
        "write -P 0x5a 0 100k",
        "write -z 200k 64k",
        "discard 512k 128k",
        "write -z 512k 128k",
        "write -P 3 2097151 1",
    ];
    for disk in ["cut", served.uri()] {
        let args: Vec<&str> = commands.iter().flat_map(|c| ["-c", *c]).collect();
        client(dir, "qemu-io", &[&["-f", "raw"], &args[..], &[disk]].concat());
    }
    for beyond in ["write 2097152 512", "read 2097151 2"] {
        let ran =
            run(Command::new("qemu-io").args(["-f", "raw", "-c", beyond, served.uri()]).current_dir(dir));
        assert!(ran.code() != 0, "{beyond}: {}{}", ran.stdout, ran.stderr);
    }
    served.stop();
    let (_, start, _) = places(dir)[1];
    sh(dir, &format!("dd if=cut of=changed.img bs=512 seek={start} conv=notrunc status=none"));
    run(uml_moo().args(["top.cow", "merged.img"]).current_dir(dir)).expect(0);
    same(&dir.join("merged.img"), &dir.join("changed.img"));
}

/// Both answers must be the host's file system's: zeros made without being written, or ENOTSUP.
#[test]
fn fast_zeroes_are_as_fast_in_a_partition_as_on_the_disk() {
    let Some((dir, _)) = divided(GPT) else { return };
    let Some(mut python) = python("fast zeroes in a partition") else { return };
    let served = Served::of(dir.path(), &["top.cow", "--rw", "--partition", "all"], 4);
    let script = r#"
import nbd, sys
for uri in sys.argv[1:]:
    h = nbd.NBD(); h.connect_uri(uri)
    assert h.can_fast_zero()
    try: h.zero(65536, 65536, nbd.CMD_FLAG_FAST_ZERO); print("zeroed", h.pread(65536, 65536) == bytes(65536))
    except nbd.Error as e: print(e.errno)
"#;
    let ran = run(python.args(["-c", script, served.uri(), &served.uris[2]])).expect(0);
    let mut answers: Vec<&str> = ran.stdout.lines().collect();
    assert!(["zeroed True", "ENOTSUP"].contains(&answers[0]), "{answers:?}");
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    served.stop();
}

#[test]
fn a_number_that_no_partition_has_is_refused_with_those_there_are() {
    let Some((dir, _)) = divided(DOS) else { return };
    let serve = |number: &str| {
        run(cowtool().args(["serve", "top.cow", "--partition", number]).current_dir(dir.path()))
    };
    // 2 is the extended one, which holds nothing itself.
    for number in ["2", "7"] {
        let ran = serve(number);
        assert_eq!(ran.code(), 1, "{}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("it has no partition {number}; its partitions: 1 (2.0 MiB")),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("5 (1.0 MiB") && ran.stderr.contains("6 (1.0 MiB"), "{}", ran.stderr);
    }
    assert!(serve("most").stderr.contains("a number is wanted, or \"all\""));
}
