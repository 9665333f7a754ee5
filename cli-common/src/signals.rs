//! Signals that mean "stop", and the one that asks how far it is.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Flags that the handlers set.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    stop: Arc<AtomicUsize>,
    report: Arc<AtomicBool>,
}

impl Signals {
    /// Installs the handlers. A second `SIGINT`, `SIGTERM` or `SIGHUP` kills at once.
    pub(crate) fn install() -> io::Result<Self> {
        let signals = Self { stop: Arc::default(), report: Arc::default() };
        let again = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_default(signal, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            flag::register_usize(signal, Arc::clone(&signals.stop), signal as usize)?;
        }
        flag::register(SIGUSR1, Arc::clone(&signals.report))?;
        Ok(signals)
    }

    /// The signal that wants the program to stop.
    pub(crate) fn stop(&self) -> Option<i32> {
        Some(self.stop.load(Ordering::Relaxed) as i32).filter(|s| *s != 0)
    }

    /// Whether progress was asked for since the last call.
    pub(crate) fn take_report(&self) -> bool {
        self.report.load(Ordering::Relaxed) && self.report.swap(false, Ordering::Relaxed)
    }
}
