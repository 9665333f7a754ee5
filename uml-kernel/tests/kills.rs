//! Guests that are killed while they work on a disk, a few times; `tests/kills.py 100` goes on for longer.

#![allow(clippy::expect_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn what_was_acknowledged_survives_kills() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kills.py");
    let output = Command::new(script)
        .args(["6", "1"])
        .env("KERNEL", env!("CARGO_BIN_EXE_uml-kernel"))
        .output()
        .expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
