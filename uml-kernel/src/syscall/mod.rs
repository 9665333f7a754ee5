//! System calls: one file a family. Decode, check, call down; no policy here.

mod admin;
mod block;
mod dir;
mod events;
mod fd;
mod futex;
mod ids;
mod inotify;
mod io;
mod memory;
mod misc;
mod numa;
mod open;
mod path;
mod peer;
mod poll;
mod priority;
mod process;
mod sched;
mod seccomp;
mod shared;
mod signal;
mod socket;
mod stat;
mod swap;
mod time;
mod trace;

pub use misc::RELEASE;

use crate::base::{Errno, Mutex, Rank, Result};
use crate::task::Ctx;
use std::collections::HashSet;
use std::sync::OnceLock;

/// Arguments of a call.
pub type Args = [u64; 6];

/// How much of a call there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// All of it.
    Full,
    /// Not all; what is missing.
    Partial(&'static str),
}

/// One system call.
#[derive(Debug)]
pub struct Entry {
    /// Number on x86-64.
    pub nr: i64,
    /// Name.
    pub name: &'static str,
    /// How much of it there is.
    pub support: Support,
    /// What it does.
    pub call: fn(&mut Ctx, Args) -> Result<u64>,
}

/// Shorthands for the families' tables.
pub(crate) const fn full(nr: i64, name: &'static str, call: fn(&mut Ctx, Args) -> Result<u64>) -> Entry {
    Entry { nr, name, support: Support::Full, call }
}

/// A call of which something is missing.
pub(crate) const fn partial(
    nr: i64,
    name: &'static str,
    missing: &'static str,
    call: fn(&mut Ctx, Args) -> Result<u64>,
) -> Entry {
    Entry { nr, name, support: Support::Partial(missing), call }
}

/// All families, with their names.
pub const FAMILIES: &[(&str, &[Entry])] = &[
    ("process", process::TABLE),
    ("peer", peer::TABLE),
    ("ids", ids::TABLE),
    ("memory", memory::TABLE),
    ("open", open::TABLE),
    ("io", io::TABLE),
    ("fd", fd::TABLE),
    ("path", path::TABLE),
    ("dir", dir::TABLE),
    ("stat", stat::TABLE),
    ("signal", signal::TABLE),
    ("futex", futex::TABLE),
    ("shared", shared::TABLE),
    ("sched", sched::TABLE),
    ("priority", priority::TABLE),
    ("time", time::TABLE),
    ("poll", poll::TABLE),
    ("events", events::TABLE),
    ("inotify", inotify::TABLE),
    ("socket", socket::TABLE),
    ("seccomp", seccomp::TABLE),
    ("numa", numa::TABLE),
    ("swap", swap::TABLE),
    ("admin", admin::TABLE),
    ("misc", misc::TABLE),
];

/// Numbers that the table holds.
const NUMBERS: usize = 512;

/// The name of a system call that is there.
pub fn name(nr: u64) -> Option<&'static str> {
    let mut entries = FAMILIES.iter().flat_map(|(_, entries)| entries.iter());
    entries.find(|e| e.nr as u64 == nr).map(|e| e.name)
}

/// The table for people: a line a call, by family.
pub fn table_text() -> String {
    let all = || FAMILIES.iter().flat_map(|(_, entries)| entries.iter());
    let full = all().filter(|e| e.support == Support::Full).count();
    let mut out = format!(
        "# System calls\n\nMade by `uml-kernel syscalls`. {full} full, {} partial; any other gives ENOSYS and one line a program in the \
         kernel's log.\n",
        all().count() - full
    );
    for (family, entries) in FAMILIES {
        out += &format!("\n## {family}\n\n| number | name | missing |\n| ---: | --- | --- |\n");
        for entry in *entries {
            let missing = if let Support::Partial(what) = entry.support { what } else { "" };
            out += &format!("| {} | `{}` | {missing} |\n", entry.nr, entry.name);
        }
    }
    out
}

fn table() -> &'static [Option<(&'static str, &'static Entry)>; NUMBERS] {
    static TABLE: OnceLock<[Option<(&'static str, &'static Entry)>; NUMBERS]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = [None; NUMBERS];
        for (family, entries) in FAMILIES {
            for entry in *entries {
                table[entry.nr as usize] = Some((*family, entry));
            }
        }
        table
    })
}

/// Makes the system call in the registers. `None` if the registers are what they have to be already.
pub fn dispatch(ctx: &mut Ctx, nr: u64) -> Option<Result<u64>> {
    // The number is an `int`: what is above is not looked at.
    let nr = u64::from(nr as u32);
    let args = ctx.regs.args();
    let entry = usize::try_from(nr).ok().and_then(|n| table().get(n).copied().flatten());
    let Some((family, entry)) = entry else {
        missing(ctx, nr);
        return Some(Err(Errno::ENOSYS));
    };
    let traced = trace::wants(family);
    if traced {
        trace::enter(ctx, entry, &args);
    }
    let result = (entry.call)(ctx, args);
    if traced {
        trace::exit(ctx, entry, &result);
    }
    if nr == libc::SYS_rt_sigreturn as u64 && result.is_ok()
        || nr == libc::SYS_execve as u64 && result.is_ok()
    {
        return None;
    }
    Some(result)
}

/// One line a program for a call that is not there.
fn missing(ctx: &Ctx, nr: u64) {
    type Told = HashSet<(Vec<u8>, u64)>;
    static TOLD: Mutex<Option<Told>> = Mutex::new(Rank::Run, None);
    let comm = ctx.task.inner.lock().comm.clone();
    if TOLD.lock().get_or_insert_with(HashSet::new).insert((comm.clone(), nr)) {
        crate::log!("{}[{}]: system call {nr} is not there", String::from_utf8_lossy(&comm), ctx.task.tid);
    }
}
