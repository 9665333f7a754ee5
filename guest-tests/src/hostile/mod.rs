//! Hostile programs: each attacks its kernel in one way and says what it saw. Driven by `uml-kernel/tests/hostile.rs`, which looks
//! from outside at what became of the rest of the machine.
//!
//! They signal everybody and take all there is, so they run on our own kernel alone.

mod at;
mod code;
mod escape;
mod exhaust;
mod forge;
mod frames;
mod hoard;
mod hostfs;
mod race;
mod secrets;
mod send;
mod window;

use crate::run::{self, sys};
use std::sync::OnceLock;

type Attack = (&'static str, fn());

const ATTACKS: &[&[Attack]] = &[
    window::ATTACKS,
    forge::ATTACKS,
    race::ATTACKS,
    escape::ATTACKS,
    hostfs::ATTACKS,
    exhaust::ATTACKS,
    hoard::ATTACKS,
    send::ATTACKS,
    frames::ATTACKS,
    code::ATTACKS,
    secrets::ATTACKS,
];

static WORDS: OnceLock<Vec<String>> = OnceLock::new();

/// What the driver says of the outside: `NAME=VALUE` after the attack's name.
fn told(name: &str) -> Option<&'static str> {
    let words = WORDS.get()?.iter();
    words.filter_map(|w| w.split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v)
}

/// A process of the host, to be left alone.
fn host_pid() -> i32 {
    told("pid").and_then(|p| p.parse().ok()).unwrap_or(i32::MAX)
}

fn is_ours() -> bool {
    let mut name: libc::utsname = crate::mem::zeroed();
    sys!(SYS_uname, &mut name);
    let release: Vec<u8> = name.release.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    release.ends_with(b"-uml") && std::path::Path::new("/hostile").exists()
}

/// `hostile NAME [KEY=VALUE...]`
pub(crate) fn main(args: &[String]) -> i32 {
    if !is_ours() {
        eprintln!("guest-tests: hostile: not in a guest that is meant for it");
        return 2;
    }
    let _ = WORDS.set(args.iter().skip(1).cloned().collect());
    let name = args.first().map_or("", String::as_str);
    let Some((_, attack)) = ATTACKS.iter().copied().flatten().find(|(n, _)| *n == name) else {
        eprintln!("guest-tests: hostile: no such attack");
        return 2;
    };
    run::name_lines(name);
    let _ = std::env::set_current_dir("/tmp");
    attack();
    run::line(if alive() { "alive" } else { "not well" });
    0
}

/// Whether the kernel still does what a kernel does: a child, a file, a pipe, a page.
fn alive() -> bool {
    let (r, w) = run::pipe(0);
    run::post(w);
    let child = run::fate(|| 7) == "exited:7";
    let piped = run::await_post(r);
    run::file(c"/tmp/alive", b"yes");
    let kept = run::cat(c"/tmp/alive") == b"yes";
    [r, w].into_iter().for_each(run::close);
    let page = crate::mem::map(4096, crate::mem::RW, crate::mem::PRIV);
    crate::mem::put(page, b"x");
    child && piped && kept
}
