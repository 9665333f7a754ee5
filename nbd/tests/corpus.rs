//! The fuzzers' corpus, replayed through the fuzzers' own functions: what was found once stays found, and `cargo test` needs neither
//! `cargo fuzz` nor a sanitizer for it.

// The functions are the fuzzers', whose way to complain is to panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

#[path = "../fuzz/targets/feed.rs"]
mod feed;
#[path = "../fuzz/targets/options.rs"]
mod options;
#[path = "../fuzz/targets/session.rs"]
mod session;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        // Told only where it fails.
        println!("{}", path.display());
        run(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count >= 10, "{}: {count} inputs", dir.display());
}

#[test]
fn options_that_were_found() {
    replay("options", options::run);
}

#[test]
fn sessions_that_were_found() {
    replay("session", session::run);
}
