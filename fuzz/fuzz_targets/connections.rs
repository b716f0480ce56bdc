//! Any bytes as a script of peers, kernel and time: nothing leaks, and nothing follows the last answer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peregrine::fuzz::connections(data));
