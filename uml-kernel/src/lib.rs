//! A Linux-ABI kernel that runs as an ordinary unprivileged program.
pub mod base;
pub mod block;
pub mod boot;
pub mod console;
pub mod fs;
pub mod mconsole;
pub mod mm;
pub mod net;
pub mod platform;
pub mod syscall;
pub mod task;

#[global_allocator]
static HEAP: base::heap::Counted = base::heap::Counted;
