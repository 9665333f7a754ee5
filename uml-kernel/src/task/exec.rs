//! execve(2): a program takes the place of another, in a fresh stub.

use super::build::build;
use super::ctx::Ctx;
use super::elf::{self, Program};
use super::process::Task;
use super::signal::{Action, SIG_DFL, SIG_IGN};
use super::{exit, kernel};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::writers::Claim;
use crate::fs::{ALL_CAPS, Creds, File, FileOps, Lookup, MAY_EXEC, MountFlags, OpenFlags, Path, kind};
use crate::mm::{Mm, PAGE};
use crate::platform::{Regs, StubThread};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Longest argument, with its NUL (MAX_ARG_STRLEN).
pub const MAX_ARG: usize = 32 * PAGE as usize;
/// Interpreters of interpreters.
const MAX_SCRIPTS: usize = 5;
/// Bytes of a file that decide what it is (BINPRM_BUF_SIZE), and of an ELF file that hold its headers as a rule.
const HEAD: usize = 4096;

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
    file.was_opened();
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
pub(super) struct Loaded {
    pub(super) file: Arc<File>,
    pub(super) program: Program,
    pub(super) interpreter: Option<(Arc<File>, Program)>,
    pub(super) creds: Creds,
    pub(super) secure: bool,
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
    task.process.times.max_rss.add(ctx.mm.stub().peak());
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
