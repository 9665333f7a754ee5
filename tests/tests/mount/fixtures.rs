//! The fixtures' session, by an ordinary user: mounted, listed, changed, unmounted, and seen by the kernel.

use crate::place::{listing, no_fuse, with_loop};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use whole_program_tests::{Fixture, NOBODY, Program, is_root, owned_by_nobody, run, sh, skipped};

/// Whether an ordinary user may mount here; says so if not.
fn none_for_users(what: &str) -> bool {
    let open = std::fs::metadata("/dev/fuse").is_ok_and(|m| m.permissions().mode() & 0o006 == 0o006);
    let helper = Path::new("/usr/bin/fusermount3").exists();
    if !open || !helper || !is_root() {
        skipped(
            what,
            "no fusermount3, or /dev/fuse is not for everybody (chmod 666 /dev/fuse), or this is not root",
        );
    }
    !open || !helper || !is_root()
}

/// A program that nobody may start, and a place where he may work.
fn place() -> Fixture {
    let fixture = Fixture::new();
    sh(fixture.dir(), "mkdir mnt kernel");
    std::fs::copy(Program::Cowtool.path(), fixture.path("cowtool")).unwrap();
    run(Program::Cowtool
        .command()
        .args(["relocate", "session.cow", "--base", "base.img"])
        .current_dir(fixture.dir()))
    .expect(0);
    run(Program::Cowtool
        .command()
        .args(["relocate", "killed.cow", "--base", "base.img"])
        .current_dir(fixture.dir()))
    .expect(0);
    owned_by_nobody(fixture.dir());
    fixture
}

fn as_nobody(dir: &Path, script: &str) -> whole_program_tests::Ran {
    let mut command = Command::new(NOBODY[0]);
    run(command.args(&NOBODY[1..]).args(["sh", "-euc", script]).current_dir(dir))
}

#[test]
fn an_ordinary_user_looks_into_the_session_and_changes_it() {
    if none_for_users("a mount by an ordinary user") {
        return;
    }
    let fixture = place();
    let dir = fixture.dir();
    let seen = as_nobody(dir, "./cowtool mount session.cow mnt; cat mnt/new.txt; ls mnt/tree; grep cowtool /proc/mounts; ./cowtool umount mnt")
        .expect(0)
        .stdout;
    assert!(seen.starts_with("fresh\n") && seen.contains("new"), "{seen}");
    assert!(seen.contains("fuse.cowtool ro,nosuid,nodev"), "{seen}");
    as_nobody(dir, "./cowtool mount session.cow mnt --rw --map-owner; echo changed > mnt/new.txt; mkdir mnt/mine; mv mnt/logs/log00.txt mnt/mine; rm mnt/big.bin; ./cowtool umount mnt")
        .expect(0);
    run(Command::new("./cowtool").args(["commit", "session.cow", "--into", "merged"]).current_dir(dir))
        .expect(0);
    run(Command::new("e2fsck").args(["-fn", "merged"]).current_dir(dir)).expect(0);
    with_loop(&fixture.path("merged"), &fixture.path("kernel"), "ro", |at| {
        assert_eq!(std::fs::read(at.join("new.txt")).unwrap(), b"changed\n");
        assert!(
            at.join("mine/log00.txt").exists()
                && !at.join("big.bin").exists()
                && !at.join("logs/log00.txt").exists()
        );
        // Owners as the disk has them: what is made in root's directory is root's.
        assert_eq!(sh(at, "stat -c %u:%g mine new.txt"), "0:0\n0:0\n");
    });
}

#[test]
fn owners_as_they_are_hold_for_an_ordinary_user() {
    if none_for_users("permissions of a mount by an ordinary user") {
        return;
    }
    let fixture = place();
    let ran = as_nobody(
        fixture.dir(),
        "./cowtool mount session.cow mnt --rw; touch mnt/new.txt 2>&1 || echo refused; cat mnt/logs/log21.txt 2>&1 || echo secret; ./cowtool umount mnt",
    );
    let out = ran.expect(0).stdout;
    assert!(out.contains("refused") && out.contains("secret") && out.contains("Permission denied"), "{out}");
}

#[test]
fn a_killed_session_is_recovered_in_memory() {
    if no_fuse("a mount of killed.cow") {
        return;
    }
    let fixture = place();
    let before = fixture.bytes("killed.cow");
    let ran = run(Command::new("./cowtool").args(["mount", "killed.cow", "mnt"]).current_dir(fixture.dir()))
        .expect(0);
    assert!(ran.stderr.contains("recovered in memory"), "{}", ran.stderr);
    let ours = listing(&fixture.path("mnt"));
    run(Command::new("./cowtool").args(["umount", "mnt"]).current_dir(fixture.dir())).expect(0);
    assert!(before == fixture.bytes("killed.cow"), "a look has changed it");
    run(Command::new("./cowtool")
        .args(["commit", "killed.cow", "--into", "merged"])
        .current_dir(fixture.dir()))
    .expect(0);
    let kernel = with_loop(&fixture.path("merged"), &fixture.path("kernel"), "rw", listing);
    crate::place::same(&ours, &kernel);
}

#[test]
fn a_new_layer_leaves_the_session_as_it_was() {
    if no_fuse("a mount with --new") {
        return;
    }
    let fixture = place();
    let before = fixture.bytes("session.cow");
    sh(
        fixture.dir(),
        "./cowtool mount session.cow mnt --rw --new scratch.cow; echo more > mnt/more; rm mnt/new.txt; ./cowtool umount mnt",
    );
    assert!(before == fixture.bytes("session.cow"));
    let seen =
        sh(fixture.dir(), "./cowtool mount scratch.cow mnt; cat mnt/more; ls mnt; ./cowtool umount mnt");
    assert!(seen.starts_with("more\n") && !seen.contains("new.txt"), "{seen}");
}

#[test]
fn the_disk_as_a_file_is_the_merged_disk() {
    if no_fuse("a mount with --disk") {
        return;
    }
    let fixture = place();
    let dir = fixture.dir();
    sh(
        dir,
        "./cowtool commit session.cow --into merged; ./cowtool mount session.cow mnt --disk; cmp merged mnt/disk; ./cowtool umount mnt",
    );
    // A loop mount over it, as for file systems that are not known here.
    sh(
        dir,
        "./cowtool mount session.cow mnt --disk --rw; mount -o loop mnt/disk kernel; echo by-kernel > kernel/x; umount kernel; \
             n=0; until ./cowtool umount mnt; do n=$((n+1)); [ $n -lt 50 ]; sleep 0.1; done",
    );
    let seen = sh(dir, "./cowtool mount session.cow mnt; cat mnt/x; ./cowtool umount mnt");
    assert_eq!(seen, "by-kernel\n");
}
