//! What the guest is told of the machine it runs on: its own, and nothing of the host's.

#![allow(clippy::expect_used)]

use std::process::{Command, Stdio};

#[test]
fn what_tells_of_the_machine_tells_of_the_guest() {
    let run = |script: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uml-kernel"));
        command.args(["run", "mem=300M", "ncpus=2", "--", "sh", "-c", script]);
        let output =
            command.stdin(Stdio::null()).env("LC_ALL", "C").env("TERM", "dumb").output().expect("it runs");
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // Only its own processes: itself, init and what it starts.
    let ps = run("ps -eo pid,comm");
    assert!(ps.lines().count() <= 5 && ps.contains("init") && !ps.contains("cargo"), "{ps}");
    let host_pid = std::process::id();
    assert_eq!(run(&format!("test -e /proc/{host_pid} && echo seen; true")), "");
    // All the memory that mem= gives, and no more.
    let total = run("awk '/MemTotal/ {print $2}' /proc/meminfo; free -k | awk '/Mem:/ {print $2}'");
    assert_eq!(total, "307200\n307200\n");
    assert_eq!(
        run("grep -c ^processor /proc/cpuinfo; nproc; ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l"),
        "2\n2\n2\n"
    );
    let top = run("top -b -n 1");
    assert!(top.starts_with("top - ") && top.contains("300.0 total") && top.contains("top"), "{top}");
    assert!(top.lines().skip_while(|l| !l.contains("PID")).skip(1).count() <= 5, "{top}");
    let df = run("df -k / /dev/shm | awk 'NR > 1 {print $NF}'; df / | awk 'NR > 1 {print $1}'");
    assert_eq!(df, "/\n/dev/shm\nroot\n");
    // No name of the stub's, nothing beyond the guest's part of the address space.
    let maps = run("cat /proc/self/maps");
    assert!(maps.contains("[stack]") && maps.contains("[heap]") && maps.contains("[vdso]"), "{maps}");
    for line in maps.lines() {
        let end =
            line.split(['-', ' ']).nth(1).and_then(|e| u64::from_str_radix(e, 16).ok()).expect("an address");
        assert!(end <= 0x7fff_ffff_f000 || line.contains("vsyscall"), "{line}");
        assert!(!line.contains("memfd") && !line.contains("uml-kernel"), "{line}");
    }
}
