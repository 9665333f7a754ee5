//! Where things lie in a stub: the addresses that the stub's code, its seccomp filter and the kernel share.
//!
//! The guest owns everything below [`TASK_SIZE`]; above it lie the stub's text, the trap windows and the host's vDSO.

/// End of the guest's address space; the stub's own begins here.
pub const TASK_SIZE: u64 = 0x7fff_e000_0000;
/// The stub's text, one page, readable and executable.
pub const STUB_TEXT: u64 = TASK_SIZE;
/// Size of the text's mapping.
pub const STUB_TEXT_SIZE: u64 = 0x1000;
/// Where the host's vDSO and its data pages are moved to.
pub const HOST_VDSO: u64 = 0x7fff_e010_0000;
/// The trap windows, one slot a thread.
pub const WINDOWS: u64 = 0x7fff_e100_0000;
/// Size of one slot: the control page, the exchange page, room for a signal frame that the kernel builds, the
/// stack that the host's signal frames are written to.
pub const WINDOW_SIZE: u64 = 0x8000;
/// Threads a stub can hold.
pub const WINDOW_SLOTS: u64 = 4096;
/// Size of the whole region of windows.
pub const WINDOWS_SPAN: u64 = WINDOW_SIZE * WINDOW_SLOTS;
/// Call-site thunks and their table lie here, in low memory, so that seven bytes reach them. The third byte of every
/// address is 0x06, no instruction in 64-bit mode: a jump into the middle of a patched site faults.
pub const THUNKS: u64 = 0x0006_0000;
/// Size of the thunk region.
pub const THUNKS_SIZE: u64 = 0x1_0000;

/// Descriptor of the stub's socket, over which the kernel sends descriptors.
pub const FD_SOCKET: i32 = 0;
/// Where a window's memfd stands for as long as it takes to map it, or any other file to be mapped.
pub const FD_PASSED: i32 = 1;
/// The second descriptor of a message: a new stub's own socket.
pub const FD_PASSED2: i32 = 2;

/// The signal that takes the CPU from a guest.
pub const SIG_PREEMPT: i32 = libc::SIGUSR1;

// Offsets in a window.
/// `u32`: whose turn it is, 0 the kernel's, 1 the stub's. Both sides sleep on it.
pub const W_TURN: usize = 0x00;
/// `u32`: 1 once the stub thread can take a signal.
pub const W_READY: usize = 0x04;
/// `u64`: 0 to go on from the saved registers, else the address of a signal frame to return through.
pub const W_RESUME: usize = 0x08;
/// `u64`: why the stub stopped, a `TRAP_` constant.
pub const W_KIND: usize = 0x10;
/// `u64`: address of the host's `ucontext` for [`TRAP_SIGNAL`].
pub const W_FRAME: usize = 0x18;
/// `u64`: address of the host's `siginfo`.
pub const W_INFO: usize = 0x20;
/// `u64`: number of the host signal.
pub const W_SIGNO: usize = 0x28;
/// `u32`: host calls to make before going on.
pub const W_NOPS: usize = 0x30;
/// `u32`: 1 to stop again after them.
pub const W_OPS_REPORT: usize = 0x34;
/// `u64`: address of the call that failed.
pub const W_OP_FAILED: usize = 0x38;
/// `u64`: the window's own address.
pub const W_SELF: usize = 0x40;
/// `u32`: 1 if the kernel wants the thread back at once.
pub const W_KICK: usize = 0x48;
/// `u64`: address that was read ahead into [`W_PREFETCHED`].
pub const W_PREFETCH_FROM: usize = 0x50;
/// `u64`: bytes read ahead, 0 for none.
pub const W_PREFETCH_LEN: usize = 0x58;
/// `u32`: 1 if the trampoline saves the extended registers, too.
pub const W_SAVE_EXTENDED: usize = 0x4c;
/// `u32`: not 0 while the host thread of this window exists; the host clears it (CLONE_CHILD_CLEARTID).
pub const W_ALIVE: usize = 0x60;
/// MXCSR, and the x87 control word, as they were at the last system call from a patched site.
pub const W_CONTROL: usize = 0x68;
/// `u32`: not 0 while the stub sleeps on its turn, or is about to.
pub const W_STUB_SLEEPS: usize = 0x110;
/// `u32`: not 0 while the kernel does.
pub const W_KERNEL_SLEEPS: usize = 0x114;
/// How often each side yields before it sleeps: the host's scheduler may see fit to let it go on the first time.
pub const YIELDS: u32 = 4;
/// `u32`: 1 if the stub yields before it sleeps.
pub const W_YIELD: usize = 0x118;
/// `u32`: for how many cycles the stub watches its turn before it sleeps, if kernel and stub have a CPU each. The kernel
/// takes that back when it has something else to do.
pub const W_WATCH: usize = 0x134;
/// `u32`: what [`W_PREFETCH`] says of the call that the stub has stopped in.
pub const W_HINT: usize = 0x11c;
/// `u64`: time stamp of the stub's last giving back.
pub const W_GAVE: usize = 0x120;
/// `u64`: time stamp of when the stub last found that it was its turn.
pub const W_TOOK: usize = 0x128;
/// `u32`: calls that the stub has answered in its handler.
pub const W_ANSWERED: usize = 0x130;
/// `u32`: 1 while nothing is pending for the thread: the stub may change the mask of blocked signals by itself.
pub const W_MASK_FREE: usize = 0x138;
/// `u64`: the mask of blocked signals while the thread is in the guest.
pub const W_MASK: usize = 0x140;
/// 18 `u64`: registers saved by the trampoline, in the order of [`super::Regs`].
pub const W_REGS: usize = 0x80;
/// Host calls, [`OP_SIZE`] each.
pub const W_OPS: usize = 0x200;
/// Calls that a list can hold.
pub const MAX_OPS: usize = 24;
/// Bytes of one call: number, six arguments, result.
pub const OP_SIZE: usize = 64;
/// 512 bytes: for each system call number the answer's index, 0 for none, or [`ANSWER_MASK`].
pub const W_ANSWER_INDEX: usize = 0x800;
/// rt_sigprocmask: the answer is made of [`W_MASK`].
pub const ANSWER_MASK: u8 = 0xff;
/// SIGKILL and SIGSTOP, which nobody blocks.
pub const NEVER_BLOCKED: u64 = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);
/// 32 `u64`: answers, [`W_ANSWER_INDEX`] points into it.
pub const W_ANSWERS: usize = 0xa00;
/// The message header for receiving descriptors.
pub const W_MSG: usize = 0xb00;
/// What a pointer argument points to, read by the stub before it stops: the kernel need not ask the host for it.
pub const W_PREFETCHED: usize = 0xc00;
/// Bytes read ahead, at most.
pub const PREFETCH: usize = 256;
/// 512 bytes: for each system call number, the register with a pointer to read ahead from: 5 rdi, 4 rsi, 3 rdx, 0 none; and
/// [`PREFETCH_SLEEPS`].
pub const W_PREFETCH: usize = 0xd00;
/// The call is likely to sleep.
pub const PREFETCH_SLEEPS: u8 = 0x80;
/// One page for small data on its way to or from the guest.
pub const W_DATA: usize = 0x1000;
/// Size of the exchange page.
pub const W_DATA_SIZE: usize = 0x1000;
/// Extended registers, as `xsave64` writes them.
pub const W_XSAVE: usize = 0x2000;
/// Top of the stack that the trampoline runs on; a frame that the kernel builds lies above it.
pub const W_TRAMP_STACK: usize = 0x5000;
/// Bottom of the alternate signal stack.
pub const W_ALTSTACK: usize = 0x3000;

/// The stub stopped in the trampoline of a patched call site.
pub const TRAP_SYSCALL: u64 = 1;
/// The stub stopped in its signal handler.
pub const TRAP_SIGNAL: u64 = 2;
/// All ordered calls are made.
pub const TRAP_OPS_DONE: u64 = 3;
/// An ordered call failed, those after it were not made.
pub const TRAP_OP_FAILED: u64 = 4;

/// The kernel wanted the thread back before it was in the guest.
pub const TRAP_KICKED: u64 = 5;
/// The kernel wanted the thread back while the stub answered a call: it is answered.
pub const TRAP_ANSWERED: u64 = 6;

/// Not a host call: `xsave64` into [`W_XSAVE`].
pub const OP_XSAVE: u64 = 0x1000;
/// Not a host call: copy argument 2 bytes from argument 1 to argument 0, EFAULT if that faults.
pub const OP_COPY: u64 = 0x1001;
/// Not a host call: puts argument 2 into the word at argument 0 if that is argument 1; the result is what was there.
pub const OP_EXCHANGE: u64 = 0x1002;
/// Pseudo call: loads MXCSR and the x87 control word from memory.
pub const OP_CONTROL: u64 = 0x1003;
