//! Merging a COW disk into what is below it, or into a new file.
//!
//! Every merge is idempotent: a sector that a layer holds hides whatever is below it, so the view through
//! the layers is the same before, during and after, and a merge that was cut off is finished by starting
//! it again.

mod apply;
mod assemble;
mod in_place;
mod new_file;
mod undo;
mod write;

pub use apply::{Dirty, Source, apply, segments};
pub use assemble::{Part, View, stream};
pub use in_place::{InPlace, Journal, apply_journaled, merge_in_place};
pub use new_file::{NewFileMerge, merge_new};
pub use write::write_sparse;

use block_device::CopyStats;
use cow_format::Layer;
use serde::Serialize;
use std::path::PathBuf;

/// What a merge did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The COW file.
    pub cow: PathBuf,
    /// What was written: the base, the layer below, or the new file.
    pub target: PathBuf,
    /// Layers merged.
    pub layers: usize,
    /// Size of the device in bytes.
    pub size: u64,
    /// Bytes that the merged layers hold.
    pub dirty: u64,
    /// Bytes read and written.
    pub copied: u64,
    /// Bytes shared by the file system instead.
    pub cloned: u64,
    /// Bytes made zero without writing them.
    pub zeroed: u64,
    /// An interrupted merge was taken up again.
    pub resumed: bool,
    /// Nothing was written.
    pub dry_run: bool,
    /// What should be known besides.
    pub warnings: Vec<String>,
}

impl Report {
    fn add(&mut self, stats: CopyStats) {
        self.copied += stats.copied;
        self.cloned += stats.cloned;
        self.zeroed += stats.zeroed;
    }
}

fn sources(layers: &[Layer]) -> Vec<Source<'_>> {
    layers.iter().map(|l| Source { file: &*l.file, layout: l.header.layout }).collect()
}
