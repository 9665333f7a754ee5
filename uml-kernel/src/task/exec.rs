//! execve(2): a program takes the place of another, in a fresh stub.

use super::ctx::Ctx;
use super::elf::{self, Program};
use super::process::Task;
use super::signal::{Action, SIG_DFL, SIG_IGN};
use super::{exit, kernel, vdso};
use crate::base::{Errno, Mutex, Rank, Result, sched};
use crate::fs::writers::Claim;
use crate::fs::{
    ALL_CAPS, Creds, File, FileOps, Lookup, MAY_EXEC, MapSource, MountFlags, OpenFlags, Path, kind,
};
use crate::mm::{Backing, Image, Inner, Mm, PAGE, Packer, Vma};
use crate::platform::x86_64::layout::{TASK_SIZE, THUNKS, THUNKS_SIZE};
use crate::platform::{Op, Regs, StubThread};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Longest argument, with its NUL (MAX_ARG_STRLEN).
pub const MAX_ARG: usize = 32 * PAGE as usize;
/// Interpreters of interpreters.
const MAX_SCRIPTS: usize = 5;
/// Bytes of a file that decide what it is (BINPRM_BUF_SIZE), and of an ELF file that hold its headers as a rule.
const HEAD: usize = 4096;
/// Room for the stack's growth, whatever the limit says.
const MAX_STACK: u64 = 64 << 20;

/// A program to be run.
#[derive(Debug)]
pub struct Request {
    /// Resolves paths for interpreters.
    pub lookup: Lookup,
    /// The program.
    pub path: Path,
    /// The name it was called by, for AT_EXECFN and scripts.
    pub name: Vec<u8>,
    /// Nothing is found by that name once the program runs: scripts cannot be read.
    pub unreachable: bool,
    /// Arguments.
    pub args: Vec<Vec<u8>>,
    /// Environment.
    pub env: Vec<Vec<u8>>,
}

/// Opens a program: a regular file that may be executed. It is not written to as long as the file is kept, or, for interpreters,
/// while it is opened.
fn open(lookup: &Lookup, path: &Path, keep: bool) -> Result<Arc<File>> {
    let attr = path.inode().attr()?;
    if attr.kind() != kind::REG || path.mount.flags().contains(MountFlags::NOEXEC) {
        return Err(Errno::EACCES);
    }
    lookup.creds.may(&attr, MAY_EXEC)?;
    let claim = Claim::runner(attr.dev, attr.ino)?;
    let ops: Arc<dyn FileOps> = path.inode().clone().open(OpenFlags::empty())?;
    let file = File::new(ops, path.clone(), OpenFlags::empty());
    if keep {
        file.keep(claim);
    }
    Ok(file)
}

fn head(file: &File) -> Result<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let n = file.ops().read(file, &mut head, 0)?;
    head.truncate(n);
    Ok(head)
}

/// `#!interpreter [argument]`.
fn script(head: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let line = head.get(..256.min(head.len()))?.strip_prefix(b"#!")?;
    let end = line.iter().position(|b| *b == b'\n' || *b == 0);
    let line = &line[..end.unwrap_or(line.len())];
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let start = line.iter().position(|b| !blank(b))?;
    let line = &line[start..];
    let name_end = line.iter().position(blank).unwrap_or(line.len());
    // Cut off in the middle of the name: not a script that can be run.
    if end.is_none() && name_end == line.len() && head.len() >= 256 {
        return None;
    }
    let rest = &line[name_end..];
    let from = rest.iter().position(|b| !blank(b));
    let upto = rest.iter().rposition(|b| !blank(b));
    let argument = from.zip(upto).map(|(a, b)| rest[a..=b].to_vec());
    Some((line[..name_end].to_vec(), argument))
}

/// What a program will be, before anything of the caller is given up.
struct Loaded {
    file: Arc<File>,
    program: Program,
    interpreter: Option<(Arc<File>, Program)>,
    creds: Creds,
    secure: bool,
}

fn load(request: &mut Request, no_new_privs: bool) -> Result<Loaded> {
    let mut depth = 0;
    loop {
        let file = open(&request.lookup, &request.path, true)?;
        let bytes = head(&file)?;
        if let Some((name, argument)) = script(&bytes) {
            if request.unreachable {
                return Err(Errno::ENOENT);
            }
            depth += 1;
            if depth > MAX_SCRIPTS {
                return Err(Errno::ELOOP);
            }
            let mut args = vec![name.clone()];
            args.extend(argument);
            args.push(request.name.clone());
            args.extend(request.args.drain(..).skip(1));
            request.args = args;
            request.path = request.lookup.find(&name, true)?;
            request.name = name;
            continue;
        }
        let program = elf::parse(&file, &bytes)?;
        let interpreter = match &program.interpreter {
            Some(path) => {
                let path = request.lookup.find(path, true)?;
                let file = open(&request.lookup, &path, false)?;
                let bytes = head(&file)?;
                let program = elf::parse(&file, &bytes).map_err(|_| Errno::ELIBBAD)?;
                Some((file, program))
            }
            None => None,
        };
        let (creds, secure) = new_creds(&request.lookup.creds, &file, no_new_privs)?;
        return Ok(Loaded { file, program, interpreter, creds, secure });
    }
}

/// Set-user-ID, set-group-ID, and what capabilities become (capabilities(7)).
fn new_creds(old: &Creds, file: &File, no_new_privs: bool) -> Result<(Creds, bool)> {
    let attr = file.attr()?;
    let mut new = old.clone();
    if !no_new_privs && !file.path().mount.flags().contains(MountFlags::NOSUID) {
        if attr.mode & 0o4000 != 0 {
            new.euid = attr.uid;
        }
        if attr.mode & 0o2010 == 0o2010 {
            new.egid = attr.gid;
        }
    }
    (new.suid, new.fsuid) = (new.euid, new.euid);
    (new.sgid, new.fsgid) = (new.egid, new.egid);
    const NOROOT: u32 = 1;
    let root = new.securebits & NOROOT == 0;
    let full = if root && (new.euid == 0 || new.uid == 0) { ALL_CAPS } else { 0 };
    let privileged = new.euid != old.euid || new.egid != old.egid;
    if privileged {
        new.ambient = 0;
    }
    new.permitted = (full & new.bounding) | (new.inheritable & full) | new.ambient;
    new.effective = if root && new.euid == 0 { new.permitted } else { new.ambient };
    new.securebits &= !(1 << 4);
    let secure = privileged || new.euid != new.uid || new.egid != new.gid;
    Ok((new, secure))
}

/// A random number below `bound` pages, in bytes: where things are placed.
fn random_pages(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_le_bytes(bytes) % bound * PAGE
}

/// Host calls that build an address space, and what the kernel will know of it.
struct Builder<'a> {
    stub: StubThread,
    mm: &'a Arc<Mm>,
}

impl Builder<'_> {
    fn note(&self, start: u64, end: u64, prot: i32, backing: Backing, name: &'static str) {
        let mut inner = self.mm.lock();
        inner.vmas.remove(start, end);
        if start < THUNKS + THUNKS_SIZE && end > THUNKS {
            inner.patches.disable();
        }
        let vma =
            Vma { start, end, prot, max_prot: 7, shared: false, backing, offset: 0, name, dont_fork: false };
        inner.vmas.insert(vma);
    }

    /// Maps a program at an offset from its own addresses, in one round trip.
    fn map_program(&mut self, file: &Arc<File>, program: &Program, bias: u64) -> Result<()> {
        let MapSource::Host(fd) = file.ops().map(file, false)? else { return Err(Errno::ENOEXEC) };
        self.stub.stub().send(&[fd.as_fd()])?;
        let mut ops = vec![self.stub.receive(1)];
        let mut zero = Vec::new();
        for s in &program.segments {
            let start = (s.addr + bias) & !(PAGE - 1);
            let file_end = s.addr + bias + s.file_len;
            let end = (s.addr + bias + s.mem_len).next_multiple_of(PAGE);
            let mapped_end = if s.file_len == 0 { start } else { file_end.next_multiple_of(PAGE) };
            let offset = s.offset & !(PAGE - 1);
            if mapped_end > start {
                ops.push(Op::map_passed(start, mapped_end - start, s.prot, libc::MAP_PRIVATE, offset));
                self.note(start, mapped_end, s.prot, Backing::File(file.clone(), offset), "");
            }
            if end > mapped_end {
                ops.push(Op::map_anonymous(mapped_end, end - mapped_end, s.prot, libc::MAP_PRIVATE));
                self.note(mapped_end, end, s.prot, Backing::Anonymous, "");
            }
            if s.mem_len > s.file_len && file_end < mapped_end && s.prot & libc::PROT_WRITE != 0 {
                zero.push((file_end, (mapped_end - file_end) as usize));
            }
        }
        ops.push(Op::close(crate::platform::x86_64::layout::FD_PASSED));
        self.stub.call(&ops)?;
        for (at, len) in zero {
            // The tail of the last page of the file is not the program's.
            self.mm.memory().write(at, &vec![0; len])?;
        }
        Ok(())
    }
}

/// What to add to the addresses of a program from `low` to `high`, so that it begins at `at` and fits.
fn bias_for(at: u64, low: u64, high: u64) -> Result<u64> {
    let end = at.checked_add(high - low).ok_or(Errno::ENOMEM)?;
    if end > TASK_SIZE { Err(Errno::ENOMEM) } else { at.checked_sub(low).ok_or(Errno::EINVAL) }
}

/// The same, so that it ends at `top`.
fn bias_below(top: u64, low: u64, high: u64) -> Result<u64> {
    bias_for(top.checked_sub(high - low).ok_or(Errno::ENOMEM)?, low, high)
}

/// Builds the program in a fresh stub. Nothing of the caller is touched.
fn build(request: &Request, loaded: &Loaded, limit: u64) -> Result<(StubThread, Arc<Mm>, Regs)> {
    let stub = kernel().platform.fresh(sched::host_cpu())?;
    let stack_top = TASK_SIZE - PAGE - random_pages(1 << 22);
    let stack_len = limit.clamp(1 << 20, MAX_STACK) & !(PAGE - 1);
    let mmap_base = stack_top - stack_len - (1 << 20) - random_pages(1 << 16);
    let mm = Mm::new(stub.stub().clone(), mmap_base);
    let mut b = Builder { stub, mm: &mm };
    let (low, high) = loaded.program.span();
    let bias = if !loaded.program.relocatable {
        0
    } else if loaded.interpreter.is_some() {
        // Where Linux puts position-independent programs: two thirds up (ELF_ET_DYN_BASE).
        bias_for(0x5555_5555_4000 + random_pages(1 << 24), low, high)?
    } else {
        bias_below(mmap_base, low, high)?
    };
    b.map_program(&loaded.file, &loaded.program, bias)?;
    let mut entry = loaded.program.entry.wrapping_add(bias);
    let mut base = 0;
    if let Some((file, program)) = &loaded.interpreter {
        let (low, high) = program.span();
        base = if program.relocatable { bias_below(mmap_base, low, high)? } else { 0 };
        b.map_program(file, program, base)?;
        entry = program.entry.wrapping_add(base);
    }
    let exec = if loaded.program.exec_stack { libc::PROT_EXEC } else { 0 };
    let prot = libc::PROT_READ | libc::PROT_WRITE | exec;
    let stack_start = stack_top - stack_len;
    b.stub.order(Op::map_anonymous(stack_start, stack_len, prot, libc::MAP_PRIVATE | libc::MAP_NORESERVE))?;
    b.note(stack_start, stack_top, prot, Backing::Anonymous, "[stack]");
    let vdso = match &kernel().vdso {
        Some(fd) => {
            let at = mm.lock().vmas.find_gap(vdso::SIZE, PAGE, mmap_base).ok_or(Errno::ENOMEM)?;
            let prot = libc::PROT_READ | libc::PROT_EXEC;
            b.stub.map_file(fd.as_fd(), Op::map_passed(at, vdso::SIZE, prot, libc::MAP_PRIVATE, 0))?;
            b.note(at, at + vdso::SIZE, prot, Backing::Anonymous, "[vdso]");
            at
        }
        None => 0,
    };
    b.stub.flush()?;
    let heap = (high + bias).next_multiple_of(PAGE) + random_pages(0x2000);
    let (rsp, image) = push_stack(&mm, stack_top, request, loaded, [bias, base, vdso])?;
    {
        let mut inner: crate::base::sync::MutexGuard<'_, Inner> = mm.lock();
        inner.brk_start = heap;
        inner.brk = heap;
        let of = |exec: bool| {
            let mut s = loaded.program.segments.iter().filter(|s| (s.prot & libc::PROT_EXEC != 0) == exec);
            s.next().map_or((0, 0), |s| (s.addr + bias, s.addr + bias + s.file_len))
        };
        inner.image =
            Image { code: of(true), data: of(false), exe: Some(loaded.file.clone()), stack: rsp, ..image };
    }
    let regs = Regs { rip: entry, rsp, rflags: 0x202, ..Regs::default() };
    Ok((b.stub, mm, regs))
}

/// Writes strings, vectors and the auxiliary vector to the new stack; its pointer, and where things are.
fn push_stack(
    mm: &Mm,
    top: u64,
    request: &Request,
    loaded: &Loaded,
    [bias, base, vdso]: [u64; 3],
) -> Result<(u64, Image)> {
    let mut strings = Vec::new();
    let mut offsets = Vec::new();
    for s in request.args.iter().chain(&request.env) {
        offsets.push(strings.len() as u64);
        strings.extend_from_slice(s);
        strings.push(0);
    }
    let args_len = offsets.get(request.args.len()).copied().unwrap_or(strings.len() as u64);
    let strings_len = strings.len() as u64;
    let name_off = strings_len;
    strings.extend_from_slice(&request.name);
    strings.push(0);
    let platform_off = strings.len() as u64;
    strings.extend_from_slice(b"x86_64\0");
    let random_off = strings.len() as u64;
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    strings.extend_from_slice(&random);
    let strings_at = (top - 8 - strings.len() as u64) & !15;
    let c = &loaded.creds;
    let of = std::arch::x86_64::__cpuid(1);
    let auxv: Vec<(u64, u64)> = vec![
        (libc::AT_SYSINFO_EHDR, vdso),
        (51, 3632),              // AT_MINSIGSTKSZ
        (27, super::rseq::USED), // AT_RSEQ_FEATURE_SIZE
        (28, super::rseq::SIZE), // AT_RSEQ_ALIGN
        (libc::AT_HWCAP, of.edx.into()),
        (libc::AT_PAGESZ, PAGE),
        (libc::AT_CLKTCK, 100),
        (libc::AT_PHDR, loaded.program.phdr.wrapping_add(bias)),
        (libc::AT_PHENT, 56),
        (libc::AT_PHNUM, loaded.program.phnum),
        (libc::AT_BASE, base),
        (libc::AT_FLAGS, 0),
        (libc::AT_ENTRY, loaded.program.entry.wrapping_add(bias)),
        (libc::AT_UID, c.uid.into()),
        (libc::AT_EUID, c.euid.into()),
        (libc::AT_GID, c.gid.into()),
        (libc::AT_EGID, c.egid.into()),
        (libc::AT_SECURE, loaded.secure.into()),
        (libc::AT_RANDOM, strings_at + random_off),
        (libc::AT_HWCAP2, 2), // FSGSBASE
        (libc::AT_EXECFN, strings_at + name_off),
        (libc::AT_PLATFORM, strings_at + platform_off),
        (libc::AT_NULL, 0),
    ];
    let words = 1 + request.args.len() + 1 + request.env.len() + 1;
    let rsp = (strings_at - 8 * words as u64 - 16 * auxv.len() as u64) & !15;
    let mut p = Packer::new().u64(request.args.len() as u64);
    for (n, offset) in offsets.iter().enumerate() {
        if n == request.args.len() {
            p = p.u64(0);
        }
        p = p.u64(strings_at + offset);
    }
    if request.env.is_empty() {
        p = p.u64(0);
    }
    let p = p.u64(0);
    let aux = auxv.iter().fold(Packer::new(), |p, (k, v)| p.u64(*k).u64(*v));
    let memory = mm.memory();
    memory.write(rsp, &p.bytes(&aux.0).0)?;
    memory.write(strings_at, &strings)?;
    let args = (strings_at, strings_at + args_len);
    let env = (strings_at + args_len, strings_at + strings_len);
    Ok((rsp, Image { args, env, auxv: aux.0, ..Image::default() }))
}

/// Runs a program in place of the caller's.
pub fn exec(ctx: &mut Ctx, mut request: Request) -> Result<()> {
    let no_new_privs = request.lookup.creds.no_new_privs;
    let loaded = load(&mut request, no_new_privs)?;
    let limit = ctx.task.process.limit(libc::RLIMIT_STACK);
    let bytes: usize = request.args.iter().chain(&request.env).map(|s| s.len() + 9).sum();
    if bytes as u64 > (limit / 4).clamp(128 << 10, 6 << 20) {
        return Err(Errno::E2BIG);
    }
    let (stub, mm, regs) = build(&request, &loaded, limit)?;
    // From here on there is no way back.
    exit::kill_other_threads(ctx)?;
    ctx.stub.flush()?;
    super::robust::exit(ctx);
    if let Some(vfork) = ctx.vfork.take() {
        vfork.finish();
    }
    let task = ctx.task.clone();
    let clear = task.inner.lock().clear_child_tid;
    if clear != 0 && Arc::strong_count(&ctx.mm) > 2 && ctx.memory().put_u32(clear, 0).is_ok() {
        super::futex::wake_address(&ctx.mm, clear, 1);
    }
    task.process.times.max_rss.fetch_max(ctx.mm.peak_resident() >> 10, Ordering::Relaxed);
    let old = std::mem::replace(&mut ctx.stub, stub);
    old.retire();
    drop(std::mem::replace(&mut ctx.mm, mm.clone()));
    ctx.regs = regs;
    (ctx.fs_base, ctx.gs_base, ctx.orig_rax, ctx.restart, ctx.rseq) = (0, 0, None, None, None);
    // A table shared with others is not theirs to lose (CLONE_FILES).
    if Arc::strong_count(&ctx.files) > 2 {
        ctx.files = ctx.files.copy();
    }
    drop(ctx.files.take_cloexec());
    become_program(&task, ctx, &loaded, mm, &request.name);
    reset_signals(&task);
    // begin_new_exec: whoever it was cloned by hears of its end as of any child's.
    task.process.exit_signal.store(libc::SIGCHLD, Ordering::Relaxed);
    task.process.timers.lock().exec();
    task.process.has_execed.store(true, Ordering::SeqCst);
    let dumpable = if loaded.secure { 0 } else { 1 };
    task.process.dumpable.store(dumpable, Ordering::Relaxed);
    if loaded.secure {
        task.pdeath_signal.store(0, Ordering::Relaxed);
    }
    take_leader_tid(ctx);
    ctx.publish_answers();
    Ok(())
}

fn become_program(task: &Arc<Task>, ctx: &Ctx, loaded: &Loaded, mm: Arc<Mm>, name: &[u8]) {
    let base = name.rsplit(|b| *b == b'/').next().unwrap_or(name);
    let creds = Arc::new(loaded.creds.clone());
    let uid = creds.uid;
    let mut inner = task.inner.lock();
    inner.comm = base[..base.len().min(15)].to_vec();
    inner.creds = creds;
    // What they replace is dropped without the lock: a file's end may call into anything.
    let old_mm = inner.mm.replace(mm);
    let old_files = inner.files.replace(ctx.files.clone());
    (inner.clear_child_tid, inner.robust_list, inner.altstack) = (0, 0, (0, 0, 2));
    drop(inner);
    drop((old_mm, old_files));
    *task.kicker.lock() = Some(ctx.stub.kicker());
    if let Some(entry) = kernel().table.lock().processes.get_mut(&task.process.pid) {
        entry.uid = uid;
    }
}

/// Handlers are gone with the program; what was ignored stays so.
fn reset_signals(task: &Task) {
    let actions = task.process.actions.lock().clone();
    let mut copy = *actions.lock();
    for action in &mut copy {
        let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
        *action = Action { handler, ..Action::default() };
    }
    *task.process.actions.lock() = Arc::new(Mutex::new(Rank::Leaf, copy));
}

/// A thread that execs becomes the leader of its group, with its number. Only numbers change; the task stays.
fn take_leader_tid(ctx: &mut Ctx) {
    let pid = ctx.task.process.pid;
    if ctx.task.tid == pid {
        return;
    }
    let inner = ctx.task.inner.lock().clone();
    let new = Task::new(pid, ctx.task.process.clone(), ctx.task.blocked(), inner);
    *new.kicker.lock() = Some(ctx.stub.kicker());
    if let Some(fiber) = ctx.task.fiber.get() {
        *fiber.owner.write() = Some(new.clone());
        let _ = new.fiber.set(fiber.clone());
    }
    let mut table = kernel().table.lock();
    table.tasks.remove(&ctx.task.tid);
    if let Some(entry) = table.processes.get_mut(&pid) {
        entry.threads = vec![new.clone()];
    }
    table.tasks.insert(pid, new.clone());
    drop(table);
    ctx.task = new;
}

/// The first program of the guest, in a stub of its own; the caller makes the task around it.
pub fn first(mut request: Request, limit: u64) -> Result<(StubThread, Arc<Mm>, Regs, Creds)> {
    let loaded = load(&mut request, false)?;
    let (stub, mm, regs) = build(&request, &loaded, limit)?;
    Ok((stub, mm, regs, loaded.creds))
}
