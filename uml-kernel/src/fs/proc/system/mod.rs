//! The files of /proc that tell about the kernel.

mod cpu;
mod cpuid;
mod devices;
mod memory;
pub(super) mod net;
mod stat;

use super::source::{IpcTable, System};

/// Makes the text of a file.
pub(super) type Make = fn(&dyn System) -> String;

/// Name, mode, and what makes the text.
pub(super) const FILES: &[(&str, u32, Make)] = &[
    ("buddyinfo", 0o444, memory::buddyinfo),
    ("cgroups", 0o444, |_| "#subsys_name\thierarchy\tnum_cgroups\tenabled\n".into()),
    ("cmdline", 0o444, |s| format!("{}\n", s.command_line())),
    ("consoles", 0o444, |_| "ttyS0                -W- (EC  p  )    4:64\n".into()),
    ("cpuinfo", 0o444, cpu::cpuinfo),
    ("crypto", 0o444, |_| String::new()),
    ("devices", 0o444, devices::devices),
    ("diskstats", 0o444, devices::diskstats),
    ("execdomains", 0o444, |_| "0-0\tLinux           \t[kernel]\n".into()),
    ("filesystems", 0o444, filesystems),
    ("interrupts", 0o444, stat::interrupts),
    ("iomem", 0o400, |_| String::new()),
    ("ioports", 0o400, |_| String::new()),
    ("kallsyms", 0o444, |_| String::new()),
    ("key-users", 0o444, |_| String::new()),
    ("keys", 0o444, |_| String::new()),
    ("loadavg", 0o444, stat::loadavg),
    ("locks", 0o444, |s| s.locks()),
    ("meminfo", 0o444, memory::meminfo),
    ("misc", 0o444, |_| "237 loop-control\n".into()),
    ("modules", 0o444, |_| String::new()),
    ("partitions", 0o444, devices::partitions),
    ("slabinfo", 0o400, |_| memory::SLABINFO.into()),
    ("softirqs", 0o444, stat::softirqs),
    ("stat", 0o444, stat::stat),
    ("swaps", 0o444, memory::swaps),
    ("timer_list", 0o400, |_| String::new()),
    ("uptime", 0o444, stat::uptime),
    ("version", 0o444, version),
    ("vmallocinfo", 0o400, |_| String::new()),
    ("vmstat", 0o444, memory::vmstat),
    ("zoneinfo", 0o444, memory::zoneinfo),
];

/// Pressure stall information (Documentation/accounting/psi.rst): measured by nobody, so there is none.
pub(super) const PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n\
                                   full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";

/// /proc/tty/drivers; ps and others find names of terminals by it.
pub(super) const TTY_DRIVERS: &str = concat!(
    "/dev/tty             /dev/tty        5       0 system:/dev/tty\n",
    "/dev/console         /dev/console    5       1 system:console\n",
    "/dev/ptmx            /dev/ptmx       5       2 system\n",
    "/dev/vc/0            /dev/vc/0       4       0 system:vtmaster\n",
    "serial               /dev/ttyS       4      64-67 serial\n",
    "pty_slave            /dev/pts      136 0-1048575 pty:slave\n",
    "pty_master           /dev/ptm      128 0-1048575 pty:master\n",
    "unknown              /dev/tty        4 1-63 console\n",
);

fn version(system: &dyn System) -> String {
    let uts = system.uts();
    format!("{} version {} (uml-kernel) {}\n", uts.sysname, uts.release, uts.version)
}

fn filesystems(system: &dyn System) -> String {
    let line = |(name, device): &(&str, bool)| format!("{}\t{name}\n", if *device { "" } else { "nodev" });
    system.file_systems().iter().map(line).collect()
}

/// A table of /proc/sysvipc.
pub(super) fn ipc(system: &dyn System, table: IpcTable) -> String {
    let head = match table {
        IpcTable::Msg => concat!(
            "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime",
            "      rtime      ctime\n"
        ),
        IpcTable::Sem => {
            "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
        }
        IpcTable::Shm => concat!(
            "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime",
            "      dtime      ctime                   rss                  swap\n"
        ),
    };
    format!("{head}{}", system.ipc_table(table))
}
