//! Archives of tar's, in the form of POSIX (pax(1), "ustar" with extended headers), with what GNU tar adds: extended attributes as
//! `SCHILY.xattr.NAME`, sparse files as `GNU.sparse` version 1.0.

mod keys;
mod read;
mod reader;
mod sparse;
mod write;

pub use read::tar_in;
pub use write::{Archived, tar_out};

/// Bytes of a header, and what all content is filled up to.
const BLOCK: u64 = 512;
/// How the name of an extended attribute begins in an extended header.
const XATTR: &[u8] = b"SCHILY.xattr.";
