//! Fuzzes the requests that a broker reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::parsers::request_frame(bytes));
