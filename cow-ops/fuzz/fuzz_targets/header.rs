#![no_main]

#[path = "../targets/header.rs"]
mod header;

libfuzzer_sys::fuzz_target!(|data: &[u8]| header::run(data));
