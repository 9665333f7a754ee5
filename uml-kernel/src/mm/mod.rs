//! Address spaces: VMAs, mappings, the guest's memory as the kernel sees it.

mod access;

pub use access::{PATH_MAX, Packer, Unpacker, UserMemory};
