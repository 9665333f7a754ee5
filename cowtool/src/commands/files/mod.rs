//! What works on the files inside a disk: one file a command.

mod diff;
mod extract;
mod list;
mod merge;
mod read;
mod tar;
mod write;

pub(crate) use diff::run as diff;
pub(crate) use extract::run as extract;
pub(crate) use list::{find, ls};
pub(crate) use merge::run as merge;
pub(crate) use read::run as cat;
pub(crate) use tar::{tar_in, tar_out};
pub(crate) use write::{put, rm};

use cli_common::complain;

/// What could not be had does not end the work, and is told.
fn warn(warnings: &[String]) {
    for warning in warnings {
        complain(warning);
    }
}
