//! One program makes every system call, on the host and in the guest: the host's kernel is the oracle.
//!
//! `guest-tests` has to be built before (`make guest-tests`): static, so that it needs nothing of the guest's root.

#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Cases that are known to differ, with the reason. A case that no longer differs has to leave the list.
const KNOWN: &str = include_str!("known-differences.txt");

fn guest_tests() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/guest-tests/x86_64-unknown-linux-gnu/release/guest-tests");
    assert!(target.exists(), "{} is missing: run `make guest-tests`", target.display());
    target.canonicalize().expect("its path")
}

/// Output by case: `family/case: ...` lines under `family/case`.
fn by_case(output: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut cases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(output).lines() {
        if let Some((case, rest)) = line.split_once(": ").filter(|(c, _)| c.contains('/') && !c.contains(' '))
        {
            cases.entry(case.to_string()).or_default().push(rest.to_string());
        }
    }
    cases
}

fn output(command: &mut Command) -> Vec<u8> {
    command.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("it runs").stdout
}

#[test]
fn every_case_is_as_on_the_host() {
    let program = guest_tests();
    let host = by_case(&output(&mut Command::new(&program)));
    let mut kernel = Command::new(env!("CARGO_BIN_EXE_uml-kernel"));
    let guest = by_case(&output(kernel.args(["run", "--"]).arg(&program)));
    assert!(host.len() > 100, "only {} cases ran on the host", host.len());
    let differs: BTreeSet<&String> =
        host.iter().filter(|(case, lines)| guest.get(*case) != Some(lines)).map(|(c, _)| c).collect();
    let known: BTreeSet<String> = KNOWN
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split_whitespace().next())
        .map(String::from)
        .collect();
    let mut report = String::new();
    for case in &differs {
        if !known.contains(*case) {
            let empty = Vec::new();
            let (h, g) = (&host[*case], guest.get(*case).unwrap_or(&empty));
            for n in 0..h.len().max(g.len()) {
                if h.get(n) != g.get(n) {
                    report += &format!("{case}\n  host:  {:?}\n  guest: {:?}\n", h.get(n), g.get(n));
                }
            }
        }
    }
    let same: Vec<&String> = known.iter().filter(|k| host.contains_key(*k) && !differs.contains(k)).collect();
    println!(
        "{} cases, {} lines, {} known to differ",
        host.len(),
        host.values().map(Vec::len).sum::<usize>(),
        known.len()
    );
    assert!(report.is_empty(), "differs from the host:\n{report}");
    assert!(same.is_empty(), "no longer different, take them from known-differences.txt: {same:?}");
}

/// With a vCPU each, threads do what they do at the same time: one sends the signal that another blocks, maps what another has unmapped.
#[test]
fn on_two_vcpus_it_is_as_on_the_host() {
    let program = guest_tests();
    for what in ["masks", "threads"] {
        let host = by_case(&output(Command::new(&program).arg(what)));
        let mut kernel = Command::new(env!("CARGO_BIN_EXE_uml-kernel"));
        let guest = by_case(&output(kernel.args(["run", "ncpus=2", "--"]).arg(&program).arg(what)));
        assert!(!host.is_empty());
        assert_eq!(guest, host);
    }
}

/// Where things lie is chance, and one draw of many must not leave a heap without room.
#[test]
fn a_static_programs_heap_has_room_wherever_chance_puts_it() {
    let mut kernel = Command::new(env!("CARGO_BIN_EXE_uml-kernel"));
    let runs = "for i in $(seq 100); do \"$0\" remap/brk; done";
    let out = output(kernel.args(["run", "--", "sh", "-c", runs]).arg(guest_tests()));
    let out = String::from_utf8_lossy(&out);
    assert_eq!(out.matches("remap/brk: grown=true").count(), 100, "{out}");
}
