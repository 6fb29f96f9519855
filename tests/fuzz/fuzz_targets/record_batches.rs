//! Fuzzes the record batches that producers send and logs hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::parsers::record_batches(bytes));
