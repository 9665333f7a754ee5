//! The line discipline against a real one: the pty of the Linux host the tests run on.

#![allow(clippy::unwrap_used)]

mod host;
mod random;
mod replay;
mod sessions;
mod structures;
