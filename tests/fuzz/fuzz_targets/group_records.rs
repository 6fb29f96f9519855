//! Fuzzes the records of groups.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::stored::group_records(bytes));
