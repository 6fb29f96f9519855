//! Fuzzes the files of a log dir.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::stored::log_dir(bytes));
