//! Builds a program in a fresh stub: what execve(2) leaves in an address space.

use super::exec::{Loaded, Request};
use super::{kernel, vdso};
use crate::base::sync::MutexGuard;
use crate::base::{Errno, Result, sched};
use crate::fs::{File, MapSource};
use crate::mm::{Backing, Image, Inner, Mm, PAGE, Packer, Vma};
use crate::platform::x86_64::layout::{TASK_SIZE, THUNKS, THUNKS_SIZE};
use crate::platform::{Op, Regs, StubThread};
use crate::task::elf::Program;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, LazyLock};

/// Room for the stack's growth, whatever the limit says.
const MAX_STACK: u64 = 64 << 20;

/// Random bytes of one program, asked for at once: where its parts lie, and what AT_RANDOM points to.
struct Chance {
    words: [u8; 4 * 8],
    used: usize,
    given: [u8; 16],
}

impl Chance {
    fn new() -> Result<Chance> {
        let mut all = [0; 48];
        rustix::rand::getrandom(&mut all, rustix::rand::GetRandomFlags::empty())?;
        let (mut words, mut given) = ([0; 32], [0; 16]);
        words.copy_from_slice(&all[..32]);
        given.copy_from_slice(&all[32..]);
        Ok(Chance { words, used: 0, given })
    }

    /// A number below `bound` pages, in bytes.
    fn pages(&mut self, bound: u64) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.words[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(word) % bound * PAGE
    }
}

/// The orders that build an address space, and what the kernel will know of it. The stub gets them all at once, as far as they fit.
struct Builder<'a> {
    stub: StubThread,
    mm: &'a Arc<Mm>,
    /// Files to be mapped, in the order in which the stub is passed them.
    files: Vec<Arc<OwnedFd>>,
    maps: Vec<Op>,
    /// What a program does not have of the last page of its file.
    tails: Vec<(u64, u64)>,
}

impl Builder<'_> {
    fn note(&self, start: u64, end: u64, prot: i32, backing: Backing, name: &'static str) {
        let mut inner = self.mm.lock();
        inner.vmas.remove(start, end);
        if start < THUNKS + THUNKS_SIZE && end > THUNKS {
            inner.patches.disable();
        }
        inner.vmas.insert(Vma { backing, ..Vma::anonymous(start, end, prot, name) });
    }

    /// Maps a program at an offset from its own addresses.
    fn map_program(&mut self, file: &Arc<File>, program: &Program, bias: u64) -> Result<()> {
        let MapSource::Host(fd) = file.ops().map(file, false)? else { return Err(Errno::ENOEXEC) };
        let number = self.files.len();
        self.files.push(fd);
        for s in &program.segments {
            let start = (s.addr + bias) & !(PAGE - 1);
            let file_end = s.addr + bias + s.file_len;
            let end = (s.addr + bias + s.mem_len).next_multiple_of(PAGE);
            let mapped_end = if s.file_len == 0 { start } else { file_end.next_multiple_of(PAGE) };
            let offset = s.offset & !(PAGE - 1);
            if mapped_end > start {
                let op = Op::map_passed(start, mapped_end - start, s.prot, libc::MAP_PRIVATE, offset);
                self.maps.push(op.of_file(number));
                self.note(start, mapped_end, s.prot, Backing::File(file.clone(), offset), "");
            }
            if end > mapped_end {
                self.maps.push(Op::map_anonymous(mapped_end, end - mapped_end, s.prot, libc::MAP_PRIVATE));
                self.note(mapped_end, end, s.prot, Backing::Anonymous, "");
            }
            if s.mem_len > s.file_len && file_end < mapped_end && s.prot & libc::PROT_WRITE != 0 {
                self.tails.push((file_end, mapped_end - file_end));
            }
        }
        Ok(())
    }

    fn map_stack(&mut self, start: u64, end: u64, prot: i32) {
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE;
        self.maps.push(Op::map_anonymous(start, end - start, prot, flags));
        self.note(start, end, prot, Backing::Anonymous, "[stack]");
    }

    /// Puts the vDSO below `top`: the stub has it already, elsewhere.
    fn map_vdso(&mut self, top: u64) -> Result<u64> {
        let at = self.mm.lock().vmas.find_gap(vdso::SIZE, PAGE, top).ok_or(Errno::ENOMEM)?;
        let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        // Before anything is mapped where it stands.
        self.maps.insert(0, Op::remap(vdso::PARKED, vdso::SIZE, vdso::SIZE, flags, at));
        let prot = libc::PROT_READ | libc::PROT_EXEC;
        self.note(at, at + vdso::SIZE, prot, Backing::Anonymous, "[vdso]");
        Ok(at)
    }

    /// Orders the maps, and the rest of the last pages cleared: from the lowest page of the new stack, which is all zeros.
    fn order_maps(&mut self, zeros: u64) -> Result<()> {
        let files: Vec<_> = self.files.iter().map(|f| f.as_fd()).collect();
        self.stub.order_maps(&files, &self.maps)?;
        for (at, len) in &self.tails {
            self.stub.order(Op::copy(*at, zeros, *len))?;
        }
        Ok(())
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        if self.stub.order_copy(at, bytes) {
            return Ok(());
        }
        self.stub.flush()?;
        self.mm.memory().write(at, bytes)
    }
}

/// Where Linux puts position-independent programs, and the heap of those without an interpreter: two thirds up.
const ELF_ET_DYN_BASE: u64 = 0x5555_5555_4000;

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
pub(super) fn build(request: &Request, loaded: &Loaded, limit: u64) -> Result<(StubThread, Arc<Mm>, Regs)> {
    let mut chance = Chance::new()?;
    let stub = kernel().platform.fresh(sched::host_cpu())?;
    let stack_top = TASK_SIZE - PAGE - chance.pages(1 << 22);
    let stack_len = limit.clamp(1 << 20, MAX_STACK) & !(PAGE - 1);
    let stack_start = stack_top - stack_len;
    let mmap_base = stack_start - (1 << 20) - chance.pages(1 << 16);
    let mm = Mm::new(stub.stub().clone(), mmap_base);
    let mut b = Builder { stub, mm: &mm, files: Vec::new(), maps: Vec::new(), tails: Vec::new() };
    let (low, high) = loaded.program.span();
    let bias = if !loaded.program.relocatable {
        0
    } else if loaded.interpreter.is_some() {
        bias_for(ELF_ET_DYN_BASE + chance.pages(1 << 24), low, high)?
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
    b.map_stack(stack_start, stack_top, libc::PROT_READ | libc::PROT_WRITE | exec);
    let vdso = if kernel().vdso { b.map_vdso(mmap_base)? } else { 0 };
    b.order_maps(stack_start)?;
    // A static program stands below the stack, where a heap after it would have no room to grow.
    let below_stack = loaded.program.relocatable && loaded.interpreter.is_none();
    let heap = if below_stack { ELF_ET_DYN_BASE } else { (high + bias).next_multiple_of(PAGE) };
    let heap = heap + chance.pages(0x2000);
    let (rsp, image) = push_stack(&mut b, stack_top, request, loaded, [bias, base, vdso], chance.given)?;
    b.stub.flush()?;
    {
        let mut inner: MutexGuard<'_, Inner> = mm.lock();
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

/// The CPU's features as leaf 1 has them, asked for once: under a hypervisor the instruction is an exit to it, which takes several
/// microseconds.
fn hwcap() -> u64 {
    static FEATURES: LazyLock<u32> = LazyLock::new(|| std::arch::x86_64::__cpuid(1).edx);
    (*FEATURES).into()
}

/// Writes strings, vectors and the auxiliary vector to the new stack; its pointer, and where things are.
fn push_stack(
    b: &mut Builder<'_>,
    top: u64,
    request: &Request,
    loaded: &Loaded,
    [bias, base, vdso]: [u64; 3],
    random: [u8; 16],
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
    strings.extend_from_slice(&random);
    let strings_at = (top - 8 - strings.len() as u64) & !15;
    let c = &loaded.creds;
    let auxv: Vec<(u64, u64)> = vec![
        (libc::AT_SYSINFO_EHDR, vdso),
        (51, 3632),              // AT_MINSIGSTKSZ
        (27, super::rseq::USED), // AT_RSEQ_FEATURE_SIZE
        (28, super::rseq::SIZE), // AT_RSEQ_ALIGN
        (libc::AT_HWCAP, hwcap()),
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
    b.put(rsp, &p.bytes(&aux.0).0)?;
    b.put(strings_at, &strings)?;
    let args = (strings_at, strings_at + args_len);
    let env = (strings_at + args_len, strings_at + strings_len);
    Ok((rsp, Image { args, env, auxv: aux.0, ..Image::default() }))
}
