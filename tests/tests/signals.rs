//! A signal in the middle of a merge.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use whole_program_tests::*;

/// Long enough that a signal finds it at work.
const DISK: Scatter = Scatter { size: 1024 << 20, dirty: 192 << 20 };

const SIGNALS: [(&str, i32); 3] = [("TERM", 15), ("INT", 2), ("HUP", 1)];

fn big_disk() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    DISK.make_base(&dir.path().join("base.img"));
    DISK.make_cow(&dir.path().join("top.cow"), &dir.path().join("base.img"));
    dir
}

fn kill(child: &Child, signal: &str) {
    run(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()])).expect(0);
}

/// Starts a command, asks it how far it is as soon as it listens, and sends the signal when it has answered.
/// Returns what it said, answer included, and the signal it died of.
fn interrupted(command: &mut Command, signal: &str) -> (Vec<String>, Option<i32>) {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let listens = |mask: &str| u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (10 - 1)) != 0;
    loop {
        let text = fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|l| l.strip_prefix("SigCgt:")).expect("ended too soon");
        if listens(caught) {
            break;
        }
    }
    kill(&child, "USR1");
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains(" of ") && line.contains('%'), "the answer to SIGUSR1: {line:?}");
    kill(&child, signal);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let died = child.wait().unwrap().signal();
    (std::iter::once(line.as_str()).chain(rest.lines()).map(|l| l.trim_end().to_owned()).collect(), died)
}

fn merged(path: &Path) {
    assert_eq!(DISK.differs(path, true).unwrap(), None, "{}", path.display());
}

#[test]
fn a_merge_into_a_new_file_leaves_nothing() {
    let dir = big_disk();
    fs::write(dir.path().join("new"), "old").unwrap();
    let before = Tree::of(dir.path());
    for (name, number) in SIGNALS {
        let mut command = uml_moo();
        let (said, died) = interrupted(command.args(["top.cow", "new"]).current_dir(dir.path()), name);
        assert_eq!(died, Some(number), "{said:?}");
        assert_eq!(said[1..], ["interrupted: the target is what it was"]);
        before.expect_same(dir.path(), name);
    }
    let mut command = cowtool();
    command.args(["convert", "top.cow", "--into", "new", "--to", "qcow2"]).current_dir(dir.path());
    let (said, died) = interrupted(&mut command, "TERM");
    assert_eq!((died, said.len()), (Some(15), 2), "{said:?}");
    before.expect_same(dir.path(), "convert");
}

#[test]
fn a_merge_in_place_is_finished_by_running_it_again() {
    let dir = big_disk();
    for (i, (name, number)) in SIGNALS.into_iter().enumerate() {
        let (said, died) = interrupted(uml_moo().args(["-d", "top.cow"]).current_dir(dir.path()), name);
        assert_eq!(died, Some(number), "{said:?}");
        let again = "interrupted: the base is partly merged; run the same command again to finish";
        assert_eq!(said[1..], [again]);
        assert_eq!(sh(dir.path(), "ls -A"), "base.img\nbase.img.cow-log\ntop.cow\n");
        if i == 0 {
            let line = run(cowtool().args(["info", "top.cow"]).current_dir(dir.path())).expect(0).stdout;
            assert!(line.contains("interrupted: finish it with uml_moo -d"), "{line}");
        }
    }
    run(uml_moo().args(["-d", "top.cow"]).current_dir(dir.path())).expect(0);
    merged(&dir.path().join("base.img"));
    run(uml_moo().args(["top.cow", "new"]).current_dir(dir.path())).expect(0);
    merged(&dir.path().join("new"));
}
