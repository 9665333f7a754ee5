//! What the guest's tasks are doing, as text: for a panic, SIGQUIT, SysRq and the management console.

use super::kernel;
use super::process::Task;
use crate::syscall;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Stacks that are shown, at most.
const MOST_STACKS: usize = 64;
/// How long a lock is waited for: whoever holds it may never give it back.
const PATIENCE: Duration = Duration::from_millis(200);

/// One line a task: number, group, name, system call, and where in the kernel it sleeps; then the stacks of those that do.
pub fn tasks() -> String {
    let Some(table) = kernel().table.look(PATIENCE) else {
        return "The table of tasks is locked.\n".into();
    };
    let mut tasks: Vec<_> = table.tasks.values().cloned().collect();
    drop(table);
    tasks.sort_by_key(|t| t.tid);
    let mut out = String::from("  TID   PID NAME            CALL             WHERE\n");
    for task in &tasks {
        let _ = writeln!(out, "{}", line(task));
    }
    let stacks = tasks.iter().filter_map(|t| Some((t.tid, stack(t)?)));
    for (tid, stack) in stacks.take(MOST_STACKS) {
        let _ = write!(out, "stack of {tid}:\n{stack}");
    }
    out
}

/// One task, by its number.
pub fn task(tid: i32) -> Option<String> {
    let task = kernel().table.look(PATIENCE)?.tasks.get(&tid).cloned()?;
    let stack = stack(&task).unwrap_or_else(|| "    (it does not sleep)\n".into());
    Some(format!("{}\n{stack}", line(&task)))
}

fn line(task: &Arc<Task>) -> String {
    let name = task
        .inner
        .look(PATIENCE)
        .map_or_else(|| "?".into(), |inner| String::from_utf8_lossy(&inner.comm).into_owned());
    let call = match task.in_syscall.load(Ordering::Relaxed) {
        nr if nr < 0 => "-".to_string(),
        nr => syscall::name(nr as u64).map_or_else(|| nr.to_string(), str::to_string),
    };
    let place = match task.fiber.get().and_then(|f| f.sleeps_at()) {
        Some(_) if task.process.stopped.load(Ordering::Relaxed) != 0 => "stopped".into(),
        Some(at) => format!("sleeps at {}:{}", at.file(), at.line()),
        None if task.in_guest() => "in the guest".into(),
        None => "in the kernel".into(),
    };
    format!("{:5} {:5} {name:15} {call:16} {place}", task.tid, task.process.pid)
}

/// The kernel's own functions on the stack of a task that sleeps, from the wait outwards.
fn stack(task: &Arc<Task>) -> Option<String> {
    let fiber = task.fiber.get()?;
    fiber.sleeps_at()?;
    fiber.stack(PATIENCE).map(|stack| own_frames(&stack.to_string()))
}

/// A line each, with the place.
fn own_frames(stack: &str) -> String {
    let mut lines = stack.lines().map(str::trim).peekable();
    let mut out = String::new();
    while let Some(line) = lines.next() {
        let function = line.split_once(": ").map_or(line, |(_, f)| f);
        let place = lines.next_if(|l| l.starts_with("at ")).unwrap_or_default();
        let of_this = ["::base::fiber::", "::task::dump::"].iter().any(|m| function.contains(m));
        if function.contains("uml_kernel::") && !of_this {
            out += &format!("    {function} {place}\n");
        }
    }
    out
}
