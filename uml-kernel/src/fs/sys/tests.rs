use crate::fs::proc::tests::fake::Machine;
use crate::fs::{FileSystem, Lookup, Mount, MountFlags, Namespace, OpenFlags, Resolve};
use std::sync::Arc;

fn mounted() -> Lookup {
    let system = Machine::new(0).system;
    let sys: Arc<dyn FileSystem> = super::new(system);
    let ns = Namespace::new(Mount::whole(sys.clone(), "sysfs", MountFlags::empty()));
    let creds = Arc::new(crate::fs::Creds::user(1000, 1000, &[]));
    Lookup { root: ns.root(), start: ns.root(), creds, resolve: Resolve::empty(), ns }
}

fn read(at: &Lookup, path: &str) -> String {
    let path = at.find(path.as_bytes(), true).unwrap();
    let ops = path.inode().clone().open(OpenFlags::empty()).unwrap();
    let file = crate::fs::File::new(ops, path, OpenFlags::empty());
    let mut buf = vec![0; 8192];
    let n = file.read(&mut buf).unwrap();
    String::from_utf8(buf[..n].to_vec()).unwrap()
}

#[test]
fn processors_and_nodes() {
    let sys = mounted();
    for name in ["online", "possible", "present"] {
        assert_eq!(read(&sys, &format!("/devices/system/cpu/{name}")), "0-1\n");
    }
    assert_eq!(read(&sys, "/devices/system/cpu/cpu1/topology/thread_siblings"), "2\n");
    assert_eq!(read(&sys, "/devices/system/cpu/cpu1/topology/core_siblings_list"), "0-1\n");
    assert!(sys.find(b"/devices/system/cpu/cpu0/online", true).is_err());
    assert_eq!(read(&sys, "/devices/system/node/node0/cpumap"), "3\n");
    assert!(
        read(&sys, "/devices/system/node/node0/meminfo").starts_with("Node 0 MemTotal:         524288 kB\n")
    );
    // All entries, one at a time.
    let dir = sys.find(b"/devices/system/cpu", true).unwrap();
    let (mut names, mut from) = (Vec::new(), 0);
    loop {
        let before = from;
        dir.inode()
            .entries(from, &mut |e| {
                from = e.next;
                names.push(String::from_utf8(e.name).unwrap());
                false
            })
            .unwrap();
        if from == before {
            break;
        }
    }
    let unique: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    assert!(names.contains(&"cpu1".into()) && names.contains(&"smt".into()));
}

#[test]
fn disks_by_name_and_number() {
    let sys = mounted();
    assert_eq!(read(&sys, "/block/ubda/size"), "2097152\n");
    assert!(sys.find(b"/block/ubda1", true).is_err());
    assert_eq!(read(&sys, "/class/block/ubda1/dev"), "98:1\n");
    assert_eq!(read(&sys, "/block/ubda/ubda1/start"), "2048\n");
    assert_eq!(read(&sys, "/dev/block/98:1/partition"), "1\n");
    assert_eq!(read(&sys, "/dev/block/98:1/../size"), "2097152\n");
    assert_eq!(read(&sys, "/dev/block/98:1/subsystem/ubda/ro"), "0\n");
    assert!(read(&sys, "/class/block/ubda1/uevent").ends_with("DEVTYPE=partition\nPARTN=1\n"));
    assert!(sys.find(b"/class/block/ubda1/queue", true).is_err());
    assert_eq!(read(&sys, "/dev/block/98:0/hidden"), "0\n");
    assert_eq!(read(&sys, "/class/net/lo/mtu"), "65536\n");
}

#[test]
fn what_programs_look_for() {
    let sys = mounted();
    let paths = "fs/cgroup fs/fuse/connections fs/ext4/features/lazy_itable_init kernel/mm/transparent_hugepage/enabled \
        kernel/mm/hugepages kernel/debug kernel/tracing kernel/security class/tty class/mem class/misc class/net/lo bus module power \
        firmware hypervisor/type dev/char devices/system/clocksource/clocksource0/current_clocksource";
    for path in paths.split_whitespace() {
        assert!(sys.find(format!("/{path}").as_bytes(), true).is_ok(), "{path}");
    }
    assert!(sys.find(b"/kernel/config", true).is_err());
}
