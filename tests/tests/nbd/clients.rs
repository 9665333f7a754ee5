//! Each client once, both ways, and what it read or wrote against a second source.

use crate::{client, same, script};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use whole_program_tests::*;

#[test]
fn nbdinfo_sees_the_disk_and_what_is_dirty() {
    if missing("nbdinfo", &["nbdinfo"]) {
        return;
    }
    let place = Place::new();
    let mtime = fs::metadata(place.path("base.img")).unwrap().mtime() as u32;
    let raw = RawCow { version: 3, backing: place.path("base.img"), mtime, size: 1 << 20 };
    let mut file = raw.create(&place.path("raw.cow"));
    file.put(5, &pattern(3 * 512, 2));
    file.put(600, &pattern(512, 3));
    file.put(1024, &pattern(100 * 512, 3));
    file.put(2047, &pattern(512, 4));
    file.finish();
    let served = Served::start(place.dir(), &["raw.cow"]);
    let info = client(place.dir(), "nbdinfo", &["--json", served.uri()]).stdout;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let export = &info["exports"][0];
    assert_eq!(export["export-size"], 1 << 20);
    assert_eq!(export["is_read_only"], true);
    assert_eq!(export["can_multi_conn"], true);
    assert_eq!(export["contexts"], serde_json::json!(["base:allocation", "cow:dirty"]));
    let map = client(place.dir(), "nbdinfo", &["--map=cow:dirty", "--json", served.uri()]).stdout;
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    let number = |e: &serde_json::Value, key: &str| e[key].as_u64().unwrap();
    let extents = map.as_array().unwrap();
    let dirty: Vec<_> = extents.iter().filter(|e| e["type"] == 1).collect();
    let dirty: Vec<_> = dirty.iter().map(|e| (number(e, "offset"), number(e, "length"))).collect();
    assert_eq!(dirty, [(2560, 1536), (307_200, 512), (524_288, 51_200), (1_048_064, 512)]);
    assert_eq!(extents.iter().map(|e| number(e, "length")).sum::<u64>(), 1 << 20);
    served.stop();
}

#[test]
fn nbdcopy_out_and_in() {
    if missing("nbdcopy", &["nbdcopy"]) {
        return;
    }
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--rw"]);
    client(place.dir(), "nbdcopy", &[served.uri(), "out.img"]);
    same(&place.path("out.img"), &place.path("changed.img"));
    client(place.dir(), "nbdcopy", &["--flush", "other.img", served.uri()]);
    client(place.dir(), "nbdcopy", &[served.uri(), "out.img"]);
    same(&place.path("out.img"), &place.path("other.img"));
    served.stop();
    // What was written is in the COW file, and its base as it was.
    run(uml_moo().args(["top.cow", "merged.img"]).current_dir(place.dir())).expect(0);
    same(&place.path("merged.img"), &place.path("other.img"));
}

#[test]
fn qemu_compares_converts_writes_and_measures() {
    if missing("qemu-img and qemu-io", &["qemu-img", "qemu-io"]) {
        return;
    }
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--rw"]);
    let qemu = |args: &[&str]| client(place.dir(), "qemu-img", args);
    qemu(&["compare", "-f", "raw", "-F", "raw", "changed.img", served.uri()]);
    qemu(&["convert", "-f", "raw", "-O", "qcow2", served.uri(), "out.qcow2"]);
    qemu(&["compare", "-f", "raw", "-F", "qcow2", "changed.img", "out.qcow2"]);
    // The same commands to a plain file, which qemu itself writes.
    fs::copy(place.path("changed.img"), place.path("model.img")).unwrap();
    let commands = [
        "write -P 0x5a 64k 100k",
        "write -f -P 7 513 1000",
        "write -z 200k 64k",
        "write -z -u 300k 64k",
        "write -P 9 301k 1",
        "flush",
        "discard 512k 128k",
        "write -z 512k 128k",
        "write -P 3 1048575 1",
    ];
    for disk in ["model.img", served.uri()] {
        let args: Vec<&str> = commands.iter().flat_map(|c| ["-c", *c]).collect();
        client(place.dir(), "qemu-io", &[&["-f", "raw"], &args[..], &[disk]].concat());
    }
    qemu(&["compare", "-f", "raw", "-F", "raw", "model.img", served.uri()]);
    qemu(&["bench", "-f", "raw", "-c", "2000", "-d", "16", "-s", "4k", "-S", "8k", served.uri()]);
    qemu(&[
        "bench",
        "-f",
        "raw",
        "-c",
        "2000",
        "-d",
        "16",
        "-s",
        "4k",
        "-w",
        "--flush-interval",
        "100",
        served.uri(),
    ]);
    // In by many connections at once; a target that exists is not made anew.
    qemu(&["convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw", "other.img", served.uri()]);
    qemu(&["compare", "-f", "raw", "-F", "raw", "other.img", served.uri()]);
    served.stop();
}

#[test]
fn a_client_that_starts_it_passes_it_a_socket() {
    if missing("a socket that is passed", &["nbdinfo", "nbdcopy"]) {
        return;
    }
    let place = Place::new();
    let cowtool = Program::Cowtool.path();
    let cowtool = cowtool.to_str().unwrap();
    let ran = client(place.dir(), "nbdinfo", &["--size", "--", "[", cowtool, "serve", "top.cow", "]"]);
    assert_eq!(ran.stdout, "1048576\n");
    client(place.dir(), "nbdcopy", &["--", "[", cowtool, "serve", "top.cow", "]", "out.img"]);
    same(&place.path("out.img"), &place.path("changed.img"));
}

#[test]
fn standard_input_and_output_serve_one_client() {
    let place = Place::new();
    let cowtool = Program::Cowtool.path();
    let model = place.path("changed.img");
    let args = [cowtool.to_str().unwrap(), place.dir().to_str().unwrap(), model.to_str().unwrap()];
    script("serving standard input and output", "stdio.py", &args);
    run(uml_moo().args(["top.cow", "merged.img"]).current_dir(place.dir())).expect(0);
    same(&place.path("merged.img"), &model);
}

#[test]
fn nbdfuse_shows_it_as_a_file() {
    if missing("nbdfuse", &["nbdfuse", "fusermount3"]) {
        return;
    }
    if fs::metadata("/dev/fuse").is_err() || !is_root() {
        return skipped("nbdfuse", "no /dev/fuse, or nobody may mount here");
    }
    let place = Place::new();
    let cowtool = Program::Cowtool.path();
    fs::create_dir(place.path("mnt")).unwrap();
    let mut fuse = Command::new("nbdfuse")
        .args([
            "-P",
            "pid",
            "mnt/disk",
            "--command",
            cowtool.to_str().unwrap(),
            "serve",
            "--stdio",
            "--rw",
            "top.cow",
        ])
        .current_dir(place.dir())
        .spawn()
        .unwrap();
    // The file of that name is there once the mount is.
    while !place.path("pid").exists() {
        assert!(fuse.try_wait().unwrap().is_none(), "nbdfuse has ended");
        std::thread::yield_now();
    }
    same(&place.path("mnt/disk"), &place.path("changed.img"));
    write_at(&place.path("mnt/disk"), 5000, b"from above");
    run(Command::new("fusermount3").args(["-u", "mnt"]).current_dir(place.dir())).expect(0);
    assert!(fuse.wait().unwrap().success());
    write_at(&place.path("changed.img"), 5000, b"from above");
    // It has let the server go, which ends in its own time, with the lock.
    let merge = || run(uml_moo().args(["top.cow", "merged.img"]).current_dir(place.dir()));
    let mut merged = merge();
    while merged.stderr.contains("in use") {
        merged = merge();
    }
    merged.expect(0);
    same(&place.path("merged.img"), &place.path("changed.img"));
}

#[test]
fn fio_verifies_what_it_has_written() {
    if missing("fio's nbd engine", &["fio"]) {
        return;
    }
    if !run(Command::new("fio").arg("--enghelp")).stdout.contains("nbd") {
        return skipped("fio's nbd engine", "this fio has none");
    }
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--rw"]);
    let uri = format!("--uri={}", served.uri());
    let common = ["--name=x", "--ioengine=nbd", uri.as_str(), "--size=1m", "--verify=crc32c", "--randseed=5"];
    for how in [
        ["--rw=randwrite", "--bs=512", "--iodepth=16"],
        ["--rw=randwrite", "--bsrange=512-64k", "--iodepth=8"],
        ["--rw=write", "--bs=256k", "--iodepth=4"],
        ["--rw=randtrimwrite", "--bs=4k", "--iodepth=1"],
    ] {
        client(place.dir(), "fio", &[&common[..], &how[..]].concat());
    }
    served.stop();
}

#[test]
fn several_exports_each_under_its_name() {
    let place = Place::new();
    run(uml_moo().args(["files.cow", "files.new"]).current_dir(place.dir())).expect(0);
    let exports = ["--export", "session", "--export", "was=base", "--export", "other=files.cow"];
    let served = Served::start(place.dir(), &[&["top.cow"][..], &exports].concat());
    assert_eq!(served.uris.len(), 3);
    if missing("nbdcopy", &["nbdcopy", "nbdinfo"]) {
        return;
    }
    for (uri, file) in served.uris.iter().zip(["changed.img", "base.img", "files.new"]) {
        client(place.dir(), "nbdcopy", &[uri, "out.img"]);
        same(&place.path("out.img"), &place.path(file));
    }
    let list = client(place.dir(), "nbdinfo", &["--list", served.uri()]).stdout;
    for name in ["session", "was", "other"] {
        assert!(list.contains(&format!("export=\"{name}\":")), "{list}");
    }
    let wrong = served.uri().replace("/session?", "/nobody?");
    let refused = run(Command::new("nbdinfo").arg(&wrong));
    assert!(refused.stderr.contains("No such file or directory for export: nobody"), "{}", refused.stderr);
    served.stop();
}

#[test]
fn random_requests_of_four_connections_against_a_model() {
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--rw"]);
    let model = place.path("changed.img");
    script("random requests", "model.py", &[served.uri(), model.to_str().unwrap(), "4000"]);
    served.stop();
    // The script leaves in the file what the disk must now hold.
    run(uml_moo().args(["top.cow", "merged.img"]).current_dir(place.dir())).expect(0);
    same(&place.path("merged.img"), &model);
}
