//! How long work tells how far it is, and hears that it should stop.

/// Watches long work. Called from the thread that does it, often: it must return quickly.
pub trait Observer: Sync {
    /// `done` of `total` bytes of a phase ("merging", "verifying") are through.
    fn progress(&self, phase: &'static str, done: u64, total: u64);

    /// Whether to stop at the next safe point, undoing what is not finished.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Nobody watches, nothing stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn progress(&self, _: &'static str, _: u64, _: u64) {}
}
