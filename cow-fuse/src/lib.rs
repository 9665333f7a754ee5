//! Mounts through FUSE: the files of an ext2, ext3 or ext4 disk ([`Files`]), or the disk itself as one file ([`Disk`]).
//!
//! * [`attach`]: mounts a directory, as root by mount(2), else with `fusermount3`. [`detach`] ends that.
//! * [`Session`]: answers the kernel until the directory is unmounted.
//! * [`served`], [`turn`], [`workers`], [`attr`]: for file systems of other crates (hostfs-mirror) too.
//! * [`control`]: how who unmounts finds the process that serves a directory, and hears how it ended.
//!
//! Who answers, and on which thread: one thread reads `/dev/fuse` and answers what memory can answer; it looks for the next request
//! for some microseconds before it sleeps (`turn.rs`). What waits for a disk, or for the kernel, goes to a few workers
//! (`workers.rs`). Lock order: `Lookups`, then nothing; what `ext` locks is its own affair, and none of the locks here is held meanwhile.
//!
//! How it is used: docs/mount.md. What of POSIX is there: docs/posix.md.

mod acl;
pub mod attr;
mod awake;
pub mod background;
mod commit;
pub mod control;
mod disk;
mod ending;
mod errno;
mod files;
mod listing;
mod lookups;
mod mountpoint;
pub mod served;
mod session;
pub mod turn;
pub mod workers;

pub use commit::Interval;
pub use disk::Disk;
pub use ending::{UnmountError, unmount};
pub use files::{Files, Owner, Settings};
pub use mountpoint::{Attachment, MountError, Options, attach, detach};
pub use session::Session;
