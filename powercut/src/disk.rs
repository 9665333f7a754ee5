//! The disk as a whole: its power, and the count of operations.

use crate::directory::Names;
use crate::medium::Medium;
use crate::survive::{Survive, Survivors};
use crate::{Device, Directory, XorShift};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk with devices and a directory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct PowerCut {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    operations: u64,
    cut_at: Option<u64>,
    cut: bool,
    pub(crate) media: Vec<Medium>,
    pub(crate) names: Names,
}

/// Proof that an operation was counted: it takes effect in memory, and then ends with [`end`](Self::end).
#[must_use]
pub(crate) struct Operation {
    pub(crate) is_cut: bool,
}

impl Operation {
    /// Fails where the power went in this very operation.
    pub(crate) fn end(self) -> io::Result<()> {
        if self.is_cut { Err(gone()) } else { Ok(()) }
    }
}

fn gone() -> io::Error {
    io::Error::other("the power is gone")
}

impl State {
    /// Counts an operation that changes something.
    ///
    /// # Errors
    /// When the power went before it.
    pub(crate) fn begin(&mut self) -> io::Result<Operation> {
        self.powered()?;
        self.cut = self.cut_at == Some(self.operations);
        self.operations += 1;
        Ok(Operation { is_cut: self.cut })
    }

    /// # Errors
    /// When the power is gone.
    pub(crate) fn powered(&self) -> io::Result<()> {
        if self.cut { Err(gone()) } else { Ok(()) }
    }

    pub(crate) fn add(&mut self, medium: Medium) -> usize {
        self.media.push(medium);
        self.media.len() - 1
    }
}

impl PowerCut {
    /// An empty disk under power.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Adds a device that durably holds `bytes`. Not an operation: it was there before the test began.
    pub fn device(&self, bytes: Vec<u8>) -> Device {
        Device::new(self.clone(), self.state().add(Medium::new(bytes)))
    }

    /// The disk's directory.
    pub fn directory(&self) -> Directory {
        Directory::new(self.clone())
    }

    /// Operations begun so far: writes, discards, resizes, flushes, and those of the directory.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Makes operation `number` (the first is 0) fail, perhaps half done, and everything after it, reads too.
    pub fn cut_at(&self, number: u64) {
        self.state().cut_at = Some(number);
    }

    /// Cuts the power now, between two operations.
    pub fn cut(&self) {
        self.state().cut = true;
    }

    /// Whether the power is gone.
    pub fn is_cut(&self) -> bool {
        self.state().cut
    }

    /// What may be found after a cut at this moment, the power being cut or not: bytes and names under the
    /// same mode.
    pub fn survivors(&self, mode: Survive) -> Survivors {
        self.survivors_with(mode, mode)
    }

    /// The same with a mode of its own for the names: a name may reach the disk long before the bytes of what
    /// it names, and long after.
    pub fn survivors_with(&self, bytes: Survive, names: Survive) -> Survivors {
        let state = self.state();
        let mut rng = XorShift::new(bytes.seed());
        let devices = state.media.iter().map(|m| m.survive(bytes, &mut rng)).collect();
        let names = state.names.survive(names, &mut XorShift::new(names.seed()));
        Survivors::new(devices, names)
    }

    /// Whether any directory operation has not been synced, so that the mode of the names matters.
    pub fn has_unsynced_names(&self) -> bool {
        self.state().names.has_pending()
    }
}
