//! The engine.

pub mod split;
