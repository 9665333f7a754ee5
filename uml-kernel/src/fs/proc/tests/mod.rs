//! The framework's rules, and formats against the host's own /proc.

pub(crate) mod fake;
mod formats;

use crate::base::Errno;
use crate::base::wait::Events;
use crate::fs::{FileSystem, OpenFlags, kind};
use fake::Machine;

#[test]
fn processes_come_and_go() {
    let m = Machine::new(1000);
    let names = m.list("/proc").unwrap();
    assert!(names.ends_with(&["1".into(), "42".into()]), "{names:?}");
    assert_eq!(m.link("/proc/self").unwrap(), "42");
    assert_eq!(m.link("/proc/thread-self").unwrap(), "42/task/43");
    // A thread has a directory that is not listed.
    assert!(m.path("/proc/43/stat").is_ok());
    for wrong in ["/proc/99", "/proc/042", "/proc/+1", "/proc/42x", "/proc/99999999999"] {
        assert_eq!(m.path(wrong).err(), Some(Errno::ENOENT), "{wrong}");
    }
    let open = m.open("/proc/1/stat", OpenFlags::empty()).unwrap();
    let one = m.system.processes.lock().remove(0);
    *one.gone.lock() = true;
    assert_eq!(m.path("/proc/1").err(), Some(Errno::ENOENT));
    assert_eq!(open.read(&mut [0; 10]), Err(Errno::ESRCH));
}

#[test]
fn every_listed_name_is_there_and_is_what_it_is_said_to_be() {
    let m = Machine::new(0);
    let mut seen = std::collections::HashMap::new();
    for dir in [
        "/proc",
        "/proc/42",
        "/proc/42/task/43",
        "/proc/42/ns",
        "/proc/42/fd",
        "/proc/42/fdinfo",
        "/proc/42/attr",
        "/proc/42/net",
        "/proc/sys/kernel",
    ] {
        let at = m.path(dir).unwrap();
        let mut entries = Vec::new();
        at.inode()
            .entries(0, &mut |e| {
                entries.push(e);
                true
            })
            .unwrap();
        for e in entries {
            let name = String::from_utf8_lossy(&e.name).into_owned();
            let attr = at.inode().lookup(&e.name).unwrap().attr().unwrap();
            assert_eq!((attr.ino, attr.kind()), (e.ino, e.kind), "{dir}/{name}");
            if let Some(before) = seen.insert(attr.ino, format!("{dir}/{name}")) {
                panic!("{before} and {dir}/{name} have one number");
            }
            if attr.kind() == kind::REG && attr.mode & 0o444 != 0 && name != "kmsg" && name != "mem" {
                // Nothing may fail but what is meant to.
                let path = format!("{dir}/{name}");
                match m.read(&path) {
                    Ok(_) => {}
                    Err(e) => assert!(name == "pagemap" || dir.ends_with("attr"), "{path}: {e:?}"),
                }
            }
        }
    }
}

#[test]
fn reads_go_on_in_one_text_and_rewinding_makes_a_new_one() {
    let m = Machine::new(0);
    let file = m.open("/proc/sys/kernel/hostname", OpenFlags::RDWR).unwrap();
    let mut buf = [0; 3];
    assert_eq!(file.read(&mut buf), Ok(3));
    m.system.hostname.lock().splice(.., *b"other");
    assert_eq!(file.read(&mut buf), Ok(3));
    assert_eq!(&buf, b"st\n");
    assert_eq!(file.read(&mut buf), Ok(0));
    *file.pos().lock() = 0;
    assert_eq!(file.read(&mut buf), Ok(3));
    assert_eq!(&buf, b"oth");
    // Beyond the end, and without a read at the start before.
    let file = m.open("/proc/version", OpenFlags::empty()).unwrap();
    *file.pos().lock() = 1 << 40;
    assert_eq!(file.read(&mut buf), Ok(0));
    *file.pos().lock() = 6;
    file.read(&mut buf).unwrap();
    assert_eq!(&buf, b"ver");
}

#[test]
fn links_lead_to_things() {
    let m = Machine::new(1000);
    assert_eq!(m.link("/proc/mounts").unwrap(), "self/mounts");
    assert_eq!(m.link("/proc/42/cwd").unwrap(), "/");
    assert_eq!(m.path("/proc/self/cwd").unwrap(), m.lookup.root);
    assert_eq!(m.path("/proc/self/root/proc/self/fd/5").unwrap(), m.lookup.root);
    assert_eq!(m.link("/proc/42/ns/mnt").unwrap(), "mnt:[4026531832]");
    assert_eq!(m.link("/proc/42/ns/pid_for_children").unwrap(), "pid:[4026531836]");
    let (a, b) = (m.path("/proc/42/ns/mnt").unwrap(), m.path("/proc/43/ns/mnt").unwrap());
    let (a, b) = (a.inode().attr().unwrap(), b.inode().attr().unwrap());
    assert_eq!((a.dev, a.ino), (b.dev, b.ino));
    let mode =
        |path: &str| m.lookup.find(path.as_bytes(), false).unwrap().inode().attr().unwrap().mode & 0o777;
    assert_eq!((mode("/proc/42/fd/0"), mode("/proc/42/fd/5")), (0o500, 0o300));
    assert_eq!(m.path("/proc/42/fd/1").err(), Some(Errno::ENOENT));
}

#[test]
fn others_may_not_look() {
    let m = Machine::new(1000);
    assert_eq!(m.link("/proc/1/cwd").err(), Some(Errno::EACCES));
    assert_eq!(m.path("/proc/1/root/").err(), Some(Errno::EACCES));
    assert_eq!(m.read("/proc/1/maps").err(), Some(Errno::EACCES));
    assert_eq!(m.list("/proc/1/fd").err(), Some(Errno::EACCES));
    assert!(m.read("/proc/1/status").is_ok());
    let attr = m.path("/proc/42/environ").unwrap().inode().attr().unwrap();
    assert_eq!((attr.mode & 0o777, attr.uid, attr.gid), (0o400, 1000, 1000));
    // Addresses are hidden from them.
    let stat = m.read("/proc/1/stat").unwrap();
    let fields: Vec<_> = stat.split(' ').collect();
    assert_eq!((fields[25], fields[46]), ("1", "0"));
    let root = Machine::new(0);
    assert!(root.read("/proc/1/maps").is_ok());
}

#[test]
fn what_can_be_written() {
    let m = Machine::new(1000);
    assert_eq!(m.write("/proc/self/comm", "a name that is too long\n"), Ok(24));
    assert_eq!(m.read("/proc/42/comm").unwrap(), "a name that is \n");
    assert_eq!(m.write("/proc/1/comm", "x"), Err(Errno::EINVAL));
    assert_eq!(m.write("/proc/self/oom_score_adj", "500\n"), Ok(4));
    assert_eq!(m.read("/proc/self/oom_score_adj").unwrap(), "500\n");
    assert_eq!(m.read("/proc/self/oom_adj").unwrap(), "8\n");
    assert_eq!(m.write("/proc/self/oom_score_adj", "-1"), Err(Errno::EACCES));
    assert_eq!(m.write("/proc/self/oom_score_adj", "1001"), Err(Errno::EINVAL));
    assert_eq!(m.write("/proc/self/oom_score_adj", "many"), Err(Errno::EINVAL));
    assert_eq!(m.write("/proc/meminfo", "1"), Err(Errno::EIO));
}

#[test]
fn sysctls_are_kept_within_bounds() {
    let m = Machine::new(0);
    assert_eq!(m.read("/proc/sys/vm/overcommit_memory").unwrap(), "0\n");
    assert_eq!(m.write("/proc/sys/vm/overcommit_memory", " 1 \n"), Ok(4));
    assert_eq!(m.read("/proc/sys/vm/overcommit_memory").unwrap(), "1\n");
    assert_eq!(m.sysctls.number("vm/overcommit_memory"), 1);
    assert_eq!(m.system.changed.lock()[0], ("vm/overcommit_memory".into(), "1".into()));
    assert_eq!(m.write("/proc/sys/vm/overcommit_memory", "3"), Err(Errno::EINVAL));
    assert_eq!(m.write("/proc/sys/vm/overcommit_memory", "x"), Err(Errno::EINVAL));
    assert_eq!(m.write("/proc/sys/kernel/panic", "5"), Err(Errno::EPERM));
    m.write("/proc/sys/kernel/printk", "3\n").unwrap();
    assert_eq!(m.read("/proc/sys/kernel/printk").unwrap(), "3\t4\t1\t7\n");
    m.write("/proc/sys/kernel/hostname", "named\n").unwrap();
    assert_eq!(m.read("/proc/sys/kernel/hostname").unwrap(), "named\n");
    assert_eq!(m.open("/proc/sys/kernel/ostype", OpenFlags::WRONLY).err(), None);
    assert!(m.write("/proc/sys/kernel/ostype", "Hurd").is_err());
    let (a, b) =
        (m.read("/proc/sys/kernel/random/uuid").unwrap(), m.read("/proc/sys/kernel/random/uuid").unwrap());
    assert!(a != b && a.len() == 37 && a.as_bytes()[14] == b'4');
    assert_eq!(m.read("/proc/sys/kernel/random/boot_id").unwrap(), "abababab-abab-4bab-abab-abababababab\n");
    assert_eq!(m.write("/proc/sys/net/ipv4/conf/lo/rp_filter", "2"), Ok(1));
    assert_eq!(m.write("/proc/sys/vm/drop_caches", "3"), Ok(1));
    let user = Machine::new(1000);
    assert_eq!(user.write("/proc/sys/vm/swappiness", "1"), Err(Errno::EACCES));
}

#[test]
fn memory_is_read_and_written_in_place() {
    let m = Machine::new(1000);
    let here = vec![7u8; 16];
    let file = m.open("/proc/42/mem", OpenFlags::RDWR).unwrap();
    let mut buf = [0u8; 16];
    *file.pos().lock() = here.as_ptr() as u64;
    assert_eq!(file.read(&mut buf), Ok(16));
    assert_eq!(buf, *here);
    *file.pos().lock() = 0;
    assert_eq!(file.read(&mut buf), Err(Errno::EIO));
}

#[test]
fn names_that_last_can_be_mounted_on() {
    let m = Machine::new(0);
    let first = m.path("/proc/sys/fs/binfmt_misc").unwrap();
    assert_eq!(first, m.path("/proc/sys/fs/binfmt_misc").unwrap());
    assert_ne!(m.path("/proc/42").unwrap(), m.path("/proc/42").unwrap());
    let fs = m.path("/proc").unwrap().inode().file_system();
    assert_eq!(fs.statfs().unwrap().magic, 0x9fa0);
    assert!(!FileSystem::cacheable(&*fs));
}

#[test]
fn changes_of_mounts_are_told_once() {
    let m = Machine::new(0);
    let file = m.open("/proc/self/mountinfo", OpenFlags::empty()).unwrap();
    let poll = || file.ops().poll(&file, None);
    assert_eq!(poll(), Events::READ);
    let there = m.path("/proc").unwrap().mount;
    m.lookup.ns.unmount(&there, crate::fs::Unmount::Detach).unwrap();
    assert_eq!(poll(), Events::READ | Events::PRI | Events::ERR);
    assert_eq!(poll(), Events::READ);
}
