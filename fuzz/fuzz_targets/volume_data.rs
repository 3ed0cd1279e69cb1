#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::volume_data(data));
