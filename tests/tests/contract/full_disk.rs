//! Disks without room for what is to be written.

use std::fs;
use std::process::Command;
use whole_program_tests::*;

/// In a file system of `kib` KiB of its own at `full/`, where `$@` is run after `prepare`, and `after` then.
fn on_a_full_disk(place: &Place, kib: u32, prepare: &str, command: &Command, after: &str) -> Ran {
    let way = private_mounts().unwrap();
    let script = format!(
        "mkdir full; mount -t tmpfs -o size={kib}k none full
        fill() {{ dd if=/dev/zero of=full/filler bs=4k 2>/dev/null && exit 99; :; }}
        {prepare}
        rc=0; \"$@\" >/dev/null || rc=$?
        echo \"exit $rc\"; rm -f full/filler
        {after}"
    );
    let mut all = Command::new(way[0]);
    all.args(&way[1..]).args(["sh", "-euc", &script, "sh"]);
    all.arg(command.get_program()).args(command.get_args()).current_dir(place.dir());
    run(&mut all).expect(0)
}

#[test]
fn no_space_for_a_new_file() {
    if private_mounts().is_none() {
        return skipped(
            "no space left on the device",
            "neither `unshare -rm` nor `unshare -m` can mount here",
        );
    }
    for case in CASES.iter().filter(|c| c.effect == Effect::Makes) {
        for old in [true, false] {
            if old && case.subcommand() == Some("create") {
                continue; // it refuses an existing file
            }
            let place = Place::new();
            let before = place.tree();
            let command = case.command(place.dir(), case.file, "full/target");
            let prepare = if old { "printf old > full/target; fill" } else { "fill" };
            let ran =
                on_a_full_disk(&place, 64, prepare, &command, "ls -A full; cat full/* 2>/dev/null || :");
            let want = if old { "target\nold" } else { "" };
            assert_eq!(ran.stdout, format!("exit {}\n{want}", case.failure), "{}: {}", case.name, ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{}: {}", case.name, ran.stderr);
            assert!(ran.stderr.contains("No space left on device"), "{}: {}", case.name, ran.stderr);
            fs::remove_dir(place.path("full")).unwrap();
            let changes = before.changes(&place.tree());
            assert!(changes.iter().all(|c| c.ends_with(".cow-tree")), "{}: {changes:?}", case.name);
        }
    }
}

/// The disk is full in the middle of a merge in place: it says so, and ends well once there is room.
#[test]
fn no_space_for_a_merge_in_place() {
    if private_mounts().is_none() {
        return skipped("no space left in place", "neither `unshare -rm` nor `unshare -m` can mount here");
    }
    for (moo, log) in [(true, true), (false, true), (true, false)] {
        let place = Place::new();
        // A base that is all hole, on a disk without room for what is merged into it.
        let prepare = format!(
            "truncate -s 1M full/base.img; cp base.img image
            {cowtool} create cow --base full/base.img --from image >/dev/null
            {}",
            if log { "" } else { "rm -f full/base.img.cow-*; fill" },
            cowtool = Program::Cowtool.path().display()
        );
        let command = if moo {
            let mut c = uml_moo();
            c.args(["-d", "cow"]);
            c
        } else {
            let mut c = cowtool();
            c.args(["commit", "cow"]);
            c
        };
        let after = "ls -A full | tr '\\n' ' '; sha256sum < full/base.img
            mount -o remount,size=8m full; \"$@\" >/dev/null; echo again $?; cmp full/base.img image && echo merged";
        let ran = on_a_full_disk(&place, 200, &prepare, &command, after);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines[0], "exit 1", "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
        assert!(!lines[1].contains(".part"), "{}", lines[1]);
        let hint =
            "full/base.img\": No space left on device: it is partly merged; run the same command again";
        assert_eq!(ran.stderr.contains(hint), log, "{}", ran.stderr);
        if !log {
            let zeros = "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58"; // 1 MiB of them
            assert!(lines[1].contains(zeros), "without a log nothing is merged: {}", lines[1]);
        }
        assert_eq!(lines[2..], ["again 0", "merged"], "{}", ran.stdout);
    }
}

/// Those that change a COW file where it lies leave it showing what it showed.
#[test]
fn no_space_for_a_change() {
    if private_mounts().is_none() {
        return skipped("no space left for changes", "neither `unshare -rm` nor `unshare -m` can mount here");
    }
    for args in [
        &["snapshot", "full/top.cow"][..],
        &["rebase", "full/top.cow", "--base", "other.img"],
        &["relocate", "full/top.cow", "--base", "base.img"],
        &["identify", "full/top.cow"],
        &["compact", "full/top.cow"],
        // --force: the copy is not the only COW file on this base.
        &["commit", "full/top.cow", "--force", "--keep-undo", "full/undo"],
    ] {
        let place = Place::new();
        let before = place.tree();
        let tool = Program::Cowtool.path();
        let mut command = cowtool();
        command.args(args);
        let after = format!("{} compare full/top.cow changed.img; ls -A full | tr '\\n' ' '", tool.display());
        let ran = on_a_full_disk(&place, 512, "cp --sparse=always top.cow full/; fill", &command, &after);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines[1], "the disks are the same", "{args:?}: {}", ran.stdout);
        assert!(!lines[2].contains(".part"), "{args:?}: {}", lines[2]);
        if lines[0] != "exit 0" {
            assert_eq!(lines[0], "exit 1", "{args:?}: {}", ran.stderr);
            assert_eq!(lines[2].trim(), "top.cow", "{args:?}");
            assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("No space left on device"), "{args:?}: {}", ran.stderr);
            let changes = before.changes(&place.tree());
            // A merge that has begun says so in its log; nothing else may have changed.
            let own = |c: &&String| !c.contains(".cow-") && !c.ends_with("full");
            assert_eq!(changes.iter().filter(own).count(), 0, "{args:?}: {changes:?}");
        } else {
            assert!(["relocate", "identify", "compact"].contains(&args[0]), "{args:?} needs space");
        }
    }
}
