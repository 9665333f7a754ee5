//! The virtual file system, and the file systems.

pub mod anon;
pub mod cred;
mod dentry;
pub mod epoll;
pub mod eventfd;
mod file;
mod inode;
mod mount;
mod namei;
pub mod pipe;
pub mod poll;
#[cfg(test)]
pub(crate) mod testing;
pub mod timerfd;

pub use cred::{Cap, Creds, MAY_EXEC, MAY_READ, MAY_WRITE};
pub use dentry::Dentry;
pub use file::{File, FileOps, MapSource, PollTable};
pub use inode::*;
pub use mount::{Mount, MountFlags, Namespace, Path};
pub use namei::{Found, Last, Lookup, NAME_MAX, Resolve};
