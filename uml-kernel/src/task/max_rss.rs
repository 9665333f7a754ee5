//! ru_maxrss (getrusage(2)): the largest of the address spaces that a process, or its children, have had.

use crate::base::{Mutex, Rank};
use crate::platform::Peak;
use std::sync::Arc;

/// What is known of it, and the peaks that the host has not told yet: they are asked for when somebody wants to know.
#[derive(Debug)]
pub struct MaxRss(Mutex<Parts>);

#[derive(Debug, Default, Clone)]
struct Parts {
    kib: u64,
    open: Vec<Arc<Peak>>,
}

impl Default for MaxRss {
    fn default() -> MaxRss {
        MaxRss(Mutex::new(Rank::Leaf, Parts::default()))
    }
}

impl Parts {
    fn add(&mut self, peak: Arc<Peak>) {
        if !self.open.iter().any(|p| Arc::ptr_eq(p, &peak)) {
            self.open.push(peak);
        }
    }

    fn settle(&mut self) {
        let kib = &mut self.kib;
        self.open.retain(|peak| match peak.known() {
            Some(known) => {
                *kib = known.max(*kib);
                false
            }
            None => true,
        });
    }
}

impl MaxRss {
    /// One more address space that is left.
    pub fn add(&self, peak: &Arc<Peak>) {
        let mut parts = self.0.lock();
        parts.add(peak.clone());
        parts.settle();
    }

    /// All of another's.
    pub fn absorb(&self, other: &MaxRss) {
        let other = other.0.lock().clone();
        let mut parts = self.0.lock();
        parts.kib = parts.kib.max(other.kib);
        other.open.into_iter().for_each(|p| parts.add(p));
        parts.settle();
    }

    /// KiB. May wait a moment for the host to collect a process that has just ended.
    pub fn kib(&self) -> u64 {
        let Parts { kib, open } = self.0.lock().clone();
        open.iter().map(|p| p.kib()).fold(kib, u64::max)
    }
}
