//! Hostile programs in a guest (`guest-tests hostile`), and what became of the rest of the machine: see docs/jail.md.

#![allow(clippy::expect_used)]

mod scene;

use scene::Scene;
use std::path::Path;

/// Attacks, each with what it must say.
type Attacks = &'static [(&'static str, &'static [&'static str])];

fn all(attacks: Attacks) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/guest-tests/x86_64-unknown-linux-gnu/release/guest-tests");
    assert!(target.exists(), "{} is missing: run `make guest-tests`", target.display());
    let only = std::env::var("ATTACK").unwrap_or_default();
    let mut scene = Scene::new(&target);
    let mut report = String::new();
    for (name, expected) in attacks.iter().filter(|(n, _)| only.is_empty() || only == *n) {
        let mut outcome = scene.attack(name);
        let said = outcome.lines.join("\n");
        for line in expected.iter().chain(&["alive"]) {
            if !outcome.lines.iter().any(|l| l.strip_prefix(&format!("{name}: ")).unwrap_or(l).contains(line))
            {
                outcome.wrong.push(format!("it does not say {line:?}"));
            }
        }
        println!(
            "{name}: {} MiB, {}",
            outcome.peak >> 20,
            if outcome.wrong.is_empty() { "held" } else { "WRONG" }
        );
        if std::env::var_os("VERBOSE").is_some() {
            println!("{said}");
        }
        if !outcome.wrong.is_empty() {
            report += &format!("{name}:\n  {}\n  it said:\n{said}\n", outcome.wrong.join("\n  "));
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn the_window_and_the_stub() {
    all(&[
        ("window-calls", &["done=[]", "same=true"]),
        ("window-jumps", &["mapped=0", "same=true"]),
        ("window-pointers", &["wrong=[]"]),
        ("stub-descriptors", &[]),
        ("stub-threads", &[]),
        ("stub-deaf", &["blocked=killed:SIGKILL elsewhere="]),
        ("closed-all", &["fate=exited:3"]),
    ]);
}

#[test]
fn a_window_that_lies() {
    all(&[
        ("forge-results", &["all=true"]),
        ("forge-tid", &["all=true"]),
        ("forge-orders", &["all=true"]),
        ("forge-all", &["all=true"]),
        ("forge-mask", &["SigBlk:\tfffffffffffbfeff", "stopped=stopped:SIGSTOP killed:SIGKILL"]),
    ]);
}

#[test]
fn arguments_that_change() {
    all(&[
        ("race-path", &["opened=true found=0"]),
        ("race-links", &["opened=true found=0"]),
        ("race-shared", &["entered=true linked=true found=0"]),
        ("race-arguments", &["done"]),
    ]);
}

#[test]
fn ways_out() {
    all(&[
        ("paths", &["found=[] openat2=true inside=true"]),
        ("root", &["mounts=in overlay=false"]),
        ("nodes", &[]),
        ("sockets", &[]),
        ("host-pids", &["ok=[] shown=false"]),
    ]);
}

#[test]
fn a_directory_of_the_hosts() {
    all(&[
        ("hostfs-mounts", &["mounted=true found=[]"]),
        ("hostfs-race", &["mounted=true opened=true found=0"]),
        ("hostfs-above", &["mounted=true walked=true found=0"]),
        ("hostfs-nodes", &["mounted=true device=0"]),
        ("hostfs-real", &["mounted=true as-is=0 shadow=5 mapped=0 shown=true"]),
        ("hostfs-forged", &["mounted=true fate=exited:0"]),
    ]);
}

#[test]
fn all_there_is_of_processes_and_memory() {
    all(&[
        ("fork-bomb", &["ended=true left=ESRCH"]),
        ("thread-bomb", &["fate=exited:0"]),
        ("memory-private", &["bounded=true"]),
        ("memory-shared", &["bounded=true"]),
        ("memory-sparse", &["bounded=true"]),
        ("memory-read", &["bounded=true"]),
        ("memory-populate", &["bounded=true"]),
        ("memory-tmpfs", &["bounded=true"]),
        ("memory-unseen", &["bounded=true"]),
        ("memory-many", &["refused=true"]),
        ("big-counts", &[]),
        ("deep", &["links=exited:5"]),
        (
            "mount-loops",
            &[
                "made=true bound=true onto=ELOOP into=ELOOP deeper=ELOOP file=EINVAL cwd=true",
                "out=0 gone=0 again=EINVAL moved=EINVAL emptied=0",
                "fate=exited:0",
            ],
        ),
        ("rename-loops", &["kept=true"]),
    ]);
}

#[test]
fn all_there_is_of_the_kernels_objects() {
    all(&[
        ("descriptors", &["dup-all=true", "fate=exited:0"]),
        ("pipes", &["ended=true"]),
        ("unix-sockets", &["ended=true"]),
        ("names", &["ended=true"]),
        ("xattrs", &["ended=true"]),
        ("watches", &["ended=true"]),
        ("queued-signals", &["ended=true"]),
        ("locks", &["ended=true"]),
        ("kept-files", &["ended=true"]),
        ("rights", &["fate=exited:0"]),
    ]);
}

#[test]
fn signals_and_frames() {
    all(&[
        ("kill-all", &["first=exited:5"]),
        ("forged-signals", &["fate=exited:0 host=ESRCH"]),
        ("on-itself", &["strict=killed:SIGKILL", "odd=exited:6"]),
        ("frames", &["wrong=[]"]),
        ("frames-random", &["came-back=true others=0"]),
        ("frames-stub", &["ended=6"]),
    ]);
}

#[test]
fn other_doors() {
    all(&[
        ("entries", &[]),
        ("compat", &["through=0"]),
        ("privileged", &["neither=[]"]),
        ("flags", &["last=true"]),
        ("x32", &["done=[]"]),
    ]);
}

#[test]
fn secrets() {
    all(&[
        ("address-space", &["pages=true above=true found=[]"]),
        ("told", &["found=[]"]),
        ("stub-reads", &["mapped="]),
    ]);
}
