//! System calls exercised case by case. The same static binary runs on the host and inside the guest, and the two
//! outputs are compared line by line: the host's kernel says what is right. So nothing printed may depend on pids,
//! addresses, times, inode numbers, being root, the number of processors or the version of the kernel.
//!
//! `unsafe` is everywhere here by nature: the program exists to hand raw and often invalid pointers to the kernel, to
//! touch memory whose mapping it has just changed, and to run signal handlers. No other crate depends on it, and each
//! case runs in a process of its own, so a mistake costs one line of output. Blocks are therefore not argued one by one,
//! and a failed `unwrap` is only a case that prints "panicked".
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, clippy::unwrap_used, clippy::expect_used)]

mod mem;
mod run;
mod show;

mod dirs;
mod events;
mod exec;
mod fds;
mod fuzz;
mod hostile;
mod ident;
mod locks;
mod masks;
mod memory;
mod meta;
mod misc;
mod mounts;
mod notices;
mod paths;
mod pipes;
mod procfs;
mod procs;
mod remap;
mod restart;
mod rw;
mod signals;
mod threads;
mod timers;
mod ttys;
mod unix;
mod wild;
mod wildcalls;
mod xattrs;

use run::Case;

/// In the order they run.
const FAMILIES: &[(&str, &[Case])] = &[
    ("fds", fds::CASES),
    ("rw", rw::CASES),
    ("locks", locks::CASES),
    ("dirs", dirs::CASES),
    ("paths", paths::CASES),
    ("meta", meta::CASES),
    ("xattrs", xattrs::CASES),
    ("mounts", mounts::CASES),
    ("memory", memory::CASES),
    ("remap", remap::CASES),
    ("procs", procs::CASES),
    ("exec", exec::CASES),
    ("masks", masks::CASES),
    ("signals", signals::CASES),
    ("restart", restart::CASES),
    ("threads", threads::CASES),
    ("timers", timers::CASES),
    ("pipes", pipes::CASES),
    ("events", events::CASES),
    ("notices", notices::CASES),
    ("unix", unix::CASES),
    ("ttys", ttys::CASES),
    ("ident", ident::CASES),
    ("misc", misc::CASES),
    ("procfs", procfs::CASES),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let code = match args.first().map(String::as_str) {
        Some("helper") => exec::helper(&args[1..]),
        Some("hostile") => hostile::main(&args[1..]),
        Some("fuzz") => fuzz::main(&args[1..]),
        _ => run::main(FAMILIES, &args),
    };
    std::process::exit(code);
}
