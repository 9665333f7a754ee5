//! A root made of busybox, and a guest that boots from it.

use crate::image::{self, output, text};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const INITTAB: &str = "::sysinit:/etc/rc
tty0::respawn:/bin/sh
::ctrlaltdel:/bin/reboot
";
const RC: &str = "#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
";

/// A directory with `base.img`, whose init is busybox's.
pub(crate) struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    pub(crate) fn new(arguments: &[&str]) -> Root {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = dir.path().join("tree");
        for d in ["bin", "sbin", "dev", "etc", "proc", "root", "sys", "tmp", "mnt"] {
            std::fs::create_dir_all(tree.join(d)).expect("a directory");
        }
        std::fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("busybox-static is installed");
        let names = text(&output("/bin/busybox", &["--list"]).stdout);
        for name in names.lines().filter(|n| *n != "busybox") {
            let _ = std::os::unix::fs::symlink("busybox", tree.join("bin").join(name));
        }
        std::os::unix::fs::symlink("../bin/busybox", tree.join("sbin/init")).expect("a link");
        std::fs::write(tree.join("etc/inittab"), INITTAB).expect("a file");
        std::fs::write(tree.join("etc/rc"), RC).expect("a file");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(tree.join("etc/rc"), executable).expect("its mode");
        std::fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("a file");
        let root = Root { dir };
        image::make(&root.path("base.img"), &tree, arguments, "32M");
        root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Merges a COW file into an image, which e2fsck finds nothing in; what debugfs then says.
    pub(crate) fn in_merged(&self, cow: &str, request: &str) -> String {
        let image = self.path("merged.img");
        let _ = std::fs::remove_file(&image);
        image::flatten(&self.path(cow), &image);
        image::debugfs(&image, request)
    }
}

#[derive(Default)]
struct Said {
    all: Mutex<(String, bool)>,
    more: Condvar,
}

/// A guest that runs, with its console on pipes.
pub(crate) struct Guest {
    child: Child,
    said: Arc<Said>,
    /// What has been waited for lies before it.
    seen: usize,
}

impl Guest {
    pub(crate) fn boot(root: &Root, words: &[&str]) -> Guest {
        Guest::start(root.path("").as_path(), words, None)
    }

    /// The same, where windows are shown on an X display.
    #[allow(dead_code, reason = "not every test shows windows")]
    pub(crate) fn boot_on(display: &str, root: &Root, words: &[&str]) -> Guest {
        Guest::start(root.path("").as_path(), words, Some(("DISPLAY", display)))
    }

    fn start(dir: &Path, words: &[&str], display: Option<(&str, &str)>) -> Guest {
        let mut child = Command::new(env!("CARGO_BIN_EXE_uml-kernel"))
            .args(words)
            .current_dir(dir)
            .env("HOME", dir)
            .envs(display)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let said = Arc::new(Said::default());
        let theirs = said.clone();
        let mut from = child.stdout.take().expect("a pipe");
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut piece) {
                theirs.all.lock().expect("a lock").0 += &text(&piece[..n]);
                theirs.more.notify_all();
            }
            theirs.all.lock().expect("a lock").1 = true;
            theirs.more.notify_all();
        });
        Guest { child, said, seen: 0 }
    }

    /// Waits until it has said this, after what was waited for before; what came in between.
    pub(crate) fn wait_for(&mut self, what: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut all = self.said.all.lock().expect("a lock");
        loop {
            if let Some(at) = all.0[self.seen..].find(what) {
                let between = all.0[self.seen..self.seen + at].to_string();
                self.seen += at + what.len();
                return between;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || all.1 {
                let said = all.0.clone();
                drop(all);
                panic!("it does not say {what:?}; it said:\n{said}");
            }
            all = self.said.more.wait_timeout(all, left).expect("a lock").0;
        }
    }

    /// Whether it has said this since.
    pub(crate) fn said(&self, what: &str) -> bool {
        self.said.all.lock().expect("a lock").0[self.seen..].contains(what)
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("it reads");
    }

    /// The host's number of the kernel's process.
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is there");
    }

    /// Waits for its end; its exit status.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code();
            }
            assert!(
                Instant::now() < until,
                "it does not end; it said:\n{}",
                self.said.all.lock().expect("a lock").0
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its exit status, and what it had to complain of.
    pub(crate) fn end_with_errors(mut self) -> (Option<i32>, String) {
        let status = self.end();
        let mut errors = String::new();
        let _ = self.child.stderr.as_mut().expect("a pipe").read_to_string(&mut errors);
        (status, errors)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
