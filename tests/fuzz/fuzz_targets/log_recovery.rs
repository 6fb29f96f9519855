//! Fuzzes the recovery of damaged logs and reading them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::stored::log_recovery(bytes));
