//! Random system calls of a hostile guest, for a short time; `tests/fuzz.sh SECONDS SEED` goes on for longer.

#![allow(clippy::expect_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn random_calls_neither_stop_the_kernel_nor_get_out() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = crate_dir.join("../target/guest-tests/x86_64-unknown-linux-gnu/release/guest-tests");
    assert!(program.exists(), "{} is missing: run `make guest-tests`", program.display());
    let output = Command::new(crate_dir.join("tests/fuzz.sh"))
        .args(["10", "1"])
        .env("KERNEL", env!("CARGO_BIN_EXE_uml-kernel"))
        .env("GUEST_TESTS", program.canonicalize().expect("its path"))
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert!(output.status.success(), "{text}");
    assert!(!text.contains(", 0 children"), "nothing was tried: {text}");
}
