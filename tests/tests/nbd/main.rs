//! `cowtool serve` and the clients of NBD that there are.

mod clients;
mod ending;
mod many;
mod partitions;
mod protocol;
mod tls;

use std::path::Path;
use std::process::Command;
use whole_program_tests::*;

/// Python with libnbd, where that is installed: Debian's own, for other ones do not see it.
fn python(what: &str) -> Option<Command> {
    let works = Command::new("/usr/bin/python3").args(["-c", "import nbd"]).output();
    if works.is_ok_and(|o| o.status.success()) {
        return Some(Command::new("/usr/bin/python3"));
    }
    skipped(what, "not installed: python3-libnbd");
    None
}

/// Runs one of the scripts beside this file, which must end well.
#[track_caller]
fn script(what: &str, name: &str, args: &[&str]) {
    let Some(mut python) = python(what) else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nbd").join(name);
    let ran = run(python.arg(path).args(args)).expect(0);
    assert!(ran.stdout.ends_with("done\n"), "{}", ran.stdout);
}

fn same(a: &Path, b: &Path) {
    run(Command::new("cmp").args([a, b])).expect(0);
}

/// A client, which must end well.
#[track_caller]
fn client(dir: &Path, program: &str, args: &[&str]) -> Ran {
    run(Command::new(program).args(args).current_dir(dir)).expect(0)
}
