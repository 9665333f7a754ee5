//! A disk with some of the host's programs, and guests that run a script on it.

use crate::image::{self, output, text};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Copies a program and what it is linked with to the same paths below `tree`.
fn install(tree: &Path, name: &str) {
    let found = output("sh", &["-c", &format!("command -v {name}")]);
    let program = PathBuf::from(text(&found.stdout).trim());
    let linked = output("ldd", &[program.to_str().expect("a path")]);
    let listed = text(&linked.stdout);
    let libraries = listed.split_whitespace().filter(|w| w.starts_with('/')).map(PathBuf::from);
    for file in libraries.chain([program.clone()]) {
        let to = match file == program {
            true => tree.join("bin").join(name),
            false => tree.join(file.strip_prefix("/").expect("absolute")),
        };
        std::fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        std::fs::copy(&file, &to).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}

pub(crate) struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new(programs: &[&str], arguments: &[&str]) -> Disk {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = dir.path().join("tree");
        for d in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "mnt"] {
            std::fs::create_dir_all(tree.join(d)).expect("a directory");
        }
        programs.iter().for_each(|p| install(&tree, p));
        std::fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/bin/bash\n").expect("a file");
        let disk = Disk { dir };
        image::make(&disk.path("base.img"), &tree, arguments, "160M");
        disk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A guest on a disk; behind that, separated by spaces, may stand more of them.
    pub(crate) fn kernel(&self, disks: &str, script: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uml-kernel"));
        command.current_dir(self.dir.path()).args(["run", "--disk"]).args(disks.split(' '));
        command.args(["--", "/bin/bash", "-c", script]);
        command.env("PATH", "/bin").stdin(Stdio::null());
        command
    }

    /// Runs a script in a guest; what it said.
    pub(crate) fn run(&self, disk: &str, script: &str) -> String {
        let out = self.kernel(disk, script).output().expect("it runs");
        assert!(out.status.success(), "{script}: {}\n{}", out.status, text(&out.stderr));
        text(&out.stdout)
    }

    /// What a COW disk shows, as an image; e2fsck looks at it.
    pub(crate) fn flat(&self, cow: &str, name: &str) -> PathBuf {
        let image = self.path(name);
        image::flatten(&self.path(cow), &image);
        image
    }
}
