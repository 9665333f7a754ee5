//! A panic of the kernel: what it was, what the guest's tasks were doing, with their kernel stacks, and the end, with nothing left behind.

use crate::platform::Platform;
use crate::syscall;
use crate::task::kernel;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Stacks that are printed, at most.
const MOST_STACKS: usize = 64;
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
        // To read stacks takes more of one than a task has.
        if let Ok(reader) = std::thread::Builder::new().spawn(tasks) {
            let _ = reader.join();
        }
        platform.shut_down();
        // Not `exit`, which runs handlers: other threads run on, and what they would run into is gone.
        crate::platform::sys::exit_now(STATUS)
    }));
}

/// At SIGQUIT to the kernel, what the guest's tasks are doing; it goes on.
pub(super) fn listen() -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGQUIT])?;
    std::thread::Builder::new().name("quit".into()).spawn(move || {
        for _ in &mut signals {
            tasks();
        }
    })?;
    Ok(())
}

/// One line a task: number, group, name, system call, and where in the kernel it sleeps; then the stacks of those that do.
fn tasks() {
    let patience = Duration::from_millis(200);
    let Some(table) = kernel().table.look(patience) else {
        eprintln!("The table of tasks is locked.");
        return;
    };
    eprintln!("  TID   PID NAME            CALL             WHERE");
    let mut tasks: Vec<_> = table.tasks.values().collect();
    tasks.sort_by_key(|t| t.tid);
    for task in &tasks {
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
    let sleeping: Vec<_> = tasks.iter().filter_map(|t| Some((t.tid, t.fiber.get()?.clone()))).collect();
    drop(table);
    for (tid, fiber) in sleeping.iter().filter(|(_, f)| f.sleeps_at().is_some()).take(MOST_STACKS) {
        if let Some(stack) = fiber.stack(patience) {
            eprintln!("stack of {tid}:\n{}", own_frames(&stack.to_string()));
        }
    }
}

/// The kernel's own functions of a printed stack, from the wait outwards: a line each, with the place.
fn own_frames(stack: &str) -> String {
    let mut lines = stack.lines().map(str::trim).peekable();
    let mut out = String::new();
    while let Some(line) = lines.next() {
        let function = line.split_once(": ").map_or(line, |(_, f)| f);
        let place = lines.next_if(|l| l.starts_with("at ")).unwrap_or_default();
        let of_this = ["::base::fiber::", "::boot::panic::"].iter().any(|m| function.contains(m));
        if function.contains("uml_kernel::") && !of_this {
            out += &format!("    {function} {place}\n");
        }
    }
    out
}
