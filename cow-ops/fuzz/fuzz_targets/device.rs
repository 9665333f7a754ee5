#![no_main]

#[path = "../targets/device.rs"]
mod device;
#[path = "../targets/model.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|data: &[u8]| device::run(data));
