//! /proc/PID/status (proc_pid_status(5); fs/proc/array.c, `proc_pid_status`).

use super::Ask;
use crate::base::Result;
use crate::fs::proc::source::{MemoryUse, Status};
use std::fmt::Write as _;

/// Bytes of `escape` as backslash and octal digits, but newline and backslash by their letters in names of tasks.
pub(super) fn escaped(text: &[u8], escape: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\n' if escape.contains(byte) => out.extend(b"\\n"),
            b'\\' if escape.contains(byte) => out.extend(b"\\\\"),
            _ => out.push(*byte),
        }
    }
    out
}

fn state_name(state: char) -> &'static str {
    match state {
        'R' => "running",
        'S' => "sleeping",
        'D' => "disk sleep",
        'T' => "stopped",
        't' => "tracing stop",
        'X' => "dead",
        'Z' => "zombie",
        'P' => "parked",
        _ => "idle",
    }
}

pub(super) fn status(ask: &Ask) -> Result<Vec<u8>> {
    let p = &ask.process;
    let (s, c) = (p.status(), p.creds());
    let mut out = b"Name:\t".to_vec();
    out.extend(escaped(&p.comm(), b"\n\\"));
    let mut text = String::from("\n");
    if let Some(umask) = s.umask {
        let _ = writeln!(text, "Umask:\t{umask:04o}");
    }
    let _ = write!(
        text,
        "State:\t{} ({})\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t{}\nUid:\t{}\t{}\t{}\t{}\n\
         Gid:\t{}\t{}\t{}\t{}\nFDSize:\t{}\nGroups:\t",
        s.state,
        state_name(s.state),
        p.tgid(),
        p.pid(),
        s.ppid,
        s.tracer,
        c.uid,
        c.euid,
        c.suid,
        c.fsuid,
        c.gid,
        c.egid,
        c.sgid,
        c.fsgid,
        s.fd_slots,
    );
    // A blank ends each group, and the list has one of its own if it is empty.
    let groups: Vec<String> = c.groups.iter().map(u32::to_string).collect();
    let _ = write!(
        text,
        "{} \nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t{}\n",
        groups.join(" "),
        p.tgid(),
        p.pid(),
        s.pgid,
        s.sid,
        u8::from(s.kernel_thread),
    );
    if let Some(m) = p.memory() {
        memory(&mut text, &m);
    }
    signals(&mut text, ask, &s);
    let _ = write!(
        text,
        "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\n",
        c.inheritable, c.permitted, c.effective, c.bounding, c.ambient
    );
    rest(&mut text, ask, &s, c.no_new_privs);
    out.extend(text.bytes());
    Ok(out)
}

fn memory(text: &mut String, m: &MemoryUse) {
    let lines = [
        ("VmPeak", m.peak_size.max(m.size)),
        ("VmSize", m.size),
        ("VmLck", m.locked),
        ("VmPin", 0),
        ("VmHWM", m.peak_resident.max(m.resident)),
        ("VmRSS", m.resident),
        ("RssAnon", m.anonymous),
        ("RssFile", m.file),
        ("RssShmem", m.shmem),
        ("VmData", m.data),
        ("VmStk", m.stack),
        ("VmExe", m.text),
        ("VmLib", m.libraries),
        ("VmPTE", m.page_tables),
        ("VmSwap", m.swapped),
        ("HugetlbPages", 0),
    ];
    for (name, bytes) in lines {
        let _ = writeln!(text, "{name}:\t{:>8} kB", bytes >> 10);
    }
    *text += "CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff\n";
}

fn signals(text: &mut String, ask: &Ask, s: &Status) {
    let signals = ask.process.signals();
    let _ = write!(
        text,
        "Threads:\t{}\nSigQ:\t{}/{}\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n",
        s.threads,
        signals.queued,
        ask.process.limits()[11].0,
        signals.pending,
        signals.shared_pending,
        signals.blocked,
        signals.ignored,
        signals.caught,
    );
}

/// A set of CPUs as a list of ranges, "0-2,4".
pub(in crate::fs) fn ranges(set: u64) -> String {
    let mut parts = Vec::new();
    let mut n = 0;
    while n < 64 {
        if set >> n & 1 == 0 {
            n += 1;
            continue;
        }
        let first = n;
        while n < 64 && set >> n & 1 == 1 {
            n += 1;
        }
        parts.push(if n - first == 1 { first.to_string() } else { format!("{first}-{}", n - 1) });
    }
    parts.join(",")
}

/// A set of CPUs in hexadecimal, as wide as the number of CPUs asks for.
pub(in crate::fs) fn mask(set: u64, cpus: usize) -> String {
    if cpus > 32 {
        return format!("{:0width$x},{:08x}", set >> 32, set as u32, width = (cpus - 32).div_ceil(4));
    }
    format!("{set:0width$x}", width = cpus.div_ceil(4))
}

fn rest(text: &mut String, ask: &Ask, s: &Status, no_new_privs: bool) {
    let usage = ask.process.usage();
    let cpus = ask.context.system.cpu_times().len();
    let all = if cpus >= 64 { u64::MAX } else { (1 << cpus) - 1 };
    let _ = write!(
        text,
        "NoNewPrivs:\t{}\nSeccomp:\t{}\nSeccomp_filters:\t{}\nSpeculation_Store_Bypass:\tvulnerable\n\
         SpeculationIndirectBranch:\talways enabled\nCpus_allowed:\t{}\nCpus_allowed_list:\t{}\nMems_allowed:\t1\n\
         Mems_allowed_list:\t0\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
        u8::from(no_new_privs),
        s.seccomp,
        s.seccomp_filters,
        mask(s.cpus_allowed & all, cpus),
        ranges(s.cpus_allowed & all),
        usage.voluntary_switches,
        usage.involuntary_switches,
    );
}
