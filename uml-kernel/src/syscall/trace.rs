//! The built-in strace: one line a call, to the host's standard error.

use super::{Args, Entry};
use crate::base::Result;
use crate::task::{Ctx, kernel};

/// Whether a family is traced.
pub(super) fn wants(family: &str) -> bool {
    kernel()
        .options
        .strace
        .as_deref()
        .is_some_and(|f| f.is_empty() || f == "all" || f.split(',').any(|x| x == family))
}

/// Calls whose first or second argument is a path.
fn path_argument(name: &str) -> Option<usize> {
    match name {
        "open" | "stat" | "lstat" | "access" | "execve" | "readlink" | "mkdir" | "rmdir" | "unlink"
        | "chdir" | "statfs" | "rename" | "link" | "symlink" | "chmod" | "chown" | "truncate" | "creat" => {
            Some(0)
        }
        "openat" | "newfstatat" | "faccessat" | "faccessat2" | "readlinkat" | "mkdirat" | "unlinkat"
        | "statx" | "openat2" | "fchmodat" | "fchownat" | "utimensat" | "renameat2" | "linkat" => Some(1),
        _ => None,
    }
}

/// A call begins.
pub(super) fn enter(ctx: &Ctx, entry: &Entry, args: &Args) {
    let path = path_argument(entry.name);
    let shown: Vec<String> = args
        .iter()
        .enumerate()
        .map(|(n, a)| match ctx.path(*a) {
            Ok(p) if Some(n) == path => format!("{:?}", String::from_utf8_lossy(&p)),
            _ if *a < 4096 => a.to_string(),
            _ if *a > u64::MAX - 4096 => (*a as i64).to_string(),
            _ => format!("{a:#x}"),
        })
        .collect();
    eprintln!("[{}] {}({})\r", ctx.task.tid, entry.name, shown.join(", "));
}

/// A call ends.
pub(super) fn exit(ctx: &Ctx, entry: &Entry, result: &Result<u64>) {
    match result {
        Ok(v) if *v < 1 << 20 => eprintln!("[{}] {} = {v}\r", ctx.task.tid, entry.name),
        Ok(v) => eprintln!("[{}] {} = {v:#x}\r", ctx.task.tid, entry.name),
        Err(e) => eprintln!("[{}] {} = -1 {e:?}\r", ctx.task.tid, entry.name),
    }
}
