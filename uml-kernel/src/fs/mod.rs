//! The virtual file system, and the file systems.

pub mod anon;
pub mod cred;
mod dentry;
pub mod dev;
pub mod devtmpfs;
pub mod dirfile;
pub mod epoll;
pub mod eventfd;
pub mod extfs;
mod fdtable;
mod file;
pub mod hostfs;
mod inode;
pub mod inotify;
mod kmsg;
pub mod locks;
mod mount;
mod namei;
mod namespace;
pub mod overlay;
pub mod pipe;
pub mod poll;
pub mod proc;
pub mod pseudo;
pub mod special;
pub mod stream;
pub mod sys;
#[cfg(test)]
pub(crate) mod testing;
pub mod timerfd;
pub mod tmpfs;
pub mod tty;
pub mod vfs;
pub mod writers;

pub use cred::{ALL_CAPS, Cap, Creds, MAY_EXEC, MAY_READ, MAY_WRITE};
pub use dentry::Dentry;
pub use fdtable::FdTable;
pub use file::{File, FileOps, MapSource, PollTable};
pub use inode::*;
pub use mount::{Mount, MountFlags, Path, Writing};
pub use namei::{Found, Last, Lookup, NAME_MAX, Resolve};
pub use namespace::{Namespace, Unmount};

/// `AT_EMPTY_PATH`.
pub const PATH_EMPTY: i32 = 0x1000;
