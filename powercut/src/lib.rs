//! A disk whose power can be cut at any operation: the backend of every test about crash order.
//!
//! A [`PowerCut`] holds [`Device`]s, and one [`Directory`] that names them. Each device keeps apart the
//! *live* bytes, which reads see, and the *durable* ones, which a flush has put there; between the two lies
//! the ordered list of writes since that device's last flush. Writes, discards, resizes, flushes and directory
//! operations are counted over the whole disk, and [`PowerCut::cut_at`] ends the power at one of them.
//! [`PowerCut::survivors`] then says what may be found afterwards, in one of several [`Survive`] modes, and
//! [`every_cut`] runs a scenario with the power cut at each of its operations in turn.
//!
//! What is assumed of the medium, and no more:
//!
//! * A piece of [`ATOM`] bytes, aligned, is written whole or not at all, and a piece that is read back is one
//!   that the live bytes showed at some moment since the last flush. Nothing larger is atomic.
//! * Pieces become durable in any order, across writes and across devices, until a flush of their device.
//! * A flush covers that device alone. A device's name is no part of it: only [`Directory::sync`] keeps a name.
//! * The operation at which the power goes may have happened in part, like any unflushed one. A flush or a
//!   sync that was cut has promised nothing.
//!
//! Lock order: one mutex for the whole disk, held by no function that calls out.

mod device;
mod directory;
mod disk;
mod medium;
mod rng;
mod survive;
mod sweep;

pub use device::Device;
pub use directory::Directory;
pub use disk::PowerCut;
pub use medium::ATOM;
pub use rng::XorShift;
pub use survive::{Survive, Survivors};
pub use sweep::{Cut, Tally, every_cut};

#[cfg(test)]
mod tests;
