#![no_main]

#[path = "../targets/hostile.rs"]
mod hostile;
#[path = "../targets/tar_in.rs"]
mod tar_in;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tar_in::run(data));
