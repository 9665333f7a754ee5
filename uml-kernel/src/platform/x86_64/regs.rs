//! The general registers of a guest thread, and where they lie in a host signal frame.

/// General registers, by their names in the manuals. The order is that of the trap window.
#[allow(missing_docs)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Regs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
}

/// Number of words in [`Regs`].
pub const WORDS: usize = 18;

/// Flags that user space may set: CF PF AF ZF SF TF DF OF NT RF AC ID (FIX_EFLAGS of arch/x86/kernel/signal.c).
pub const USER_FLAGS: u64 = 0x0025_4dd5 | 0x0001_0000;

/// For each word of [`Regs`], its index among `gregs` of `struct sigcontext`.
pub const GREGS: [usize; WORDS] = [13, 11, 14, 12, 9, 8, 10, 15, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17];

impl Regs {
    /// As words in the window's order.
    pub fn to_words(self) -> [u64; WORDS] {
        [
            self.rax,
            self.rbx,
            self.rcx,
            self.rdx,
            self.rsi,
            self.rdi,
            self.rbp,
            self.rsp,
            self.r8,
            self.r9,
            self.r10,
            self.r11,
            self.r12,
            self.r13,
            self.r14,
            self.r15,
            self.rip,
            self.rflags,
        ]
    }

    /// From words in the window's order.
    pub fn from_words(w: [u64; WORDS]) -> Regs {
        let [rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags] = w;
        Regs { rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
    }

    /// The six arguments of a system call.
    pub fn args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }
}
