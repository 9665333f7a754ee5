//! Formats. The oracle is the /proc of the host that runs the tests: the same keys in the same order, the same columns. Hosts differ in
//! what they are configured with, so keys that only one side has are left out of the comparison.

use super::fake::Machine;

fn host(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn keys(text: &str) -> Vec<&str> {
    text.lines().filter_map(|l| l.split([':', ' ', '\t']).next()).filter(|k| !k.is_empty()).collect()
}

/// The keys that both have, in the order of each.
fn same_order(ours: &str, theirs: &str, at_least: usize) {
    let (a, b) = (keys(ours), keys(theirs));
    let both_a: Vec<_> = a.iter().filter(|k| b.contains(k)).collect();
    let both_b: Vec<_> = b.iter().filter(|k| a.contains(k)).collect();
    assert_eq!(both_a, both_b);
    assert!(both_a.len() >= at_least, "only {} keys in common", both_a.len());
}

/// Lines of both with the same key are equal once digits are taken for one another and blanks for one.
fn same_shape(ours: &str, theirs: &str, separator: char) {
    let shape = |line: &str| {
        let mut out = String::new();
        for c in line.chars() {
            let c = if c.is_ascii_digit() { '0' } else { c };
            if !((c == '0' || c == ' ') && out.ends_with(c)) {
                out.push(c);
            }
        }
        out
    };
    for line in ours.lines() {
        let Some((key, _)) = line.split_once(separator) else { continue };
        let prefix = format!("{key}{separator}");
        if let Some(other) = theirs.lines().find(|l| l.starts_with(&prefix)) {
            assert_eq!(shape(line), shape(other));
        }
    }
}

#[test]
fn meminfo_is_the_hosts_in_shape() {
    let (ours, theirs) = (Machine::new(0).read("/proc/meminfo").unwrap(), host("/proc/meminfo"));
    same_order(&ours, &theirs, 45);
    same_shape(&ours, &theirs, ':');
    assert!(ours.starts_with(
        "MemTotal:         524288 kB\nMemFree:          102400 kB\nMemAvailable:     307200 kB\n"
    ));
}

#[test]
fn status_is_the_hosts_in_shape() {
    let (ours, theirs) = (Machine::new(1000).read("/proc/42/status").unwrap(), host("/proc/self/status"));
    same_order(&ours, &theirs, 55);
    let start = "Name:\tp42\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t42\nNgid:\t0\nPid:\t42\nPPid:\t1\nTracerPid:\t0\n\
                 Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nFDSize:\t64\nGroups:\t \nNStgid:\t42\n";
    assert!(ours.starts_with(start), "{ours}");
    assert!(ours.contains("VmSize:\t    3072 kB\n"));
    assert!(ours.contains("SigIgn:\t0000000000001000\n"));
    assert!(ours.contains("Cpus_allowed:\t3\nCpus_allowed_list:\t0-1\n"));
}

#[test]
fn stat_has_the_hosts_fields() {
    let (ours, theirs) = (Machine::new(1000).read("/proc/42/stat").unwrap(), host("/proc/self/stat"));
    let fields = |text: &str| text.rsplit(") ").next().unwrap().split(' ').count();
    assert_eq!(fields(&ours), fields(&theirs));
    assert!(ours.starts_with(
        "42 (p42) S 1 42 40 34817 42 0 0 0 0 0 12 3 0 0 20 0 2 0 123 3145728 256 18446744073709551615 "
    ));
    let statm = Machine::new(1000).read("/proc/42/statm").unwrap();
    assert_eq!(statm, "768 256 128 0 0 0 0\n");
}

#[test]
fn the_kernels_own_figures() {
    let m = Machine::new(0);
    let stat = m.read("/proc/stat").unwrap();
    same_order(&stat, &host("/proc/stat"), 8);
    assert!(stat.starts_with("cpu  300 0 50 12000 0 0 0 0 0 0\ncpu0 150 0 25 6000 0 0 0 0 0 0\ncpu1 "));
    let softirq = |text: &str| text.lines().last().unwrap().split(' ').count();
    assert_eq!(softirq(&stat), softirq(&host("/proc/stat")));
    assert_eq!(m.read("/proc/uptime").unwrap(), "61.23 120.00\n");
    assert_eq!(m.read("/proc/loadavg").unwrap(), "0.50 1.00 3.05 1/77 99\n");
    assert_eq!(m.read("/proc/cmdline").unwrap(), "root=/dev/ubda rw\n");
    assert!(m.read("/proc/filesystems").unwrap().contains("nodev\tproc\n"));
    assert!(m.read("/proc/filesystems").unwrap().contains("\n\text4\n"));
    assert_eq!(m.read("/proc/partitions").unwrap().lines().nth(2), Some("  98        0    1048576 ubda"));
    same_order(&m.read("/proc/vmstat").unwrap(), &host("/proc/vmstat"), 20);
    let disk = m.read("/proc/diskstats").unwrap();
    assert_eq!(disk.lines().next().unwrap().split_whitespace().count(), 20);
    assert!(m.read("/proc/devices").unwrap().ends_with("\nBlock devices:\n 98 ubd\n259 blkext\n"));
}

#[test]
fn cpuinfo_is_the_hosts_processor() {
    let (ours, theirs) = (Machine::new(0).read("/proc/cpuinfo").unwrap(), host("/proc/cpuinfo"));
    assert_eq!(ours.matches("processor\t: ").count(), 2);
    let first = |text: &str| text.split("\n\n").next().unwrap().to_string();
    let (ours, theirs) = (first(&ours), first(&theirs));
    same_order(&ours, &theirs, 15);
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|l| l.split('\t').next() == Some(key)).unwrap_or_default().to_string();
        line.split_once(": ").unwrap_or_default().1.to_string()
    };
    for key in ["vendor_id", "cpu family", "model", "model name", "stepping", "address sizes"] {
        assert_eq!(value(&ours, key), value(&theirs, key), "{key}");
    }
    // What the host has switched off or made up itself differs, but the words are the same.
    let theirs: Vec<String> = value(&theirs, "flags").split(' ').map(str::to_string).collect();
    let flags = value(&ours, "flags");
    let known = flags.split(' ').filter(|f| theirs.iter().any(|t| t == f)).count();
    assert!(known * 10 >= theirs.len() * 7, "{known} of {}", theirs.len());
}

#[test]
fn maps_lie_in_the_hosts_columns() {
    let m = Machine::new(1000);
    let ours = m.read("/proc/42/maps").unwrap();
    let first = "55e400000000-55e400002000 r-xp 00001000 62:01 1234                       /usr/bin/cat\n";
    assert!(ours.starts_with(first), "{ours}");
    assert!(ours.ends_with("7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"));
    let theirs = host("/proc/self/maps");
    let named = theirs.lines().find(|l| l.contains(" /")).unwrap();
    assert_eq!(named.find('/'), first.find('/'));
    let (smaps, theirs) = (m.read("/proc/42/smaps").unwrap(), host("/proc/self/smaps"));
    let one = |text: &str| {
        text.lines()
            .skip(1)
            .take_while(|l| !l.starts_with("VmFlags"))
            .map(|l| l.to_string() + "\n")
            .collect::<String>()
    };
    same_order(&one(&smaps), &one(&theirs), 20);
    same_shape(&one(&smaps), &one(&theirs), ':');
    let rollup = |text: String| text.lines().skip(1).map(|l| l.to_string() + "\n").collect::<String>();
    let (a, b) = (rollup(m.read("/proc/42/smaps_rollup").unwrap()), rollup(host("/proc/self/smaps_rollup")));
    same_order(&a, &b, 20);
    same_shape(&a, &b, ':');
}

#[test]
fn limits_are_the_hosts_but_for_the_numbers() {
    let (ours, theirs) = (Machine::new(1000).read("/proc/42/limits").unwrap(), host("/proc/self/limits"));
    assert_eq!(ours.lines().next(), theirs.lines().next());
    for (a, b) in ours.lines().zip(theirs.lines()) {
        assert_eq!((a.len(), &a[..25], a.get(68..)), (b.len(), &b[..25], b.get(68..)));
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

#[test]
fn mounts_are_escaped_and_seen_from_the_root() {
    let m = Machine::new(1000);
    let mounts = m.read("/proc/mounts").unwrap();
    let lines: Vec<_> = mounts.lines().collect();
    assert_eq!(lines[0], "/dev/my\\040disk / rootfs rw,relatime 0 0");
    assert_eq!(lines[1], "proc /proc proc rw,nosuid,nodev,noexec 0 0");
    let info = m.read("/proc/self/mountinfo").unwrap();
    let fields: Vec<_> = info.lines().nth(1).unwrap().split(' ').collect();
    assert_eq!(&fields[3..], ["/", "/proc", "rw,nosuid,nodev,noexec", "-", "proc", "proc", "rw"]);
    let parent = info.split(' ').next().unwrap();
    assert_eq!(fields[1], parent);
    assert!(m.read("/proc/42/mountinfo").unwrap().lines().all(|l| l.contains(" - ")));
}

#[test]
fn small_files_of_a_process() {
    let m = Machine::new(1000);
    assert_eq!(m.read("/proc/42/cmdline").unwrap(), "cat\0file\0");
    assert_eq!(m.read("/proc/42/cgroup").unwrap(), "0::/\n");
    assert_eq!(m.read("/proc/42/uid_map").unwrap(), host("/proc/1/uid_map"));
    assert_eq!(m.read("/proc/42/loginuid").unwrap(), "4294967295");
    assert_eq!(m.read("/proc/42/wchan").unwrap(), "0");
    assert_eq!(m.read("/proc/42/coredump_filter").unwrap(), "00000033\n");
    assert_eq!(m.read("/proc/42/task/42/children").unwrap(), "50 51 ");
    assert_eq!(m.list("/proc/42/task").unwrap(), ["42", "43"]);
    let info = m.read("/proc/42/fdinfo/5").unwrap();
    assert!(info.starts_with("pos:\t0\nflags:\t0100001\nmnt_id:\t"), "{info}");
    same_order(&m.read("/proc/42/io").unwrap(), &host("/proc/self/io"), 7);
    assert_eq!(m.read("/proc/42/schedstat").unwrap(), "150000000 0 0\n");
}

#[test]
fn net_tables_begin_as_the_hosts() {
    let m = Machine::new(0);
    for name in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "unix", "route", "arp", "netlink", "packet"] {
        let Ok(theirs) = std::fs::read_to_string(format!("/proc/net/{name}")) else { continue };
        let ours = m.read(&format!("/proc/net/{name}")).unwrap();
        assert_eq!(ours.lines().next(), theirs.lines().next(), "{name}");
    }
    let (ours, theirs) = (m.read("/proc/net/dev").unwrap(), host("/proc/net/dev"));
    assert!(ours.lines().take(2).eq(theirs.lines().take(2)));
    assert_eq!(ours.lines().count(), 3);
    same_order(&m.read("/proc/net/snmp").unwrap(), &host("/proc/net/snmp").replace("IcmpMsg", "x"), 8);
}

/// The paths that real programs were seen to open (the project's reference list), but those of hardware that a guest has not.
#[test]
fn what_programs_open_is_there() {
    let m = Machine::new(0);
    let paths = "filesystems meminfo self/fd self/maps self/mountinfo self/stat cpuinfo self/loginuid swaps cmdline loadavg mounts net/dev \
        net/if_inet6 self/oom_score_adj self/status self/uid_map stat sys sys/fs sys/fs/file-max sys/fs/nr_open sys/kernel/hostname \
        sys/kernel/cap_last_cap sys/kernel/ngroups_max sys/kernel/osrelease sys/vm/overcommit_memory sys/kernel/overflowgid \
        sys/kernel/overflowuid sys/kernel/pid_max sys/kernel/random/boot_id sys/kernel/seccomp/actions_avail uptime 42/attr/current \
        42/cgroup 42/comm 42/environ 42/limits 42/root 42/ns/user 42/sessionid 42/statm cgroups devices net/route net/unix \
        self/gid_map self/setgroups self/smaps self/task sysvipc/msg sysvipc/sem sysvipc/shm sys/abi/vsyscall32 \
        sys/debug/exception-trace sys/dev/tty/legacy_tiocsti sys/fs/binfmt_misc sys/fs/epoll/max_user_watches \
        sys/fs/inotify/max_user_watches sys/fs/mqueue sys/fs/quota/syncs sys/kernel/core_pattern sys/kernel/keys/maxkeys \
        sys/kernel/pty/max sys/kernel/sem sys/kernel/usermodehelper/bset sys/net/core/somaxconn sys/net/ipv4/ip_forward \
        sys/net/ipv4/conf/all/forwarding sys/net/ipv6/conf/lo/disable_ipv6 sys/net/ipv4/neigh/default/gc_thresh1 \
        sys/user/max_user_namespaces sys/vm/max_map_count sys/vm/swappiness sys/net/unix/max_dgram_qlen";
    for path in paths.split_whitespace() {
        assert!(m.path(&format!("/proc/{path}")).is_ok(), "{path}");
    }
}
