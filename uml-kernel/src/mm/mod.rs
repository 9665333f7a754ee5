//! Address spaces: VMAs, mappings, the guest's memory as the kernel sees it.

mod access;
pub mod shared;
mod space;
pub mod swap;
mod usage;
mod vma;

pub use access::{PATH_MAX, Packer, Strings, Unpacker, UserMemory};
pub use space::{Image, Inner, MapRequest, Mm, next_id};
pub use usage::Usage;
pub use vma::{Backing, PAGE, Vma, VmaTree, page_up};
