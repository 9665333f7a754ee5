//! A server of the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md) over any [`BlockDevice`](block_device::BlockDevice).
//!
//! * [`protocol`], [`Header`], [`Terms`], [`ClientOption`]: the wire, parsed into checked types; no input or output.
//! * [`Export`], [`Context`]: what is served, and what can be told about its ranges.
//! * [`Server`]: connections, their limits, and their end. [`Link`], [`TlsFiles`]: what they run over.
//!
//! What is there: the fixed newstyle handshake with all options but extended headers, structured replies, metadata contexts, TLS with
//! certificates, several connections to one export. A connection has a thread; a request is answered by the thread that received it,
//! for that costs no wake-up, unless it may wait for the disk while others of the connection could go on: those get more threads.
//!
//! Lock order: a session's queue; apart from it, a session's turn to send, then the state of its TLS. No lock is held while a device works.

mod activation;
mod encode;
mod execute;
mod export;
mod handshake;
mod link;
mod option;
pub mod protocol;
mod request;
mod server;
mod session;
mod status;
mod stop;
mod tls;
mod wire;
mod workers;

pub use activation::passed_listener;
pub use export::{Context, Export, Exports};
pub use handshake::{Chosen, Next, Tls, greet, negotiate};
pub use link::Link;
pub use option::{BadOption, ClientOption, Contexts, Wanted};
pub use request::{Header, Refusal, Request, Terms};
pub use server::{Listener, Server};
pub use session::run as run_session;
pub use stop::Stop;
pub use tls::{TlsError, TlsFiles};
pub use wire::{Input, Wire};
