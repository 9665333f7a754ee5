//! What the host lets a test do. A test that cannot run says so in words.

use crate::run;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// A user who owns nothing, as a prefix of a command.
pub const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// Says that something was not tested, and why.
pub fn skipped(what: &str, why: &str) {
    use std::io::Write;
    // Past the capturing of the test harness, which would keep it to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
}

/// Whether a program is missing; says so.
pub fn missing(what: &str, programs: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found =
        |p: &str| path.split(':').any(|dir| fs::metadata(Path::new(dir).join(p)).is_ok_and(|m| m.is_file()));
    let absent: Vec<&str> = programs.iter().copied().filter(|p| !found(p)).collect();
    if !absent.is_empty() {
        skipped(what, &format!("not installed: {}", absent.join(", ")));
    }
    !absent.is_empty()
}

/// Whether permissions stop nobody here.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Gives a directory and all in it to nobody, who can then get at it.
pub fn owned_by_nobody(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    if is_root() {
        run(Command::new("chown").args(["-R", "65534:65534"]).arg(dir)).expect(0);
    }
}

/// A command prefix that may mount things nobody else sees, where there is one.
pub fn private_mounts() -> Option<&'static [&'static str]> {
    static FOUND: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let ways: [&[&str]; 2] = [&["unshare", "-rm"], &["unshare", "-m"]];
        ways.into_iter().find(|way| {
            let script = "mount -t tmpfs -o size=64k none /mnt";
            let mut command = Command::new(way[0]);
            command.args(&way[1..]).args(["sh", "-c", script]);
            command.output().is_ok_and(|o| o.status.success())
        })
    })
}
