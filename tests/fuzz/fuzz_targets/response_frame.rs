//! Fuzzes the responses that a client reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::parsers::response_frame(bytes));
