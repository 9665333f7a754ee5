//! The COW disk format of User-Mode Linux.
//!
//! * [`Header`], [`Layout`]: every header version, parsed once into checked types.
//! * [`CowDevice`]: an open COW disk as a [`BlockDevice`](block_device::BlockDevice).
//! * [`Chain`]: opening one on the host, with all its layers, locks and checks.
//! * [`DirtyRuns`], [`Segments`]: what is dirty, and which layer each byte comes from.
//! * [`NewCow`]: making COW files. [`identity`], [`log`]: what is kept about a base, beside it.
//!
//! The bytes are described in `docs/cow-format.md`, locks and crash order in `docs/crash-order.md`.

mod bitmap;
mod bits;
mod chain;
mod create;
mod device;
mod error;
mod header;
pub mod identity;
mod layer;
pub mod log;
mod record;
mod scan;
mod segments;

pub use bits::{run as bit_run, word_at};
pub use chain::{Chain, MAX_LAYERS, Match, OpenOptions};
pub use create::{BaseSpec, BitWriter, NewCow, Shape};
pub use device::CowDevice;
pub use error::{Error, Result, strerror};
pub use header::{
    ByteOrder, DEFAULT_ALIGNMENT, DEFAULT_SECTOR_SIZE, Header, HeaderError, Layout, MAGIC, MAX_HEADER_LEN,
    Version, has_magic,
};
pub use identity::{Fingerprint, Root};
pub use layer::{Layer, looks_like_cow, parse_device};
pub use record::{RECORD_LEN, Record, RecordState};
pub use scan::{DirtyRuns, Run};
pub use segments::{Segment, Segments};
