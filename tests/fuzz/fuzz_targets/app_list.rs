#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shopmend_fuzz::app_list::run(data));
