//! The fuzzer's corpus, replayed through the fuzzer's own function: what was found once stays found, and `cargo test` needs neither
//! `cargo fuzz` nor a sanitizer for it.

// The function is the fuzzer's, whose way to complain is to panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

#[path = "../fuzz/targets/hostile.rs"]
mod hostile;
#[path = "../fuzz/targets/tar_in.rs"]
mod tar_in;

#[test]
fn archives_that_were_found() {
    if !Path::new("/sbin/mke2fs").exists() {
        return eprintln!("SKIPPED: there is no mke2fs");
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/tar_in");
    let mut count = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        // Told only where it fails.
        println!("{}", path.display());
        tar_in::run(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count >= 100, "{count} inputs");
}
