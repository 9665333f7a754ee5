//! The short files of a process: a value or a line each (proc_pid(5)).

use super::Ask;
use crate::base::Result;
use std::fmt::Write as _;

fn line(value: impl std::fmt::Display) -> Result<Vec<u8>> {
    Ok(format!("{value}\n").into_bytes())
}

pub(super) fn comm(ask: &Ask) -> Result<Vec<u8>> {
    let mut out = ask.process.comm();
    out.push(b'\n');
    Ok(out)
}

pub(super) fn personality(ask: &Ask) -> Result<Vec<u8>> {
    line(format_args!("{:08x}", ask.process.tunables().personality))
}

/// Without a newline; "0" if it runs, or the asker may not look.
pub(super) fn wchan(ask: &Ask) -> Result<Vec<u8>> {
    let name = ask.process.wchan();
    let hidden = name.is_empty() || ask.may_look().is_err();
    Ok(if hidden { b"0".to_vec() } else { name.into() })
}

pub(super) fn syscall(ask: &Ask) -> Result<Vec<u8>> {
    let Some(call) = ask.process.syscall() else { return line("running") };
    let mut out = call[0].to_string();
    for word in &call[1..] {
        let _ = write!(out, " {word:#x}");
    }
    line(out)
}

/// Time on a CPU and waiting for one, nanoseconds, and the number of turns.
pub(super) fn schedstat(ask: &Ask) -> Result<Vec<u8>> {
    let u = ask.process.usage();
    line(format_args!("{} {} {}", u.user + u.system, u.waited, u.voluntary_switches + u.involuntary_switches))
}

pub(super) fn sched(ask: &Ask) -> Result<Vec<u8>> {
    let (p, s, u) = (&ask.process, ask.process.status(), ask.process.usage());
    let mut out = p.comm();
    let run = u.user + u.system;
    let millis = |ns: u64| format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000);
    let mut text = format!(" ({}, #threads: {})\n{}\n", p.pid(), s.threads, "-".repeat(67));
    let lines = [
        ("se.exec_start", millis(s.start_time + run)),
        ("se.vruntime", millis(run)),
        ("se.sum_exec_runtime", millis(run)),
        ("se.nr_migrations", "0".into()),
        ("nr_switches", (u.voluntary_switches + u.involuntary_switches).to_string()),
        ("nr_voluntary_switches", u.voluntary_switches.to_string()),
        ("nr_involuntary_switches", u.involuntary_switches.to_string()),
        ("policy", s.policy.to_string()),
        ("prio", (s.priority + 100).to_string()),
    ];
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<45}:{value:>21}");
    }
    out.extend(text.bytes());
    Ok(out)
}

pub(super) fn autogroup(ask: &Ask) -> Result<Vec<u8>> {
    let (id, nice) = ask.process.tunables().autogroup;
    line(format_args!("/autogroup-{id} nice {nice}"))
}

pub(super) fn timens_offsets(_: &Ask) -> Result<Vec<u8>> {
    Ok(b"monotonic           0         0\nboottime            0         0\n".to_vec())
}

/// Each followed by a blank.
pub(super) fn children(ask: &Ask) -> Result<Vec<u8>> {
    Ok(ask.process.children().iter().map(|pid| format!("{pid} ")).collect::<String>().into_bytes())
}

pub(super) fn cgroup(ask: &Ask) -> Result<Vec<u8>> {
    line(format_args!("0::{}", ask.process.cgroup()))
}

pub(super) fn oom_score(ask: &Ask) -> Result<Vec<u8>> {
    line(ask.process.tunables().oom_score)
}

/// The old scale, -17 to 15.
pub(super) fn oom_adj(ask: &Ask) -> Result<Vec<u8>> {
    let adj = ask.process.tunables().oom_score_adj;
    line(if adj == 1000 { 15 } else { adj * 17 / 1000 })
}

pub(super) fn oom_score_adj(ask: &Ask) -> Result<Vec<u8>> {
    line(ask.process.tunables().oom_score_adj)
}

/// Without a newline.
pub(super) fn loginuid(ask: &Ask) -> Result<Vec<u8>> {
    Ok(ask.process.tunables().loginuid.to_string().into_bytes())
}

/// Without a newline.
pub(super) fn sessionid(ask: &Ask) -> Result<Vec<u8>> {
    Ok(ask.process.tunables().sessionid.to_string().into_bytes())
}

pub(super) fn coredump_filter(ask: &Ask) -> Result<Vec<u8>> {
    line(format_args!("{:08x}", ask.process.tunables().coredump_filter))
}

pub(super) fn timer_slack(ask: &Ask) -> Result<Vec<u8>> {
    line(ask.process.tunables().timer_slack)
}

pub(super) fn io(ask: &Ask) -> Result<Vec<u8>> {
    let io = ask.process.io();
    Ok(format!(
        "rchar: {}\nwchar: {}\nsyscr: {}\nsyscw: {}\nread_bytes: {}\nwrite_bytes: {}\ncancelled_write_bytes: {}\n",
        io.rchar, io.wchar, io.syscr, io.syscw, io.read_bytes, io.write_bytes, io.cancelled_write_bytes
    )
    .into_bytes())
}

/// The initial user namespace: every id is itself.
pub(super) fn id_map(_: &Ask) -> Result<Vec<u8>> {
    line(format_args!("{:>10} {:>10} {:>10}", 0, 0, u32::MAX))
}
