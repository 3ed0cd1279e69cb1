#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::fabric_frame(data));
