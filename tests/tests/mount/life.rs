//! How mounts begin and end: options, locks, signals, kills, and what is said then.

use crate::place::{Place, no_fuse};
use std::os::unix::fs::symlink;
use std::process::Command;
use whole_program_tests::{Program, cowtool, run, sh};

fn server(place: &Place) -> String {
    let value = run(Command::new("getfattr")
        .args(["--only-values", "-n", "system.cowtool.daemon", "mnt"])
        .current_dir(place.dir()));
    value.expect(0).stdout.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_second_one_hears_who_has_it() {
    if no_fuse("locks of mounts") {
        return;
    }
    let place = Place::ext4(16);
    let mounted = place.mount(&["--rw"]);
    sh(place.dir(), "mkdir other");
    let line = run(cowtool().args(["mount", "cow", "other"]).current_dir(place.dir())).fails_with(1);
    assert!(line.contains(&format!("pid {}", server(&place))) && line.contains("cowtool"), "{line}");
    let ran = run(cowtool().args(["mount", "-U", "cow", "other"]).current_dir(place.dir())).expect(0);
    assert!(ran.stderr.contains("without a lock"), "{}", ran.stderr);
    run(cowtool().args(["umount", "other"]).current_dir(place.dir())).expect(0);
    mounted.umount();
}

#[test]
fn a_busy_one_says_so_and_stays() {
    if no_fuse("a busy mount") {
        return;
    }
    let place = Place::ext4(16);
    let mounted = place.mount(&["--rw"]);
    let open = std::fs::File::create(place.mnt().join("open")).unwrap();
    let line = run(cowtool().args(["umount", "mnt"]).current_dir(place.dir())).fails_with(1);
    assert!(line.contains("in use") && line.contains("--lazy"), "{line}");
    drop(open);
    mounted.umount();
    let line = run(cowtool().args(["umount", "mnt"]).current_dir(place.dir())).fails_with(1);
    assert!(line.contains("no mount of cowtool's"), "{line}");
}

#[test]
fn sigterm_unmounts_cleanly() {
    if no_fuse("SIGTERM of a mount") {
        return;
    }
    let place = Place::ext4(16);
    for busy in [false, true] {
        let _mounted = place.mount(&["--rw"]);
        std::fs::write(place.mnt().join("written"), "not synced").unwrap();
        let open = busy.then(|| std::fs::File::open(place.mnt()).unwrap());
        let pid = server(&place);
        sh(
            place.dir(),
            &format!(
                "kill -TERM {pid}; while [ -e /proc/{pid} ]; do sleep 0.05; done; ! grep -q $PWD/mnt /proc/mounts"
            ),
        );
        drop(open);
        place.seen_by_kernel(|at| assert_eq!(std::fs::read(at.join("written")).unwrap(), b"not synced"));
        sh(
            place.dir(),
            "dumpe2fs -h merged 2>/dev/null | grep -q '^Filesystem state: *clean'; ! dumpe2fs -h merged 2>/dev/null | grep -q needs_recovery",
        );
    }
}

#[test]
fn killed_it_loses_nothing_that_was_synced() {
    if no_fuse("kill -9 of a mount") {
        return;
    }
    let place = Place::ext4(16);
    let mounted = place.mount(&["--rw"]);
    sh(&place.mnt(), "echo kept > kept; sync kept .");
    let pid = server(&place);
    sh(place.dir(), &format!("kill -KILL {pid}; while [ -e /proc/{pid} ]; do sleep 0.05; done"));
    let line = run(cowtool().args(["mount", "cow", "mnt"]).current_dir(place.dir())).fails_with(1);
    assert!(line.contains("still mounted") && line.contains("cowtool umount"), "{line}");
    let line = run(cowtool().args(["umount", "mnt"]).current_dir(place.dir())).fails_with(1);
    assert!(line.contains("had been killed"), "{line}");
    std::mem::forget(mounted);
    assert_eq!(
        sh(
            place.dir(),
            &format!("{} mount cow mnt; cat mnt/kept; {0} umount mnt", Program::Cowtool.path().display())
        ),
        "kept\n"
    );
    run(cowtool().args(["check", "cow"]).current_dir(place.dir())).expect(0);
}

#[test]
fn by_the_names_of_mount_and_umount() {
    if no_fuse("mount -t fuse.cowtool") {
        return;
    }
    let place = Place::ext4(16);
    for name in ["mount.fuse.cowtool", "umount.fuse.cowtool"] {
        symlink(Program::Cowtool.path(), place.dir().join(name)).unwrap();
    }
    sh(
        place.dir(),
        "./mount.fuse.cowtool cow mnt -v -o rw,noauto,user,_netdev,uid=0,noexec; touch mnt/x; grep -q \"$PWD/mnt fuse.cowtool rw,.*noexec\" /proc/mounts; ./umount.fuse.cowtool mnt -t fuse.cowtool",
    );
    sh(
        place.dir(),
        "./mount.fuse.cowtool cow mnt -o ro; ! touch mnt/y 2>/dev/null; ./umount.fuse.cowtool mnt",
    );
    let line =
        run(cowtool().args(["mount", "cow", "mnt", "-o", "nonsense"]).current_dir(place.dir())).fails_with(1);
    assert!(line.contains("nonsense"), "{line}");
}

#[test]
fn what_is_not_ext_is_told_how_to_go_on() {
    let place = Place::new(16, "true");
    let line = run(cowtool().args(["mount", "cow", "mnt"]).current_dir(place.dir())).fails_with(1);
    assert!(line.contains("ext"), "{line}");
    let Ok(status) = Command::new("mkfs.xfs").arg("-V").status() else { return };
    if status.success() {
        let place = Place::new(320, "mkfs.xfs -q");
        let line = run(cowtool().args(["mount", "cow", "mnt"]).current_dir(place.dir())).fails_with(1);
        assert!(line.contains("--disk") && line.contains("mount -o loop"), "{line}");
    }
}

#[test]
fn a_partition_is_found() {
    if no_fuse("a mount of a partition") {
        return;
    }
    let place = Place::new(48, "true");
    sh(
        place.dir(),
        "printf 'label: gpt\\nsize=8M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\\nsize=30M\\n' | sfdisk -q base; \
                     truncate -s 30M part; mkfs.ext4 -q -F part; dd if=part of=base bs=1M seek=9 conv=notrunc status=none; \
                     rm cow",
    );
    run(cowtool().args(["create", "cow", "--base", "base", "--no-identify"]).current_dir(place.dir()))
        .expect(0);
    for options in [&["--rw"][..], &["--rw", "--partition", "2"]] {
        let mounted = place.mount(options);
        sh(&place.mnt(), "mkdir -p x; ls -d lost+found");
        mounted.umount();
    }
    let line = run(cowtool().args(["mount", "cow", "mnt", "--partition", "7"]).current_dir(place.dir()))
        .fails_with(1);
    assert!(line.contains("no partition 7"), "{line}");
}
