#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shopmend_fuzz::triage::run(data));
