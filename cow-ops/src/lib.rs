//! What is done with COW disks, for every program that does it: one function an operation.
//!
//! Operations print nothing and never exit; they report to a [`block_device::Observer`], stop when it says
//! so, and return what they did as a serialisable report.

mod adjust;
mod base;
pub mod check;
mod compare;
mod convert;
mod create;
mod error;
mod inspect;
pub mod merge;
mod qcow2;
mod repair;
mod search;
mod snapshot;
mod users;
mod verify;
pub mod volume;

pub use adjust::{Adjusted, compact, identify, rebase, relocate};
pub use base::{Base, BaseFormat};
pub use compare::{Disk, compare};
pub use convert::{Converted, Form, convert};
pub use create::{Content, Create, Created, create, like_top};
pub use error::{Error, Result};
pub use inspect::{Below, Info, Lock, info, locks, map};
pub use snapshot::{Snapshot, revert, snapshot};
pub use users::find_users;
pub use verify::{Verified, verify_base};
