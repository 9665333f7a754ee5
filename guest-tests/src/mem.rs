//! Memory to hand to the kernel: good pages, bad pages, and probes that survive the fault they cause.

use crate::run::{handler, sys};
use crate::show;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

pub(crate) const PAGE: usize = 4096;
/// An address of the kernel's half.
pub(crate) const KERNEL: usize = 0xffff_8000_0000_0000;
/// An address that neither the loader nor mmap hands out by themselves.
pub(crate) const UNMAPPED: usize = 0x2000_0000_0000;
pub(crate) const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
pub(crate) const PRIV: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
pub(crate) const SHARED: i32 = libc::MAP_SHARED | libc::MAP_ANONYMOUS;

/// Anonymous memory; the address as a number, negative errno kept in it if the call failed.
pub(crate) fn map(len: usize, prot: i32, flags: i32) -> usize {
    sys!(SYS_mmap, 0, len, prot, flags, -1, 0).0 as usize
}

/// `len` bytes of a page of which the rest is followed by nothing: the last byte is at the end of the mapping.
pub(crate) fn before_hole(len: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0x2100_0000_0000);
    let at = NEXT.fetch_add(1 << 24, SeqCst);
    let fixed = PRIV | libc::MAP_FIXED_NOREPLACE;
    sys!(SYS_mmap, at, PAGE, RW, fixed, -1, 0);
    at + PAGE - len
}

/// A page that can be read and not written.
pub(crate) fn read_only() -> usize {
    map(PAGE, libc::PROT_READ, PRIV)
}

/// The wild pointers every call is tried with.
pub(crate) fn wild() -> Vec<(&'static str, usize)> {
    vec![
        ("null", 0),
        ("one", 1),
        ("kernel", KERNEL),
        ("unmapped", UNMAPPED),
        ("readonly", read_only()),
        ("noncanonical", 0x8000_0000_0000),
        ("top", usize::MAX - 8),
        ("crossing", before_hole(1)),
    ]
}

pub(crate) fn put(at: usize, b: &[u8]) {
    unsafe { std::ptr::copy_nonoverlapping(b.as_ptr(), at as *mut u8, b.len()) }
}

pub(crate) fn get(at: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| unsafe { ((at + i) as *const u8).read_volatile() }).collect()
}

/// The bytes of a plain C structure.
pub(crate) fn zeroed<T>() -> T {
    unsafe { std::mem::zeroed() }
}

/// A fault caught by a probe.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    sig: i32,
    code: i32,
    addr: usize,
    base: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", show::signal(self.sig), show::si_code(self.sig, self.code))?;
        let off = self.addr.wrapping_sub(self.base) as isize;
        if self.base == usize::MAX { write!(f, "@{:#x}", self.addr) } else { write!(f, "@{off:+#x}") }
    }
}

std::arch::global_asm!(
    ".globl guest_probe_read",
    "guest_probe_read: movzx eax, byte ptr [rdi]",
    "ret",
    ".globl guest_probe_write",
    "guest_probe_write: mov byte ptr [rdi], sil",
    "xor eax, eax",
    "ret",
    ".globl guest_probe_exec",
    "guest_probe_exec: mov eax, 1",
    "jmp rdi",
);
unsafe extern "C" {
    fn guest_probe_read(at: usize) -> i32;
    fn guest_probe_write(at: usize, v: u8) -> i32;
    fn guest_probe_exec(at: usize) -> i32;
}

static SIG: AtomicUsize = AtomicUsize::new(0);
static CODE: AtomicUsize = AtomicUsize::new(0);
static ADDR: AtomicUsize = AtomicUsize::new(0);

/// Notes the fault and returns from the probe: each of them faults with only its return address on the stack.
extern "C" fn on_fault(sig: i32, info: *mut libc::siginfo_t, ctx: *mut libc::c_void) {
    unsafe {
        SIG.store(sig as usize, SeqCst);
        CODE.store((*info).si_code as usize, SeqCst);
        ADDR.store((*info).si_addr() as usize, SeqCst);
        let regs = &mut (*ctx.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let sp = regs[libc::REG_RSP as usize] as *const i64;
        regs[libc::REG_RIP as usize] = *sp;
        regs[libc::REG_RSP as usize] += 8;
        regs[libc::REG_RAX as usize] = -1;
    }
}

fn probe(base: usize, f: impl Fn() -> i32) -> Result<i32, Fault> {
    SIG.store(0, SeqCst);
    for s in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL] {
        handler(s, on_fault as *const () as usize, libc::SA_SIGINFO);
    }
    let v = f();
    let (sig, code, addr) = (SIG.load(SeqCst) as i32, CODE.load(SeqCst) as i32, ADDR.load(SeqCst));
    if sig == 0 { Ok(v) } else { Err(Fault { sig, code, addr, base }) }
}

fn text(r: Result<i32, Fault>) -> String {
    r.map_or_else(|f| f.to_string(), |v| v.to_string())
}

/// Reads `base+off`: the byte, or the fault with its address relative to `base`.
pub(crate) fn peek(base: usize, off: usize) -> String {
    text(probe(base, || unsafe { guest_probe_read(base.wrapping_add(off)) }))
}

/// Writes one byte at `base+off`: `0`, or the fault.
pub(crate) fn poke(base: usize, off: usize, v: u8) -> String {
    text(probe(base, || unsafe { guest_probe_write(base.wrapping_add(off), v) }))
}

/// Jumps to `base+off`, where a `ret` is expected: `1`, or the fault.
pub(crate) fn jump(base: usize, off: usize) -> String {
    text(probe(base, || unsafe { guest_probe_exec(base.wrapping_add(off)) }))
}

/// Reads an address that has nothing to be relative to.
pub(crate) fn peek_abs(at: usize) -> String {
    text(probe(usize::MAX, || unsafe { guest_probe_read(at) }))
}
