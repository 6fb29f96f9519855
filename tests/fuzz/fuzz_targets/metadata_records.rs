//! Fuzzes the records of the metadata log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::stored::metadata_records(bytes));
