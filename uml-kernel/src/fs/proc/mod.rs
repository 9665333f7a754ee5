//! procfs (proc(5)): the guest's processes and the guest's kernel, as text. Nothing here is read from the host's /proc.
//!
//! What it tells comes from the traits in [`source`], which the task layer implements; the formats are those of Linux 6.18, to the byte,
//! because ps, top, systemd and many others take them apart.

mod access;
mod pid;
mod root;
pub mod source;
mod sysctl;
mod system;
mod task;

pub(super) use pid::{cpu_mask, cpu_ranges};
pub use source::{Process, System};
pub use sysctl::Sysctls;

use super::Path;
use super::pseudo::{Pseudo, Text};
use crate::base::Result;
use std::sync::Arc;

/// PROC_SUPER_MAGIC (linux/magic.h).
pub const MAGIC: u64 = 0x9fa0;

/// What every file of a procfs can ask.
struct Context {
    system: Arc<dyn System>,
    sysctls: Arc<Sysctls>,
    namespaces: pid::Namespaces,
}

/// A procfs. Each mount is one; `sysctls` is shared by all.
pub fn new(system: Arc<dyn System>, sysctls: Arc<Sysctls>) -> Arc<Pseudo> {
    let context = Arc::new(Context { system, sysctls, namespaces: pid::Namespaces::new() });
    Pseudo::new("proc", MAGIC, false, root::root(context))
}

impl Context {
    /// A file that a function makes of what the system tells.
    fn text(self: &Arc<Context>, make: system::Make) -> Arc<Text<impl Fn() -> Result<Vec<u8>> + use<>>> {
        let context = self.clone();
        Arc::new(Text(move || Ok(make(&*context.system).into_bytes())))
    }
}

/// Where something is, as seen from `root`: its path, or for what has none (a pipe, a namespace) its name.
fn describe(path: &Path, root: Option<&Path>) -> Vec<u8> {
    if let Some(text) = root.and_then(|root| path.text(root)) {
        return text;
    }
    if Arc::ptr_eq(&path.dentry, path.mount.root()) && path.mount.at().is_none() {
        return path.dentry.name();
    }
    // Outside of the asker's root: Linux gives the path from the root of the mount.
    let top = Path { mount: path.mount.clone(), dentry: path.mount.root().clone() };
    path.text(&top).unwrap_or_else(|| path.dentry.name())
}

/// Nanoseconds as the ticks that user space counts (`USER_HZ`, 100 a second).
fn ticks(ns: u64) -> u64 {
    ns / 10_000_000
}

/// A name or number that user space has written: without the newline, as text. `None` if it is none.
fn word(from: &[u8]) -> Option<&str> {
    std::str::from_utf8(from).ok().map(|s| s.trim_end_matches('\0').trim())
}

#[cfg(test)]
pub(crate) mod tests;
