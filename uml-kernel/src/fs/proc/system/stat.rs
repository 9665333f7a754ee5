//! /proc/stat, uptime, loadavg, interrupts, softirqs.

use crate::fs::proc::source::{CpuTimes, System};
use crate::fs::proc::ticks;
use std::fmt::Write as _;

fn cpu_line(name: &str, t: &CpuTimes) -> String {
    // Steal, guest and guest_nice are nothing here.
    let times =
        [t.user, t.nice, t.system, t.idle, t.iowait, t.irq, t.softirq].map(|ns| ticks(ns).to_string());
    format!("{name} {} 0 0 0\n", times.join(" "))
}

pub(super) fn stat(system: &dyn System) -> String {
    let cpus = system.cpu_times();
    let sum = cpus.iter().fold(CpuTimes::default(), |a, b| CpuTimes {
        user: a.user + b.user,
        nice: a.nice + b.nice,
        system: a.system + b.system,
        idle: a.idle + b.idle,
        iowait: a.iowait + b.iowait,
        irq: a.irq + b.irq,
        softirq: a.softirq + b.softirq,
    });
    let (counters, load) = (system.counters(), system.load());
    // Two blanks after the sum's name, so that it is as wide as those of the CPUs.
    let mut out = cpu_line("cpu ", &sum);
    for (n, times) in cpus.iter().enumerate() {
        out += &cpu_line(&format!("cpu{n}"), times);
    }
    let _ = write!(
        out,
        "intr {}\nctxt {}\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked {}\nsoftirq {} 0 {} 0 0 0 0 0 0 0 0\n",
        counters.interrupts,
        counters.switches,
        counters.boot_time,
        counters.forks,
        load.running,
        load.blocked,
        counters.interrupts,
        counters.interrupts,
    );
    out
}

/// Seconds since boot, and the seconds that all CPUs together were idle.
pub(super) fn uptime(system: &dyn System) -> String {
    let idle: u64 = system.cpu_times().iter().map(|t| t.idle).sum();
    let show = |ns: u64| format!("{}.{:02}", ns / 1_000_000_000, ns / 10_000_000 % 100);
    format!("{} {}\n", show(system.uptime()), show(idle))
}

pub(super) fn loadavg(system: &dyn System) -> String {
    let load = system.load();
    let show = |average: u64| {
        // Rounded as Linux does it: half of a hundredth is added first (`FIXED_1/200`).
        let average = average + 2048 / 200;
        format!("{}.{:02}", average >> 11, ((average & 2047) * 100) >> 11)
    };
    let [one, five, fifteen] = load.averages.map(show);
    format!("{one} {five} {fifteen} {}/{} {}\n", load.running, load.tasks, load.last_pid)
}

fn cpu_heads(system: &dyn System, indent: usize) -> String {
    let mut out = " ".repeat(indent);
    for n in 0..system.cpu_times().len() {
        let _ = write!(out, "{:<11}", format!("CPU{n}"));
    }
    out + "\n"
}

pub(super) fn interrupts(system: &dyn System) -> String {
    let mut out = cpu_heads(system, 11);
    out += "LOC:";
    let (count, cpus) = (system.counters().interrupts, system.cpu_times().len() as u64);
    for n in 0..cpus {
        // Who took which is not counted: they are spread evenly.
        let _ = write!(out, " {:>10}", count / cpus + u64::from(n < count % cpus));
    }
    out + "   Local timer interrupts\nERR:          0\nMIS:          0\n"
}

pub(super) fn softirqs(system: &dyn System) -> String {
    const NAMES: [&str; 10] =
        ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];
    let cpus = system.cpu_times().len();
    let mut out = cpu_heads(system, 20);
    for name in NAMES {
        let _ = writeln!(out, "{name:>12}:{}", format!(" {:>10}", 0).repeat(cpus));
    }
    out
}
