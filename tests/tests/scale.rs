//! A big disk needs no more memory than a small one. `big.sh` does the same with 100 GiB.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use whole_program_tests::*;

const DISK: Scatter = Scatter { size: 10 << 30, dirty: 64 << 20 };
const MEMORY: u64 = 10_000_000;

/// Peak memory in bytes, by time(1): of that one process, whatever else this test has started.
fn peak(dir: &Path, args: &[&str]) -> u64 {
    let report = dir.join("time");
    let mut command = Command::new("busybox");
    command.args(["time", "-v", "-o"]).arg(&report).arg(Program::Moo.path()).args(args).current_dir(dir);
    run(&mut command).expect(0);
    let text = fs::read_to_string(&report).unwrap();
    let line = text.lines().find_map(|l| l.trim().strip_prefix("Maximum resident set size (kbytes): "));
    let kib: u64 = line.unwrap_or_else(|| panic!("{text}")).parse().unwrap();
    fs::remove_file(&report).unwrap();
    kib * 1024
}

#[test]
fn memory_does_not_grow_with_the_disk() {
    if missing("peak memory", &["busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (base, cow) = (dir.path().join("base.img"), dir.path().join("top.cow"));
    DISK.make_base(&base);
    DISK.make_cow(&cow, &base);
    for (how, args, result) in [
        ("new file", &["top.cow", "new"][..], "new"),
        ("in place", &["-d", "top.cow", "--keep-undo", "undo.cow"], "base.img"),
    ] {
        let peak = peak(dir.path(), args);
        let disk = fs::metadata(dir.path().join(result)).unwrap().blocks() * 512;
        println!("{how}: {:.1} MB of memory at most, {} MiB on disk", peak as f64 / 1e6, disk >> 20);
        assert!(peak < MEMORY, "{how}: {peak} bytes of memory");
        assert!(disk < 8 * DISK.dirty, "{how}: {disk} bytes on disk: holes were filled");
        assert_eq!(DISK.differs(&dir.path().join(result), true).unwrap(), None, "{how}");
    }
    run(uml_moo().args(["undo.cow", "old"]).current_dir(dir.path())).expect(0);
    assert_eq!(DISK.differs(&dir.path().join("old"), false).unwrap(), None, "the undo file");
}
