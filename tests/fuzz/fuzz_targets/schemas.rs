//! Fuzzes schemas that clients send to the registry, and what its topic holds.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::schemas::schemas(bytes));
