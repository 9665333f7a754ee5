//! Block devices: the disks that the guest was given, their partitions, and the special files of all of them.
//!
//! Locks here are `Leaf`, held for a look at a table: nothing is read, written or called under one.

mod claim;
mod disk;
mod file;
mod gate;
mod ioctl;
mod loops;
mod parts;
mod plug;
mod shared;
mod table;
mod ubd;

pub use claim::Open;
pub use disk::{Disk, Driver};
pub use file::{is_open, open};
pub use gate::Stats;
pub use ioctl::{Caller, ioctl};
pub use loops::of_file;
pub use plug::{attach, detach, replace, shown};
pub use shared::mount;
pub use table::{all, find, flush_all, populate};
pub use ubd::{Letters, Spec};

/// Major number of ubd disks (Documentation/admin-guide/devices.txt).
pub const UBD: u64 = 98;
/// Minor numbers of one ubd disk: itself and its partitions.
pub const MINORS: u64 = 16;
/// Bytes that sizes and offsets of disks are multiples of, whatever their blocks are.
pub const SECTOR: u64 = 512;
