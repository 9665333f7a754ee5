//! The fuzzers' corpus, replayed through the fuzzers' own functions: what was found once stays found, and
//! `cargo test` needs neither `cargo fuzz` nor a sanitizer for it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fuzz/targets/check.rs"]
mod check;
#[path = "../fuzz/targets/device.rs"]
mod device;
#[path = "../fuzz/targets/header.rs"]
mod header;
#[path = "../fuzz/targets/model.rs"]
mod model;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut failed = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        // All of them, so that one failure does not hide the others.
        if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
            failed.push(path);
        }
        count += 1;
    }
    assert!(count > 0, "no corpus in {}", dir.display());
    assert!(failed.is_empty(), "{target} fails on {failed:#?}");
    println!("{target}: {count} inputs");
}

#[test]
fn headers() {
    replay("header", header::run);
}

#[test]
fn files_under_check() {
    replay("check", check::run);
}

#[test]
fn files_as_devices() {
    replay("device", device::run);
}
