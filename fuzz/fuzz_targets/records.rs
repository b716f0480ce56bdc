//! Any bytes as a script of a secured connection: nothing is lost, changed or made up, and nothing leaks.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peregrine::fuzz::records(data));
