//! /sys/devices/system/{cpu,node} (Documentation/ABI/testing/sysfs-devices-system-cpu): one package, one node, a core for each vCPU.

use crate::base::{Errno, Result};
use crate::fs::proc::System;
use crate::fs::pseudo::{Content, Dir, Entry, Fixed, Node, Text, next_ino};
use std::fmt::Write as _;
use std::sync::Arc;

/// CPUs beyond this are not numbered in masks (and nobody asks for so many).
const MOST: usize = 64;

fn text(
    system: &Arc<dyn System>,
    make: impl Fn(&dyn System) -> String + Send + Sync + 'static,
) -> Arc<dyn Content> {
    let system = system.clone();
    Arc::new(Text(move || Ok(make(&*system).into_bytes())))
}

fn count(system: &dyn System) -> usize {
    system.cpu_times().len().clamp(1, MOST)
}

fn all(cpus: usize) -> u64 {
    if cpus == 64 { u64::MAX } else { (1 << cpus) - 1 }
}

fn list(cpus: usize) -> String {
    format!("{}\n", crate::fs::proc::cpu_ranges(all(cpus)))
}

/// How many CPUs there are is known only once the kernel runs, so their directories are made when they are asked for, and kept.
struct Cpus {
    system: Arc<dyn System>,
    fixed: Fixed,
    made: std::sync::OnceLock<Fixed>,
}

impl Cpus {
    fn made(&self) -> &Fixed {
        self.made.get_or_init(|| {
            let cpus = count(&*self.system);
            (0..cpus).fold(Fixed::new(), |dir, n| dir.dir755(&format!("cpu{n}"), one(n, cpus)))
        })
    }
}

impl Dir for Cpus {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        self.fixed.lookup(name).or_else(|_| self.made().lookup(name)).map_err(|_| Errno::ENOENT)
    }
    fn list(&self, from: u64) -> Result<Vec<Entry>> {
        let first = self.fixed.len() as u64;
        let mut entries = self.fixed.list(from.min(first + 2))?;
        let made = self.made().list(from.saturating_sub(first))?;
        entries.extend(made.into_iter().map(|e| Entry { place: e.place + first, ..e }));
        Ok(entries)
    }
    fn subdirs(&self) -> u32 {
        self.made().subdirs()
    }
}

/// The directory of the CPUs.
pub(super) fn cpus(system: &Arc<dyn System>) -> Node {
    let mut fixed = Fixed::new();
    for name in ["online", "possible", "present"] {
        fixed = fixed.file(name, 0o444, text(system, |s| list(count(s))));
    }
    let fixed = fixed
        .text("offline", "\n")
        .text("isolated", "\n")
        .text("kernel_max", "63\n")
        .dir755("smt", Fixed::new().text("active", "0\n").text("control", "notsupported\n"))
        .dir755("vulnerabilities", Fixed::new());
    let dir = Cpus { system: system.clone(), fixed, made: std::sync::OnceLock::new() };
    Node::dir(next_ino(), 0o755, Arc::new(dir))
}

fn one(n: usize, cpus: usize) -> Fixed {
    let mask = |set: u64| format!("{}\n", crate::fs::proc::cpu_mask(set, cpus));
    let (own, whole) = (mask(1 << n), mask(all(cpus)));
    let mut topology = Fixed::new();
    for name in ["core_cpus", "thread_siblings", "cluster_cpus"] {
        topology = topology.text(name, &own).text(&format!("{name}_list"), &format!("{n}\n"));
    }
    for name in ["core_siblings", "die_cpus", "package_cpus"] {
        topology = topology.text(name, &whole).text(&format!("{name}_list"), &list(cpus));
    }
    let topology = topology
        .text("core_id", &format!("{n}\n"))
        .text("physical_package_id", "0\n")
        .text("die_id", "0\n")
        .text("cluster_id", "65535\n");
    let dir = Fixed::new().dir755("topology", topology).dir755("cache", Fixed::new());
    // The first CPU cannot be taken away, so it has no such file.
    if n == 0 { dir } else { dir.text("online", "1\n") }
}

/// The directory of the nodes.
pub(super) fn nodes(system: &Arc<dyn System>) -> Fixed {
    let mut dir = Fixed::new();
    for name in ["online", "possible", "has_cpu", "has_memory", "has_normal_memory"] {
        dir = dir.text(name, "0\n");
    }
    let node0 = Fixed::new()
        .file(
            "cpumap",
            0o444,
            text(system, |s| format!("{}\n", crate::fs::proc::cpu_mask(all(count(s)), count(s)))),
        )
        .file("cpulist", 0o444, text(system, |s| list(count(s))))
        .text("distance", "10\n")
        .file("meminfo", 0o444, text(system, meminfo))
        .text(
            "numastat",
            "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0\n",
        );
    dir.dir755("node0", node0)
}

fn meminfo(system: &dyn System) -> String {
    let m = system.memory();
    let file = m.cached.saturating_sub(m.shmem) + m.buffers;
    let lines = [
        ("MemTotal", m.total),
        ("MemFree", m.free),
        ("MemUsed", m.total.saturating_sub(m.free)),
        ("SwapCached", 0),
        ("Active", m.anonymous + m.shmem + file / 2),
        ("Inactive", file - file / 2),
        ("Active(anon)", m.anonymous + m.shmem),
        ("Inactive(anon)", 0),
        ("Active(file)", file / 2),
        ("Inactive(file)", file - file / 2),
        ("Unevictable", m.locked),
        ("Mlocked", m.locked),
        ("Dirty", m.dirty),
        ("Writeback", m.writeback),
        ("FilePages", m.cached + m.buffers),
        ("Mapped", m.mapped),
        ("AnonPages", m.anonymous),
        ("Shmem", m.shmem),
        ("KernelStack", m.kernel_stacks),
        ("PageTables", m.page_tables),
        ("SecPageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("KReclaimable", m.slab),
        ("Slab", m.slab),
        ("SReclaimable", m.slab),
        ("SUnreclaim", 0),
    ];
    let mut out = String::new();
    for (name, bytes) in lines {
        let _ = writeln!(out, "Node 0 {:<15} {:>8} kB", format!("{name}:"), bytes >> 10);
    }
    for name in ["HugePages_Total", "HugePages_Free", "HugePages_Surp"] {
        let _ = writeln!(out, "Node 0 {:<16} {:>5}", format!("{name}:"), 0);
    }
    out
}
