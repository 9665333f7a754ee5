//! Files that cannot be read: not there, not allowed, not of the right kind, or locked by somebody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use whole_program_tests::*;

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
            // These take raw images as well.
            Some("ls" | "cat" | "find" | "extract" | "tar-out") => {
                assert!(ran.fails_with(1).contains("no file system that is known"));
            }
            Some("diff") if case.args.contains(&"--files") => {
                assert!(ran.fails_with(2).contains("no file system that is known"));
            }
            // A raw image has nothing below it to be compared with, and can be converted.
            Some("diff" | "compare") => assert!(ran.fails_with(2).contains("no COW file")),
            Some("convert") => _ = ran,
            // It serves raw images too.
            Some("serve") => _ = ran.expect(0),
            _ => assert!(ran.fails_with(case.failure).contains("not a COW file"), "{}", case.name),
        }
        if case.subcommand() != Some("convert") {
            before.expect_same(place.dir(), case.name);
        }
    }
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
