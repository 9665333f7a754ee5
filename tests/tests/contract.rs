//! What every program promises, whatever it does: tested once, for all, from one table.

use std::fs::{self, File};
use std::io::pipe;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use whole_program_tests::*;

const SIGPIPE: i32 = 13;

/// Every program as a whole, and every subcommand.
fn programs() -> Vec<(Program, Vec<&'static str>, i32)> {
    let mut all = vec![(Program::Moo, vec![], 1), (Program::Cowtool, vec![], 2)];
    let mut seen = Vec::new();
    for case in CASES {
        if let Some(name) = case.subcommand()
            && !seen.contains(&name)
        {
            seen.push(name);
            all.push((case.program, vec![name], case.usage));
        }
    }
    all
}

#[test]
fn help_and_version() {
    for (program, args, _) in programs() {
        for flag in ["--help", "-h"] {
            let ran = run(program.command().args(&args).arg(flag)).expect(0);
            assert!(ran.stdout.contains("Usage: "), "{}:\n{}", ran.command, ran.stdout);
            assert!(ran.stdout.contains(program.name()), "{}:\n{}", ran.command, ran.stdout);
            assert_eq!(ran.stderr, "", "{}", ran.command);
        }
        let ran = run(program.command().args(&args).arg("--version")).expect(0);
        assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
        assert!(ran.stdout.starts_with(program.name()), "{}: {}", ran.command, ran.stdout);
        assert!(ran.stdout.trim_end().ends_with(env!("CARGO_PKG_VERSION")), "{}", ran.stdout);
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn the_table_names_every_subcommand() {
    let help = run(cowtool().arg("--help")).expect(0).stdout;
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    for line in commands.lines().filter(|l| l.starts_with("  ") && !l.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        let known = CASES.iter().any(|c| c.subcommand() == Some(name));
        assert!(known || name == "help", "{name} is not in the table of cases");
    }
}

#[test]
fn wrong_command_lines() {
    let place = Place::new();
    let before = place.tree();
    for (program, args, usage) in programs() {
        for wrong in [&["--no-such-option"][..], &["a", "b", "c", "d"]] {
            let ran = run(program.command().args(&args).args(wrong).current_dir(place.dir())).expect(usage);
            assert_eq!(ran.stdout, "", "{}", ran.command);
            assert!(ran.stderr.starts_with("error: "), "{}: {}", ran.command, ran.stderr);
        }
    }
    for (program, usage) in [(Program::Moo, 1), (Program::Cowtool, 2)] {
        let ran = run(&mut program.command()).expect(usage);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains("Usage: "), "{}", ran.stderr);
    }
    before.expect_same(place.dir(), "wrong command lines");
}

#[test]
fn options_come_in_any_order() {
    let (there, back) = (["-d", "-b", "base.img", "top.cow"], ["top.cow", "-b", "base.img", "-d"]);
    for args in [there, back, ["-b", "base.img", "-d", "top.cow"], ["-b", "base.img", "top.cow", "-d"]] {
        let place = Place::new();
        run(uml_moo().args(args).current_dir(place.dir())).expect(0);
        assert_eq!(fs::read(place.path("base.img")).unwrap(), fs::read(place.path("changed.img")).unwrap());
    }
    for args in [
        ["-b", "base.img", "top.cow", "new"],
        ["top.cow", "-b", "base.img", "new"],
        ["top.cow", "new", "-b", "base.img"],
    ] {
        let place = Place::new();
        run(uml_moo().args(args).current_dir(place.dir())).expect(0);
        assert_eq!(fs::read(place.path("new")).unwrap(), fs::read(place.path("changed.img")).unwrap());
    }
}

/// The good command lines, what they do to the files, and their JSON.
#[test]
fn good_command_lines() {
    for case in CASES {
        for json in [false, true] {
            let place = Place::new();
            let before = place.tree();
            let mut command = case.good(place.dir());
            if json {
                command.args(if case.program == Program::Moo { &["--json"][..] } else { &["--output=json"] });
            }
            let ran = run(&mut command).expect(case.success);
            assert_eq!(ran.stderr, "", "{}", ran.command);
            let prints_no_json = ["completions", "manual page"].contains(&case.name);
            if json && !prints_no_json {
                for line in ran.stdout.lines() {
                    let value: serde_json::Value =
                        serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", ran.command));
                    assert!(value.is_object(), "{line}");
                }
            } else if case.program == Program::Moo && case.name.contains("dry run") {
                assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
            } else if case.program == Program::Moo {
                assert_eq!(ran.stdout, "", "the old tool says nothing when all goes well");
            }
            let changes = before.changes(&place.tree());
            let own = |c: &String| [".cow-log", ".cow-tree"].iter().any(|s| c.ends_with(s));
            match case.effect {
                Effect::Reads => assert!(changes.is_empty(), "{}: {changes:?}", case.name),
                Effect::Makes => {
                    assert!(changes.contains(&"+new".to_owned()), "{}: {changes:?}", case.name);
                    assert!(changes.iter().all(|c| c == "+new" || own(c)), "{}: {changes:?}", case.name);
                }
                Effect::Changes => {
                    assert!(!changes.iter().any(|c| c.contains(".part")), "{}: {changes:?}", case.name);
                }
            }
        }
    }
}

/// Runs every command that reads a file with `prepare`'s file in its place, and sees that it fails as it should.
fn every_command_fails(prepare: impl Fn(&Place) -> String, says: &[&str], as_nobody: bool) {
    for case in CASES.iter().filter(|c| !c.file.is_empty()) {
        let place = Place::new();
        let bad = prepare(&place);
        if as_nobody {
            // The programs as well may lie where nobody gets at them.
            fs::copy(case.program.path(), place.path("program")).unwrap();
            owned_by_nobody(place.dir());
        }
        let before = place.tree();
        let mut command = case.command(place.dir(), &bad, "new");
        if as_nobody {
            let args = case.arguments(&bad, "new");
            command = Command::new(if is_root() { NOBODY[0] } else { "env" });
            command.args(if is_root() { &NOBODY[1..] } else { &[] });
            command.arg("./program").args(args).current_dir(place.dir());
        }
        let line = run_within(&mut command, Duration::from_secs(20)).fails_with(case.failure);
        assert!(says.iter().any(|s| line.contains(s)), "{}: {line}", case.name);
        let (shown, name) = (bad.escape_default().to_string(), bad.clone());
        assert!(line.contains(&shown) || line.contains(&name), "{}: no {shown} in: {line}", case.name);
        // The digest of a base that was computed on the way may stay: it is right, and saves time.
        let changes = before.changes(&place.tree());
        assert!(changes.iter().all(|c| c.ends_with(".cow-tree")), "{}: {changes:?}", case.name);
    }
}

#[test]
fn missing_file() {
    every_command_fails(|_| "nothing.here".to_owned(), &["No such file or directory"], false);
}

#[test]
fn missing_file_with_a_name_of_two_lines() {
    every_command_fails(|_| "two\nlines".to_owned(), &["No such file or directory"], false);
}

#[test]
fn directory_in_place_of_a_file() {
    let make = |place: &Place| {
        fs::create_dir(place.path("a.dir")).unwrap();
        "a.dir".to_owned()
    };
    every_command_fails(make, &["Is a directory"], false);
}

#[test]
fn unreadable_file() {
    if is_root() && missing("unreadable files, as root", &["setpriv"]) {
        return;
    }
    let make = |place: &Place| {
        fs::copy(place.path("top.cow"), place.path("secret")).unwrap();
        fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o000)).unwrap();
        "secret".to_owned()
    };
    every_command_fails(make, &["Permission denied"], true);
}

#[test]
fn fifo_in_place_of_a_file() {
    let make = |place: &Place| {
        run(Command::new("mkfifo").arg(place.path("a.fifo"))).expect(0);
        "a.fifo".to_owned()
    };
    every_command_fails(make, &["neither a regular file nor a block device"], false);
}

/// What is no COW file: an error for all who want one; for `check` it is a finding.
#[test]
fn text_in_place_of_a_cow_file() {
    for case in CASES.iter().filter(|c| c.file.ends_with(".cow")) {
        let place = Place::new();
        fs::write(place.path("a.text"), "not what you are looking for\n".repeat(1000)).unwrap();
        let before = place.tree();
        let ran = run(&mut case.command(place.dir(), "a.text", "new"));
        match case.subcommand() {
            Some("check") => assert!(ran.expect(2).stdout.contains("not a COW file")),
            // A raw image has nothing below it to be compared with, and can be converted.
            Some("diff" | "compare") => assert!(ran.fails_with(2).contains("no COW file")),
            Some("convert") => _ = ran,
            _ => assert!(ran.fails_with(case.failure).contains("not a COW file"), "{}", case.name),
        }
        if case.subcommand() != Some("convert") {
            before.expect_same(place.dir(), case.name);
        }
    }
}

#[test]
fn targets_that_cannot_be() {
    for case in CASES.iter().filter(|c| c.effect == Effect::Makes) {
        for (target, says) in [("no/dir/new", "No such file"), ("a.dir", ""), ("a.fifo", "")] {
            let place = Place::new();
            fs::create_dir(place.path("a.dir")).unwrap();
            run(Command::new("mkfifo").arg(place.path("a.fifo"))).expect(0);
            let before = place.tree();
            let line = run(&mut case.command(place.dir(), case.file, target)).fails_with(case.failure);
            assert!(line.contains(says) && line.contains(target), "{}: {line}", case.name);
            let changes = before.changes(&place.tree());
            let left: Vec<_> = changes.iter().filter(|c| !c.ends_with(".cow-tree")).collect();
            assert!(left.is_empty(), "{} {target}: {left:?}", case.name);
        }
    }
}

/// An existing target is what it was when the merge fails, and is replaced whole when it does not.
#[test]
fn an_old_target_stays_until_the_new_one_is_complete() {
    for case in CASES.iter().filter(|c| c.effect == Effect::Makes && c.subcommand() != Some("create")) {
        let place = Place::new();
        fs::write(place.path("new"), "old").unwrap();
        fs::set_permissions(place.path("new"), fs::Permissions::from_mode(0o640)).unwrap();
        let missing = if case.file.ends_with(".cow") { "top.cow" } else { "base.img" };
        fs::rename(place.path(missing), place.path("moved")).unwrap();
        let before = place.tree();
        run(&mut case.good(place.dir())).fails_with(case.failure);
        before.expect_same(place.dir(), case.name);
        fs::rename(place.path("moved"), place.path(missing)).unwrap();
        run(&mut case.good(place.dir())).expect(0);
        assert_ne!(fs::read(place.path("new")).unwrap(), b"old");
        let mode = fs::metadata(place.path("new")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{}: the mode stays", case.name);
    }
    let place = Place::new();
    let before = place.tree();
    let line = run(cowtool().args(["create", "top.cow", "--base", "base.img"]).current_dir(place.dir()));
    assert!(line.fails_with(1).contains("File exists"));
    before.expect_same(place.dir(), "create over an existing file");
}

#[test]
fn nobody_reads_the_output() {
    for case in CASES {
        let place = Place::new();
        let quiet = case.program == Program::Moo && !case.name.contains("dry run");
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = case.good(place.dir());
        let child = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr, "", "{}", case.name);
        use std::os::unix::process::ExitStatusExt;
        match output.status.signal() {
            Some(SIGPIPE) if !quiet => {}
            None if quiet => assert_eq!(output.status.code(), Some(0)),
            other => panic!("{}: {:?} {other:?}", case.name, output.status),
        }
    }
}

#[test]
fn the_output_cannot_be_written() {
    for case in CASES.iter().filter(|c| c.program == Program::Cowtool) {
        let place = Place::new();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = case.good(place.dir());
        let child = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(case.failure), "{}: {stderr}", case.name);
        assert_eq!(stderr.lines().count(), 1, "{}: {stderr}", case.name);
        assert!(stderr.contains("No space left on device"), "{}: {stderr}", case.name);
    }
}

/// Who cannot even complain still ends with the code of its failure.
#[test]
fn nobody_reads_the_errors() {
    for case in CASES.iter().filter(|c| !c.file.is_empty()) {
        let place = Place::new();
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = case.command(place.dir(), "nothing.here", "new");
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).status().unwrap();
        use std::os::unix::process::ExitStatusExt;
        let fine = status.code() == Some(case.failure) || status.signal() == Some(SIGPIPE);
        assert!(fine, "{}: {status} (101 is a panic)", case.name);
    }
}

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

/// A base of its own is made with `create --size`; it goes again when the COW file cannot be made.
#[test]
fn create_with_a_new_base_leaves_nothing_when_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["create", "a.cow", "--size", "1M", "--sector-size", "100"];
    run(cowtool().args(args).current_dir(dir.path())).fails_with(1);
    assert_eq!(sh(dir.path(), "ls -A"), "");
}

#[test]
fn the_manual_pages() {
    let dir = tempfile::tempdir().unwrap();
    run(cowtool().arg("man").arg(dir.path())).expect(0);
    let pages = fs::read_dir(dir.path()).unwrap().count();
    let subcommands: std::collections::BTreeSet<_> = CASES.iter().filter_map(Case::subcommand).collect();
    assert!(pages > subcommands.len(), "{pages} pages");
    let line = run(cowtool().args(["man", "/nowhere/at/all"])).fails_with(1);
    assert!(line.contains("/nowhere/at/all"), "{line}");
}

#[test]
fn locks_name_their_holder() {
    let place = Place::new();
    // flock(1) does not do: it takes locks of another kind. A merge that waits on a pipe would be a race.
    let Some(holder) = Holder::of(&place.path("top.cow")) else {
        return skipped("locks held by others", "python3 with fcntl is not installed");
    };
    for case in CASES.iter().filter(|c| c.file == "top.cow" && !c.args.contains(&"-U")) {
        if ["info", "map", "locks"].contains(&case.subcommand().unwrap_or_default()) {
            run(&mut case.good(place.dir())).expect(case.success);
            continue;
        }
        let before = place.tree();
        let line = run(&mut case.good(place.dir())).fails_with(case.failure);
        let want = format!("is in use by python3 (pid {}, exclusive lock)", holder.0.id());
        assert!(line.contains(&want), "{}: {line}", case.name);
        before.expect_same(place.dir(), case.name);
    }
    run(uml_moo().args(["-U", "top.cow", "new"]).current_dir(place.dir())).expect(0);
    assert_eq!(fs::read(place.path("new")).unwrap(), fs::read(place.path("changed.img")).unwrap());
}

/// Somebody with a POSIX lock, as the real UML takes it.
struct Holder(std::process::Child);

impl Holder {
    fn of(path: &Path) -> Option<Self> {
        use std::io::Read;
        let script = "import fcntl,sys
f=open(sys.argv[1],'r+b'); fcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB); print('locked',flush=True); sys.stdin.read()";
        let mut python = Command::new("python3");
        let mut child = python
            .args(["-c", script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut said).ok()?;
        Some(Self(child))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
