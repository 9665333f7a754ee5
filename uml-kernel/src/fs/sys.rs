//! sysfs (sysfs(5), Documentation/ABI): the small part of it that programs look for. Nothing is read from the host's /sys.

mod block;
mod cpu;

use super::proc::System;
use super::pseudo::{Content, Fixed, Pseudo, Stored, Text};
use std::sync::Arc;

/// SYSFS_MAGIC (linux/magic.h).
const MAGIC: u64 = 0x6265_6572;

/// A sysfs.
pub fn new(system: Arc<dyn System>) -> Arc<Pseudo> {
    let root = Fixed::new()
        .with("block", block::disks(&system))
        .dir755("bus", Fixed::new())
        .dir755("class", class(&system))
        .dir755("dev", Fixed::new().with("block", block::numbers(&system)).dir755("char", Fixed::new()))
        .dir755("devices", devices(&system))
        .dir755("firmware", Fixed::new())
        .dir755("fs", fs())
        .dir755("hypervisor", Fixed::new().text("type", "uml\n"))
        .dir755("kernel", kernel())
        .dir755("module", Fixed::new())
        .dir755("power", Fixed::new());
    Pseudo::new("sysfs", MAGIC, true, root.node(0o755))
}

fn line(value: &str) -> Arc<String> {
    Arc::new(format!("{value}\n"))
}

/// A value that can be written, to no effect.
fn accepted(value: &'static str) -> Arc<dyn Content> {
    Arc::new(Stored(move || Ok(format!("{value}\n").into_bytes()), |_: &[u8]| Ok(())))
}

fn class(system: &Arc<dyn System>) -> Fixed {
    let empty = ["mem", "misc", "power_supply", "thermal"];
    let all = empty.iter().fold(Fixed::new(), |dir, name| dir.dir755(name, Fixed::new()));
    all.with("block", block::class(system))
        .dir755("net", Fixed::new().link("lo", "../../devices/virtual/net/lo"))
        .dir755("tty", Fixed::new().dir755("console", active_console()))
}

/// systemd starts a login on what it names.
fn active_console() -> Fixed {
    Fixed::new()
        .text("active", "ttyS0\n")
        .text("dev", "5:1\n")
        .text("uevent", "MAJOR=5\nMINOR=1\nDEVNAME=console\n")
}

fn devices(system: &Arc<dyn System>) -> Fixed {
    let clocksource = Fixed::new().text("available_clocksource", "tsc \n").file(
        "current_clocksource",
        0o644,
        accepted("tsc"),
    );
    let tree = Fixed::new()
        .with("cpu", cpu::cpus(system))
        .dir755("node", cpu::nodes(system))
        .dir755("clocksource", Fixed::new().dir755("clocksource0", clocksource));
    let net = Fixed::new().dir755("lo", loopback(system));
    let virtuals = Fixed::new().dir755("net", net).with("block", block::homes(system));
    Fixed::new().dir755("system", tree).dir755("virtual", virtuals)
}

fn loopback(system: &Arc<dyn System>) -> Fixed {
    let values = [
        ("addr_assign_type", "0"),
        ("addr_len", "6"),
        ("address", "00:00:00:00:00:00"),
        ("broadcast", "00:00:00:00:00:00"),
        ("carrier", "1"),
        ("dev_id", "0x0"),
        ("dev_port", "0"),
        ("dormant", "0"),
        ("flags", "0x9"),
        ("ifalias", ""),
        ("ifindex", "1"),
        ("iflink", "1"),
        ("link_mode", "0"),
        ("mtu", "65536"),
        ("name_assign_type", "2"),
        ("operstate", "unknown"),
        ("tx_queue_len", "1000"),
        ("type", "772"),
    ];
    let mut dir = values.iter().fold(Fixed::new(), |dir, (name, value)| dir.file(name, 0o444, line(value)));
    dir = dir.file("uevent", 0o644, Arc::new("INTERFACE=lo\nIFINDEX=1\n".to_string()));
    let names = ["bytes", "packets", "errors", "dropped"];
    let mut statistics = Fixed::new();
    for (n, name) in names.iter().enumerate() {
        for (prefix, sent) in [("rx_", false), ("tx_", true)] {
            let system = system.clone();
            let read = move || {
                let lo = system.interfaces().into_iter().find(|i| i.name == "lo").unwrap_or_default();
                Ok(format!("{}\n", if sent { lo.sent[n] } else { lo.received[n] }).into_bytes())
            };
            statistics = statistics.file(&format!("{prefix}{name}"), 0o444, Arc::new(Text(read)));
        }
    }
    dir.dir755("statistics", statistics).link("subsystem", "../../../../class/net")
}

/// Where control groups, BPF and FUSE's control files are mounted.
fn fs() -> Fixed {
    let features = Fixed::new().text("lazy_itable_init", "supported\n");
    Fixed::new()
        .dir755("cgroup", Fixed::new())
        .dir755("bpf", Fixed::new())
        .dir755("pstore", Fixed::new())
        .dir755("ext4", Fixed::new().dir755("features", features))
        .dir755("fuse", Fixed::new().dir755("connections", Fixed::new()))
}

fn kernel() -> Fixed {
    let huge = Fixed::new()
        .file("enabled", 0o644, accepted("always madvise [never]"))
        .file("defrag", 0o644, accepted("always defer defer+madvise [madvise] never"))
        .file("use_zero_page", 0o644, accepted("1"));
    let mm = Fixed::new().dir755("transparent_hugepage", huge).dir755("hugepages", Fixed::new());
    Fixed::new()
        .text("address_bits", "64\n")
        .text("cpu_byteorder", "little\n")
        .dir("debug", Fixed::new())
        .text("fscaps", "1\n")
        .dir755("mm", mm)
        .text("profiling", "0\n")
        .dir755("security", Fixed::new())
        .dir("tracing", Fixed::new())
        .text("uevent_seqnum", "1\n")
}

#[cfg(test)]
mod tests;
