//! What is done with the files inside COW disks, without a mount and without booting them: which a session changed, how two disks differ in
//! files, and files taken out and put in.
//!
//! * [`Image`]: a disk whose ext file system is open.
//! * [`status`]: what a session changed, from the dirty bitmap.
//!
//! Operations print nothing and never exit; they watch a [`block_device::Observer`] for the wish to stop, and return what they did. What stands
//! in an image is a stranger's: names lead nowhere but where they are meant to.
//!
//! How it works: docs/files.md.

mod archive;
mod changed;
mod data;
mod diff;
mod error;
mod extract;
mod image;
mod list;
mod make;
mod owner;
mod paths;
mod put;
mod ranges;
mod remove;
mod select;
mod status;
mod walk;

pub use archive::{Archived, tar_in, tar_out};
pub use data::{Content, each_piece};
pub use diff::{Lines, only, patch, stat};
pub use error::{Error, Result};
pub use extract::{Extract, Extracted, extract, is_root};
pub use image::{How, Image};
pub use list::{Listed, Pattern, find, kind_name, list, listed, mode_text};
pub use owner::{Owner, parse_owner};
pub use paths::text;
pub use put::{Put, Written, put};
pub use remove::remove;
pub use select::{Choice, Form, Selected, select};
pub use status::{Ask, Change, Fate, Status, What, compare_files, status};
pub use walk::{Node, Step, walk};
