//! What /proc asks about tasks, answered from the table.

use super::process::{Process, Task, TaskInner};
use super::signal::{SIG_DFL, SIG_IGN};
use super::{kernel, table};
use crate::base::{Errno, Result, sched, time};
use crate::fs::proc::source::{
    BlockDevice, Counters, CpuTimes, Load, MapLine, Memory, MemoryUse, Partition, Process as Source, Signals,
    Status, Swap, System, Tunable, Tunables, Usage, Uts,
};
use crate::fs::{Creds, File, Namespace, Path};
use crate::mm::{Backing, Mm, UserMemory};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// The kernel, as procfs sees it.
#[derive(Debug)]
pub struct KernelSystem;

/// A process or thread, as procfs sees it.
#[derive(Debug)]
struct View {
    process: Arc<Process>,
    /// A thread of it; `None` for the process, whose first thread may have ended.
    task: Option<Arc<Task>>,
    id: i32,
}

fn block_device(disk: &crate::block::Disk) -> BlockDevice {
    let part = disk.whole().map(|whole| {
        let (uuid, label) = disk.identity().unwrap_or_default();
        let (uuid, label) = (uuid.to_owned(), label.to_owned());
        Partition {
            disk: whole.name.clone(),
            number: disk.partition_number(),
            start: disk.start(),
            uuid,
            label,
        }
    });
    BlockDevice {
        name: disk.name.clone(),
        major: crate::fs::major(disk.number) as u32,
        minor: crate::fs::minor(disk.number) as u32,
        size: disk.len(),
        read_only: disk.read_only(),
        stats: disk.stats(),
        in_flight: disk.in_flight(),
        logical_block: disk.logical_block(),
        discards: disk.driver().discards(),
        read_ahead: disk.read_ahead() * 512,
        driver: if part.is_none() { disk.driver().attributes() } else { None },
        part,
    }
}

impl System for KernelSystem {
    fn pids(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = kernel().table.lock().processes.keys().copied().collect();
        pids.sort_unstable();
        pids
    }

    fn process(&self, pid: i32) -> Option<Arc<dyn Source>> {
        let table = kernel().table.lock();
        if let Some(entry) = table.processes.get(&pid) {
            let task = entry.threads.iter().find(|t| t.tid == pid).or(entry.threads.first()).cloned();
            return Some(Arc::new(View { process: entry.process.clone(), task, id: pid }));
        }
        let task = table.tasks.get(&pid)?.clone();
        Some(Arc::new(View { process: task.process.clone(), task: Some(task), id: pid }))
    }

    fn current(&self) -> Option<(i32, i32)> {
        super::current().map(|t| (t.process.pid, t.tid))
    }

    fn creds(&self) -> Arc<Creds> {
        super::current().map_or_else(|| Arc::new(Creds::user(0, 0, &[])), |t| t.creds())
    }

    fn memory(&self) -> Memory {
        super::oom::survey();
        let usage = &kernel().usage;
        let (total, held) = (usage.limit(), usage.held());
        let (swap, swap_free) = crate::mm::swap::area::totals();
        let (swapped_in, swapped_out) = crate::mm::swap::area::moved();
        let shmem = crate::fs::tmpfs::HELD.load(Ordering::Relaxed);
        let free = total.saturating_sub(held + crate::fs::tmpfs::IN_MEMFDS.load(Ordering::Relaxed));
        Memory {
            total,
            free,
            available: free,
            cached: shmem,
            shmem,
            anonymous: held,
            swap_total: swap,
            swap_free,
            swapped_in,
            swapped_out,
            commit_limit: total + swap,
            committed: held + shmem,
            ..Memory::default()
        }
    }

    fn cpu_times(&self) -> Vec<CpuTimes> {
        let (_, idle) = sched::statistics();
        let tasks: Vec<Arc<Task>> = kernel().table.lock().tasks.values().cloned().collect();
        let sum = |f: fn(&Task) -> u64| tasks.iter().map(|t| f(t)).sum::<u64>() / idle.len().max(1) as u64;
        let user = sum(|t| t.times.user.load(Ordering::Relaxed));
        let system = sum(|t| t.times.system.load(Ordering::Relaxed));
        let up = time::now();
        let busy = |idle: u64| (user + system).min(up.saturating_sub(idle));
        idle.into_iter()
            .map(|i| CpuTimes { user, system, idle: up.saturating_sub(busy(i)), ..CpuTimes::default() })
            .collect()
    }

    fn block_devices(&self) -> Vec<BlockDevice> {
        crate::block::all().iter().map(block_device).collect()
    }

    fn swaps(&self) -> Vec<Swap> {
        let area = |a: &crate::mm::swap::area::Area| Swap {
            name: a.name.clone(),
            file: matches!(a.id, crate::mm::swap::area::Id::File(..)),
            size: a.size(),
            used: a.used(),
            priority: a.priority,
        };
        crate::mm::swap::area::all().iter().map(|a| area(a)).collect()
    }

    fn uptime(&self) -> u64 {
        time::now()
    }

    fn load(&self) -> Load {
        let table = kernel().table.lock();
        Load {
            averages: [0; 3],
            running: sched::waiting() as u64 + 1,
            blocked: 0,
            tasks: table.tasks.len() as u64,
            last_pid: table.last_pid(),
        }
    }

    fn counters(&self) -> Counters {
        let (switches, _) = sched::statistics();
        let forks = kernel().table.lock().forks;
        let boot_time = (time::real().nanos().saturating_sub(time::now())) / 1_000_000_000;
        Counters { switches, forks, boot_time, ..Counters::default() }
    }

    fn uts(&self) -> Uts {
        let (nodename, domainname) = kernel().names.lock().clone();
        Uts {
            sysname: "Linux".into(),
            nodename,
            release: crate::syscall::RELEASE.into(),
            version: format!("#1 SMP uml-kernel {}", env!("CARGO_PKG_VERSION")),
            machine: "x86_64".into(),
            domainname,
        }
    }

    fn set_hostname(&self, name: &[u8]) {
        kernel().names.lock().0 = name.to_vec();
    }

    fn set_domainname(&self, name: &[u8]) {
        kernel().names.lock().1 = name.to_vec();
    }

    fn sysrq(&self, key: u8) {
        super::keys::sysrq(key);
    }

    fn command_line(&self) -> String {
        kernel().options.cmdline.clone()
    }

    fn boot_id(&self) -> [u8; 16] {
        static ID: OnceLock<[u8; 16]> = OnceLock::new();
        *ID.get_or_init(|| {
            let mut id = [0; 16];
            crate::fs::dev::random_bytes(&mut id);
            id
        })
    }

    fn pid_max(&self) -> i32 {
        table::PID_MAX
    }
}

impl View {
    fn inner(&self) -> Option<TaskInner> {
        self.task.as_ref().map(|t| t.inner.lock().clone())
    }

    fn mm(&self) -> Option<Arc<Mm>> {
        self.task.as_ref()?.inner.lock().mm.clone()
    }

    fn is_process(&self) -> bool {
        self.id == self.process.pid
    }

    /// A part of the stack that holds arguments or environment, as the guest has it now.
    fn strings(&self, pick: impl Fn(&crate::mm::Image) -> (u64, u64)) -> Vec<u8> {
        let Some(mm) = self.mm() else { return Vec::new() };
        let (start, end) = pick(&mm.lock().image);
        let mut bytes = vec![0; end.saturating_sub(start).min(1 << 20) as usize];
        match mm.memory().read_some(start, &mut bytes) {
            Ok(n) => bytes.truncate(n),
            Err(_) => bytes.clear(),
        }
        bytes
    }

    /// Resident size of the stub on the host, of which the stub's own pages are few.
    fn resident(mm: &Mm) -> u64 {
        mm.resident().0
    }
}

impl Source for View {
    fn pid(&self) -> i32 {
        self.id
    }

    fn tgid(&self) -> i32 {
        self.process.pid
    }

    fn is_gone(&self) -> bool {
        let table = kernel().table.lock();
        if self.is_process() {
            !table.processes.contains_key(&self.id)
        } else {
            !table.tasks.contains_key(&self.id)
        }
    }

    fn comm(&self) -> Vec<u8> {
        match self.inner() {
            Some(inner) => inner.comm,
            None => kernel().table.lock().processes.get(&self.id).map(|e| e.comm.clone()).unwrap_or_default(),
        }
    }

    fn set_comm(&self, comm: &[u8]) {
        if let Some(task) = &self.task {
            task.inner.lock().comm = comm[..comm.len().min(15)].to_vec();
        }
    }

    fn cmdline(&self) -> Vec<u8> {
        self.strings(|i| i.args)
    }

    fn environ(&self) -> Vec<u8> {
        self.strings(|i| i.env)
    }

    fn auxv(&self) -> Vec<u8> {
        self.mm().map(|mm| mm.lock().image.auxv.clone()).unwrap_or_default()
    }

    fn exe(&self) -> Option<Path> {
        let mm = self.mm()?;
        let exe = mm.lock().image.exe.clone();
        exe.map(|f| f.path().clone())
    }

    fn cwd(&self) -> Option<Path> {
        self.inner()?.fs.map(|fs| fs.inner.lock().cwd.clone())
    }

    fn root(&self) -> Option<Path> {
        self.inner()?.fs.map(|fs| fs.inner.lock().root.clone())
    }

    fn namespace(&self) -> Option<Arc<Namespace>> {
        self.inner()?.fs.map(|fs| fs.inner.lock().ns.clone())
    }

    fn fds(&self) -> Vec<(i32, Arc<File>)> {
        self.inner().and_then(|i| i.files).map(|f| f.all()).unwrap_or_default()
    }

    fn fd(&self, fd: i32) -> Option<Arc<File>> {
        self.inner()?.files?.get(fd).ok()
    }

    fn fd_cloexec(&self, fd: i32) -> bool {
        self.inner().and_then(|i| i.files).is_some_and(|f| f.cloexec(fd) == Ok(true))
    }

    fn threads(&self) -> Vec<i32> {
        let mut tids: Vec<i32> = kernel().table.threads(self.process.pid).iter().map(|t| t.tid).collect();
        tids.sort_unstable();
        tids
    }

    fn thread(&self, tid: i32) -> Option<Arc<dyn Source>> {
        let task = kernel().table.task(tid).filter(|t| t.process.pid == self.process.pid)?;
        Some(Arc::new(View { process: self.process.clone(), task: Some(task), id: tid }))
    }

    fn children(&self) -> Vec<i32> {
        kernel().table.lock().processes.get(&self.process.pid).map(|e| e.children.clone()).unwrap_or_default()
    }

    fn status(&self) -> Status {
        let relations = {
            let table = kernel().table.lock();
            let entry = table.processes.get(&self.process.pid);
            entry.map(|e| (e.parent, e.pgid, e.sid, e.threads.len() as u32, e.zombie))
        };
        let (ppid, pgid, sid, threads, zombie) = relations.unwrap_or((0, 0, 0, 0, Some(0)));
        let asking = super::current().is_some_and(|t| t.tid == self.id);
        let in_guest = self.task.as_ref().is_some_and(|t| t.in_guest());
        let state = match () {
            () if zombie.is_some() => 'Z',
            () if self.process.stopped.load(Ordering::Relaxed) != 0 => 'T',
            () if asking || in_guest => 'R',
            () => 'S',
        };
        let (tty, tpgid) = crate::fs::special::controlling_terminal(sid).unwrap_or((0, -1));
        let inner = self.inner();
        let policy = inner.as_ref().map(|i| i.policy).unwrap_or_default();
        let kernel_thread = self.process.pid == 1 && !self.process.is_init();
        let seccomp = inner.as_ref().map(|i| i.seccomp.clone()).unwrap_or_default();
        Status {
            state,
            ppid,
            pgid,
            sid,
            tty,
            tpgid,
            threads: threads.max(1),
            priority: if policy.is_real_time() { -1 - policy.priority as i32 } else { 20 + policy.nice },
            nice: policy.nice,
            start_time: self.task.as_ref().map_or(self.process.start, |t| t.start),
            rt_priority: policy.priority,
            policy: policy.kind,
            cpus_allowed: ((1 << sched::cpus().min(63)) - 1) & policy.cpus,
            exit_signal: self.process.exit_signal.load(Ordering::Relaxed),
            exit_code: zombie.unwrap_or(0),
            umask: inner.as_ref().and_then(|i| i.fs.as_ref()).map(|fs| fs.inner.lock().umask),
            seccomp: seccomp.mode().into(),
            seccomp_filters: seccomp.filters().len() as u32,
            fd_slots: 64,
            kernel_thread,
            ..Status::default()
        }
    }

    fn usage(&self) -> Usage {
        let get = |a: &std::sync::atomic::AtomicU64| a.load(Ordering::Relaxed);
        let t = &self.process.times;
        let own = self.task.as_ref().filter(|_| !self.is_process()).map_or(t, |task| &task.times);
        Usage {
            user: get(&own.user),
            system: get(&own.system),
            children_user: get(&t.child_user),
            children_system: get(&t.child_system),
            ..Usage::default()
        }
    }

    fn signals(&self) -> Signals {
        let pending = self.task.as_ref().map_or(0, |t| t.pending.lock().set());
        let shared_pending = self.process.shared.lock().set();
        let blocked = self.task.as_ref().map_or(0, |t| t.blocked());
        let actions = self.process.actions.lock().clone();
        let actions = *actions.lock();
        let those = |f: fn(u64) -> bool| {
            actions.iter().enumerate().filter(|(_, a)| f(a.handler)).fold(0, |set, (n, _)| set | 1 << n)
        };
        Signals {
            pending,
            shared_pending,
            blocked,
            ignored: those(|h| h == SIG_IGN),
            caught: those(|h| h != SIG_IGN && h != SIG_DFL),
            queued: (pending.count_ones() + shared_pending.count_ones()).into(),
        }
    }

    fn creds(&self) -> Arc<Creds> {
        match self.inner() {
            Some(inner) => inner.creds,
            None => {
                let uid = kernel().table.lock().processes.get(&self.process.pid).map_or(0, |e| e.uid);
                Arc::new(Creds::user(uid, uid, &[]))
            }
        }
    }

    fn dumpable(&self) -> bool {
        self.process.dumpable.load(Ordering::Relaxed) == 1
    }

    fn memory(&self) -> Option<MemoryUse> {
        let mm = self.mm()?;
        let resident = View::resident(&mm);
        let inner = mm.lock();
        let sum = |f: &dyn Fn(&crate::mm::Vma) -> bool| {
            inner.vmas.iter().filter(|v| f(v)).map(|v| v.len()).sum::<u64>()
        };
        let size = sum(&|_| true);
        let image = &inner.image;
        let is_file = |v: &crate::mm::Vma| matches!(v.backing, Backing::File(..));
        let text = sum(&|v| {
            v.prot & libc::PROT_EXEC != 0 && v.start >= image.code.0 & !4095 && v.start < image.code.1
        });
        Some(MemoryUse {
            size,
            peak_size: size,
            resident,
            peak_resident: mm.peak_resident(),
            anonymous: resident / 2,
            file: resident / 2,
            data: sum(&|v| v.is_private_writable() && v.name != "[stack]"),
            stack: sum(&|v| v.name == "[stack]"),
            locked: sum(&|v| v.locked),
            swapped: mm.swap().bytes(0, u64::MAX),
            text,
            libraries: sum(&|v| is_file(v) && v.prot & libc::PROT_EXEC != 0).saturating_sub(text),
            code: image.code,
            data_range: image.data,
            brk: inner.brk_start,
            stack_start: image.stack,
            args: image.args,
            env: image.env,
            ..MemoryUse::default()
        })
    }

    fn maps(&self) -> Vec<MapLine> {
        let Some(mm) = self.mm() else { return Vec::new() };
        let root = self.root();
        // Files are asked for their attributes without the lock.
        let vmas: Vec<crate::mm::Vma> = mm.lock().vmas.iter().cloned().collect();
        vmas.into_iter()
            .map(|v| {
                let mut line = MapLine {
                    start: v.start,
                    end: v.end,
                    prot: v.prot as u32,
                    shared: v.shared,
                    name: v.name.as_bytes().to_vec(),
                    locked: v.locked,
                    swapped: mm.swap().bytes(v.start, v.end),
                    ..MapLine::default()
                };
                if let Backing::File(file, offset) = &v.backing {
                    let attr = file.attr().unwrap_or_default();
                    (line.offset, line.dev, line.ino) = (*offset, attr.dev, attr.ino);
                    let text = root.as_ref().and_then(|r| file.path().text(r));
                    line.name = text.unwrap_or_else(|| file.path().dentry.name());
                }
                line
            })
            .collect()
    }

    fn user_memory(&self) -> Option<UserMemory> {
        self.mm().map(|mm| mm.memory())
    }

    fn limits(&self) -> [(u64, u64); 16] {
        *self.process.limits.lock()
    }

    fn tunables(&self) -> Tunables {
        Tunables {
            oom_score_adj: self.process.oom_score_adj.load(Ordering::Relaxed),
            personality: self.process.personality.load(Ordering::Relaxed),
            timer_slack: self.task.as_ref().map_or(50_000, |t| t.timer_slack.load(Ordering::Relaxed)),
            loginuid: self.process.login.uid.load(Ordering::Relaxed),
            sessionid: self.process.login.session.load(Ordering::Relaxed),
            ..Tunables::default()
        }
    }

    fn set_tunable(&self, what: Tunable) -> Result<()> {
        match what {
            Tunable::OomScoreAdj(value) => self.process.oom_score_adj.store(value, Ordering::Relaxed),
            Tunable::TimerSlack(value) => {
                if let Some(task) = &self.task {
                    task.timer_slack.store(value, Ordering::Relaxed);
                }
            }
            Tunable::LoginUid(uid) => self.process.login.begin(uid),
            _ => return Err(Errno::EPERM),
        }
        Ok(())
    }
}

/// Lets procfs and sysfs be mounted.
pub fn register(memory: u64) {
    let sysctls = crate::fs::proc::Sysctls::new(memory);
    let _ = crate::fs::special::MAKE_PROC
        .set(Box::new(move || crate::fs::proc::new(Arc::new(KernelSystem), sysctls.clone())));
    let _ = crate::fs::special::MAKE_SYS.set(Box::new(|| crate::fs::sys::new(Arc::new(KernelSystem))));
}
