//! A guest that mounts directories of the host's (docs/hostfs.md). Its root is the host's own, read-only, so that it has the host's
//! programs: python, a compiler, git.

#![allow(clippy::expect_used)]

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

const PREPARE: &str = "export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp LC_ALL=C
mount -t proc none /proc; mount -t tmpfs none /run; exec 2>&1
";

/// A directory of the host's with `m` in it, and whatever a guest does there.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Host {
        let host = Host(tempfile::tempdir().expect("a directory"));
        std::fs::create_dir(host.path("m")).expect("a directory");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts a guest whose first process is a shell with this script. `$D` is the directory.
    fn start(&self, words: &[&str], script: &str) -> Guest {
        self.start_as(Path::new(env!("CARGO_BIN_EXE_uml-kernel")), None, words, script)
    }

    // The shell becomes who turns the machine off: it may see the end of a child that does.
    fn start_as(&self, program: &Path, user: Option<u32>, words: &[&str], script: &str) -> Guest {
        let file = self.path("script");
        let script = format!("{PREPARE}D={}\n{script}\nexec busybox poweroff -f\n", self.0.path().display());
        std::fs::write(&file, script).expect("the script");
        let mut command = Command::new(program);
        command.args([
            "mem=1G",
            "quiet",
            "rootfstype=hostfs",
            "rootflags=/",
            "init=/bin/sh",
            "con0=null,fd:1",
        ]);
        command.args(words).arg("--").arg(&file);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command
            .env("HOME", self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        Guest(command.spawn().expect("it starts"))
    }

    /// What such a guest says.
    fn run(&self, words: &[&str], script: &str) -> String {
        self.start(words, script).end()
    }

    /// Waits until the guest has made a file.
    fn wait_for(&self, name: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.path(name).exists() {
            assert!(Instant::now() < until, "{name} does not come");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

struct Guest(Child);

impl Guest {
    fn end(mut self) -> String {
        use std::io::Read as _;
        let mut said = Vec::new();
        let mut out = self.0.stdout.take().expect("a pipe");
        let reader = std::thread::spawn(move || out.read_to_end(&mut said).map(|_| said));
        let until = Instant::now() + PATIENCE;
        while self.0.try_wait().expect("it is ours").is_none() {
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let said = reader.join().expect("a thread").expect("its output");
        String::from_utf8_lossy(&said).replace('\r', "")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

#[test]
fn without_the_word_nothing_is_mounted() {
    let kernel = env!("CARGO_BIN_EXE_uml-kernel");
    if !is_root() {
        println!("SKIPPED: a command of `run` may mount only as root");
        return;
    }
    let script = "mount -t hostfs none /mnt -o /; echo $?";
    let out =
        Command::new(kernel).args(["run", "--log", "--", "/bin/sh", "-c", script]).output().expect("it runs");
    let (said, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_ne!(said.trim(), "0");
    assert!(errors.contains("started without hostfs=DIR"), "{errors}");
    let out =
        Command::new(kernel).args(["run", "hostfs=/nowhere", "--", "/bin/true"]).output().expect("it runs");
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("hostfs=/nowhere: No such file or directory"),
        "{out:?}"
    );
}

/// Points of tests/posix.py that are not tried: one fills the disk, one counts what others do on it, too.
const NOT_TRIED: [&str; 2] = ["no_space_and_again", "statvfs"];
/// This kernel has no access control lists.
const NO_ACLS: [&str; 4] = ["acl_enforced", "acl_follows_chmod", "acl_inherited", "acl_minimal_is_a_mode"];
/// What is not made on the host: devices, set-id programs, attributes that mean something there.
const NOT_REAL: [&str; 7] = [
    "mknod_devices",
    "chmod_all_bits",
    "chown_and_setuid",
    "write_clears_setuid",
    "truncate_clears_setuid",
    "xattr_trusted_is_root_s",
    "file_capabilities_go_when_written",
];
/// What needs files of different owners.
const ONE_OWNER: [&str; 3] = ["setgid_directory", "permissions_enforced", "supplementary_groups"];

/// Runs the points in a mount; those that are not as they should be have to be these.
fn posix(host: &Host, program: &Path, user: Option<u32>, options: &str, without: &[&[&str]]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/posix.py");
    std::fs::copy(&script, host.path("posix.py")).expect("the points");
    let text = std::fs::read_to_string(&script).expect("the points");
    let mut points: Vec<&str> = text
        .split("@point\ndef ")
        .skip(1)
        .filter_map(|p| p.split('(').next())
        .filter(|p| !NOT_TRIED.contains(p))
        .collect();
    points.sort_unstable();
    assert!(points.len() > 60, "only {} points", points.len());
    let at = host.0.path().display();
    let commands = format!(
        "mount -t hostfs none /mnt -o {at}/m,{options}\n/usr/bin/python3 $D/posix.py /mnt {}",
        points.join(" ")
    );
    let said = host.start_as(program, user, &["hostfs=/"], &commands).end();
    let failed: BTreeSet<&str> =
        said.lines().filter_map(|l| l.strip_prefix("no ")?.split(':').next()).collect();
    let passed = said.lines().filter(|l| l.starts_with("ok ")).count();
    println!("{options}: {passed} points, and not {failed:?}");
    let expected: BTreeSet<&str> = without.concat().into_iter().collect();
    assert_eq!(failed, expected, "{said}");
    assert_eq!(passed, points.len() - failed.len(), "{said}");
}

#[test]
fn posix_as_it_is() {
    if !is_root() {
        println!("SKIPPED: as it is, only root can change owners");
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_uml-kernel"));
    posix(&Host::new(), program, None, "", &[&NO_ACLS, &NOT_REAL]);
}

#[test]
fn posix_mapped() {
    let program = Path::new(env!("CARGO_BIN_EXE_uml-kernel"));
    posix(&Host::new(), program, None, "uid=7,gid=8", &[&NO_ACLS, &NOT_REAL, &ONE_OWNER]);
}

/// A guest's root that is nobody on the host: all of it is there, and nothing of it is real.
#[test]
fn posix_in_a_shadow_of_an_ordinary_user() {
    let host = Host::new();
    let user = if is_root() { 1000 } else { rustix::process::getuid().as_raw() };
    let program = host.path("uml-kernel");
    std::fs::copy(env!("CARGO_BIN_EXE_uml-kernel"), &program).expect("the program");
    for path in [host.path(""), host.path("m")] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("its mode");
        let _ = std::os::unix::fs::chown(&path, Some(user), Some(user));
    }
    let as_user = is_root().then_some(user);
    posix(&host, &program, as_user, "shadow", &[&NO_ACLS]);
    let script = format!(
        "mount -t hostfs none /mnt -o {}/m,shadow; cd /mnt
         mknod b b 8 1; mknod c c 1 3; mkfifo p; ln -s target l; echo text > f; chown 5:6 f; chown -h 5:6 l; chmod 6711 f; mkdir d; chown 7 d
         stat -c '%n %F %t:%T %u:%g %a' b c p l f d; readlink l; echo written > c; ls -A1",
        host.0.path().display()
    );
    let said = host.start_as(&program, as_user, &["hostfs=/"], &script).end();
    let expected = "b block special file 8:1 0:0 644\nc character special file 1:3 0:0 644\np fifo 0:0 0:0 644\n\
                    l symbolic link 0:0 5:6 777\nf regular file 0:0 5:6 6711\nd directory 0:0 7:0 755\ntarget\nb\nc\nd\nf\nl\np\n";
    assert_eq!(said, expected);
    for name in ["b", "c", "p", "l", "f", "d"] {
        let m = std::fs::symlink_metadata(host.path("m").join(name)).expect("it is there");
        assert!(m.is_file() || m.is_dir(), "{name} is {:?}", m.file_type());
        assert_eq!((m.uid(), m.mode() & 0o6000), (user, 0), "{name}");
    }
    assert_eq!(std::fs::read_to_string(host.path("m/l")).expect("a link's target"), "target");
}

#[test]
fn several_mounts_and_their_options() {
    let host = Host::new();
    for d in ["m/one", "m/two"] {
        std::fs::create_dir(host.path(d)).expect("a directory");
    }
    std::fs::write(host.path("m/two/old"), "old\n").expect("a file");
    std::os::unix::fs::symlink("two", host.path("m/link")).expect("a link");
    let script = "cd /run; mkdir 1 2 3 4 5 6; M=$D/m
        mount -t hostfs none 1 -o $M/one; mount -t hostfs none 2 -o ro,$M/two; mount -t hostfs none 3 -o $M/two,uid=5,gid=6
        mount -t hostfs none 4 -o $M/two,append; mount -t hostfs none 5 -o /$M/../../../../..; mount -t hostfs none 6 -o $M/link
        echo one > 1/f; echo two > 2/f; stat -c %u:%g 3/old; chown 9 3/old
        echo more >> 4/old; rm 4/old; echo x > 4/old; truncate -s 1 4/old; mv 4/old 4/new; cat 4/old; chmod 600 4/old
        grep hostfs /proc/mounts | cut -d' ' -f2-4 | grep run; umount 2; umount 3; cat 1/f; mount -o remount,ro 1; echo no > 1/f";
    let said = host.run(&["hostfs=/"], script);
    let m = host.path("m").display().to_string();
    let lines: Vec<String> = said.lines().map(|l| l.replace(&m, "M")).collect();
    for expected in [
        "2/f: Read-only file system",
        "5:6",
        "chown: changing ownership of '3/old': Operation not permitted",
        "rm: cannot remove '4/old': Operation not permitted",
        "4/old: Operation not permitted",
        "truncate: cannot open '4/old' for writing: Operation not permitted",
        "mv: cannot move '4/old' to '4/new': Operation not permitted",
        "old",
        "more",
        "/run/1 hostfs rw,M/one",
        "/run/2 hostfs ro,M/two",
        "/run/3 hostfs rw,M/two,uid=5,gid=6",
        "/run/4 hostfs rw,M/two,append",
        "one",
        "1/f: Read-only file system",
    ] {
        let alike = |l: &String| {
            l.ends_with(expected) || expected.starts_with("truncate") && l.starts_with("truncate")
        };
        assert!(lines.iter().any(alike), "no {expected:?} in\n{said}");
    }
    assert!(!said.contains("/run/5 hostfs") && !said.contains("/run/6 hostfs"), "{said}");
    assert_eq!(std::fs::read_to_string(host.path("m/one/f")).expect("it is there"), "one\n");
    assert_eq!(std::fs::read_to_string(host.path("m/two/old")).expect("it is there"), "old\nmore\n");
}

#[test]
fn what_the_host_changes_is_seen() {
    let host = Host::new();
    std::fs::write(host.path("m/f"), "first\n").expect("a file");
    let script = "mount -t hostfs none /mnt -o $D/m; cd /mnt
        await() { while [ ! -e $1 ]; do :; done; }
        exec 3<f; cat f; mkdir d; cd d; [ ! -e ../new ] && echo none; echo > ../ready1
        await ../go1; cat ../f; stat -c '%s %h' ../f; cat <&3; stat -L -c 'old %h' /proc/self/fd/3; cat ../new; pwd; echo > ../ready2
        await /mnt/go2; ls /mnt/moved; [ -e /mnt/d ] || echo gone; cat /mnt/f || echo removed; echo below > here; echo > /mnt/ready3";
    let guest = host.start(&["hostfs=/"], script);
    host.wait_for("m/ready1");
    std::fs::write(host.path("m/other"), "the second one\n").expect("a file");
    std::fs::rename(host.path("m/other"), host.path("m/f")).expect("it is moved");
    std::fs::write(host.path("m/new"), "new\n").expect("a file");
    std::fs::write(host.path("m/go1"), "").expect("a file");
    host.wait_for("m/ready2");
    std::fs::rename(host.path("m/d"), host.path("m/moved")).expect("it is moved");
    std::fs::write(host.path("m/moved/inside"), "").expect("a file");
    std::fs::remove_file(host.path("m/f")).expect("it is removed");
    std::fs::write(host.path("m/go2"), "").expect("a file");
    host.wait_for("m/ready3");
    let said = guest.end();
    let expected = "first\nnone\nthe second one\n15 1\nfirst\nold 0\nnew\n/mnt/d\ninside\ngone\ncat: /mnt/f: No such file or directory\nremoved\n";
    assert_eq!(said, expected);
    assert_eq!(std::fs::read_to_string(host.path("m/moved/here")).expect("it is there"), "below\n");
}

/// The host's own kernel is no content, wherever it is mounted: its /proc has this program's memory in it.
#[test]
fn the_hosts_proc_is_closed() {
    let host = Host::new();
    let script = "mount -t hostfs none /mnt -o /; for f in /mnt/proc/version /mnt/proc/self/mem /mnt/sys/kernel/notes; do
        cat $f > /dev/null && echo \"read $f\"; done; ls /mnt/proc | grep -q . && echo listed
        mount -t hostfs none /mnt -o /proc && echo mounted; echo done";
    let said = host.run(&["hostfs=/"], script);
    assert!(!said.contains("read ") && !said.contains("listed") && !said.contains("mounted"), "{said}");
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn a_build_and_a_clone() {
    let host = Host::new();
    std::fs::create_dir(host.path("m/src")).expect("a directory");
    let mut objects = String::new();
    for n in 0..12 {
        let text = format!("int f{n}(int x) {{ return x * {n} + 1; }}\n");
        std::fs::write(host.path(&format!("m/src/f{n}.c")), text).expect("a source");
        objects += &format!(" f{n}.o");
    }
    let calls: Vec<String> = (0..12).map(|n| format!("f{n}(2)")).collect();
    let declared: String = (0..12).map(|n| format!("int f{n}(int);\n")).collect();
    let main = format!(
        "#include <stdio.h>\n{declared}int main(void) {{ printf(\"sum %d\\n\", {}); return 0; }}\n",
        calls.join(" + ")
    );
    std::fs::write(host.path("m/src/main.c"), main).expect("a source");
    let rules = format!("program: main.o{objects}\n\t$(CC) -o $@ $^\nclean:\n\trm -f program *.o\n");
    std::fs::write(host.path("m/src/Makefile"), rules).expect("rules");
    let script = "mount -t hostfs none /mnt -o $D/m,OPTIONS; mount -t tmpfs none /tmp; cd /mnt/src
        export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=a@b
        git init -q . && git add . && git commit -qm first
        make -s -j4 && ./program; make -q && echo 'up to date'; git status --short
        git clone -q /mnt/src /mnt/clone && cd /mnt/clone && git fsck --full && make -s && ./program
        git checkout -q -b other && rm f3.c && git commit -qam less && git checkout -q - && ls f3.c && git status --short | sort | head -3";
    for options in ["", "shadow"] {
        let said = host.run(&["hostfs=/", "ncpus=2"], &script.replace("OPTIONS", options));
        let sum: u32 = (0..12).map(|n| 2 * n + 1).sum();
        assert_eq!(said.matches(&format!("sum {sum}\n")).count(), 2, "{said}");
        assert!(
            said.contains("up to date\n") && said.contains("f3.c\n") && !said.contains("error"),
            "{said}"
        );
        // On the host it is the same repository, as far as links are none of its files.
        let fsck = Command::new("git")
            .args(["-c", "safe.directory=*", "-C"])
            .arg(host.path("m/clone"))
            .args(["fsck", "--full"])
            .output()
            .expect("git");
        assert!(fsck.status.success(), "{fsck:?}");
        for d in ["m/clone", "m/src/.git"] {
            std::fs::remove_dir_all(host.path(d)).expect("it is removed");
        }
        let clean =
            Command::new("make").arg("-sC").arg(host.path("m/src")).arg("clean").status().expect("make");
        assert!(clean.success());
    }
}

/// A read for which the host's disk is waited for does not keep the one vCPU: a FUSE server that is stopped is a disk that takes its time.
#[test]
fn others_go_on_while_the_hosts_disk_is_waited_for() {
    if !is_root()
        || Command::new("fuse2fs").arg("--version").output().is_err()
        || !Path::new("/dev/fuse").exists()
    {
        println!("SKIPPED: needs root, fuse2fs and /dev/fuse");
        return;
    }
    let host = Host::new();
    std::fs::create_dir(host.path("tree")).expect("a directory");
    std::fs::write(host.path("tree/f"), vec![b'x'; 1 << 20]).expect("a file");
    let image = host.path("image");
    let made =
        Command::new("mkfs.ext4").args(["-q", "-d"]).arg(host.path("tree")).arg(&image).arg("16M").status();
    assert!(made.expect("mkfs.ext4").success());
    std::fs::create_dir(host.path("slow")).expect("a directory");
    let server = Command::new("fuse2fs").args(["-f", "-o", "ro"]).arg(&image).arg(host.path("slow")).spawn();
    let mut server = Guest(server.expect("fuse2fs"));
    host.wait_for("slow/f");
    let script = "mount -t hostfs none /mnt -o $D; exec 3< /mnt/slow/f; echo > /mnt/opened; while [ ! -e /mnt/stopped ]; do :; done
        (head -c 65536 <&3 | wc -c; echo > /mnt/read) & for i in 1 2 3 4 5 6; do sleep 0.1; echo > /mnt/on$i; done; wait";
    let guest = host.start(&["hostfs=/", "ncpus=1"], script);
    host.wait_for("opened");
    let pid = rustix::process::Pid::from_child(&server.0);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it is there");
    std::fs::write(host.path("stopped"), "").expect("a file");
    let until = Instant::now() + Duration::from_secs(20);
    while !host.path("on6").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (went_on, read) = (host.path("on6").exists(), host.path("read").exists());
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it is there");
    let said = guest.end();
    let _ = Command::new("fusermount3").arg("-u").arg(host.path("slow")).status();
    let _ = server.0.wait();
    assert!(went_on && !read, "went on: {went_on}, read: {read}");
    assert!(said.contains("65536"), "{said}");
}
