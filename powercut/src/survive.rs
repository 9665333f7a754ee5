//! What is left after a cut.

use std::collections::BTreeMap;

/// How much of what was not yet durable survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survive {
    /// Nothing.
    None,
    /// Everything, the operation that was cut included.
    All,
    /// Each [`ATOM`](crate::ATOM)-byte piece of each write, each new length and each directory operation by
    /// itself, as the seed has it.
    Random(u64),
}

impl Survive {
    /// `None`, `All`, and `Random` with each of the seeds below `seeds`.
    pub fn modes(seeds: u64) -> impl Iterator<Item = Self> {
        [Self::None, Self::All].into_iter().chain((0..seeds).map(Self::Random))
    }

    pub(crate) fn seed(self) -> u64 {
        if let Self::Random(seed) = self { seed } else { 0 }
    }
}

/// The bytes of every device after a cut, and the names that are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivors {
    devices: Vec<Vec<u8>>,
    names: BTreeMap<String, usize>,
}

impl Survivors {
    pub(crate) fn new(devices: Vec<Vec<u8>>, names: BTreeMap<String, usize>) -> Self {
        Self { devices, names }
    }

    /// The bytes of the device with this [`id`](crate::Device::id); ids are given in order, from 0.
    ///
    /// # Panics
    /// When there is no such device.
    pub fn device(&self, id: usize) -> &[u8] {
        &self.devices[id]
    }

    /// The bytes of the file of this name.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.names.get(name).map(|id| self.device(*id))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }
}
