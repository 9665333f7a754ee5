//! The virtual file system, and the file systems.

pub mod cred;
mod dentry;
pub mod dev;
pub mod devtmpfs;
mod file;
mod inode;
mod kmsg;
mod mount;
mod namei;
pub mod proc;
pub mod pseudo;
pub mod sys;

pub use cred::{Cap, Creds, MAY_EXEC, MAY_READ, MAY_WRITE};
pub use dentry::Dentry;
pub use file::{File, FileOps, MapSource, PollTable};
pub use inode::*;
pub use mount::{Mount, MountFlags, Namespace, Path};
pub use namei::{Found, Last, Lookup, NAME_MAX, Resolve};
