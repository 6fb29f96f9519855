//! Fuzzes the configs that a metadata log holds.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::stored::config_values(bytes));
