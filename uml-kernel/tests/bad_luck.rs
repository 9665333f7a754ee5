//! What the host does to disks: it is full, a file was cut, a base is gone or another, somebody else has the file. The guest gets errors and
//! goes on; who runs it is told the file and the way out; what was synced is there afterwards.

#![allow(clippy::expect_used)]

mod image;

use image::{output, text};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROGRAMS: &[&str] = &["bash", "cat", "head", "ls", "sha256sum", "sync"];

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        let files = Files(tempfile::tempdir().expect("a directory"));
        let tree = files.path("tree");
        for d in ["bin", "dev", "proc", "root", "sys", "tmp"] {
            std::fs::create_dir_all(tree.join(d)).expect("a directory");
        }
        for name in PROGRAMS {
            let linked = format!(
                "p=$(command -v {name}); echo $p /bin/{name}; ldd $p | grep -o '/[^ ]*' | sed 's/.*/& &/'"
            );
            for line in text(&output("sh", &["-c", &linked]).stdout).lines() {
                let (from, to) = line.split_once(' ').expect("two paths");
                let to = tree.join(to.trim_start_matches('/'));
                std::fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
                std::fs::copy(from, to).expect("it is copied");
            }
        }
        image::make(&files.path("base.img"), &tree, &["-t", "ext4", "-b", "4096"], "64M");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn kernel(&self, disk: &str, script: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uml-kernel"));
        command.current_dir(self.0.path()).args(["run", "--disk", disk, "--", "/bin/bash", "-c", script]);
        command.env("PATH", "/bin").stdin(Stdio::null());
        command
    }

    fn run(&self, disk: &str, script: &str) -> Output {
        self.kernel(disk, script).output().expect("it runs")
    }

    /// Every file, by its name, length, time and content.
    fn digest(&self) -> String {
        text(
            &output(
                "sh",
                &[
                    "-c",
                    &format!("cd {} && stat -c '%n %s %y' *.* && sha256sum *.*", self.0.path().display()),
                ],
            )
            .stdout,
        )
    }

    /// The guest is refused with these words on standard error, and no file is touched.
    fn refused(&self, disk: &str, words: &[&str]) {
        let before = self.digest();
        let out = self.run(disk, "echo started");
        let said = text(&out.stderr);
        assert!(!out.status.success() && out.stdout.is_empty(), "{disk}: {out:?}");
        assert!(words.iter().all(|w| said.contains(w)), "{disk}: {words:?} are not all in\n{said}");
        assert_eq!(before, self.digest(), "{disk}: a file has been touched");
    }
}

/// Unmounted whatever becomes of the test.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: PathBuf, options: &str) -> Option<Tmpfs> {
        std::fs::create_dir(&at).expect("a directory");
        let mounted = output("mount", &["-t", "tmpfs", "-o", options, "none", at.to_str().expect("a path")]);
        if !mounted.status.success() {
            println!("SKIPPED: a tmpfs cannot be mounted here: {}", text(&mounted.stderr));
            return None;
        }
        Some(Tmpfs(at))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(output("mount", &["-o", &options, self.0.to_str().expect("a path")]).status.success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_of_the_hosts() {
    let files = Files::new();
    let Some(small) = Tmpfs::mount(files.path("small"), "size=3m") else { return };
    let script = "cd /root; n=0
        while head -c 20000 /bin/bash > f$((n+1)) && sync f$((n+1)) .; do n=$((n+1)); echo $n; done
        for k in 1 2 3 4 5 6 7 8 9; do echo x > y; sync y && echo synced; done 2> /dev/null
        cat /proc/mounts; cat f1 | head -c 0 && echo readable";
    let out = files.run("small/s.cow,base.img", script);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    let last = said.lines().filter_map(|l| l.parse::<u32>().ok()).next_back().expect("some were synced");
    assert!(last > 10 && said.ends_with("readable\n") && !said.contains("synced"), "{said}{told}");
    assert!(said.contains("/dev/root / ext4 ro "), "{said}");
    assert!(told.contains("disk ubda (\"small/s.cow\"): No space left on device: make room there"), "{told}");
    assert!(told.contains("ext4 on ubda cannot be committed") && told.contains("read-only"), "{told}");
    small.remount("size=60m");
    let check = format!(
        "cd /root; a=$(head -c 20000 /bin/bash | sha256sum); for n in {{1..{last}}}; do [ \"$(cat f$n | sha256sum)\" = \"$a\" ] || echo lost $n; done; echo new > new"
    );
    let again = files.run("small/s.cow", &check);
    assert!(again.status.success() && !text(&again.stdout).contains("lost"), "{again:?}");
    image::flatten(&files.path("small/s.cow"), &files.path("flat.img"));
    assert_eq!(image::debugfs(&files.path("flat.img"), "cat /root/new"), "new\n");
}

/// Reads past the cut fail, and nothing else does.
#[test]
fn a_file_that_is_cut_under_the_guest() {
    let files = Files::new();
    let script = "cd /root; head -c 900000 /bin/bash > big; sync big .; echo ready; \
                  while cat big > /dev/null 2> /dev/null; do :; done; echo failed";
    let mut command = files.kernel("s.cow,base.img", script);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let cow = std::fs::File::options().write(true).open(files.path("s.cow")).expect("the file");
    cow.set_len(65536).expect("it is cut");
    line.clear();
    out.read_line(&mut line).expect("a line");
    let told = text(&child.wait_with_output().expect("its end").stderr);
    assert_eq!(line, "failed\n", "{told}");
    assert!(
        told.contains("cannot read from disk ubda (\"s.cow\")") && told.contains("was it cut?"),
        "{told}"
    );
}

#[test]
fn refusals_name_the_file_and_the_way_out() {
    let files = Files::new();
    assert!(files.run("s.cow,base.img", "echo x > /root/x").status.success());
    // Somebody has it.
    let mut command = files.kernel("s.cow", "echo up; read < /dev/zero");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    assert_eq!(line, "up\n");
    files.refused("s.cow", &["s.cow", &format!("pid {}", child.id()), "end that first", "COW,BASE"]);
    child.kill().expect("it is killed");
    child.wait().expect("its end");
    assert!(files.run("s.cow", "cat /root/x").stdout == b"x\n");
    // The base was touched, is another, is gone.
    let base = files.path("base.img");
    let (time, size) =
        std::fs::metadata(&base).map(|m| (m.modified().expect("a time"), m.len())).expect("it");
    let open = || std::fs::File::options().write(true).open(&base).expect("the base");
    open().set_modified(std::time::UNIX_EPOCH).expect("a time");
    files.refused("s.cow", &["base.img", "s.cow", "cowtool rebase"]);
    open().set_len(size * 2).expect("a length");
    files.refused("s.cow", &["base.img", "put that back"]);
    std::fs::rename(&base, files.path("away.img")).expect("it goes");
    files.refused("s.cow", &["base.img", "s.cow", "cowtool relocate"]);
    files.refused("new.cow,base.img", &["new.cow", "base.img", "No such file"]);
    std::fs::rename(files.path("away.img"), &base).expect("it comes back");
    open().set_len(size).expect("a length");
    open().set_modified(time).expect("a time");
    assert!(files.run("s.cow", "cat /root/x").stdout == b"x\n");
}

#[test]
fn a_read_only_file_system_of_the_hosts() {
    let files = Files::new();
    let Some(place) = Tmpfs::mount(files.path("place"), "size=60m") else { return };
    assert!(files.run("place/s.cow,base.img", "echo x > /root/x").status.success());
    place.remount("ro");
    let digest = || text(&output("sha256sum", &[files.path("place/s.cow").to_str().expect("a path")]).stdout);
    let before = digest();
    files.refused("place/s.cow", &["place/s.cow", "Read-only file system", "ubd0r="]);
    files.refused("place/t.cow,base.img", &["place/t.cow", "Read-only file system"]);
    assert_eq!(before, digest());
    assert!(!Path::new(&files.path("place/t.cow")).exists());
}
