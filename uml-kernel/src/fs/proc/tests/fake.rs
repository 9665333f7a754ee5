//! A kernel with three processes, for tests.

use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::proc::source::*;
use crate::fs::proc::{Sysctls, new};
use crate::fs::pseudo::{Fixed, Pseudo};
use crate::fs::{
    Creds, Dentry, File, FileSystem, Lookup, Mount, MountFlags, Namespace, OpenFlags, Path, Resolve,
};
use crate::mm::UserMemory;
use std::sync::Arc;
use std::sync::OnceLock;

pub(crate) struct FakeSystem {
    pub(crate) creds: Mutex<Arc<Creds>>,
    pub(crate) hostname: Mutex<Vec<u8>>,
    pub(crate) processes: Mutex<Vec<Arc<FakeProcess>>>,
    pub(crate) changed: Mutex<Vec<(String, String)>>,
}

pub(crate) struct FakeProcess {
    pub(crate) pid: i32,
    pub(crate) tgid: i32,
    pub(crate) creds: Arc<Creds>,
    pub(crate) comm: Mutex<Vec<u8>>,
    pub(crate) gone: Mutex<bool>,
    pub(crate) adj: Mutex<i32>,
    pub(crate) place: OnceLock<(Arc<Namespace>, Path)>,
}

impl FakeProcess {
    fn new(pid: i32, tgid: i32, uid: u32) -> Arc<FakeProcess> {
        Arc::new(FakeProcess {
            pid,
            tgid,
            creds: Arc::new(Creds::user(uid, uid, &[])),
            comm: Mutex::new(Rank::Leaf, format!("p{pid}").into()),
            gone: Mutex::new(Rank::Leaf, false),
            adj: Mutex::new(Rank::Leaf, 0),
            place: OnceLock::new(),
        })
    }
}

impl System for FakeSystem {
    fn pids(&self) -> Vec<i32> {
        self.processes.lock().iter().filter(|p| p.pid == p.tgid).map(|p| p.pid).collect()
    }
    fn process(&self, pid: i32) -> Option<Arc<dyn Process>> {
        let found = self.processes.lock().iter().find(|p| p.pid == pid).cloned()?;
        Some(found)
    }
    fn current(&self) -> Option<(i32, i32)> {
        Some((42, 43))
    }
    fn creds(&self) -> Arc<Creds> {
        self.creds.lock().clone()
    }
    fn memory(&self) -> Memory {
        Memory {
            total: 512 << 20,
            free: 100 << 20,
            available: 300 << 20,
            cached: 50 << 20,
            ..Memory::default()
        }
    }
    fn cpu_times(&self) -> Vec<CpuTimes> {
        let one = CpuTimes {
            user: 1_500_000_000,
            system: 250_000_000,
            idle: 60_000_000_000,
            ..CpuTimes::default()
        };
        vec![one; 2]
    }
    fn uptime(&self) -> u64 {
        61_234_567_890
    }
    fn load(&self) -> Load {
        Load { averages: [1024, 2048, 3 * 2048 + 100], running: 1, blocked: 0, tasks: 77, last_pid: 99 }
    }
    fn counters(&self) -> Counters {
        Counters { switches: 12, forks: 34, boot_time: 1_700_000_000, interrupts: 5, ..Counters::default() }
    }
    fn uts(&self) -> Uts {
        Uts {
            sysname: "Linux".into(),
            nodename: self.hostname.lock().clone(),
            release: "6.18.0".into(),
            version: "#1 SMP".into(),
            machine: "x86_64".into(),
            domainname: b"(none)".to_vec(),
        }
    }
    fn set_hostname(&self, name: &[u8]) {
        *self.hostname.lock() = name.to_vec();
    }
    fn set_domainname(&self, _: &[u8]) {}
    fn command_line(&self) -> String {
        "root=/dev/ubda rw".into()
    }
    fn boot_id(&self) -> [u8; 16] {
        [0xab; 16]
    }
    fn pid_max(&self) -> i32 {
        32768
    }
    fn sysctl_changed(&self, name: &str, value: &str) -> Result<()> {
        if name == "kernel/panic" {
            return Err(Errno::EPERM);
        }
        self.changed.lock().push((name.into(), value.into()));
        Ok(())
    }
    fn block_devices(&self) -> Vec<BlockDevice> {
        let disk =
            BlockDevice { name: "ubda".into(), major: 98, minor: 0, size: 1 << 30, ..BlockDevice::default() };
        let place = Partition { disk: "ubda".into(), number: 1, start: 1 << 20, ..Partition::default() };
        let part =
            BlockDevice { name: "ubda1".into(), minor: 1, size: 1 << 20, part: Some(place), ..disk.clone() };
        vec![disk, part]
    }
}

impl Process for FakeProcess {
    fn pid(&self) -> i32 {
        self.pid
    }
    fn tgid(&self) -> i32 {
        self.tgid
    }
    fn is_gone(&self) -> bool {
        *self.gone.lock()
    }
    fn comm(&self) -> Vec<u8> {
        self.comm.lock().clone()
    }
    fn set_comm(&self, comm: &[u8]) {
        *self.comm.lock() = comm.to_vec();
    }
    fn cmdline(&self) -> Vec<u8> {
        b"cat\0file\0".to_vec()
    }
    fn environ(&self) -> Vec<u8> {
        b"A=1\0".to_vec()
    }
    fn auxv(&self) -> Vec<u8> {
        vec![0; 16]
    }
    fn exe(&self) -> Option<Path> {
        self.root()
    }
    fn cwd(&self) -> Option<Path> {
        self.root()
    }
    fn root(&self) -> Option<Path> {
        self.place.get().map(|p| p.1.clone())
    }
    fn namespace(&self) -> Option<Arc<Namespace>> {
        self.place.get().map(|p| p.0.clone())
    }
    fn fds(&self) -> Vec<(i32, Arc<File>)> {
        let Some(root) = self.root() else { return Vec::new() };
        let open = |flags| root.inode().clone().open(flags).map(|ops| File::new(ops, root.clone(), flags));
        let (r, w) = (OpenFlags::empty(), OpenFlags::WRONLY);
        [(0, open(r)), (5, open(w))].into_iter().filter_map(|(n, f)| Some((n, f.ok()?))).collect()
    }
    fn threads(&self) -> Vec<i32> {
        if self.tgid == 42 { vec![42, 43] } else { vec![self.tgid] }
    }
    fn thread(&self, tid: i32) -> Option<Arc<dyn Process>> {
        if !self.threads().contains(&tid) {
            return None;
        }
        let thread = FakeProcess::new(tid, self.tgid, self.creds.uid);
        if let Some(place) = self.place.get() {
            let _ = thread.place.set(place.clone());
        }
        Some(thread)
    }
    fn children(&self) -> Vec<i32> {
        vec![50, 51]
    }
    fn status(&self) -> Status {
        Status {
            state: 'S',
            ppid: 1,
            pgid: 42,
            sid: 40,
            tty: 0x8801,
            tpgid: 42,
            threads: 2,
            priority: 20,
            start_time: 1_230_000_000,
            cpus_allowed: u64::MAX,
            exit_signal: 17,
            umask: Some(0o22),
            fd_slots: 64,
            ..Status::default()
        }
    }
    fn usage(&self) -> Usage {
        Usage { user: 120_000_000, system: 30_000_000, ..Usage::default() }
    }
    fn signals(&self) -> Signals {
        Signals { ignored: 0x1000, ..Signals::default() }
    }
    fn creds(&self) -> Arc<Creds> {
        self.creds.clone()
    }
    fn memory(&self) -> Option<MemoryUse> {
        Some(MemoryUse {
            size: 3 << 20,
            resident: 1 << 20,
            file: 512 << 10,
            brk: 0x5000_0000,
            ..MemoryUse::default()
        })
    }
    fn maps(&self) -> Vec<MapLine> {
        let text = MapLine {
            start: 0x55e4_0000_0000,
            end: 0x55e4_0000_2000,
            prot: 5,
            offset: 0x1000,
            dev: crate::fs::makedev(98, 1),
            ino: 1234,
            name: b"/usr/bin/cat".to_vec(),
            resident: 8192,
            ..MapLine::default()
        };
        let anonymous =
            MapLine { start: 0x7f00_0000_0000, end: 0x7f00_0000_1000, prot: 3, ..MapLine::default() };
        vec![text, anonymous]
    }
    fn user_memory(&self) -> Option<UserMemory> {
        Some(UserMemory::new(crate::platform::HostPid::own()))
    }
    fn limits(&self) -> [(u64, u64); 16] {
        let mut all = [(u64::MAX, u64::MAX); 16];
        all[3] = (8 << 20, u64::MAX);
        all
    }
    fn tunables(&self) -> Tunables {
        Tunables { oom_score_adj: *self.adj.lock(), ..Tunables::default() }
    }
    fn set_tunable(&self, what: Tunable) -> Result<()> {
        match what {
            Tunable::OomScoreAdj(value) => *self.adj.lock() = value,
            _ => return Err(Errno::EPERM),
        }
        Ok(())
    }
}

/// A procfs mounted on the /proc of a tree, and the task that looks at it: process 42, user 1000.
pub(crate) struct Machine {
    pub(crate) system: Arc<FakeSystem>,
    pub(crate) sysctls: Arc<Sysctls>,
    pub(crate) lookup: Lookup,
}

impl Machine {
    pub(crate) fn new(uid: u32) -> Machine {
        let all =
            vec![FakeProcess::new(1, 1, 0), FakeProcess::new(42, 42, 1000), FakeProcess::new(43, 42, 1000)];
        let creds = Arc::new(Creds::user(uid, uid, &[]));
        let system = Arc::new(FakeSystem {
            creds: Mutex::new(Rank::Leaf, creds.clone()),
            hostname: Mutex::new(Rank::Leaf, b"guest".to_vec()),
            processes: Mutex::new(Rank::Processes, all.clone()),
            changed: Mutex::new(Rank::Leaf, Vec::new()),
        });
        let rootfs = Pseudo::new("rootfs", 1, true, Fixed::new().dir("proc", Fixed::new()).node(0o755));
        let rootfs: Arc<dyn FileSystem> = rootfs;
        let root = Dentry::root(b"/", rootfs.root());
        let ns = Namespace::new(Mount::new(rootfs, root, "/dev/my disk", MountFlags::RELATIME));
        let sysctls = Sysctls::new(512 << 20);
        let proc: Arc<dyn FileSystem> = new(system.clone(), sysctls.clone());
        let lookup =
            Lookup { root: ns.root(), start: ns.root(), creds, resolve: Resolve::empty(), ns: ns.clone() };
        let at = lookup.find(b"/proc", true).unwrap();
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        ns.mount(Mount::new(proc.clone(), Dentry::root(b"/", proc.root()), "proc", flags), at);
        for process in all {
            let _ = process.place.set((ns.clone(), ns.root()));
        }
        Machine { system, sysctls, lookup }
    }

    pub(crate) fn path(&self, path: &str) -> Result<Path> {
        self.lookup.find(path.as_bytes(), true)
    }

    pub(crate) fn link(&self, path: &str) -> Result<String> {
        let path = self.lookup.find(path.as_bytes(), false)?;
        Ok(String::from_utf8(path.inode().read_link()?).unwrap())
    }

    pub(crate) fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<File>> {
        let path = self.path(path)?;
        Ok(File::new(path.inode().clone().open(flags)?, path, flags))
    }

    pub(crate) fn read(&self, path: &str) -> Result<String> {
        let file = self.open(path, OpenFlags::empty())?;
        let mut all = Vec::new();
        // Small pieces, as the worst of readers.
        let mut piece = [0; 100];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(String::from_utf8(all).unwrap()),
                n => all.extend_from_slice(&piece[..n]),
            }
        }
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> Result<usize> {
        self.open(path, OpenFlags::WRONLY)?.write(text.as_bytes())
    }

    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>> {
        let dir = self.path(path)?;
        let (mut names, mut from) = (Vec::new(), 0);
        loop {
            // One entry at a time: each `next` has to lead on.
            let mut got = None;
            dir.inode().entries(from, &mut |entry| {
                got = Some(entry);
                false
            })?;
            let Some(entry) = got else { return Ok(names) };
            assert!(entry.next > from && entry.next > 2);
            from = entry.next;
            names.push(String::from_utf8(entry.name).unwrap());
        }
    }
}
