//! The progress of long work, as a bar, as JSON lines, or on SIGUSR1.

use crate::format;
use crate::signals::Signals;
use block_device::Observer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How progress is shown. Whatever it is, SIGUSR1 prints a line of it to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A bar on standard error where that is a terminal.
    Auto,
    /// A bar, or plain lines where standard error is no terminal.
    Always,
    /// JSON lines on standard output.
    Json,
    /// Nothing.
    Never,
}

/// The [`Observer`] of all programs: shows progress, and stops on SIGINT, SIGTERM and SIGHUP.
pub struct Reporter {
    show: Show,
    signals: Signals,
    state: Mutex<State>,
}

struct State {
    phase: &'static str,
    begun: Instant,
    shown: Instant,
    bar: Option<ProgressBar>,
    done: u64,
    total: u64,
}

/// One JSON line of progress.
#[derive(Serialize)]
struct Line {
    event: &'static str,
    phase: &'static str,
    done: u64,
    total: u64,
    seconds: f64,
}

impl Reporter {
    /// Installs the signal handlers.
    ///
    /// # Errors
    /// When they cannot be installed.
    pub fn new(show: Show) -> io::Result<Self> {
        let now = Instant::now();
        let state = State { phase: "", begun: now, shown: now, bar: None, done: 0, total: 0 };
        Ok(Self { show, signals: Signals::install()?, state: Mutex::new(state) })
    }

    /// The signal that stopped the work, if one did.
    pub fn stopped_by(&self) -> Option<i32> {
        self.signals.stop()
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = self.state.lock().unwrap_or_else(PoisonError::into_inner).bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draws_bar(&self) -> bool {
        matches!(self.show, Show::Auto | Show::Always) && io::stderr().is_terminal()
    }

    fn begin(&self, state: &mut State, phase: &'static str, total: u64) {
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
        (state.phase, state.begun, state.shown, state.total) = (phase, Instant::now(), Instant::now(), total);
        if self.draws_bar() {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
            let style = "{msg:>12} [{bar:30}] {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(phase);
            state.bar = Some(bar);
        }
    }

    fn say(&self, state: &State, json: bool) {
        let seconds = state.begun.elapsed();
        let State { phase, done, total, .. } = *state;
        if json {
            let line = Line { event: "progress", phase, done, total, seconds: seconds.as_secs_f64() };
            crate::Output::new(crate::Format::Json).json(&line);
            return;
        }
        let (part, all, share) = (format::size(done), format::size(total), format::percent(done, total));
        let took = format::duration(seconds);
        crate::complain(format_args!("{phase}: {part} of {all} ({share}) in {took}"));
    }
}

impl Observer for Reporter {
    fn progress(&self, phase: &'static str, done: u64, total: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.phase != phase {
            self.begin(&mut state, phase, total);
        }
        (state.done, state.total) = (done, total);
        if let Some(bar) = &state.bar {
            bar.set_position(done);
        }
        if self.signals.take_report() {
            self.say(&state, self.show == Show::Json);
        }
        let lines = self.show == Show::Json || (self.show == Show::Always && state.bar.is_none());
        let due = state.shown.elapsed() >= Duration::from_millis(500) || done == total;
        if lines && due {
            state.shown = Instant::now();
            self.say(&state, self.show == Show::Json);
        }
    }

    fn cancelled(&self) -> bool {
        self.signals.stop().is_some()
    }
}
