//! A real User-Mode Linux, with a shell on its console.

use crate::{NOBODY, is_root, missing, owned_by_nobody, run, sh};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// As long as a guest may live.
const LIFE: Duration = Duration::from_secs(60);

const INIT: &str = "#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox stty -echo -onlcr
echo 1 > /proc/sys/kernel/printk
echo READY
while read -r line; do eval \"$line\"; done
";

/// A directory for guests, with `base.img` in it: a file system with busybox, and an init that reads commands
/// from the console.
#[derive(Debug)]
pub struct Lab {
    dir: TempDir,
}

impl Lab {
    /// Makes it, or says what is missing.
    pub fn new(what: &str) -> Option<Self> {
        if missing(what, &["linux.uml", "mke2fs", "e2fsck", "debugfs", "busybox", "setpriv", "timeout"]) {
            return None;
        }
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        for dir in ["root/bin", "root/proc", "root/dev", "root/data"] {
            fs::create_dir_all(lab.path(dir)).unwrap();
        }
        fs::write(lab.path("root/init"), INIT).unwrap();
        fs::set_permissions(lab.path("root/init"), fs::Permissions::from_mode(0o755)).unwrap();
        let applets = "ln -s busybox root/bin/$a";
        sh(
            lab.dir(),
            &format!(
                "cp \"$(command -v busybox)\" root/bin/busybox
                for a in sh mount umount cat dd echo rm cp sync poweroff ls sha256sum od cut head; do {applets}; done
                seq 1 20000 > root/data/numbers; echo old > root/data/old; echo gone > root/data/gone
                truncate -s 24M base.img; PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -b 4096 -d root base.img; rm -r root"
            ),
        );
        owned_by_nobody(lab.dir());
        Some(lab)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command that runs here as the user the guests run as.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command;
        if is_root() {
            command = Command::new(NOBODY[0]);
            command.args(&NOBODY[1..]).arg(program.as_ref());
        } else {
            command = Command::new(program.as_ref());
        }
        command.current_dir(self.dir());
        command
    }

    /// Starts a guest with these disks on its command line, and waits for its shell.
    pub fn boot(&self, disks: &[&str]) -> Guest {
        let mut guest = self.start(disks);
        guest.until("READY");
        guest
    }

    /// Starts a guest, which may not get as far as a shell.
    pub fn start(&self, disks: &[&str]) -> Guest {
        let limit = LIFE.as_secs().to_string();
        let mut command = self.command("timeout");
        command
            .args(["--kill-after=5", &limit, "linux.uml", "mem=128M"])
            .args(disks)
            .args(["root=/dev/ubda", "rw", "init=/init", "con=null", "con0=fd:0,fd:1", "panic=1"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.dir())
            .env("TMPDIR", self.dir()); // its memory is a file there, which it maps executable
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (to, console) = mpsc::channel();
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for mut pipe in pipes {
            let to = to.clone();
            std::thread::spawn(move || {
                let mut buf = [0; 4096];
                while let Ok(n @ 1..) = pipe.read(&mut buf) {
                    let _ = to.send(String::from_utf8_lossy(&buf[..n]).into_owned());
                }
            });
        }
        let stdin = child.stdin.take().unwrap();
        Guest { child, stdin, console, said: String::new(), seen: 0, asked: 0, begun: Instant::now() }
    }
}

/// A running guest. Dropped, it is ended by force.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    stdin: ChildStdin,
    console: Receiver<String>,
    said: String,
    seen: usize,
    asked: usize,
    begun: Instant,
}

impl Guest {
    /// What the console shows up to and without `mark`, from where the last call ended.
    #[track_caller]
    pub fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = self.said[self.seen..].find(mark) {
                let text = self.said[self.seen..self.seen + at].to_owned();
                self.seen += at + mark.len();
                return text;
            }
            match self
                .console
                .recv_timeout((LIFE + Duration::from_secs(10)).saturating_sub(self.begun.elapsed()))
            {
                Ok(text) => self.said += &text.replace('\r', ""),
                Err(_) => panic!("no {mark:?} from the guest; it said:\n{}", self.said),
            }
        }
    }

    /// Runs a command in the guest's shell, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn sh(&mut self, command: &str) -> String {
        self.asked += 1;
        let n = self.asked;
        // An echo of the line itself would have the quotes in it.
        writeln!(self.stdin, "{command}; echo \"<\"\"{n}:$?>\"").unwrap();
        let text = self.until(&format!("<{n}:"));
        let code = self.until(">");
        assert_eq!(code, "0", "in the guest: {command}\n{text}");
        // What ended the last answer's line comes before this one.
        text.strip_prefix('\n').unwrap_or(&text).to_owned()
    }

    /// Makes its root file system clean, halts it, and returns all that it said.
    #[track_caller]
    pub fn halt(mut self) -> String {
        self.sh("sync; mount -o remount,ro /");
        writeln!(self.stdin, "poweroff -f").unwrap();
        self.end()
    }

    /// Waits for its end and returns all that it said.
    #[track_caller]
    pub fn end(mut self) -> String {
        // Its input stays open: a console that hangs up takes with it what was not read.
        while let Ok(text) = self.console.recv_timeout(LIFE) {
            self.said += &text.replace('\r', "");
        }
        let status = self.child.wait().unwrap();
        assert_ne!(status.code(), Some(124), "the guest did not end; it said:\n{}", self.said);
        std::mem::take(&mut self.said)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // timeout(1) passes it on to the guest, and kills that when it does not listen.
            let _ = run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]));
            let _ = self.child.wait();
        }
    }
}
