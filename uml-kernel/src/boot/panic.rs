//! A panic of the kernel: what it was, what the guest's tasks were doing, with their kernel stacks, and the end, with nothing left behind.

use super::restart;
use crate::platform::Platform;
use crate::task::dump;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit status where the kernel itself failed.
const STATUS: i32 = 125;

/// From now on a panic on any thread ends the kernel and its stubs; with `panic=` it begins again.
pub(super) fn install(platform: Arc<Platform>, restarts: restart::AfterPanic) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        static FIRST: AtomicBool = AtomicBool::new(true);
        if !FIRST.swap(false, Ordering::SeqCst) {
            // What follows from the first panic says nothing new.
            loop {
                std::thread::park();
            }
        }
        crate::console::terminal::restore();
        eprintln!("uml-kernel: kernel panic, version {}", env!("CARGO_PKG_VERSION"));
        hook(info);
        print_tasks();
        platform.shut_down();
        restarts.announced().iter().for_each(|line| eprintln!("{line}"));
        restarts.carry_out();
        // Not `exit`, which runs handlers: other threads run on, and what they would run into is gone.
        crate::platform::sys::exit_now(STATUS)
    }));
}

/// At SIGQUIT to the kernel, what the guest's tasks are doing; it goes on.
pub(super) fn listen() -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGQUIT])?;
    std::thread::Builder::new().name("quit".into()).spawn(move || {
        for _ in &mut signals {
            print_tasks();
        }
    })?;
    Ok(())
}

/// To read stacks takes more of one than a task has.
fn print_tasks() {
    if let Ok(reader) = std::thread::Builder::new().spawn(|| eprint!("{}", dump::tasks())) {
        let _ = reader.join();
    }
}
