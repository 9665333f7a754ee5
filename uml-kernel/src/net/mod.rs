//! Sockets: what is common to all families, and the families.

pub mod cmsg;
mod options;
mod socket;
pub mod unix;

pub use options::{Options, SOL_SOCKET, so};
pub use socket::*;
