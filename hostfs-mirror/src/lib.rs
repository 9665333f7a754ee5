//! A mirror set: one directory tree on several *legs*. Each write goes to all of them, and at every moment it is known which leg is right.
//!
//! * [`leg`]: what a leg is, and a local directory as one.
//! * [`state`]: what is kept on each leg, in a directory that the mount hides: bytes on the disk.
//! * [`set`]: the engine: operations on all legs, what happens when they disagree, reads that are verified.
//! * [`fuse`]: the tree, mounted.
//!
//! The contract: design/hostfs-mirror.md. How it is used: docs/mirror.md.

pub mod fail;
pub mod fuse;
pub mod leg;
pub mod set;
pub mod state;
