//! A panic of the kernel: what it was, what the guest's tasks were doing, and the end, with nothing left behind.

use crate::platform::Platform;
use crate::syscall;
use crate::task::kernel;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Exit status where the kernel itself failed.
const STATUS: i32 = 125;

/// From now on a panic on any thread ends the kernel and its stubs.
pub(super) fn install(platform: Arc<Platform>) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        static FIRST: AtomicBool = AtomicBool::new(true);
        if !FIRST.swap(false, Ordering::SeqCst) {
            // What follows from the first panic says nothing new.
            loop {
                std::thread::park();
            }
        }
        super::terminal::restore();
        eprintln!("uml-kernel: kernel panic, version {}", env!("CARGO_PKG_VERSION"));
        hook(info);
        tasks();
        platform.shut_down();
        // Not `exit`, which runs handlers: other threads run on, and what they would run into is gone.
        crate::platform::sys::exit_now(STATUS)
    }));
}

/// At SIGQUIT to the kernel, what the guest's tasks are doing; it goes on.
pub(super) fn listen() -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGQUIT])?;
    std::thread::Builder::new().name("quit".into()).stack_size(128 << 10).spawn(move || {
        for _ in &mut signals {
            tasks();
        }
    })?;
    Ok(())
}

/// One line a task: number, group, name, system call, and where in the kernel it sleeps.
fn tasks() {
    let patience = Duration::from_millis(200);
    let Some(table) = kernel().table.look(patience) else {
        eprintln!("The table of tasks is locked.");
        return;
    };
    eprintln!("  TID   PID NAME            CALL             WHERE");
    let mut tasks: Vec<_> = table.tasks.values().collect();
    tasks.sort_by_key(|t| t.tid);
    for task in tasks {
        let name = task
            .inner
            .look(patience)
            .map_or_else(|| "?".into(), |inner| String::from_utf8_lossy(&inner.comm).into_owned());
        let call = match task.in_syscall.load(Ordering::Relaxed) {
            nr if nr < 0 => "-".to_string(),
            nr => syscall::name(nr as u64).map_or_else(|| nr.to_string(), str::to_string),
        };
        let place = match task.fiber.get().and_then(|f| f.sleeps_at()) {
            Some(_) if task.process.stopped.load(Ordering::Relaxed) != 0 => "stopped".into(),
            Some(at) => format!("sleeps at {}:{}", at.file(), at.line()),
            None if task.in_guest.load(Ordering::Relaxed) => "in the guest".into(),
            None => "in the kernel".into(),
        };
        eprintln!("{:5} {:5} {name:15} {call:16} {place}", task.tid, task.process.pid);
    }
}
