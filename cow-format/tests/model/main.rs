//! Chains of `CowDevice`s of every form against a plain vector of bytes, and every way of reading a bitmap
//! against reading it bit by bit.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod bitmaps;
mod chains;
mod top;
mod world;
