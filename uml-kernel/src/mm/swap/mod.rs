//! Swap: private anonymous memory that is not looked at goes to a block device, and its room on the host to others.
//!
//! Guest memory is the host's mappings in a stub process, so a swapped-out range is one that the guest cannot touch (PROT_NONE) and that
//! the host has taken the pages from (MADV_DONTNEED), with a [`Record`](records::Record) that says where its bytes are. Whoever touches
//! it, the guest by a fault or the kernel by [`UserMemory`](super::UserMemory), has it brought back first.
//!
//! It goes in chunks of at least 64 KiB: each may be a mapping of its own on the host, which has not many of those for a process.
//! The bytes of a chunk that nobody can touch are read and written through `/proc/PID/mem`, which does not mind; so no thread ever sees
//! half of one, and none has to be stopped.
//!
//! The host calls are made by a *janitor*: a thread of the stub that no task has. It gets one when it first goes to the guest, or is
//! forked, while there is a swap area.
//!
//! Lock order: an address space's `inner`, then its swap lock, then what the block device takes (for a loop device: what its thread waits
//! for). The swap lock is taken under any lock of the kernel's, as reading guest memory is; under it only the janitor and the device are
//! waited for, neither of which asks for a lock of those.

pub mod area;
mod header;
mod out;
mod records;
mod slots;
mod swapped;

pub use header::Header;
pub use out::{Out, chunk};
pub use records::Records;
pub use swapped::{Held, Swapped};
