//! Every operation on real files, held against flat arrays of the bytes that the disks must show, and against
//! the real tools where they can do the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod compact;
mod convert;
mod create;
mod in_place;
mod interrupted;
mod new_file;
mod rebase;
mod relocate;
mod sequences;
mod snapshot;
mod users;
