//! What others need of a stub thread while it runs.

use super::process::Stub;
use super::sys;
use super::window::Window;
use super::x86_64::layout::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Interrupts a stub thread while it runs guest code.
#[derive(Debug, Clone)]
pub struct Kicker {
    pub(super) stub: Arc<Stub>,
    pub(super) window: Arc<Window>,
    pub(super) tid: i32,
}

impl Kicker {
    /// Takes the CPU from the guest. False if the thread cannot take a signal yet.
    pub fn kick(&self) -> bool {
        self.window.set_u32(W_KICK, 1);
        std::sync::atomic::fence(Ordering::SeqCst);
        if !self.window.ready() || self.stub.is_dead() {
            return false;
        }
        let _ = self.stub.pid().with(|pid| sys::tgkill(pid, self.tid, SIG_PREEMPT));
        true
    }

    /// The kernel has something else to do than to answer: the thread need not watch its turn.
    pub fn rest(&self) {
        self.window.set_u32(W_WATCH, 0);
    }

    /// Changes what the stub answers itself.
    pub fn answer(&self, slot: u8, value: u64) {
        self.window.set_u64(W_ANSWERS + slot as usize * 8, value);
    }

    /// From now on the kernel hears of every call.
    pub fn answer_nothing(&self) {
        self.window.write(W_ANSWER_INDEX, &[0; 512]);
    }

    /// The mask of blocked signals of a thread in the guest.
    pub fn mask(&self) -> u64 {
        self.window.u64(W_MASK) & !NEVER_BLOCKED
    }

    /// The process.
    pub fn stub(&self) -> &Arc<Stub> {
        &self.stub
    }
}
