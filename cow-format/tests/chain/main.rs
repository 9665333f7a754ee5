//! Opening chains on the host: what belongs together, what does not, and in which words.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod identity;
mod layers;
mod new_base;
mod opening;
mod place;
