//! Any bytes as requests: cut in any way, collected or streamed, they come to the same.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peregrine::fuzz::machine(data));
