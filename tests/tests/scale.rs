//! A big disk needs no more memory than a small one. `big.sh` does the same with 100 GiB.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use whole_program_tests::*;

const DISK: Scatter = Scatter { size: 10 << 30, dirty: 64 << 20 };
const MEMORY: u64 = 10_000_000;

/// Peak memory in bytes.
fn peak(dir: &Path, args: &[&str]) -> u64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peak"));
    run(command.arg("peak").arg(Program::Moo.path()).args(args).current_dir(dir)).expect(0);
    fs::read_to_string(dir.join("peak")).unwrap().trim().parse().unwrap()
}

#[test]
fn memory_does_not_grow_with_the_disk() {
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
