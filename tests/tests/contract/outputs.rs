//! Output that cannot go where it should: targets, and standard output and error.

use std::fs::{self, File};
use std::io::pipe;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use whole_program_tests::*;

const SIGPIPE: i32 = 13;

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
        let missing = if case.file.ends_with(".cow") { case.file } else { "base.img" };
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

/// A base of its own is made with `create --size`; it goes again when the COW file cannot be made.
#[test]
fn create_with_a_new_base_leaves_nothing_when_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["create", "a.cow", "--size", "1M", "--sector-size", "100"];
    run(cowtool().args(args).current_dir(dir.path())).fails_with(1);
    assert_eq!(sh(dir.path(), "ls -A"), "");
}

#[test]
fn nobody_reads_the_output() {
    for case in CASES {
        let place = Place::new();
        let moo = case.program == Program::Moo && !case.name.contains("dry run");
        // The client of a server is free to go.
        let quiet = moo || case.name == "serve";
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
