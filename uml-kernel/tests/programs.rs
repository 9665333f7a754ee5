//! Real programs, the same command on the host and in the guest: output and status have to be equal.

#![allow(clippy::expect_used)]

use std::process::{Command, Output, Stdio};

/// Each a program that has to be there, and a shell command that uses it. Nothing may depend on time, pids or the host's name.
const COMMANDS: &[(&str, &str)] = &[
    (
        "bash",
        "echo $((6*7)); x=$(seq 1 5 | tr '\\n' +); echo $x; for i in a b c; do echo $i; done | sort -r; exit 3",
    ),
    ("bash", "trap 'echo caught' USR1; kill -USR1 $$; (exit 7); echo $?; sleep 0.05 & wait $!; echo $?"),
    ("bash", "kill -TERM $$; echo not reached"),
    ("bash", "cat <(echo one) <(echo two); printf '%s\\n' {1..3} | while read x; do echo \"<$x>\"; done"),
    ("dash", "set -- a b c; shift; echo $# $1; false || echo or; echo $0"),
    ("busybox", "busybox sh -c 'echo hi | busybox tr a-z A-Z; busybox seq 3 | busybox wc -l'"),
    ("find", "find /etc -maxdepth 1 -name 'host*' | sort"),
    ("grep", "grep -c root /etc/passwd; grep -rl nosuchstringanywhere /etc/apt 2>/dev/null; echo $?"),
    ("sed", "echo hello world | sed -E 's/(h.*o) (w.*)/\\2 \\1/'"),
    ("gawk", "gawk -F: '$3==0 {print $1}' /etc/passwd"),
    ("awk", "seq 10 | awk '{s+=$1} END {print s}'"),
    (
        "tar",
        "cd /tmp && mkdir -p T.$PPID.d/a && echo x > T.$PPID.d/a/f && tar cf - T.$PPID.d | tar tf - | sed 's/T[^/]*/T/'; rm -r T.$PPID.d",
    ),
    ("gzip", "seq 1000 | gzip -9 | gunzip | md5sum"),
    ("xz", "seq 1000 | xz | xz -d | md5sum"),
    ("perl", "perl -e 'print join(\",\", map {$_*2} 1..5), \"\\n\"; print qx(echo sub); exit 4'"),
    (
        "python3",
        "/usr/bin/python3 -c 'import os,sys,json,subprocess,threading; print(subprocess.check_output([\"echo\",\"x\"])); t=threading.Thread(target=lambda: print(\"thread\")); t.start(); t.join(); print(json.dumps({\"a\":[1,2]})); sys.exit(5)'",
    ),
    (
        "sqlite3",
        "sqlite3 :memory: 'create table t(a); insert into t values (1),(2),(3); select sum(a) from t;'",
    ),
    (
        "git",
        "cd /tmp && rm -rf G.d && git init -q G.d && cd G.d && echo a > a && git add a && git -c user.name=a -c user.email=b commit -qm x && git log --format=%s && git status --short; cd ..; rm -rf G.d",
    ),
    (
        "gcc",
        "cd /tmp && mkdir -p C.d && cd C.d && printf '#include <stdio.h>\\nint main(int c,char**v){printf(\"%%d %%s\\\\n\",c,v[1]);return 9;}' > h.c && gcc -O2 h.c -o h && ./h arg; echo $?; gcc -O2 -static h.c -o s && ./s arg; echo $?; cd ..; rm -r C.d",
    ),
    (
        "make",
        "cd /tmp && mkdir -p M.d && cd M.d && printf 'all: a b\\na b:\\n\\t@sleep 0.02; echo $@ > $@\\n' > Makefile && make -s -j2 && cat a b; cd ..; rm -r M.d",
    ),
    (
        "musl-gcc",
        "cd /tmp && mkdir -p U.d && cd U.d && printf '#include <stdio.h>\\n#include <pthread.h>\\n#include <signal.h>\\n#include <unistd.h>\\n#include <sys/wait.h>\\nstatic void *f(void *a) { return a; }\\nstatic volatile int h; static void on(int s) { h++; }\\nint main() { pthread_t t; void *r; int p[2], st; char b[9]; pthread_create(&t, 0, f, \"x\"); pthread_join(t, &r); signal(SIGUSR1, on); raise(SIGUSR1); pipe(p); if (!fork()) { write(p[1], \"child\", 6); _exit(3); } read(p[0], b, 6); wait(&st); printf(\"%%s %%d %%s %%d\\\\n\", (char *)r, h, b, WEXITSTATUS(st)); return 7; }' > m.c && musl-gcc -O2 m.c -o d && ./d; echo $?; musl-gcc -O2 -static m.c -o s && ./s; echo $?; cd ..; rm -r U.d",
    ),
    (
        "cargo",
        "cd /tmp && rm -rf R.d && cargo new -q --vcs none R.d && cd R.d && cargo run -q --offline; echo $?; cd ..; rm -r R.d",
    ),
    ("vim", "vim --version | head -1"),
    ("less", "less --version | head -1"),
    ("stat", "stat -c '%A %U %s' /etc/passwd /bin /dev/null; readlink /bin"),
];

fn run(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .env("HOME", "/tmp")
        .current_dir("/")
        .output()
        .expect("it runs")
}

/// A command as the caller, or as nobody.
fn command(as_nobody: bool, program: &std::ffi::OsStr) -> Command {
    let mut command = Command::new(if as_nobody { "setpriv".as_ref() } else { program });
    if as_nobody {
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(program)
            .env("HOME", "/tmp");
    }
    command
}

/// Runs each command on the host and in the guest; what differs.
fn differences(kernel: &std::ffi::OsStr, as_nobody: bool) -> String {
    let mut failures = String::new();
    for (program, script) in COMMANDS {
        let mut there = command(as_nobody, "sh".as_ref());
        // rustup's cargo is none without a toolchain in the caller's home directory.
        there.args([
            "-c",
            &format!("command -v {program} && {{ [ {program} != cargo ] || cargo --version; }}"),
        ]);
        if !run(&mut there).status.success() {
            println!("SKIPPED{}: {program} is not installed", if as_nobody { " as nobody" } else { "" });
            continue;
        }
        let shell = if *program == "dash" { "dash" } else { "bash" };
        let host = run(command(as_nobody, shell.as_ref()).args(["-c", script]));
        let guest = run(command(as_nobody, kernel).args(["run", "--", shell, "-c", script]));
        // A shell that a signal has ended: 128 and the signal's number, as a shell would say.
        use std::os::unix::process::ExitStatusExt as _;
        let expected = host.status.code().unwrap_or_else(|| 128 + host.status.signal().unwrap_or(0));
        if (expected, &host.stdout) != (guest.status.code().unwrap_or(-1), &guest.stdout) {
            let text = String::from_utf8_lossy;
            failures += &format!(
                "{program}{}: {script}\n  host {expected}: {:?}\n  guest {:?}: {:?}\n  {}\n",
                if as_nobody { " as nobody" } else { "" },
                text(&host.stdout),
                guest.status.code(),
                text(&guest.stdout),
                text(&guest.stderr)
            );
        }
    }
    failures
}

#[test]
fn programs_are_as_on_the_host() {
    let kernel = env!("CARGO_BIN_EXE_uml-kernel");
    let mut failures = differences(kernel.as_ref(), false);
    if rustix::process::geteuid().is_root() {
        // Where nobody may read it.
        let dir = tempfile::tempdir().expect("a directory");
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
        let copy = dir.path().join("uml-kernel");
        std::fs::copy(kernel, &copy).expect("it can be copied");
        failures += &differences(copy.as_os_str(), true);
    } else {
        println!("SKIPPED: as another user: only root can run something as nobody");
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn streams_are_binary_clean_and_status_is_passed_on() {
    use std::io::Write as _;
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_uml-kernel"))
        .args(["run", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("all is taken");
    assert!(output.stdout == bytes, "{} of {} bytes came back", output.stdout.len(), bytes.len());
    let status =
        Command::new(env!("CARGO_BIN_EXE_uml-kernel")).args(["run", "--", "sh", "-c", "exit 42"]).status();
    assert_eq!(status.expect("it runs").code(), Some(42));
}

#[test]
fn changes_stay_in_the_upper_directory_and_a_second_run_sees_them() {
    let keep = tempfile::tempdir().expect("a directory");
    let run = |script: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uml-kernel"));
        command.args(["run", "--keep"]).arg(keep.path()).args(["--", "sh", "-c", script]);
        let output = command.stdin(Stdio::null()).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run("echo kept > /etc/uml-kept; rm /etc/hostname; mkdir /srv/uml-new");
    assert!(!std::path::Path::new("/etc/uml-kept").exists(), "the host was written to");
    assert!(std::path::Path::new("/etc/hostname").exists(), "the host was written to");
    assert_eq!(std::fs::read(keep.path().join("etc/uml-kept")).expect("host tools read it"), b"kept\n");
    assert_eq!(
        run("cat /etc/uml-kept; ls -d /srv/uml-new; ls /etc/hostname 2>/dev/null || echo gone"),
        "kept\n/srv/uml-new\ngone\n"
    );
}
