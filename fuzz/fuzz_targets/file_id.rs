#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::file_id(data));
